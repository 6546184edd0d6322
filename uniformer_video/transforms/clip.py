"""From decoded frames to the clips that a network sees: the training and the test pipeline, and normalising.

Frames are uint8 ``(T, H, W, 3)`` as a reader gives them; clips are uint8 ``(3, T, S, S)`` as a network wants them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms import spatial
from uniformer_video.transforms.color import color_jitter
from uniformer_video.transforms.rand_augment import RandAugment, apply_steps

# Fewer values than this stay in a processor's cache as float32.
_CACHED_VALUES = 2**16


class ClipTransform(Protocol):
    """Decoded frames to a training clip."""

    def __call__(
        self, frames: Tensor, generator: np.random.Generator, *, may_mirror: bool = True
    ) -> tuple[Tensor, bool]:
        """Augment a clip.

        Args:
            frames: uint8 ``(T, H, W, 3)``, left as they are.
            generator: source of all draws; their number and order do not depend on ``may_mirror``.
            may_mirror: False: left stays left, because the label depends on it.

        Returns:
            The clip, uint8 ``(3, T, S, S)``, and whether it is mirrored.
        """
        ...


def normalize(clips: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale pixel values to [0, 1] and standardise each channel: ``(x / 255 - mean) / std``.

    Args:
        clips: uint8 or float ``(..., 3, T, H, W)`` with values in [0, 255]; left as it is.
        mean: of each channel, in units of [0, 1].
        std: of each channel, likewise, above 0.

    Returns:
        float32 of the same shape on the same device.
    """
    assert clips.shape[-4] == len(mean) == len(std), (tuple(clips.shape), mean, std)
    shape = (len(mean), 1, 1, 1)
    offset = torch.tensor(mean, dtype=torch.float32, device=clips.device).view(shape)
    scale = torch.tensor(std, dtype=torch.float32, device=clips.device).view(shape)
    if clips.device.type != "cpu" or clips.numel() <= _CACHED_VALUES:
        return (clips.to(torch.float32) / 255).sub_(offset).div_(scale)
    # A few pictures at a time, so that what one step writes is still in the cache for the next.
    result = torch.empty(clips.shape, dtype=torch.float32, device=clips.device)
    planes, targets = clips.flatten(0, -5) if clips.ndim > 4 else clips[None], result.view(-1, *result.shape[-4:])
    for clip, target in zip(planes, targets, strict=True):
        for channel, values in enumerate(target):
            values.copy_(clip[channel]).div_(255).sub_(offset[channel]).div_(scale[channel])
    return result


