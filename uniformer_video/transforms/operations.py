"""The pixel operations of RandAugment and colour jitter, on whole clips, equal to Pillow's on each frame.

Every function takes uint8 frames ``(T, H, W, 3)`` and returns new frames of the same shape and type; or, where a box
``keep`` is given, that part of them, which then is all that is worked out. What depends on a value alone goes through
one 256-entry table over the whole clip; geometry is one sum for all frames (see ``warp``); what depends on the frame
(its histogram or mean) or on the pixel's other channels is Pillow, frame by frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

from uniformer_video.transforms import warp
from uniformer_video.transforms.spatial import Box, cut

FILL = (warp.FILL,) * 3
"""Colour of the pixels that a geometric operation brings in from outside the frame."""

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
"""Interpolations of the geometric operations, by name."""

_LEVELS = np.arange(256, dtype=np.uint8)


def invert(frames: Tensor, keep: Box | None = None) -> Tensor:
    """Replace each value v by 255 - v."""
    return _through_table(_part(frames, keep), 255 - _LEVELS)


def posterize(frames: Tensor, bits: int, keep: Box | None = None) -> Tensor:
    """Keep the ``bits`` highest bits of each value, 0 (black) to 8 (unchanged)."""
    assert 0 <= bits <= 8, bits
    return _through_table(_part(frames, keep), _LEVELS & np.uint8(0xFF & ~(2 ** (8 - bits) - 1)))


def solarize(frames: Tensor, threshold: float, keep: Box | None = None) -> Tensor:
    """Invert the values at or above ``threshold``; 256 leaves everything, 0 inverts everything."""
    return _through_table(_part(frames, keep), np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(frames: Tensor, addend: int, threshold: int = 128, keep: Box | None = None) -> Tensor:
    """Add ``addend`` (>= 0) to the values below ``threshold``, up to 255."""
    levels = _LEVELS.astype(np.int64)
    return _through_table(_part(frames, keep), np.where(levels < threshold, np.minimum(levels + addend, 255), levels))


def brightness(frames: Tensor, factor: float, keep: Box | None = None) -> Tensor:
    """Blend with black: 0 is black, 1 the frame, more is brighter (clipped at 255)."""
    # Pillow itself makes the table, from an image of all values, so that its float32 rounding is ours.
    ramp = Image.fromarray(_LEVELS.reshape(16, 16))
    table = np.asarray(ImageEnhance.Brightness(ramp).enhance(factor)).reshape(256)
    return _through_table(_part(frames, keep), table)


def contrast(frames: Tensor, factor: float, keep: Box | None = None) -> Tensor:
    """Blend with the flat grey of each frame's own mean luminance: 0 is the grey, 1 the frame."""
    return _each_frame(frames, lambda image: ImageEnhance.Contrast(image).enhance(factor), keep)


def color(frames: Tensor, factor: float, keep: Box | None = None) -> Tensor:
    """Blend with the frame's grey version (saturation): 0 is grey, 1 the frame."""
    return _each_frame(_part(frames, keep), lambda image: ImageEnhance.Color(image).enhance(factor))


def sharpness(frames: Tensor, factor: float, keep: Box | None = None) -> Tensor:
    """Blend with the frame smoothed by a 3x3 kernel: 0 is smooth, 1 the frame, more is sharper.

    The kernel is 5 in the middle and 1 around, over 13; pixels at the edge of the frame stay as they are.
    """
    sharpened = np.empty(tuple(frames.shape), np.uint8)
    for frame, target in zip(frames.numpy(), sharpened, strict=True):
        target[...] = frame
        # Columns and channels as one: the pixel beside is three values further.
        lines = np.ascontiguousarray(frame).reshape(len(frame), -1).astype(np.int16)
        across = lines[:, :-6] + lines[:, 3:-3] + lines[:, 6:]
        if len(across) < 3 or across.shape[1] < 1:
            continue
        pixels = lines[1:-1, 3:-3]
        smooth = ((across[:-2] + across[1:-1] + across[2:] + 4 * pixels) * 2 + 13).view(np.uint16) // 26
        # As Pillow blends, in float32.
        blended = (pixels - smooth.view(np.int16)).astype(np.float32)
        blended *= np.float32(factor)
        blended += smooth
        values = np.clip(blended, 0, 255, out=blended).astype(np.uint8)
        target[1:-1, 1:-1] = values.reshape(len(values), -1, 3)
    return _part(torch.from_numpy(sharpened), keep)


