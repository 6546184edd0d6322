"""Validation while training: the centre clip and crop of every video, each counted once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.data import DataLoader

from uniformer_video.engine.device import Precision
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.metrics.topk import topk_correct
from uniformer_video.runtime import distributed
from uniformer_video.runtime.logging import progress


@dataclass(frozen=True)
class Validation:
    """What a validation gave.

    Args:
        top1: share of videos whose true class has the highest score, in percent.
        top5: share of videos whose true class is among the highest five (or all, with fewer classes), in percent.
        loss: mean cross-entropy.
        videos: videos that were read.
    """

    top1: float
    top5: float
    loss: float
    videos: int


@torch.no_grad()
def validate(
    model: nn.Module, loader: DataLoader, inputs: DeviceInputs, precision: Precision, failures: FailureLog
) -> Validation:
    """Return the accuracy of ``model`` on ``loader``, whose processes share the records.

    Videos that cannot be read are noted in ``failures`` and left out. With none at all the shares are NaN.
    """
    model.eval()
    counts = [0.0, 0.0, 0.0, 0.0]
    for batch in progress(loader, total=len(loader), label="validate", unit="batch"):
        failures.add(batch.failures)
        if batch.clips is None:
            continue
        with precision.autocast():
            logits = model(inputs.normalized(batch.clips, precision.device))
        logits = logits.float().cpu()
        correct = topk_correct(logits, batch.labels, (1, 5))
        loss = nn.functional.cross_entropy(logits, batch.labels, reduction="sum").item()
        counts = [a + b for a, b in zip(counts, (len(logits), correct[1], correct[5], loss), strict=True)]
    videos, top1, top5, loss = distributed.sum_floats(counts, precision.device)
    if not videos:
        return Validation(float("nan"), float("nan"), float("nan"), 0)
    return Validation(100 * top1 / videos, 100 * top5 / videos, loss / videos, int(videos))
