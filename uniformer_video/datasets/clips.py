"""From an opened video to its clips: augmented for training, or all test views. Each decodes once."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch

from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.transforms.clip import TrainTransform, ViewTransform
from uniformer_video.video.reader import VideoReader
from uniformer_video.video.sampling import ClipSampler, ViewGrid


class ClipMaker(Protocol):
    """Makes the clips of one item of a dataset."""

    def __len__(self) -> int:
        """Return the number of clips in an item."""

    def __call__(self, reader: VideoReader, epoch: int, record: int) -> torch.Tensor:
        """Return uint8 clips ``(clips, 3, T, H, W)`` from one pass over ``reader``."""


class TrainClips:
    """Augmented clips of one randomly placed window of frames.

    All repeats of a video share the window and its decoding; each has its own augmentation (repeated augmentation,
    Hoffer et al., "Augment your batch", 2020).

    Args:
        sampler: chooses the frames.
        transform: augments one clip.
        repeats: augmented clips from each video.
        seed: RNG_SEED; draws depend on it, the epoch, the record and the repeat alone.
    """

    def __init__(self, sampler: ClipSampler, transform: TrainTransform, *, repeats: int, seed: int) -> None:
        self.sampler = sampler
        self.transform = transform
        self.repeats = repeats
        self.seed = seed

    def __len__(self) -> int:
        return self.repeats

    def __call__(self, reader: VideoReader, epoch: int, record: int) -> torch.Tensor:
        """Return uint8 clips ``(repeats, 3, T, H, W)``."""
        window = self.sampler.train(reader.num_frames, numpy_generator(self.seed, Stream.SAMPLE, epoch, record))
        frames = reader.frames_at(window.tolist())
        return torch.stack(
            [
                self.transform(frames, numpy_generator(self.seed, Stream.CLIP, epoch, record, repeat))
                for repeat in range(self.repeats)
            ]
        )


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

    def __call__(self, reader: VideoReader, epoch: int, record: int) -> torch.Tensor:
        """Return uint8 clips ``(views, 3, T, H, W)``; ``epoch`` and ``record`` change nothing."""
        clips = self.grid.clips
        windows = np.stack([self.sampler.view(reader.num_frames, clip, clips) for clip in range(clips)])
        distinct, places = np.unique(windows, return_inverse=True)
        frames = self.transform.resize(reader.frames_at(distinct.tolist()))
        places = torch.from_numpy(places.reshape(windows.shape))
        return torch.stack([self.transform(frames[places[view.clip]], view.crop) for view in self.grid])
