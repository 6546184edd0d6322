"""Losses on logits, each a mean over the batch, computed in float32 whatever the precision of the network."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from uniformer_video.runtime.errors import ConfigError


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy against one true class for each sample.

    Args:
        logits: (B, K) floating.
        labels: (B,) int64, each in [0, K).

    Returns:
        A float32 scalar.
    """
    return F.cross_entropy(logits.float(), labels)


def soft_cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean cross-entropy against a distribution for each sample, as mixup and label smoothing make them.

    Args:
        logits: (B, K) floating.
        targets: (B, K) floating, each row >= 0 with sum 1. The sum is not checked and not changed.

    Returns:
        A float32 scalar: the mean over B of ``-sum_k targets_k log softmax(logits)_k``.

    Raises:
        ValueError: the two shapes differ.
    """
    if logits.shape != targets.shape:
        raise ValueError(
            f"soft_cross_entropy needs targets of the logits' shape {tuple(logits.shape)}, got {tuple(targets.shape)}; "
            "turn labels (B,) into targets with one_hot_smooth, or use cross_entropy"
        )
    return -(targets.float() * F.log_softmax(logits.float(), dim=-1)).sum(dim=-1).mean()


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


LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "soft_cross_entropy": soft_cross_entropy}
"""The losses by their name in ``MODEL.LOSS_FUNC``."""


def get_loss(name: str) -> Loss:
    """Return the loss called ``name``.

    Raises:
        ConfigError: an unknown name; the message lists the known ones.
    """
    if name not in LOSSES:
        raise ConfigError(f"MODEL.LOSS_FUNC {name!r} is unknown; known: {', '.join(sorted(LOSSES))}")
    return LOSSES[name]
