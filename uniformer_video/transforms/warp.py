"""Affine pictures of a whole clip, equal to Pillow's on each frame.

All frames of a clip are warped alike, so where each pixel comes from and with which weights is worked out once. The
frames' channels stand side by side, so that a pixel of all frames is one sum of a few rows. That sum is float32 and
nearly right; Pillow's is float64 and cut to a byte. Where the two could give different bytes, within a thousandth of a
whole number, Pillow's own arithmetic is repeated, step by step.
"""

from __future__ import annotations

import functools
import math
import threading
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from uniformer_video.transforms.spatial import Box

FILL = 128
"""Value of all channels of the pixels that come from outside the frame."""

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): the pixel centre (x, y) comes from (a x + b y + c, d x + e y + f)."""

# Above the error of the sum: 255 times the weights' absolute sum, at most 2.25, times some 20 roundings of float32.
_DOUBT = 1e-3
# Where a larger share of the values is in doubt, Pillow is as fast.
_MOST_DOUBT = 0.1
# From this share on it is worth finding flat windows, whose value is known, before the arithmetic is repeated.
_MANY_DOUBTS = 0.02
_SMALLEST_GROUP = 4
# Neighbours of a point inside a frame lie at most so far outside.
_EDGE = 2
_GROUP_BYTES = 2**24
# Values of a part of the picture, such that a few float32 of each stay in the cache.
_PART_VALUES = 2**18
# Of this thread.
_SCRATCH = threading.local()


class _Kernel(NamedTuple):
    """An interpolation along one side: the first neighbour's offset, the weights, and Pillow's arithmetic."""

    first: int
    weights: Callable[[np.ndarray], tuple[np.ndarray, ...]]
    exact: Callable[[np.ndarray, np.ndarray], np.ndarray]


def _linear_weights(d: np.ndarray) -> tuple[np.ndarray, ...]:
    return 1 - d, d


def _linear(v: np.ndarray, d: np.ndarray) -> np.ndarray:
    return v[..., 0] + (v[..., 1] - v[..., 0]) * d


def _cubic_weights(d: np.ndarray) -> tuple[np.ndarray, ...]:
    square, cube = d * d, d * d * d
    return 2 * square - d - cube, 1 - 2 * square + cube, d + square - cube, cube - square


def _cubic(v: np.ndarray, d: np.ndarray) -> np.ndarray:
    v1, v2, v3, v4 = (v[..., tap] for tap in range(4))
    return v2 + d * ((v3 - v1) + d * ((2 * (v1 - v2) + v3 - v4) + d * (v2 - v1 - v3 + v4)))


_KERNELS = {"bilinear": _Kernel(0, _linear_weights, _linear), "bicubic": _Kernel(-1, _cubic_weights, _cubic)}


def affine(frames: Tensor, matrix: Matrix, interpolation: str, keep: Box) -> Tensor | None:
    """Warp a clip and return a part of the result.

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        matrix: where pixels come from.
        interpolation: "bilinear" or "bicubic".
        keep: the part, inside the frame.

    Returns:
        uint8 ``(T, h, w, 3)``; None where Pillow, frame by frame, is as fast or faster.
    """
    count = len(frames)
    bytes_each = 12 * frames.shape[1] * frames.shape[2]
    step = min(count, _GROUP_BYTES // bytes_each)
    if interpolation not in _KERNELS or step < _SMALLEST_GROUP or not _is_exact():
        return None
    result = np.empty((count, keep.height, keep.width, 3), np.uint8)
    for start in range(0, count, step):
        group = frames[start : start + step].numpy()
        if not _warp(group, matrix, _KERNELS[interpolation], keep[:2], result[start : start + step]):
            return None
    return torch.from_numpy(result)


def _warp(frames: np.ndarray, matrix: Matrix, kernel: _Kernel, corner: tuple[int, int], result: np.ndarray) -> bool:
    """Warp uint8 ``(T, H, W, 3)`` into ``result``, uint8 ``(T, h, w, 3)``; return False where too much is in doubt."""
    count, height, width, _ = frames.shape
    # (H, W, 3 T), channel before frame; its edge repeated, as Pillow does for neighbours beyond it.
    stacked = _scratch("stacked", (height + 2 * _EDGE, width + 2 * _EDGE, 3 * count), np.uint8)
    stacked[_EDGE:-_EDGE, _EDGE:-_EDGE].reshape(height, width, 3, count)[...] = frames.transpose(1, 2, 3, 0)
    stacked[:, :_EDGE], stacked[:, -_EDGE:] = stacked[:, _EDGE, None], stacked[:, -_EDGE - 1, None]
    stacked[:_EDGE], stacked[-_EDGE:] = stacked[_EDGE], stacked[-_EDGE - 1]
    floats = _scratch("floats", (stacked.size // (3 * count), 3 * count), np.float32)
    source = _Source(stacked.reshape(floats.shape), torch.from_numpy(floats))
    source.floats.copy_(torch.from_numpy(source.stacked))
    rows, columns = result.shape[1:3]
    warped = _scratch("warped", (rows * columns, 3 * count), np.uint8)
    warped.fill(FILL)
    part = max(_PART_VALUES // (columns * 3 * count), 1)
    flat: dict[tuple[int, int], np.ndarray] = {}
    doubted = 0
    for start in range(0, rows, part):
        stop = min(start + part, rows)
        grid = np.ogrid[corner[0] + start : corner[0] + stop, corner[1] : corner[1] + columns]
        inside, taps = _taps(grid, (height, width), matrix, kernel)
        values, doubts = _sum(source, taps, kernel)
        if len(doubts) > _MANY_DOUBTS * values.size:
            if taps.window not in flat:
                flat[taps.window] = _flat(stacked, *taps.window).reshape(floats.shape)
            doubts = _settle_flat(values, doubts, source.stacked, flat[taps.window], taps)
        doubted += len(doubts)
        if doubted > _MOST_DOUBT * max(stop * columns * 3 * count, warped.size // 8):
            return False
        if len(doubts):
            values.reshape(-1)[doubts] = _exact(source.stacked, doubts, taps, kernel)
        target = warped[start * columns : stop * columns]
        # One part lies inside as a whole, mostly, where the picture is only shifted or sheared.
        target[slice(None) if len(inside) == len(target) else inside] = values
    result[...] = warped.reshape(rows, columns, 3, count).transpose(3, 0, 1, 2)
    return True


def _scratch(name: str, shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Return an array of any content, the same memory in the next call: new memory takes as long as the arithmetic."""
    size = math.prod(shape)
    room = getattr(_SCRATCH, name, None)
    if room is None or room.size < size:
        room = np.empty(size, dtype)
        setattr(_SCRATCH, name, room)
    return room[:size].reshape(shape)


