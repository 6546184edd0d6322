"""Mixup, cutmix and label smoothing on a batch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms.spatial import Box


def one_hot_smooth(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Turn labels into smoothed target distributions.

    Args:
        labels: int64 ``(B,)``, each in ``[0, num_classes)``.
        num_classes: K.
        smoothing: s in [0, 1): every class gets s / K, and the label 1 - s on top of it.

    Returns:
        float32 ``(B, K)`` on the labels' device; each row sums to 1.
    """
    off = smoothing / num_classes
    targets = torch.full((len(labels), num_classes), off, dtype=torch.float32, device=labels.device)
    return targets.scatter_(1, labels.unsqueeze(1), 1.0 - smoothing + off)


def smooth_multi_hot(labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """Smooth the targets of samples with several labels, each class for itself.

    Args:
        labels: floating ``(B, K)``, 1 for each class that a sample has, else 0.
        smoothing: s in [0, 1): every class gets s / K, and each label 1 - s on top of it, as in
            :func:`one_hot_smooth`, which a sample with a single label agrees with.

    Returns:
        float32 ``(B, K)`` on the labels' device, each in [0, 1].
    """
    labels = labels.float()
    return labels * (1.0 - smoothing) + smoothing / labels.shape[1] if smoothing else labels


def soft_targets(labels: Tensor, num_classes: int, smoothing: float = 0.0) -> Tensor:
    """Return float32 ``(B, K)`` targets from labels of either form.

    Args:
        labels: int64 ``(B,)`` for :func:`one_hot_smooth`, or floating ``(B, K)`` for :func:`smooth_multi_hot`.
        num_classes: K.
        smoothing: s in [0, 1).
    """
    if labels.ndim == 1:
        return one_hot_smooth(labels, num_classes, smoothing)
    assert labels.shape[1] == num_classes, f"labels of {labels.shape[1]} classes, not {num_classes}"
    return smooth_multi_hot(labels, smoothing)


@dataclass(frozen=True)
class Mixup:
    """Mix each clip of a batch with the one as far from the end as it is from the start, and their targets with it.

    Mixup (Zhang et al., arXiv:1710.09412) blends whole clips; cutmix (Yun et al., arXiv:1905.04899) pastes one box of
    the partner into all frames. One choice and one lambda for the whole batch, as in timm's "batch" mode. In an odd
    batch the middle clip meets itself.

    Args:
        alpha: mixup's lambda is Beta(alpha, alpha); 0 switches mixup off.
        cutmix_alpha: likewise for cutmix.
        probability: chance that a batch is mixed at all, 0 to 1.
        switch_probability: chance of cutmix rather than mixup where both are on, 0 to 1.
        label_smoothing: see :func:`soft_targets`; applied to batches that are not mixed too.
        num_classes: K.

    Raises:
        UserError: an argument is out of range.
    """

    alpha: float
    cutmix_alpha: float
    probability: float
    switch_probability: float
    label_smoothing: float
    num_classes: int

    def __post_init__(self) -> None:
        for name, key in (("alpha", "ALPHA"), ("cutmix_alpha", "CUTMIX_ALPHA")):
            value = getattr(self, name)
            if not (value >= 0 and math.isfinite(value)):
                raise UserError(f"mixup: {name} is {value} (MIXUP.{key}); it must be 0 (off) or more")
        for name, key in (("probability", "PROB"), ("switch_probability", "SWITCH_PROB")):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise UserError(f"mixup: {name} is {value} (MIXUP.{key}); it must be from 0 to 1")
        if not 0 <= self.label_smoothing < 1:
            raise UserError(
                f"mixup: label_smoothing is {self.label_smoothing} (MIXUP.LABEL_SMOOTH_VALUE); "
                "it must be at least 0 and below 1"
            )

    def __call__(self, clips: Tensor, labels: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            clips: float ``(B, 3, T, H, W)``, any B >= 1; left as it is.
            labels: int64 ``(B,)``, each in ``[0, num_classes)``, or floating ``(B, num_classes)``, multi-hot.
            generator: source of the batch's draws.

        Returns:
            The mixed clips, of the same shape and type (``clips`` itself where nothing is mixed), and their targets,
            float32 ``(B, num_classes)``, each row summing to 1 where there is one label each.
        """
        assert clips.is_floating_point(), f"mixing is for normalised clips, got {clips.dtype}"
        assert len(clips) == len(labels), f"{len(clips)} clips, {len(labels)} labels"
        weight, box = self.draw(clips.shape[-2], clips.shape[-1], generator)
        targets = soft_targets(labels, self.num_classes, self.label_smoothing)
        if weight == 1.0:
            return clips, targets
        targets = torch.lerp(targets.flip(0), targets, weight)
        if box is None:
            return torch.lerp(clips.flip(0), clips, weight), targets
        mixed = clips.clone()
        rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
        mixed[..., rows, columns] = clips[..., rows, columns].flip(0)
        return mixed, targets

    def draw(self, height: int, width: int, generator: np.random.Generator) -> tuple[float, Box | None]:
        """Draw how one batch of frames ``height`` x ``width`` is mixed.

        Returns:
            The weight (lambda) of each clip's own target, 1 where nothing is mixed, and the box to paste for cutmix,
            None for mixup. With a box the weight is exactly the part of the pixels that stays.
        """
        if generator.random() >= self.probability or (self.alpha == 0 and self.cutmix_alpha == 0):
            return 1.0, None
        if self.alpha > 0 and self.cutmix_alpha > 0:
            use_cutmix = generator.random() < self.switch_probability
        else:
            use_cutmix = self.cutmix_alpha > 0
        if not use_cutmix:
            return float(generator.beta(self.alpha, self.alpha)), None
        box = _cutmix_box(height, width, float(generator.beta(self.cutmix_alpha, self.cutmix_alpha)), generator)
        return 1.0 - box.height * box.width / (height * width), box


def _cutmix_box(height: int, width: int, weight: float, generator: np.random.Generator) -> Box:
    """Draw a box of the frame's shape and 1 - ``weight`` of its area; its centre is anywhere, the rest is cut off."""
    side = math.sqrt(1.0 - weight)
    half_height, half_width = int(height * side) // 2, int(width * side) // 2
    center_y, center_x = int(generator.integers(height)), int(generator.integers(width))
    top, left = max(center_y - half_height, 0), max(center_x - half_width, 0)
    bottom, right = min(center_y + half_height, height), min(center_x + half_width, width)
    return Box(top, left, bottom - top, right - left)
