"""Batch-norm statistics of the whole training set instead of a running average."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn
from torch.utils.data import DataLoader

from uniformer_video.engine.device import Precision
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.runtime import distributed


@torch.no_grad()
def recompute_batch_norm(
    model: nn.Module, loader: DataLoader, inputs: DeviceInputs, precision: Precision, num_batches: int
) -> int:
    """Replace the statistics of every batch norm by their mean over training batches.

    Method: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, as in fvcore. With several processes each takes its
    own share of the batches and the results are averaged.

    Args:
        model: set to training mode, so that batch norms see batch statistics; its weights are not changed.
        loader: training batches.
        inputs: makes network inputs.
        precision: of the forward passes.
        num_batches: at most one epoch's are used.

    Returns:
        The number of batches used.
    """
    count = min(num_batches, len(loader))
    model.train()

    def clips() -> Iterator[torch.Tensor]:
        for batch in loader:
            if batch.clips is not None:
                yield inputs.train(batch, precision.device)[0]

    with precision.autocast():
        update_bn_stats(model, clips(), count)
    if distributed.is_initialized():
        for norm in get_bn_modules(model):
            for statistic in (norm.running_mean, norm.running_var):
                dist.all_reduce(statistic)
                statistic /= distributed.world_size()
    return count
