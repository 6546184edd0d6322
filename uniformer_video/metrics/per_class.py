"""Accuracy of each class by itself, and their mean."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from uniformer_video.metrics.topk import label_ranks


@dataclass(frozen=True)
class PerClassReport:
    """Top-1 results by true class.

    Args:
        counts: (K,) int64, samples of each class.
        correct: (K,) int64, those of them predicted right.
        accuracy: (K,) float64, percent in [0, 100]; NaN for a class without samples.
        mean_class_accuracy: percent, the mean of ``accuracy`` over the classes that have samples; NaN if none has.
    """

    counts: torch.Tensor
    correct: torch.Tensor
    accuracy: torch.Tensor
    mean_class_accuracy: float


def per_class_accuracy(scores: torch.Tensor, labels: torch.Tensor, num_classes: int) -> PerClassReport:
    """Return the top-1 results of each class. Equal scores and NaN as in :func:`~.topk.topk_correct`.

    Args:
        scores: (N, K) floating with K = ``num_classes``; N may be 0.
        labels: (N,) integers in [0, K).
        num_classes: K.
    """
    assert scores.shape[1] == num_classes, f"scores have {scores.shape[1]} classes, not {num_classes}"
    right = label_ranks(scores, labels) == 0
    labels = labels.to(scores.device, torch.int64)
    counts = torch.bincount(labels, minlength=num_classes).cpu()
    correct = torch.bincount(labels[right], minlength=num_classes).cpu()
    accuracy = 100.0 * correct.double() / counts.double()  # 0 / 0 is the NaN wanted
    return PerClassReport(counts, correct, accuracy, float(accuracy.nanmean()))
