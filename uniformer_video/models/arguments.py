"""Checks of what networks are built from and called with. Their ``ValueError``s name the argument."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from torch import Tensor

MIN_SIZE = 32
"""Smallest height and width: the four stages divide them by 4, 2, 2 and 2."""

T = TypeVar("T")


def as_clips(clips: Tensor, *, image: bool) -> Tensor:
    """Return ``clips`` as (B, 3, T, H, W).

    Args:
        clips: normalised RGB, floating, (B, 3, T, H, W), T >= 1, H and W >= :data:`MIN_SIZE`.
        image: whether (B, 3, H, W) is taken too, as one frame.

    Raises:
        ValueError: for another shape or integers.
    """
    if image and clips.ndim == 4:
        clips = clips.unsqueeze(2)
    if clips.ndim != 5 or clips.shape[1] != 3:
        shapes = "(B, 3, H, W) or (B, 3, T, H, W)" if image else "(B, 3, T, H, W)"
        raise ValueError(f"clips must be {shapes}, got shape {tuple(clips.shape)}")
    if not clips.is_floating_point():
        raise ValueError(f"clips must be normalised and floating, got {clips.dtype}")
    _, _, time, height, width = clips.shape
    if time < 1 or height < MIN_SIZE or width < MIN_SIZE:
        raise ValueError(
            f"clips of {time} frames of {height}x{width} are too small: "
            f"at least 1 frame and {MIN_SIZE}x{MIN_SIZE} pixels are needed"
        )
    return clips


def for_each_stage(name: str, value: T | Sequence[T]) -> tuple[T, T, T, T]:
    """Return four values, one for each stage, of one value for all or of four.

    Raises:
        ValueError: for another number of values.
    """
    if not isinstance(value, Sequence):
        return (value,) * 4
    if len(value) != 4:
        raise ValueError(f"{name} must be one value or four, one for each stage, got {list(value)}")
    return tuple(value)


def check_stages(depths: Sequence[int], widths: Sequence[int], head_dim: int, checkpoint_blocks: Sequence[int]) -> None:
    """Raise ``ValueError`` unless there are four of each, widths of stages 3 and 4 multiples of ``head_dim``."""
    for name, values, least in (
        ("depths", depths, 0),
        ("widths", widths, 1),
        ("checkpoint_blocks", checkpoint_blocks, 0),
    ):
        if len(values) != 4 or any(value < least for value in values):
            raise ValueError(f"{name} must be four integers >= {least}, one for each stage, got {list(values)}")
    if head_dim < 1 or any(width % head_dim for width in widths[2:]):
        raise ValueError(f"widths of stages 3 and 4 must be multiples of head_dim {head_dim}, got {list(widths[2:])}")


def check_mlp_ratios(ratios: Sequence[float], widths: Sequence[int]) -> None:
    """Raise ``ValueError`` unless every MLP has at least one hidden channel."""
    if any(not int(width * ratio) >= 1 for width, ratio in zip(widths, ratios, strict=True)):
        raise ValueError(f"mlp_ratio must leave each MLP a hidden channel, got {list(ratios)} of widths {list(widths)}")


def check_numbers(*, num_classes: int, local_kernel: Sequence[int], **rates: float) -> None:
    """Raise ``ValueError`` unless there is a class, the kernel has three odd extents and each rate is in [0, 1)."""
    if num_classes < 1:
        raise ValueError(f"num_classes must be >= 1, got {num_classes}")
    if len(local_kernel) != 3 or any(extent < 1 or extent % 2 == 0 for extent in local_kernel):
        raise ValueError(f"local_kernel must be three odd extents (T, H, W), got {list(local_kernel)}")
    for name, rate in rates.items():
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"{name} must be in [0, 1), got {rate}")
