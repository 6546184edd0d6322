"""One network on many processes."""

from __future__ import annotations

import torch
from torch import nn

from uniformer_video.runtime import distributed


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module:
    """Return ``model`` so that its gradients are averaged over the processes of the run; itself where there is one.

    Args:
        model: on ``device``; its memory layout may change.
        device: of this process.
    """
    if not distributed.is_initialized():
        return model
    # Gradients of kernels wider than one pixel come channels-last; buckets of the same layout spare a copy of each.
    for p in model.parameters():
        if p.ndim == 5 and p[0, 0].numel() > 1:
            p.data = p.data.to(memory_format=torch.channels_last_3d)
    ids = [device.index] if device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=ids)


def share_statistics(model: nn.Module) -> None:
    """Give every process the main one's batch-norm statistics: those that a checkpoint holds are validated."""
    if distributed.is_initialized():
        for buffer in model.buffers():
            torch.distributed.broadcast(buffer, 0)
