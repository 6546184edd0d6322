"""Which frames of a video make a clip, and the grid of views a test cuts from it. Pure functions of their arguments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class View:
    """One view of a video: which clip in time and which crop in space, both counted from 0."""

    clip: int
    crop: int


@dataclass(frozen=True)
class ViewGrid:
    """All views a test cuts from one video, clip-major: all crops of clip 0, then all crops of clip 1, ...

    Attributes:
        clips: number of clips in time, at least 1.
        crops: number of crops in space of each clip, at least 1.
    """

    clips: int
    crops: int

    def __post_init__(self) -> None:
        if self.clips < 1 or self.crops < 1:
            raise ValueError(f"a view grid has at least 1 clip and 1 crop, got {self.clips} x {self.crops}")

    def __len__(self) -> int:
        return self.clips * self.crops

    def __getitem__(self, index: int) -> View:
        """Return view number ``index``, in [0, len(self)); ``IndexError`` outside it."""
        if not 0 <= index < len(self):
            raise IndexError(f"view {index} of a grid of {len(self)}")
        return View(*divmod(index, self.crops))

    def __iter__(self) -> Iterator[View]:
        return (self[index] for index in range(len(self)))


class ClipSampler(Protocol):
    """Chooses the frames of a clip.

    Attributes:
        num_frames: how many frames a clip has.
    """

    num_frames: int

    def train(self, length: int, generator: np.random.Generator) -> np.ndarray:
        """Return the frames of a random clip.

        Args:
            length: number of frames of the video, at least 1.
            generator: where all randomness comes from.

        Returns:
            int64 (num_frames,), rising or level, each in [0, length).
        """
        ...

    def view(self, length: int, clip: int, clips: int) -> np.ndarray:
        """Return the frames of test clip ``clip`` of ``clips``.

        Args:
            length: number of frames of the video, at least 1.
            clip: which clip, in [0, clips).
            clips: how many clips the test takes, at least 1.

        Returns:
            int64 (num_frames,), rising or level, each in [0, length).
        """
        ...


class DenseSampler:
    """Evenly spaced frames of a stretch of ``num_frames * stride`` source frames ("frames x stride", Kinetics).

    In a video shorter than the stretch, the frames beyond its end are its last frame.

    Args:
        num_frames: frames of a clip, at least 1.
        stride: source frames for each frame of the clip, at least 1.
        use_offset: how K test clips are spread over the room ``delta = max(length - num_frames * stride, 0)``. True:
            clip k starts at ``k * floor(delta / (K - 1))``, a single clip at ``floor(delta / 2)``, so the first and the
            last clip reach the ends and a single one is the middle. False: clip k starts at ``delta * k / K``.
    """

    def __init__(self, num_frames: int, stride: int, use_offset: bool = True) -> None:
        if num_frames < 1 or stride < 1:
            raise ValueError(f"num_frames and stride are at least 1, got {num_frames} and {stride}")
        self.num_frames, self.stride, self.use_offset = num_frames, stride, use_offset

    def train(self, length: int, generator: np.random.Generator) -> np.ndarray:
        """See :meth:`ClipSampler.train`: the stretch starts at a uniform real number in [0, delta]."""
        return self._clip(length, generator.uniform(0.0, self._room(length)))

    def view(self, length: int, clip: int, clips: int) -> np.ndarray:
        """See :meth:`ClipSampler.view`."""
        _check_view(clip, clips)
        delta = self._room(length)
        if not self.use_offset:
            start = delta * clip / clips
        elif clips == 1:
            start = delta // 2
        else:
            start = clip * (delta // (clips - 1))
        return self._clip(length, start)

    def _room(self, length: int) -> int:
        _check_length(length)
        return max(length - self.num_frames * self.stride, 0)

    def _clip(self, length: int, start: float) -> np.ndarray:
        # Multiplied before divided, in float64: a point that is a whole number comes out whole, so cutting off the
        # fraction never lands one frame too low.
        steps = np.arange(self.num_frames, dtype=np.float64)
        points = start + steps * (self.num_frames * self.stride - 1) / max(self.num_frames - 1, 1)
        return np.clip(points, 0, length - 1).astype(np.int64)


class SegmentSampler:
    """One frame from each of ``num_frames`` equal segments of the whole video (Something-Something).

    With ``seg = (length - 1) / num_frames``, segment i is the frames round(seg i) to round(seg (i + 1)), both included,
    halves rounded to even.

    Args:
        num_frames: frames of a clip, at least 1.
    """

    def __init__(self, num_frames: int) -> None:
        if num_frames < 1:
            raise ValueError(f"num_frames is at least 1, got {num_frames}")
        self.num_frames = num_frames

    def train(self, length: int, generator: np.random.Generator) -> np.ndarray:
        """See :meth:`ClipSampler.train`: a uniform frame of each segment."""
        _check_length(length)
        edges = np.rint((length - 1) / self.num_frames * np.arange(self.num_frames + 1)).astype(np.int64)
        return generator.integers(edges[:-1], edges[1:], endpoint=True, dtype=np.int64)

    def view(self, length: int, clip: int, clips: int) -> np.ndarray:
        """See :meth:`ClipSampler.view`: ``int(seg / (clips + 1) * (clip + 1))`` frames into each segment."""
        _check_length(length)
        _check_view(clip, clips)
        segment = (length - 1) / self.num_frames
        starts = np.rint(segment * np.arange(self.num_frames)).astype(np.int64)
        return starts + int(segment / (clips + 1) * (clip + 1))


def _check_length(length: int) -> None:
    if length < 1:
        raise ValueError(f"a video has at least 1 frame, got length {length}")


def _check_view(clip: int, clips: int) -> None:
    if not 0 <= clip < clips:
        raise ValueError(f"clip {clip} of {clips}; clips are counted from 0")