class _Source(NamedTuple):
    """Pixels that are warped: uint8 ``(pixels, C)``, and the same as float32."""

    stacked: np.ndarray
    floats: Tensor


class _Taps(NamedTuple):
    """Where some points of the result come from.

    A window has one row, or column, where all points lie on one: Pillow's sum is then that neighbour's value, exactly.

    Attributes:
        corners: places of the first neighbours, int32 ``(n,)``.
        offsets: from there to all of a window, row by row, int32 ``(k,)``.
        window: (rows, columns) of neighbours.
        ways: float64 ``(n,)`` down and across, how far past the neighbour before.
    """

    corners: np.ndarray
    offsets: np.ndarray
    window: tuple[int, int]
    ways: tuple[np.ndarray, np.ndarray]


def _taps(grid: list[np.ndarray], size: tuple[int, int], matrix: Matrix, kernel: _Kernel) -> tuple[np.ndarray, _Taps]:
    """Return which points of a grid of (rows, columns) come from inside a frame, flat; and the taps of these."""
    a, b, c, d, e, f = matrix
    y, x = grid[0] + 0.5, grid[1] + 0.5
    # In this order, as Pillow sums them.
    points = d * x + e * y + f, a * x + b * y + c
    inside = np.flatnonzero(np.logical_and.reduce([(p >= 0) & (p < n) for p, n in zip(points, size, strict=True)]))
    line = size[1] + 2 * _EDGE
    corners, window, ways = np.full(len(inside), _EDGE * line + _EDGE, np.int32), [], []
    for point, stride in zip(points, (line, 1), strict=True):
        shifted = point.reshape(-1)[inside] - 0.5
        whole = np.floor(shifted)
        way = shifted - whole
        count = len(kernel.weights(way[:1])) if way.any() else 1
        corners += (whole.astype(np.int32) + np.int32(kernel.first if count > 1 else 0)) * np.int32(stride)
        window.append(count)
        ways.append(way)
    offsets = np.arange(window[0], dtype=np.int32)[:, None] * np.int32(line) + np.arange(window[1], dtype=np.int32)
    return inside, _Taps(corners, offsets.reshape(-1), tuple(window), tuple(ways))


