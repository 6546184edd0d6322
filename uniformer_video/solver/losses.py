"""Losses on logits, each a mean over the batch, computed in float32 whatever the precision of the network.

A weight for each class makes errors on it count so many times as much. A loss stays a mean over the batch then: it is
not divided by the weights of the batch, as ``torch.nn.functional.cross_entropy`` does with plain labels, since in a
small batch (one class, say) the weights would cancel out. :mod:`.class_weights` makes weights whose mean over all
samples is 1, so that the scale of the loss stays too.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch.nn import functional as F

from uniformer_video.runtime.errors import ConfigError


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean cross-entropy against one true class for each sample.

    Args:
        logits: (B, K) floating.
        labels: (B,) int64, each in [0, K).
        weights: (K,) float32, factor on the loss of the samples of each class; None: all 1.

    Returns:
        A float32 scalar.
    """
    if weights is None:
        return F.cross_entropy(logits.float(), labels)
    return (weights[labels] * F.cross_entropy(logits.float(), labels, reduction="none")).mean()


def soft_cross_entropy(
    logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the mean cross-entropy against a distribution for each sample, as mixup and label smoothing make them.

    Args:
        logits: (B, K) floating.
        targets: (B, K) floating, each row >= 0 with sum 1. The sum is not checked and not changed.
        weights: (K,) float32, factor on the target of each class; None: all 1.

    Returns:
        A float32 scalar: the mean over B of ``-sum_k weights_k targets_k log softmax(logits)_k``.

    Raises:
        ValueError: the two shapes differ.
    """
    _check_shapes("soft_cross_entropy", logits, targets)
    targets = targets.float() if weights is None else targets.float() * weights
    return -(targets * F.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()


def bce_logit(logits: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """Return the mean sigmoid cross-entropy of all classes, each decided by itself: a sample may have several.

    Args:
        logits: (B, K) floating.
        targets: (B, K) floating in [0, 1], multi-hot, perhaps mixed or smoothed.
        weights: (K,) float32, factor on the positive term of each class, as ``pos_weight`` of
            ``torch.nn.functional.binary_cross_entropy_with_logits``; None: all 1.

    Returns:
        A float32 scalar: the mean over B and K of
        ``-(weights_k targets_k log sigmoid(logits)_k + (1 - targets_k) log(1 - sigmoid(logits)_k))``.

    Raises:
        ValueError: the two shapes differ.
    """
    _check_shapes("bce_logit", logits, targets)
    return F.binary_cross_entropy_with_logits(logits.float(), targets.float(), pos_weight=weights)


def _check_shapes(name: str, logits: torch.Tensor, targets: torch.Tensor) -> None:
    if logits.shape != targets.shape:
        raise ValueError(
            f"{name} needs targets of the logits' shape {tuple(logits.shape)}, got {tuple(targets.shape)}; "
            "turn labels (B,) into targets with one_hot_smooth, or use cross_entropy"
        )


Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def mean_over_heads(loss: Loss, logits: torch.Tensor | tuple[torch.Tensor, ...], targets: torch.Tensor) -> torch.Tensor:
    """Return the mean of ``loss`` over the heads of a network, each against the same targets.

    Args:
        loss: one of :data:`LOSSES`.
        logits: (B, K) floating, or a tuple of them, one for each head.
        targets: what ``loss`` takes.

    Returns:
        A float32 scalar.
    """
    heads = logits if isinstance(logits, tuple) else (logits,)
    return torch.stack([loss(head, targets) for head in heads]).mean()


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "cross_entropy": cross_entropy,
    "soft_cross_entropy": soft_cross_entropy,
    "bce_logit": bce_logit,
}
"""The losses by their name in ``MODEL.LOSS_FUNC``."""

SOFT_TARGETS = frozenset({"soft_cross_entropy", "bce_logit"})
"""Those that take a number for each class; the other takes labels."""


def get_loss(name: str, weights: torch.Tensor | None = None) -> Loss:
    """Return the loss called ``name``, with ``weights`` (K,) of the classes on the logits' device if there are any.

    Raises:
        ConfigError: an unknown name; the message lists the known ones.
    """
    if name not in LOSSES:
        raise ConfigError(f"MODEL.LOSS_FUNC {name!r} is unknown; known: {', '.join(sorted(LOSSES))}")
    return LOSSES[name] if weights is None else partial(LOSSES[name], weights=weights)