def denormalize(clips: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Undo :func:`normalize`, to look at clips: what lies outside [0, 255] (noise) is cut off.

    Args:
        clips: float ``(..., 3, T, H, W)``, normalised; left as it is.
        mean: of each channel, in units of [0, 1].
        std: of each channel, likewise.

    Returns:
        uint8 of the same shape on the same device.
    """
    assert clips.shape[-4] == len(mean) == len(std), (tuple(clips.shape), mean, std)
    shape = (len(mean), 1, 1, 1)
    offset = torch.tensor(mean, dtype=torch.float32, device=clips.device).view(shape)
    scale = torch.tensor(std, dtype=torch.float32, device=clips.device).view(shape)
    return clips.float().mul(scale).add_(offset).mul_(255).round_().clamp_(0, 255).to(torch.uint8)


def to_clip(frames: Tensor) -> Tensor:
    """Return frames ``(T, H, W, 3)`` as a contiguous clip ``(3, T, H, W)`` of the same type."""
    return frames.permute(3, 0, 1, 2).contiguous()


class TrainTransform:
    """The training pipeline of one clip; a :class:`ClipTransform`.

    RandAugment on the whole frames (or, without RandAugment, colour jitter: timm's rule), then a random resized crop
    (or short-side jitter and a random crop), then a flip with probability 0.5.

    Args:
        crop_size: side S of the clip in pixels.
        augment: RandAugment, or None.
        color_jitter: strength of brightness, contrast and saturation jitter where ``augment`` is None; 0 is off.
        scale: range of the random resized crop's area as a part of the frame's, or None for short-side jitter.
        ratio: range of the random resized crop's width / height.
        jitter_scales: range of the short side in pixels where ``scale`` is None.
        flip: whether to flip at all; see ``may_mirror`` of a call for single videos where left and right matter.

    Raises:
        UserError: a range that is empty or does not fit.
    """

    def __init__(
        self,
        *,
        crop_size: int,
        augment: RandAugment | None,
        color_jitter: float = 0.0,
        scale: tuple[float, float] | None = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        jitter_scales: tuple[int, int] = (256, 320),
        flip: bool = True,
    ) -> None:
        _check_ranges(crop_size, scale, ratio, jitter_scales)
        self.crop_size = crop_size
        self.augment = augment
        self.color_jitter = color_jitter
        self.scale = scale
        self.ratio = ratio
        self.jitter_scales = jitter_scales
        self.flip = flip

    def __call__(
        self, frames: Tensor, generator: np.random.Generator, *, may_mirror: bool = True
    ) -> tuple[Tensor, bool]:
        """See :class:`ClipTransform`."""
        steps = []
        if self.augment is not None:
            steps = self.augment.draw(generator)
        elif self.color_jitter > 0:
            frames = color_jitter(frames, self.color_jitter, self.color_jitter, self.color_jitter, generator)
        if self.scale is not None:
            # The crop is drawn before the frames are worked on, so that only what it shows is.
            box = spatial.resized_crop_box(*frames.shape[1:3], self.scale, self.ratio, generator)
            frames = spatial.resize(apply_steps(frames, steps, box), self.crop_size, self.crop_size)
        else:
            frames = apply_steps(frames, steps, spatial.Box(0, 0, *frames.shape[1:3]))
            frames = spatial.random_short_side(frames, *self.jitter_scales, generator)
            frames = spatial.random_crop(frames, self.crop_size, generator)
        # Drawn even where it may not happen, so that a label changes no draw.
        mirrored = self.flip and generator.random() < 0.5 and may_mirror
        if mirrored:
            frames = spatial.horizontal_flip(frames)
        return to_clip(frames), mirrored


class ViewTransform:
    """The test pipeline of one video: distinct frames are resized once, then every view is a cut. Nothing is drawn.

    Args:
        crop_size: side S of a view and short side of the resized frames, in pixels.
        crops: number of spatial views, >= 1.

    Raises:
        UserError: a size or number below 1.
    """

    def __init__(self, *, crop_size: int, crops: int) -> None:
        if crop_size < 1:
            raise UserError(f"test crop size {crop_size} (DATA.TEST_CROP_SIZE) must be at least 1 pixel")
        if crops < 1:
            raise UserError(f"{crops} spatial views (TEST.NUM_SPATIAL_CROPS); there must be at least 1")
        self.crop_size = crop_size
        self.crops = crops

    def resize(self, frames: Tensor) -> Tensor:
        """Resize uint8 frames ``(T, H, W, 3)`` so that the short side is ``crop_size``; ``(T, H', W', 3)``."""
        return spatial.resize_short_side(frames, self.crop_size)

    def __call__(self, resized: Tensor, crop: int) -> Tensor:
        """Cut spatial view ``crop`` (0 to ``crops`` - 1) out of resized frames ``(T, H', W', 3)``.

        Returns:
            The view, a uint8 clip ``(3, T, S, S)``.
        """
        return to_clip(spatial.view_crop(resized, self.crop_size, crop, self.crops))

    def cut_views(self, resized: Tensor, views: Sequence[tuple[Sequence[int], int]]) -> Tensor:
        """Cut several spatial views, each of some of the frames, without a copy of them on the way.

        Args:
            resized: frames ``(T', H', W', 3)``; fastest in a clip's order in memory, as :meth:`resize` makes them.
            views: of each view its frames, numbers into ``resized``, equally many in all, and its spatial view.

        Returns:
            uint8 clips ``(views, 3, T, S, S)``: ``self(resized[frames], crop)`` of each.
        """
        size = self.crop_size
        clips = torch.empty((len(views), 3, len(views[0][0]), size, size), dtype=torch.uint8)
        for clip, (numbers, crop) in zip(clips, views, strict=True):
            cut = spatial.view_crop(resized, size, crop, self.crops).permute(3, 0, 1, 2)
            for place, number in enumerate(numbers):
                clip[:, place] = cut[:, number]
        return clips


def _check_ranges(
    crop_size: int,
    scale: tuple[float, float] | None,
    ratio: tuple[float, float],
    jitter_scales: tuple[int, int],
) -> None:
    if crop_size < 1:
        raise UserError(f"training crop size {crop_size} (DATA.TRAIN_CROP_SIZE) must be at least 1 pixel")
    if scale is not None and not 0 < scale[0] <= scale[1] <= 1:
        raise UserError(
            f"crop area range {tuple(scale)} (DATA.TRAIN_JITTER_SCALES_RELATIVE) must be low, high "
            "with 0 < low <= high <= 1"
        )
    if scale is not None and not 0 < ratio[0] <= ratio[1]:
        raise UserError(
            f"crop aspect range {tuple(ratio)} (DATA.TRAIN_JITTER_ASPECT_RELATIVE) must be low, high "
            "with 0 < low <= high"
        )
    if scale is None and not crop_size <= jitter_scales[0] <= jitter_scales[1]:
        raise UserError(
            f"short side range {tuple(jitter_scales)} (DATA.TRAIN_JITTER_SCALES) must be low, high "
            f"with crop size {crop_size} (DATA.TRAIN_CROP_SIZE) <= low <= high"
        )
