"""A video shown at another, constant frame rate, by time."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.reader import DecodeError, ReaderBase, VideoReader

MAX_FRAMES = 2**26
"""The most frames that a video is resampled to, twelve days at 60 a second: more come of damaged time stamps only."""

# How far the time between two frames may be off for the rounding of their time stamps, half a unit each. The coarsest
# units in use that do not divide a frame: 1/600 second (QuickTime) and 1/1000 (Matroska, WebM, FLV).
_ROUNDING_SECONDS = 1.75e-3
# It must stay well below the distance of two frames, or it would change which frame is meant.
_ROUNDING_STEPS = 0.25


class ResampledReader(ReaderBase):
    """A :class:`~uniformer_video.video.reader.VideoReader` that shows another one at a constant rate.

    Frame k is the picture on screen k / ``target_fps`` seconds after the first: the last frame whose time is not later
    (but for the rounding of time stamps). Frames are left out or repeated, never mixed. There are as many frames as
    such moments lie within the video, whose last frame is taken to last as long as the median frame; at least one. A
    video that already has this rate is shown unchanged; one of variable frame rate is evened out.

    Args:
        reader: the video; closed with this reader.
        target_fps: frames each second, above 0.

    Raises:
        DecodeError: more than ``MAX_FRAMES`` frames; ``reader`` is closed then.
        UserError: a rate that is none.
    """

    def __init__(self, reader: VideoReader, target_fps: float) -> None:
        check_target_fps(target_fps)
        self._reader = reader
        self.path, self.size, self.fps = reader.path, reader.size, float(target_fps)
        self._times = np.asarray(reader.seconds, np.float64)
        step = frame_step(self._times, reader.fps)
        self._tolerance = min(_ROUNDING_SECONDS, _ROUNDING_STEPS * step, _ROUNDING_STEPS / self.fps)
        # Rounded are here both the last frame's time and the step.
        end = self._times[-1] + step - 2 * self._tolerance
        self.num_frames = max(math.ceil(end * self.fps), 1)
        if self.num_frames > MAX_FRAMES:
            reader.close()
            cause = f"{end:.4g} seconds at {self.fps:g} frames a second are more than {MAX_FRAMES} frames"
            raise DecodeError(self.path, f"{cause}; its time stamps are damaged, or DATA.TARGET_FPS is too high")

    @property
    def seconds(self) -> np.ndarray:
        """float64 (num_frames,): when each frame is shown, counted from the first: number / fps."""
        return np.arange(self.num_frames) / self.fps

    def source_indices(self, indices: Sequence[int]) -> np.ndarray:
        """Return the number in the source video of each frame of ``indices``, int64; see ``frames_at`` for errors."""
        numbers = np.empty(len(indices), np.int64)
        for number, positions in self._places(indices).items():
            numbers[positions] = number
        found = np.searchsorted(self._times, numbers / self.fps + self._tolerance, side="right") - 1
        return np.maximum(found, 0)

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`. Each source frame is asked for once."""
        sources = self.source_indices(indices)
        distinct, places = np.unique(sources, return_inverse=True)
        frames = self._reader.frames_at(distinct)
        if np.array_equal(distinct, sources):
            return frames
        return frames[torch.from_numpy(places)]

    def close(self) -> None:
        """Release the file. May be called twice."""
        super().close()
        self._reader.close()


def frame_step(times: np.ndarray, fps: float) -> float:
    """Return for how long a video shows a frame, seconds: the median over its frames; how long the last is shown.

    Args:
        times: when each frame is shown, seconds, rising, at least one.
        fps: frames each second; counts for a single frame.
    """
    return float(np.median(np.diff(times))) if len(times) > 1 else 1 / fps


def check_target_fps(target_fps: float) -> None:
    """Raise UserError where ``target_fps`` is no rate: not a number above 0."""
    if not (math.isfinite(target_fps) and target_fps > 0):
        raise UserError(f"a target rate of {target_fps} frames each second; a number above 0 is wanted")
