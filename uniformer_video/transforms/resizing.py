"""Bilinear resizing of many frames at once, to the bits of resizing each for itself.

What a resized frame is, is defined by ``F.interpolate`` on its three float channels. That kernel computes three values
at a time, where the processor has room for sixteen. Here the frames' channels stand side by side, and a pixel of all of
them is a sum of four rows, of the same products in the same order, each rounded once.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# As many frames together as stay in the cache as float32.
_GROUP_BYTES = 2**23
_SMALLEST_GROUP = 4
# Pixels of the result that are worked out together, likewise.
_PART = 2**14


def resize_bilinear(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize with half-pixel centres and no antialiasing, on float pixels rounded back to uint8.

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        height: wanted rows, >= 1.
        width: wanted columns, >= 1.

    Returns:
        uint8 ``(T, height, width, 3)``; in memory the order is channel, frame, row, column, as clips have it.
    """
    resized = np.empty((3, len(frames), height, width), np.uint8)
    step = min(_GROUP_BYTES // (12 * frames.shape[1] * frames.shape[2]), len(frames))
    if step >= _SMALLEST_GROUP and _is_exact():
        places, weights = _taps(frames.shape[1:3], (height, width))
        for start in range(0, len(frames), step):
            _resize_group(frames[start : start + step].numpy(), places, weights, resized[:, start : start + step])
    else:
        # One frame at a time: its float copy stays in the cache, and a long video never exists in float.
        for number, frame in enumerate(frames):
            resized[:, number] = resize_by_definition(frame, height, width).transpose(2, 0, 1)
    return torch.from_numpy(resized).permute(1, 2, 3, 0)


def resize_by_definition(frame: Tensor, height: int, width: int) -> np.ndarray:
    """Resize one uint8 frame ``(H, W, 3)`` as :func:`resize_bilinear`; uint8 ``(height, width, 3)``."""
    pixels = frame.permute(2, 0, 1).unsqueeze(0).float()
    pixels = F.interpolate(pixels, size=(height, width), mode="bilinear", align_corners=False)
    # Through NumPy: torch takes six times as long to make bytes of float32.
    return pixels[0].permute(1, 2, 0).round_().numpy().astype(np.uint8)


def _resize_group(frames: np.ndarray, places: Tensor, weights: Tensor, resized: np.ndarray) -> None:
    """Resize uint8 ``(T, H, W, 3)`` into ``resized``, uint8 ``(3, T, H', W')``."""
    count, height, width, _ = frames.shape
    # (H W, 3 T), channel before frame.
    stacked = np.ascontiguousarray(frames.transpose(1, 2, 3, 0)).reshape(height * width, 3 * count)
    source = torch.from_numpy(stacked).float()
    values = np.empty((len(places), 3 * count), np.uint8)
    for start in range(0, len(places), _PART):
        part = slice(start, start + _PART)
        sums = F.embedding_bag(places[part], source, per_sample_weights=weights[part], mode="sum").numpy()
        values[part] = np.rint(sums, out=sums)
    resized[...] = values.reshape(*resized.shape[2:], 3, count).transpose(2, 3, 0, 1)


def _taps(before: tuple[int, int], after: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Return the four neighbours of each pixel, in the order in which they are summed.

    Args:
        before: (rows, columns) of the frames.
        after: of the resized ones.

    Returns:
        Their places, int32 ``(pixels, 4)``, and weights, float32 ``(pixels, 4)``.
    """
    (top, bottom, down, up), (left, right, ahead, back) = (_axis(*sides) for sides in zip(before, after, strict=True))
    places = np.empty((*after, 4), np.int32)
    weights = np.empty((*after, 4), np.float32)
    for tap, (row, column, vertical, horizontal) in enumerate(
        ((top, right, up, ahead), (top, left, up, back), (bottom, left, down, back), (bottom, right, down, ahead))
    ):
        np.add(row[:, None] * np.int32(before[1]), column, out=places[..., tap])
        np.multiply(vertical[:, None], horizontal, out=weights[..., tap])
    return torch.from_numpy(places).view(-1, 4), torch.from_numpy(weights).view(-1, 4)


def _axis(before: int, after: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each of ``after`` points along a side of ``before``, its two neighbours and their weights.

    Returns:
        Lower neighbour, upper neighbour (int32), weight of the upper one, weight of the lower one (float32).
    """
    scale = np.float64(np.float32(before) / np.float32(after))
    # One rounding for product and difference, as a fused instruction has it.
    points = np.maximum((np.arange(after) + 0.5) * scale - 0.5, 0).astype(np.float32)
    lower = np.minimum(points.astype(np.int32), before - 1)
    weight = np.clip(points - lower.astype(np.float32), 0, 1)
    return lower, np.minimum(lower + 1, before - 1), weight, np.float32(1) - weight


@functools.cache
def _is_exact() -> bool:
    """Return whether this machine's torch sums in that order, to the last bit: tried out once in a process."""
    generator = np.random.default_rng(0)
    for count, before, after in ((16, (16, 34), (14, 29)), (5, (12, 9), (24, 31)), (4, (33, 40), (20, 21))):
        frames = torch.from_numpy(generator.integers(0, 256, (count, *before, 3), np.uint8))
        pixels = F.interpolate(frames.permute(0, 3, 1, 2).float(), size=after, mode="bilinear", align_corners=False)
        places, weights = _taps(before, after)
        source = frames.permute(1, 2, 3, 0).reshape(-1, 3 * count).float()
        sums = F.embedding_bag(places, source, per_sample_weights=weights, mode="sum")
        if not sums.view(*after, 3, count).equal(pixels.permute(2, 3, 1, 0)):
            return False
    return True