def auto_contrast(frames: Tensor, keep: Box | None = None) -> Tensor:
    """Stretch each channel of each frame so that its values span 0 to 255."""
    return _each_frame(frames, ImageOps.autocontrast, keep)


def equalize(frames: Tensor, keep: Box | None = None) -> Tensor:
    """Flatten the histogram of each channel of each frame."""
    return _each_frame(frames, ImageOps.equalize, keep)


def rotate(frames: Tensor, degrees: float, interpolation: str, keep: Box | None = None) -> Tensor:
    """Turn counter-clockwise about the centre; the size stays, corners are filled with :data:`FILL`."""
    if degrees % 90 == 0:
        resample = RESAMPLING[interpolation]
        return _each_frame(frames, lambda image: image.rotate(degrees, resample=resample, fillcolor=FILL), keep)
    angle = -math.radians(degrees % 360.0)
    # As Pillow rounds and sums.
    cosine, sine, middle_x, middle_y = (
        round(math.cos(angle), 15),
        round(math.sin(angle), 15),
        frames.shape[2] / 2,
        frames.shape[1] / 2,
    )
    minus = round(-math.sin(angle), 15)
    shift_x = cosine * -middle_x + sine * -middle_y + 0.0 + middle_x
    shift_y = minus * -middle_x + cosine * -middle_y + 0.0 + middle_y
    return _affine(frames, (cosine, sine, shift_x, minus, cosine, shift_y), interpolation, keep)


def shear_x(frames: Tensor, factor: float, interpolation: str, keep: Box | None = None) -> Tensor:
    """Shear rows: the pixel at (x, y) comes from (x + factor * y, y)."""
    return _affine(frames, (1, factor, 0, 0, 1, 0), interpolation, keep)


def shear_y(frames: Tensor, factor: float, interpolation: str, keep: Box | None = None) -> Tensor:
    """Shear columns: the pixel at (x, y) comes from (x, y + factor * x)."""
    return _affine(frames, (1, 0, 0, factor, 1, 0), interpolation, keep)


def translate_x(frames: Tensor, fraction: float, interpolation: str, keep: Box | None = None) -> Tensor:
    """Shift left by ``fraction`` of the frame's width (right where negative)."""
    return _affine(frames, (1, 0, fraction * frames.shape[2], 0, 1, 0), interpolation, keep)


def translate_y(frames: Tensor, fraction: float, interpolation: str, keep: Box | None = None) -> Tensor:
    """Shift up by ``fraction`` of the frame's height (down where negative)."""
    return _affine(frames, (1, 0, 0, 0, 1, fraction * frames.shape[1]), interpolation, keep)


def _affine(frames: Tensor, coefficients: warp.Matrix, interpolation: str, keep: Box | None = None) -> Tensor:
    whole = Box(0, 0, frames.shape[1], frames.shape[2])
    warped = warp.affine(frames, coefficients, interpolation, keep or whole)
    return warp_each(frames, coefficients, interpolation, keep) if warped is None else warped


def warp_each(frames: Tensor, coefficients: warp.Matrix, interpolation: str, keep: Box | None = None) -> Tensor:
    """Warp frame by frame with Pillow; arguments as of :func:`uniformer_video.transforms.warp.affine`."""
    resample = RESAMPLING[interpolation]

    def transform(image: Image.Image) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients, resample=resample, fillcolor=FILL)

    return _each_frame(frames, transform, keep)


def _part(frames: Tensor, keep: Box | None) -> Tensor:
    return frames if keep is None else cut(frames, keep)


def _through_table(frames: Tensor, table: np.ndarray) -> Tensor:
    """Replace every value of the clip by ``table[value]``; ``table`` has 256 entries in [0, 255]."""
    # bytes.translate needs no index array: it is about twice as fast as NumPy's indexing, eight times smaller.
    values = bytearray(frames.contiguous().numpy()).translate(table.astype(np.uint8).tobytes())
    return torch.frombuffer(values, dtype=torch.uint8).view(frames.shape)


def _each_frame(frames: Tensor, function: Callable[[Image.Image], Image.Image], keep: Box | None = None) -> Tensor:
    top, left, height, width = keep or (0, 0, *frames.shape[1:3])
    result = np.empty((len(frames), height, width, 3), dtype=np.uint8)
    for source, target in zip(frames.numpy(), result, strict=True):
        target[...] = np.asarray(function(Image.fromarray(source)))[top : top + height, left : left + width]
    return torch.from_numpy(result)
