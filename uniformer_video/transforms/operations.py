"""The pixel operations of RandAugment and colour jitter, on whole clips, equal to Pillow's on each frame.

Every function takes uint8 frames ``(T, H, W, 3)`` and returns new frames of the same shape and type. What depends on
a value alone goes through one 256-entry table over the whole clip; what depends on the frame (its histogram or mean),
on the pixel's other channels or on its neighbours is Pillow, frame by frame.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor

FILL = (128, 128, 128)
"""Colour of the pixels that a geometric operation brings in from outside the frame."""

RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
"""Interpolations of the geometric operations, by name."""

_LEVELS = np.arange(256, dtype=np.uint8)


def invert(frames: Tensor) -> Tensor:
    """Replace each value v by 255 - v."""
    return _through_table(frames, 255 - _LEVELS)


def posterize(frames: Tensor, bits: int) -> Tensor:
    """Keep the ``bits`` highest bits of each value, 0 (black) to 8 (unchanged)."""
    assert 0 <= bits <= 8, bits
    return _through_table(frames, _LEVELS & np.uint8(0xFF & ~(2 ** (8 - bits) - 1)))


def solarize(frames: Tensor, threshold: float) -> Tensor:
    """Invert the values at or above ``threshold``; 256 leaves everything, 0 inverts everything."""
    return _through_table(frames, np.where(threshold > _LEVELS, _LEVELS, 255 - _LEVELS))


def solarize_add(frames: Tensor, addend: int, threshold: int = 128) -> Tensor:
    """Add ``addend`` (>= 0) to the values below ``threshold``, up to 255."""
    levels = _LEVELS.astype(np.int64)
    return _through_table(frames, np.where(levels < threshold, np.minimum(levels + addend, 255), levels))


def brightness(frames: Tensor, factor: float) -> Tensor:
    """Blend with black: 0 is black, 1 the frame, more is brighter (clipped at 255)."""
    # Pillow itself makes the table, from an image of all values, so that its float32 rounding is ours.
    ramp = Image.fromarray(_LEVELS.reshape(16, 16))
    table = np.asarray(ImageEnhance.Brightness(ramp).enhance(factor)).reshape(256)
    return _through_table(frames, table)


def contrast(frames: Tensor, factor: float) -> Tensor:
    """Blend with the flat grey of each frame's own mean luminance: 0 is the grey, 1 the frame."""
    return _each_frame(frames, lambda image: ImageEnhance.Contrast(image).enhance(factor))


def color(frames: Tensor, factor: float) -> Tensor:
    """Blend with the frame's grey version (saturation): 0 is grey, 1 the frame."""
    return _each_frame(frames, lambda image: ImageEnhance.Color(image).enhance(factor))


def sharpness(frames: Tensor, factor: float) -> Tensor:
    """Blend with the frame smoothed by a 3x3 kernel: 0 is smooth, 1 the frame, more is sharper."""
    return _each_frame(frames, lambda image: ImageEnhance.Sharpness(image).enhance(factor))


def auto_contrast(frames: Tensor) -> Tensor:
    """Stretch each channel of each frame so that its values span 0 to 255."""
    return _each_frame(frames, ImageOps.autocontrast)


def equalize(frames: Tensor) -> Tensor:
    """Flatten the histogram of each channel of each frame."""
    return _each_frame(frames, ImageOps.equalize)


def rotate(frames: Tensor, degrees: float, interpolation: str) -> Tensor:
    """Turn counter-clockwise about the centre; the size stays, corners are filled with :data:`FILL`."""
    resample = RESAMPLING[interpolation]
    return _each_frame(frames, lambda image: image.rotate(degrees, resample=resample, fillcolor=FILL))


def shear_x(frames: Tensor, factor: float, interpolation: str) -> Tensor:
    """Shear rows: the pixel at (x, y) comes from (x + factor * y, y)."""
    return _affine(frames, (1, factor, 0, 0, 1, 0), interpolation)


def shear_y(frames: Tensor, factor: float, interpolation: str) -> Tensor:
    """Shear columns: the pixel at (x, y) comes from (x, y + factor * x)."""
    return _affine(frames, (1, 0, 0, factor, 1, 0), interpolation)


def translate_x(frames: Tensor, fraction: float, interpolation: str) -> Tensor:
    """Shift left by ``fraction`` of the frame's width (right where negative)."""
    return _affine(frames, (1, 0, fraction * frames.shape[2], 0, 1, 0), interpolation)


def translate_y(frames: Tensor, fraction: float, interpolation: str) -> Tensor:
    """Shift up by ``fraction`` of the frame's height (down where negative)."""
    return _affine(frames, (1, 0, 0, 0, 1, fraction * frames.shape[1]), interpolation)


def _affine(frames: Tensor, coefficients: tuple[float, ...], interpolation: str) -> Tensor:
    resample = RESAMPLING[interpolation]

    def transform(image: Image.Image) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, coefficients, resample=resample, fillcolor=FILL)

    return _each_frame(frames, transform)


def _through_table(frames: Tensor, table: np.ndarray) -> Tensor:
    """Replace every value of the clip by ``table[value]``; ``table`` has 256 entries in [0, 255]."""
    # bytes.translate needs no index array: it is about twice as fast as NumPy's indexing, eight times smaller.
    values = bytearray(frames.contiguous().numpy()).translate(table.astype(np.uint8).tobytes())
    return torch.frombuffer(values, dtype=torch.uint8).view(frames.shape)


def _each_frame(frames: Tensor, function: Callable[[Image.Image], Image.Image]) -> Tensor:
    result = np.empty(tuple(frames.shape), dtype=np.uint8)
    for source, target in zip(frames.numpy(), result, strict=True):
        target[...] = np.asarray(function(Image.fromarray(source)))
    return torch.from_numpy(result)
