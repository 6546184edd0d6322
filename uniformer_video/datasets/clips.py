"""From an opened video to its clips: augmented for training, or all test views. Each decodes once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.transforms.clip import ClipTransform, ViewTransform
from uniformer_video.video.reader import VideoReader
from uniformer_video.video.sampling import ClipSampler, ViewGrid


@dataclass(frozen=True)
class Clips:
    """The clips of one video, and where they come from.

    Args:
        pixels: uint8 ``(clips, 3, T, H, W)``.
        indices: int64 ``(clips, T)``, the frame of the video that each frame of a clip is.
        mirrored: of each clip, whether left and right are exchanged.
    """

    pixels: torch.Tensor
    indices: np.ndarray
    mirrored: tuple[bool, ...]


class ClipMaker(Protocol):
    """Makes the clips of one item of a dataset."""

    def __len__(self) -> int:
        """Return the number of clips in an item."""

    def __call__(
        self, reader: VideoReader, epoch: int, record: int, *, turn: int = 0, may_mirror: bool = True
    ) -> Clips:
        """Return the clips of an item from one pass over ``reader``.

        Args:
            reader: the opened video.
            epoch: epoch of the item.
            record: number of the item in its list.
            turn: how often the epoch has had this item before.
            may_mirror: False: left stays left in every clip.
        """


class TrainClips:
    """Augmented clips of one randomly placed window of frames.

    All repeats of a video share the window and its decoding; each has its own augmentation (repeated augmentation,
    Hoffer et al., "Augment your batch", 2020).

    Args:
        sampler: chooses the frames.
        transform: augments one clip.
        repeats: augmented clips from each video.
        seed: RNG_SEED; draws depend on it, the epoch, the record, the repeat and the turn alone.
    """

    def __init__(self, sampler: ClipSampler, transform: ClipTransform, *, repeats: int, seed: int) -> None:
        self.sampler = sampler
        self.transform = transform
        self.repeats = repeats
        self.seed = seed

    def __len__(self) -> int:
        return self.repeats

    def __call__(
        self, reader: VideoReader, epoch: int, record: int, *, turn: int = 0, may_mirror: bool = True
    ) -> Clips:
        """See :class:`ClipMaker`; pixels are ``(repeats, 3, T, S, S)``."""
        # A first turn has the position that items have where nothing comes twice.
        again = (turn,) if turn else ()
        window = self.sampler.train(reader.num_frames, numpy_generator(self.seed, Stream.SAMPLE, epoch, record, *again))
        frames = reader.frames_at(window.tolist())
        made = [
            self.transform(
                frames,
                numpy_generator(self.seed, Stream.CLIP, epoch, record, repeat, *again),
                may_mirror=may_mirror,
            )
            for repeat in range(self.repeats)
        ]
        pixels, mirrored = zip(*made, strict=True)
        return Clips(torch.stack(pixels), np.stack([window] * self.repeats), mirrored)


class ViewClips:
    """Every view of a video, clip-major then crop: each distinct frame is decoded and resized once.

    Args:
        sampler: chooses the frames of each clip.
        transform: resizes frames and cuts crops.
        grid: the views.
    """

    def __init__(self, sampler: ClipSampler, transform: ViewTransform, grid: ViewGrid) -> None:
        self.sampler = sampler
        self.transform = transform
        self.grid = grid

    def __len__(self) -> int:
        return len(self.grid)

    def __call__(
        self, reader: VideoReader, epoch: int, record: int, *, turn: int = 0, may_mirror: bool = True
    ) -> Clips:
        """See :class:`ClipMaker`; pixels are ``(views, 3, T, S, S)``, and only ``reader`` changes anything."""
        clips = self.grid.clips
        windows = np.stack([self.sampler.view(reader.num_frames, clip, clips) for clip in range(clips)])
        distinct, places = np.unique(windows, return_inverse=True)
        frames = self.transform.resize(reader.frames_at(distinct.tolist()))
        places = places.reshape(windows.shape).tolist()
        pixels = self.transform.cut_views(frames, [(places[view.clip], view.crop) for view in self.grid])
        return Clips(pixels, np.repeat(windows, self.grid.crops, axis=0), (False,) * len(self.grid))
