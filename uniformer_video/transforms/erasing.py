"""Random erasing: a box of noise in every frame of a clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms.spatial import Box, random_box

MODES = ("pixel", "rand", "const")
AREA = (0.02, 1 / 3)
RATIO = (0.3, 1 / 0.3)


def random_erasing(
    clips: Tensor,
    probability: float,
    mode: str = "pixel",
    max_count: int = 1,
    *,
    generators: Sequence[np.random.Generator],
) -> Tensor:
    """Overwrite random boxes of normalised clips, in place.

    From Zhong et al., "Random erasing data augmentation" (arXiv:1708.04896), with timm's ranges: the boxes of one clip
    have together 0.02 to 1/3 of a frame's area, width / height log-uniform in 0.3 to 1 / 0.3, and lie in the same place
    in all frames. A box that fits in none of ten tries is left out.

    Args:
        clips: float ``(B, 3, T, H, W)`` on any device, normalised (mean 0, deviation 1). **Changed in place.**
        probability: chance that a clip is erased at all, 0 to 1.
        mode: what a box is filled with: "pixel", N(0, 1) for every value; "rand", one N(0, 1) for each channel;
            "const", 0.
        max_count: boxes in an erased clip, uniform in 1 to ``max_count``.
        generators: one for each clip. A clip's draws, its noise too, come from its own generator alone, so they do not
            depend on the batch it is in. Noise is made on the clips' device: another kind of device makes other noise.

    Returns:
        ``clips``.

    Raises:
        UserError: a mode, probability or count that is not allowed.
    """
    _check_arguments(probability, mode, max_count)
    assert clips.is_floating_point(), f"erasing is for normalised clips, got {clips.dtype}"
    assert clips.ndim == 5, f"clips are (B, 3, T, H, W), got {tuple(clips.shape)}"
    assert len(generators) == len(clips), f"{len(generators)} generators for {len(clips)} clips"
    for clip, generator in zip(clips, generators, strict=True):
        boxes = draw_boxes(clip.shape[-2], clip.shape[-1], probability, max_count, generator)
        if boxes:
            _fill(clip, boxes, mode, generator)
    return clips


def draw_boxes(
    height: int, width: int, probability: float, max_count: int, generator: np.random.Generator
) -> list[Box]:
    """Draw where one clip of frames ``height`` x ``width`` is erased; an empty list: nowhere."""
    if generator.random() >= probability:
        return []
    count = int(generator.integers(1, max_count + 1))
    area = (AREA[0] / count, AREA[1] / count)
    boxes = [random_box(height, width, area, RATIO, generator, whole_side=False) for _ in range(count)]
    return [box for box in boxes if box is not None]


def _fill(clip: Tensor, boxes: list[Box], mode: str, generator: np.random.Generator) -> None:
    """Fill ``boxes`` of one clip ``(3, T, H, W)`` in place."""
    channels, num_frames = clip.shape[:2]
    noise = torch.Generator(device=clip.device).manual_seed(int(generator.integers(2**63)))
    for top, left, height, width in boxes:
        region = clip[:, :, top : top + height, left : left + width]
        if mode == "const":
            region.zero_()
            continue
        # Drawn in float32 whatever the clips' type, so that half precision has the same noise, rounded.
        shape = (channels, num_frames, height, width) if mode == "pixel" else (channels, 1, 1, 1)
        region.copy_(torch.empty(shape, dtype=torch.float32, device=clip.device).normal_(generator=noise))


def _check_arguments(probability: float, mode: str, max_count: int) -> None:
    if mode not in MODES:
        raise UserError(f"random erasing: unknown mode {mode!r} (AUG.RE_MODE); known: {', '.join(sorted(MODES))}")
    if not 0 <= probability <= 1:
        raise UserError(f"random erasing: probability {probability} (AUG.RE_PROB) must be from 0 to 1")
    if max_count < 1:
        raise UserError(f"random erasing: {max_count} boxes (AUG.RE_COUNT); there must be at least 1")
