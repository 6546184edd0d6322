"""Which weights a run starts from or tests: found by name, path or URL, and their classes put in the data's order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.engine.checkpoint import best_path, newest_checkpoint
from uniformer_video.engine.class_order import TEST, TRAIN, apply_class_order, class_names_of
from uniformer_video.models.published import NETWORKS
from uniformer_video.models.weight_files import described
from uniformer_video.models.weights import LoadReport, load_weights, named_tensors, read_content
from uniformer_video.models.zoo import Resolved, resolve
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)


def load_start_weights(cfg: CfgNode, model: nn.Module, class_names: Sequence[str] | None = None) -> None:
    """Load what training starts from, or say that the weights are random.

    The first there is of: TRAIN.CHECKPOINT_FILE_PATH, UNIFORMER.PRETRAIN_NAME. A head of other classes starts anew.

    Args:
        cfg: the configuration.
        model: takes the weights.
        class_names: of the data, in label order, where known.
    """
    source, inflate = cfg.TRAIN.CHECKPOINT_FILE_PATH, cfg.TRAIN.CHECKPOINT_INFLATE
    name = cfg.UNIFORMER.PRETRAIN_NAME
    if source and name:
        logger.info("UNIFORMER.PRETRAIN_NAME %s is not used: TRAIN.CHECKPOINT_FILE_PATH is set", name)
    if not source:
        # Published configurations name 2D weights here and set no inflation; theirs is by average.
        source, inflate = name, inflate or "average"
    if not source:
        keys = "UNIFORMER.PRETRAIN_NAME and TRAIN.CHECKPOINT_FILE_PATH"
        logger.warning("training starts from random weights (%s are not set)", keys)
        return
    report = _load(cfg, model, source, class_names, inflate=inflate, purpose=TRAIN)
    logger.info("start weights: %s", report.summary())


def load_test_weights(cfg: CfgNode, model: nn.Module, class_names: Sequence[str] | None = None) -> str:
    """Load the weights to test and return their path, empty for random ones.

    The first there is of: TEST.CHECKPOINT_FILE_PATH, the newest checkpoint in OUTPUT_DIR (with TEST.TEST_BEST the one
    with the best validation), TRAIN.CHECKPOINT_FILE_PATH. A head of other classes is refused: its scores would mean
    nothing.

    Args:
        cfg: the configuration.
        model: takes the weights.
        class_names: of the data, in label order, where known.
    """
    source, own = cfg.TEST.CHECKPOINT_FILE_PATH, None
    if not source:
        own = own_checkpoint(Path(cfg.OUTPUT_DIR), best=cfg.TEST.TEST_BEST)
        source = str(own) if own else cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not source:
        logger.warning("testing random weights: no TEST.CHECKPOINT_FILE_PATH and no checkpoint in OUTPUT_DIR")
        return ""
    inflate = cfg.TRAIN.CHECKPOINT_INFLATE
    report = _load(cfg, model, source, class_names, inflate=inflate, purpose=TEST, own=bool(own))
    logger.info("test weights: %s", report.summary())
    return report.path


def own_checkpoint(output_dir: Path, *, best: bool = False) -> Path | None:
    """Return the newest checkpoint of ``output_dir``, or the best one, or None; every process must call it.

    Args:
        output_dir: of the run.
        best: the checkpoint with the best validation, where there is one.

    Raises:
        UserError: the processes find different ones, because the machines of a run do not share the folder.
    """
    found = newest_checkpoint(output_dir)
    if best and best_path(output_dir).exists():
        found = best_path(output_dir)
    names = distributed.gather_objects(found.name if found else "none")
    if len(set(names)) > 1:
        raise UserError(
            f"the processes of this run find different checkpoints in OUTPUT_DIR {str(output_dir)!r} "
            f"({', '.join(names)}); set OUTPUT_DIR to a folder on a disk that all machines share"
        )
    return found


def _find(cfg: CfgNode, source: str) -> Resolved:
    try:
        return distributed.main_first(lambda: resolve(source, folder=cfg.UNIFORMER.WEIGHTS_DIR))
    except WeightError as error:
        if source != cfg.UNIFORMER.PRETRAIN_NAME:
            raise
        # A recipe asked for these weights, perhaps not the user.
        raise WeightError(f"{error}; UNIFORMER.PRETRAIN_NAME '' starts from random weights") from None


def _check_head_width(cfg: CfgNode, found: Resolved) -> None:
    """Refuse published weights for heads of another width: no tensor shows it, and the scores would be wrong."""
    if found.entry is None:
        return
    width = NETWORKS[found.entry.network].kwargs["head_dim"]
    if width != cfg.UNIFORMER.HEAD_DIM:
        raise WeightError(
            f"the published {found.entry.name} have attention heads of {width} channels, but UNIFORMER.HEAD_DIM is "
            f"{cfg.UNIFORMER.HEAD_DIM}; set UNIFORMER.HEAD_DIM {width}"
        )


def _load(
    cfg: CfgNode,
    model: nn.Module,
    source: str,
    class_names: Sequence[str] | None,
    *,
    inflate: str | bool,
    purpose: str,
    own: bool = False,
) -> LoadReport:
    found = _find(cfg, source)
    _check_head_width(cfg, found)
    content = read_content(found.path)
    where = described(found.path)
    names = class_names_of(content, found.entry.label_set if found.entry else None)
    state, line = apply_class_order(
        named_tensors(content, where),
        names,
        class_names,
        purpose,
        where,
        num_classes=cfg.MODEL.NUM_CLASSES,
    )
    # Of a run's own checkpoint there is nothing to say where its data never had names.
    if line and not (own and names is None and class_names is None):
        logger.info("%s", line)
    return load_weights(model, state, inflate=inflate, allow_new_head=purpose == TRAIN, origin=found.path)
