"""Top-k accuracy with a defined order among equal scores."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def topk_correct(scores: torch.Tensor, labels: torch.Tensor, ks: Sequence[int] = (1, 5)) -> dict[int, int]:
    """Count the samples whose label is among the k highest scores.

    Equal scores are ordered by class number, lowest first, so the count never depends on a sorting routine: scores that
    are all the same predict class 0. A row that holds a NaN is not correct for any k.

    Args:
        scores: (N, K) floating; N may be 0.
        labels: (N,) integers in [0, K).
        ks: each >= 1; a k above K is clamped to K.

    Returns:
        The number of correct samples for each k of ``ks``, under the k that was asked for.
    """
    assert all(k >= 1 for k in ks), ks
    ranks = label_ranks(scores, labels)
    num_classes = scores.shape[1]
    return {k: int((ranks < min(k, num_classes)).sum()) for k in ks}


def topk_accuracy(scores: torch.Tensor, labels: torch.Tensor, ks: Sequence[int] = (1, 5)) -> dict[int, float]:
    """Return :func:`topk_correct` as a percentage of N, in [0, 100]; NaN where there is no sample."""
    count = len(labels)
    correct = topk_correct(scores, labels, ks)
    return {k: 100.0 * hits / count if count else float("nan") for k, hits in correct.items()}


def telling_ks(num_classes: int) -> tuple[int, ...]:
    """Return the k, 1 and 5, whose top-k accuracy is worth reporting: with at most 5 classes top-5 is always 100 %."""
    return (1, 5) if num_classes > 5 else (1,)


def label_ranks(scores: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return how many classes are ranked before each sample's label.

    Args:
        scores: (N, K) floating.
        labels: (N,) integers in [0, K), on any device.

    Returns:
        (N,) int64 on the scores' device: 0 where the label is the prediction, K where the row holds a NaN.
    """
    assert scores.ndim == 2, f"scores must be (N, K), got {tuple(scores.shape)}"
    count, num_classes = scores.shape
    assert labels.shape == (count,), f"labels must be ({count},), got {tuple(labels.shape)}"
    labels = labels.to(scores.device, torch.int64)
    assert count == 0 or (int(labels.min()) >= 0 and int(labels.max()) < num_classes), "a label is outside the classes"
    own = scores.gather(1, labels[:, None])
    lower_class = torch.arange(num_classes, device=scores.device) < labels[:, None]
    ranks = ((scores > own) | ((scores == own) & lower_class)).sum(dim=1)
    return torch.where(scores.isnan().any(dim=1), num_classes, ranks)
