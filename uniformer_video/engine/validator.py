"""Validation while training: the centre clip and crop of every video, each counted once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from uniformer_video.datasets.loader import BatchLoader
from uniformer_video.engine.device import Precision
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.prefetch import prefetched
from uniformer_video.metrics.average_precision import average_precision, mean_average_precision
from uniformer_video.metrics.topk import telling_ks, topk_correct
from uniformer_video.runtime import distributed, stopping
from uniformer_video.runtime.logging import progress

NAN = float("nan")


@dataclass(frozen=True)
class Validation:
    """What a validation gave.

    Args:
        top1: share of videos whose true class has the highest score, in percent; NaN in a multi-label set.
        top5: share of videos whose true class is among the highest five (or all, with fewer classes), in percent;
            NaN in a multi-label set.
        loss: mean cross-entropy, in a multi-label set that of the sigmoids of all classes.
        videos: videos that were read.
        mean_ap: mean average precision over classes, in percent; NaN but in a multi-label set.
    """

    top1: float
    top5: float
    loss: float
    videos: int
    mean_ap: float = NAN

    def figures(self, inputs: DeviceInputs) -> dict[str, float]:
        """Return the figures of a history entry: ``val_top1``, ``val_top5`` where it tells anything, ``val_loss``.

        Args:
            inputs: of the network that was validated. In a multi-label set there is ``val_map`` in place of both
                shares; with five classes or fewer every video is among the first five.
        """
        if inputs.multi_label:
            return {"val_map": self.mean_ap, "val_loss": self.loss}
        shares = {"val_top1": self.top1, "val_top5": self.top5}
        return {f"val_top{k}": shares[f"val_top{k}"] for k in telling_ks(inputs.num_classes)} | {"val_loss": self.loss}


@torch.no_grad()
def validate(
    model: nn.Module, loader: BatchLoader, inputs: DeviceInputs, precision: Precision, failures: FailureLog
) -> Validation | None:
    """Return the accuracy of ``model`` on ``loader``, whose processes share the records.

    Videos that cannot be read are noted in ``failures`` and left out. With none at all the shares are NaN. None where a
    signal asked any process to stop: what is left of the list was not looked at then.

    Raises:
        StopWaiting: it came while the only process waited for a batch.
    """
    model.eval()
    counts = [0.0, 0.0, 0.0, 0.0]
    kept: list[tuple[torch.Tensor, torch.Tensor]] = []
    batches = stopping.waited_for(prefetched(loader, precision.device), alone=distributed.world_size() == 1)
    for batch in progress(batches, total=len(loader), label="validate", unit="batch"):
        if stopping.requested():
            break
        failures.add(batch.failures)
        if batch.clips is None:
            continue
        with precision.autocast():
            logits = model(inputs.normalized(batch.clips, precision.device))
        logits = logits.float().cpu()
        if inputs.multi_label:
            correct = {1: 0, 5: 0}
            each = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none")
            loss = each.mean(1).sum().item()
            kept.append((logits, batch.labels != 0))
        else:
            correct = topk_correct(logits, batch.labels, (1, 5))
            loss = nn.functional.cross_entropy(logits, batch.labels, reduction="sum").item()
        counts = [a + b for a, b in zip(counts, (len(logits), correct[1], correct[5], loss), strict=True)]
    asked = float(bool(stopping.requested()))
    *counts, stopped = distributed.sum_floats([*counts, asked], precision.device)
    if stopped:
        return None
    videos, top1, top5, loss = counts
    mean_ap = _mean_ap(kept, inputs.num_classes) if inputs.multi_label else NAN
    if not videos:
        return Validation(NAN, NAN, NAN, 0)
    if inputs.multi_label:
        return Validation(NAN, NAN, loss / videos, int(videos), mean_ap)
    return Validation(100 * top1 / videos, 100 * top5 / videos, loss / videos, int(videos))


def _mean_ap(kept: list[tuple[torch.Tensor, torch.Tensor]], num_classes: int) -> float:
    """Return mAP in percent over the (logits, labels) of all processes, the same number on every one of them."""
    empty = torch.zeros(0, num_classes)
    own = [torch.cat(parts) for parts in zip((empty, empty != 0), *kept, strict=True)]
    gathered = distributed.gather_on_main(own)
    mean_ap = NAN
    if gathered:
        scores, labels = (torch.cat(parts) for parts in zip(*gathered, strict=True))
        mean_ap = mean_average_precision(average_precision(scores, labels))
    # Another processor might round otherwise, and the processes must agree on which validation was the best.
    return distributed.gather_objects(mean_ap)[0]