def _flat(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Return a mask, 255 where a value of uint8 ``(H, W, C)`` is that of the whole window that begins there, else 0.

    A window that reaches over the edge counts as not flat.
    """
    mask = _scratch(f"flat {rows} {columns}", pixels.shape, np.uint8)
    mask.fill(0)
    height, width = pixels.shape[0] - rows + 1, pixels.shape[1] - columns + 1
    if height < 1 or width < 1:
        return mask
    part = max(_PART_VALUES // pixels[0].size, 1)
    for start in range(0, height, part):
        block = pixels[start : min(start + part, height) + rows - 1]
        beside = block[:, :-1] == block[:, 1:]
        lines = np.ones((len(block), width, pixels.shape[2]), bool)
        for offset in range(columns - 1):
            lines &= beside[:, offset : offset + width]
        below = (block[:-1, :width] == block[1:, :width]) & lines[1:]
        whole = lines[: len(block) - rows + 1]
        for offset in range(rows - 1):
            whole &= below[offset : offset + len(whole)]
        np.negative(whole.view(np.uint8), out=mask[start : start + len(whole), :width])
    return mask


def _sum(source: _Source, taps: _Taps, kernel: _Kernel) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of some pixels, uint8 ``(n, C)``, and which are in doubt, flat."""
    if taps.window == (1, 1) or not len(taps.corners):
        return source.stacked[taps.corners], np.empty(0, np.int64)
    total = F.embedding_bag(
        torch.from_numpy(taps.corners[:, None] + taps.offsets),
        source.floats,
        per_sample_weights=torch.from_numpy(np.ascontiguousarray(_weights(taps, kernel).T)),
        mode="sum",
    ).numpy()
    total += np.float32(_DOUBT)
    values = np.clip(total, 0, 255).astype(np.uint8)
    total -= np.float32(2 * _DOUBT)
    in_doubt = np.clip(total, 0, 255, out=total).astype(np.uint8) != values
    return values, places_of(in_doubt.reshape(-1))


def _settle_flat(
    values: np.ndarray, doubts: np.ndarray, stacked: np.ndarray, flat: np.ndarray, taps: _Taps
) -> np.ndarray:
    """Set those values ``(n, C)`` whose windows are flat, and return the doubts that are left."""
    mask = np.take(flat, taps.corners, axis=0)
    pixels = np.take(stacked, taps.corners, axis=0)
    # By masks, since a copy that asks for each value takes ten times as long.
    values ^= (values ^ pixels) & mask
    return doubts[mask.reshape(-1)[doubts] == 0]


def _weights(taps: _Taps, kernel: _Kernel) -> np.ndarray:
    """Return the weight of each neighbour in a window for each point, float32 ``(k, n)``."""
    down, across = (
        [weight.astype(np.float32) for weight in kernel.weights(way)] if count > 1 else [np.float32(1)]
        for count, way in zip(taps.window, taps.ways, strict=True)
    )
    weights = np.empty((len(taps.offsets), len(taps.corners)), np.float32)
    for number, row in enumerate(weights):
        np.multiply(down[number // taps.window[1]], across[number % taps.window[1]], out=row)
    return weights


def places_of(flags: np.ndarray) -> np.ndarray:
    """Return where bools ``(n,)`` are True, as ``np.flatnonzero``: several times faster where that is rare."""
    whole = len(flags) // 8 * 8
    words = np.flatnonzero(flags[:whole].view(np.uint64))
    found = (words[:, None] * 8 + np.arange(8))[flags[:whole].reshape(-1, 8)[words]]
    return np.concatenate((found, whole + np.flatnonzero(flags[whole:])))


def _exact(stacked: np.ndarray, places: np.ndarray, taps: _Taps, kernel: _Kernel) -> np.ndarray:
    """Return the values at some places, uint8 ``(n,)``, by Pillow's arithmetic."""
    points, channels = np.divmod(places, stacked.shape[1])
    near = stacked[taps.corners[points, None] + taps.offsets, channels[:, None]].astype(np.float64)
    near = near.reshape(-1, *taps.window)
    down, across = taps.ways
    values = kernel.exact(near, across[points, None]) if near.shape[2] > 1 else near[..., 0]
    values = kernel.exact(values, down[points]) if near.shape[1] > 1 else values[..., 0]
    return np.clip(values, 0, 255).astype(np.uint8)


@functools.cache
def _is_exact() -> bool:
    """Return whether this Pillow computes as it is repeated here: tried out once in a process."""
    generator = np.random.default_rng(0)
    frames = generator.integers(0, 256, (4, 33, 41, 3), np.uint8)
    for matrix in (
        (0.9, 0.37, -3.1, -0.41, 0.88, 7.3),
        (1.0, 0.231, 0.0, 0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0, 0.213, 1.0, 0.617),
    ):
        for name, kernel in _KERNELS.items():
            resample = Image.Resampling[name.upper()]
            pillow = [
                Image.fromarray(frame).transform(
                    (41, 33), Image.Transform.AFFINE, matrix, resample, fillcolor=(FILL,) * 3
                )
                for frame in frames
            ]
            got = np.empty_like(frames)
            if not _warp(frames, matrix, kernel, (0, 0), got) or not np.array_equal(got, np.stack(pillow)):
                return False
    return True
