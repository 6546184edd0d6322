"""The training loss of a configuration on its data."""

from __future__ import annotations

import torch
from fvcore.common.config import CfgNode

from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.runtime.logging import get_logger
from uniformer_video.solver.class_weights import class_counts, class_weights
from uniformer_video.solver.losses import Loss, get_loss

logger = get_logger(__name__)


def build_loss(cfg: CfgNode, dataset: VideoDataset, device: torch.device) -> Loss:
    """Return the loss of MODEL.LOSS_FUNC, with the weights of MODEL.CLASS_WEIGHTS on ``device``, and say these.

    Args:
        cfg: the configuration.
        dataset: the training set, whose records of each class are counted.
        device: where the logits will be.

    Raises:
        ConfigError: weights that do not fit.
    """
    counts = class_counts(dataset.records.iter_labels(), cfg.MODEL.NUM_CLASSES)
    weights = class_weights(cfg.MODEL.CLASS_WEIGHTS, counts)
    if weights is None:
        return get_loss(cfg.MODEL.LOSS_FUNC)
    least, most = int(weights.argmin()), int(weights.argmax())
    names = dataset.class_names or [f"class {number}" for number in range(len(counts))]
    logger.info(
        "class weights from %.3g (%s, %d training videos) to %.3g (%s, %d)",
        *(weights[least].item(), names[least], counts[least], weights[most].item(), names[most], counts[most]),
    )
    return get_loss(cfg.MODEL.LOSS_FUNC, weights.to(device))
