"""Batch-norm statistics of the whole training set instead of a running average."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain, repeat

import torch
import torch.distributed as dist
from fvcore.nn.precise_bn import get_bn_modules, update_bn_stats
from torch import nn

from uniformer_video.datasets.loader import BatchLoader
from uniformer_video.engine.device import Precision
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.runtime import distributed, stopping


@torch.no_grad()
def recompute_batch_norm(
    model: nn.Module, loader: BatchLoader, inputs: DeviceInputs, precision: Precision, num_batches: int
) -> int:
    """Replace the statistics of every batch norm that is not frozen by their mean over training batches.

    Method: Wu and Johnson, "Rethinking 'Batch' in BatchNorm", 2021, as in fvcore. With several processes each takes its
    own share of the batches and the results are averaged.

    Args:
        model: set to training mode, so that batch norms see batch statistics; its weights are not changed.
        loader: training batches. The one before stands in for one of which nothing can be read.
        inputs: makes network inputs.
        precision: of the forward passes.
        num_batches: at most one epoch's are used.

    Returns:
        The number of batches used: 0 where a process can read nothing, or every batch norm is frozen; statistics then
        stay as they are.

    Raises:
        StopWaiting: a signal asked any process to stop, in every process; nothing is in the middle of a change.
    """
    model.train()
    count = min(num_batches, len(loader)) if get_bn_modules(model) else 0
    if count == 0:
        return 0

    def clips() -> Iterator[torch.Tensor]:
        last = None
        for batch in stopping.waited_for(loader, alone=distributed.world_size() == 1):
            if batch.clips is not None:
                last = inputs.train(batch, precision.device)[0]
            if last is not None:
                yield last
        if last is not None:
            yield from repeat(last)

    with _same_buffers(model), precision.autocast():
        seen = clips()
        first = next(seen, None)
        # All take part or none: synchronised norms meet in every forward pass.
        if distributed.sum_floats([float(first is None)], precision.device)[0]:
            return 0
        update_bn_stats(model, _until_asked(chain([first], seen), precision.device), count)
    if distributed.is_initialized():
        for norm in get_bn_modules(model):
            for statistic in (norm.running_mean, norm.running_var):
                dist.all_reduce(statistic)
                statistic /= distributed.world_size()
    return count


def _until_asked(clips: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
    """Yield ``clips``, of which every process takes equally many, until a signal asks any of them to stop."""
    for each in clips:
        if distributed.sum_floats([float(bool(stopping.requested()))], device)[0]:
            raise stopping.StopWaiting(stopping.requested())
        yield each


@contextmanager
def _same_buffers(model: nn.Module) -> Iterator[None]:
    """Let batch norms keep their tensors, with the new statistics in them, and count training steps alone.

    fvcore puts other tensors in their place, which whoever holds the old ones (a moving average) would not see. And a
    run that is stopped in here, and does it again, must not count these batches twice.
    """
    kept = [
        (norm, norm.running_mean, norm.running_var, norm.num_batches_tracked.clone()) for norm in get_bn_modules(model)
    ]
    try:
        yield
    finally:
        for norm, mean, variance, count in kept:
            norm.running_mean, norm.running_var = mean.copy_(norm.running_mean), variance.copy_(norm.running_var)
            norm.num_batches_tracked.copy_(count)
