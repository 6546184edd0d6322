"""Where pixels go: resize, crop and flip of frames.

Shape letters: T frames, H height, W width. Frames are uint8 ``(T, H, W, 3)`` in, uint8 ``(T, H', W', 3)`` out. Draws
come from the generator that is passed; all frames of a call share them.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from uniformer_video.transforms.resizing import resize_bilinear


class Box(NamedTuple):
    """A rectangle inside a frame, in pixels: rows top .. top + height - 1, columns left .. left + width - 1."""

    top: int
    left: int
    height: int
    width: int


def short_side_size(height: int, width: int, size: int) -> tuple[int, int]:
    """Return the size of a frame once its short side is ``size``.

    Args:
        height: rows of the frame, >= 1.
        width: columns of the frame, >= 1.
        size: wanted short side in pixels, >= 1.

    Returns:
        ``(height, width)``; the long side keeps the aspect ratio and is floored (in integers, hence exactly).
    """
    if width < height:
        return height * size // width, size
    return size, width * size // height


def resize(frames: Tensor, height: int, width: int) -> Tensor:
    """Resize bilinearly with half-pixel centres and no antialiasing, on float pixels rounded back to uint8.

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        height: wanted rows, >= 1.
        width: wanted columns, >= 1.

    Returns:
        uint8 ``(T, height, width, 3)``, in memory in a clip's order; ``frames`` itself when the size is already right.
    """
    _check(frames)
    if tuple(frames.shape[1:3]) == (height, width):
        return frames
    return resize_bilinear(frames, height, width)


def resize_short_side(frames: Tensor, size: int) -> Tensor:
    """Resize uint8 frames ``(T, H, W, 3)`` so that the short side is ``size``; see :func:`short_side_size`."""
    return resize(frames, *short_side_size(frames.shape[1], frames.shape[2], size))


def random_short_side(frames: Tensor, min_size: int, max_size: int, generator: np.random.Generator) -> Tensor:
    """Resize so that the short side is a rounded uniform draw from ``[min_size, max_size]``.

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        min_size: smallest short side in pixels.
        max_size: largest short side in pixels, >= ``min_size``.
        generator: source of the one draw.

    Returns:
        uint8 ``(T, H', W', 3)``.
    """
    return resize_short_side(frames, round(generator.uniform(min_size, max_size)))


def cut(frames: Tensor, box: Box) -> Tensor:
    """Return the view of ``frames`` (``(T, H, W, 3)``) inside ``box``."""
    return frames[:, box.top : box.top + box.height, box.left : box.left + box.width]


def random_crop(frames: Tensor, size: int, generator: np.random.Generator) -> Tensor:
    """Crop a square at a uniformly drawn place.

    Args:
        frames: uint8 ``(T, H, W, 3)`` with H, W >= ``size``.
        size: side of the square in pixels.
        generator: source of the two draws.

    Returns:
        uint8 ``(T, size, size, 3)``, a view.

    Raises:
        ValueError: the frames are smaller than the crop.
    """
    room_y, room_x = _room(frames, size)
    top, left = int(generator.integers(room_y + 1)), int(generator.integers(room_x + 1))
    return cut(frames, Box(top, left, size, size))


def view_crop(frames: Tensor, size: int, crop: int, crops: int) -> Tensor:
    """Crop test view ``crop`` of ``crops``, evenly spaced along the longer side.

    One crop is the centre; three are left, centre, right (top, centre, bottom where H > W). The offset of view k of K
    is ``ceil(k * room / (K - 1))`` along the longer side; the shorter side is centred, its offset rounded up.

    Args:
        frames: uint8 ``(T, H, W, 3)`` with H, W >= ``size``.
        size: side of the square in pixels.
        crop: which view, ``0 <= crop < crops``.
        crops: number of views, >= 1.

    Returns:
        uint8 ``(T, size, size, 3)``, a view.

    Raises:
        ValueError: the frames are smaller than the crop, or there is no such view.
    """
    if not 0 <= crop < crops:
        raise ValueError(f"no spatial view {crop} of {crops}: it must be from 0 to crops - 1")
    rooms = _room(frames, size)
    offsets = [_ceil_div(room, 2) for room in rooms]
    if crops > 1:
        along = 0 if frames.shape[1] > frames.shape[2] else 1
        offsets[along] = _ceil_div(crop * rooms[along], crops - 1)
    return cut(frames, Box(offsets[0], offsets[1], size, size))


def random_box(
    height: int,
    width: int,
    area: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
    *,
    whole_side: bool = True,
) -> Box | None:
    """Try ten times to draw a box of random area and shape that fits in a frame, and place it uniformly.

    Args:
        height: rows of the frame.
        width: columns of the frame.
        area: range of the box's area as a part of the frame's, drawn uniformly.
        ratio: range of the box's width / height, drawn log-uniformly.
        generator: source of the draws; their number depends on how many tries it takes.
        whole_side: whether the box may be as high or as wide as the frame.

    Returns:
        The box, or None where ten tries gave none that fits.
    """
    log_ratio = (math.log(ratio[0]), math.log(ratio[1]))
    largest_height, largest_width = (height, width) if whole_side else (height - 1, width - 1)
    for _ in range(10):
        pixels = height * width * generator.uniform(*area)
        shape = math.exp(generator.uniform(*log_ratio))
        box_height, box_width = round(math.sqrt(pixels / shape)), round(math.sqrt(pixels * shape))
        if 0 < box_height <= largest_height and 0 < box_width <= largest_width:
            top = int(generator.integers(height - box_height + 1))
            left = int(generator.integers(width - box_width + 1))
            return Box(top, left, box_height, box_width)
    return None


def resized_crop_box(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float], generator: np.random.Generator
) -> Box:
    """Draw the box of :func:`random_resized_crop`; the largest centred box of allowed shape if ten tries give none."""
    box = random_box(height, width, scale, ratio, generator)
    if box is not None:
        return box
    box_height, box_width = height, width
    if width / height < ratio[0]:
        box_height = max(1, round(width / ratio[0]))
    elif width / height > ratio[1]:
        box_width = max(1, round(height * ratio[1]))
    return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def random_resized_crop(
    frames: Tensor,
    size: int,
    scale: tuple[float, float],
    ratio: tuple[float, float],
    generator: np.random.Generator,
) -> Tensor:
    """Crop a box of random area and shape and resize it to a square, bilinearly.

    The "Inception crop" of Szegedy et al., "Going deeper with convolutions" (arXiv:1409.4842).

    Args:
        frames: uint8 ``(T, H, W, 3)``, any H, W >= 1.
        size: side of the result in pixels.
        scale: range of the box's area as a part of the frame's, ``0 < low <= high <= 1``, drawn uniformly.
        ratio: range of the box's width / height, drawn log-uniformly.
        generator: source of the draws.

    Returns:
        uint8 ``(T, size, size, 3)``, the same box in all frames.
    """
    _check(frames)
    return resize(cut(frames, resized_crop_box(frames.shape[1], frames.shape[2], scale, ratio, generator)), size, size)


def horizontal_flip(frames: Tensor) -> Tensor:
    """Mirror frames ``(T, H, W, 3)`` left to right; a copy of the same shape and type."""
    return frames.flip(2)


def _room(frames: Tensor, size: int) -> tuple[int, int]:
    """Return how many pixels are left over in height and width by a square of ``size``."""
    _check(frames)
    height, width = frames.shape[1:3]
    if height < size or width < size:
        raise ValueError(
            f"cannot crop {size}x{size} from frames of height {height} and width {width}; resize them first"
        )
    return height - size, width - size


def _ceil_div(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)


def _check(frames: Tensor) -> None:
    assert frames.dtype == torch.uint8, f"frames are uint8, got {frames.dtype}"
    assert frames.ndim == 4, f"frames are (T, H, W, 3), got {tuple(frames.shape)}"
    assert frames.shape[3] == 3, f"frames are (T, H, W, 3), got {tuple(frames.shape)}"
