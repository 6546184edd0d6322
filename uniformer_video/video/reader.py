"""What a video reader is, and the one error it raises about a file."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
import torch

MAX_CLIP_BYTES = 8 * 2**30
"""The most that one ``frames_at`` hands out: 8 GiB, for example 1300 frames of 1920x1080. More is refused, since a
process that takes more memory than there is gets killed without a word."""


class DecodeError(Exception):
    """A video file that cannot be read, or a wanted frame that cannot be decoded.

    The text is one line, ``PATH: cause``; line breaks in ``cause`` (from a library's own error) become spaces.

    Attributes:
        path: the file.
        cause: what is wrong with it.
    """

    def __init__(self, path: str, cause: str) -> None:
        self.path, self.cause = str(path), " ".join(str(cause).split())
        # Both arguments, so that the error can be pickled on its way out of a worker process.
        super().__init__(self.path, self.cause)

    def __str__(self) -> str:
        return f"{self.path}: {self.cause}"


class VideoReader(Protocol):
    """One open video file. Use it as a context manager, or call :meth:`close`.

    Attributes:
        path: the file.
        num_frames: how many frames it shows, at least 1. Counted from the packets, not taken from the header.
        fps: average frame rate, frames each second.
        size: (height, width) of its frames, upright, pixels.
    """

    path: str
    num_frames: int
    fps: float
    size: tuple[int, int]

    @property
    def seconds(self) -> np.ndarray:
        """Time of every frame, in seconds from the first one: float64 (num_frames,), rising from 0.

        From the time stamps of the file where its container has them; else frame number / ``fps``.
        """
        ...

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """Decode some frames, in one pass through the file.

        Args:
            indices: frame numbers in presentation order, each in [0, num_frames); any order, repeats allowed, may be
                empty. A NumPy array or integer tensor will do.

        Returns:
            uint8 (len(indices), height, width, 3) RGB, upright, in the order asked.

        Raises:
            DecodeError: a wanted frame cannot be decoded.
            IndexError: an index is outside [0, num_frames), negative ones too: a defect of the caller, not of the file.
        """
        ...

    def close(self) -> None:
        """Release the file. May be called twice; a closed reader's attributes stay readable."""
        ...

    def __enter__(self) -> VideoReader: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ReaderBase:
    """What all readers share: the context manager, times at a constant rate, and the check of indices."""

    path: str
    num_frames: int
    fps: float
    size: tuple[int, int]
    closed = False

    @property
    def seconds(self) -> np.ndarray:
        """See :attr:`VideoReader.seconds`; here for a video of a constant rate."""
        return np.arange(self.num_frames, dtype=np.float64) / self.fps

    def close(self) -> None:
        """Release the file. May be called twice."""
        self.closed = True

    def __enter__(self):  # noqa: ANN204 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _places(self, indices: Sequence[int]) -> dict[int, list[int]]:
        """Return, for each distinct index in rising order, the positions it was asked at.

        Raises:
            IndexError: an index outside the video.
        """
        assert not self.closed, f"{self.path}: frames_at on a closed reader"
        places: dict[int, list[int]] = {}
        for position, value in enumerate(indices):
            index = operator.index(value)
            if not 0 <= index < self.num_frames:
                raise IndexError(f"frame {index} of {self.path}, which has frames 0 to {self.num_frames - 1}")
            places.setdefault(index, []).append(position)
        return dict(sorted(places.items()))

    def _room(self, places: dict[int, list[int]]) -> np.ndarray:
        """Return an array for what was asked, uint8 (len(indices), height, width, 3), not filled yet.

        Raises:
            DecodeError: more than ``MAX_CLIP_BYTES``, or than there is memory.
        """
        count, (height, width) = sum(map(len, places.values())), self.size
        wanted = count * height * width * 3
        cause = f"{count} frames of {width}x{height} at once take {wanted / 2**30:.1f} GiB"
        if wanted > MAX_CLIP_BYTES:
            raise DecodeError(self.path, f"{cause}; at most {MAX_CLIP_BYTES / 2**30:g} GiB are read")
        try:
            return np.empty((count, height, width, 3), np.uint8)
        except MemoryError:
            raise DecodeError(self.path, f"{cause}, more memory than there is") from None
