"""Colour jitter: brightness, contrast and saturation of a clip, in random order."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms import operations

_ADJUSTMENTS = {
    "brightness": operations.brightness,
    "contrast": operations.contrast,
    "saturation": operations.color,
}


def color_jitter(
    frames: Tensor, brightness: float, contrast: float, saturation: float, generator: np.random.Generator
) -> Tensor:
    """Change brightness, contrast and saturation by random factors, in random order, the same for all frames.

    The factors and their order are drawn as in torchvision's ``ColorJitter``, and the pixels are those that it gives on
    Pillow images: contrast is about each frame's own mean luminance.

    Args:
        frames: uint8 ``(T, H, W, 3)``.
        brightness: strength x >= 0; the factor is uniform in ``[max(0, 1 - x), 1 + x]``, 1 changes nothing. 0 leaves
            this adjustment out.
        contrast: likewise.
        saturation: likewise.
        generator: source of the draws: one order, then one factor for each adjustment with a strength above 0.

    Returns:
        uint8 ``(T, H, W, 3)``.

    Raises:
        UserError: a strength is negative.
    """
    strengths = {"brightness": brightness, "contrast": contrast, "saturation": saturation}
    for name, strength in strengths.items():
        if strength < 0:
            raise UserError(f"colour jitter: {name} is {strength}; it must be 0 (off) or more")
    names = list(strengths)
    for index in generator.permutation(len(names)):
        name = names[index]
        strength = strengths[name]
        if strength > 0:
            factor = generator.uniform(max(0.0, 1.0 - strength), 1.0 + strength)
            frames = _ADJUSTMENTS[name](frames, factor)
    return frames
