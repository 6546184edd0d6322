"""Reading videos with decord, kept from hanging and from handing out wrong frames.

decord 0.6 loops for ever or waits on a lock on some damaged files, mostly in its seeks, and repeats the last good frame
where it runs out of frames. So here

- the file is vetted first: all its packets are read and its first frame decoded with PyAV (see ``index``);
- decord never seeks: it steps forward, and skips frames only in the small steps whose loops end by themselves;
- its tolerance for repeated frames is set to none;
- every call runs in a thread that is watched: without progress for a minute the file is given up.

Of the files that FFmpeg reads, some decord cannot, and of some it makes other pixels than PyAV; these are refused with
an error of their own, :class:`UnsupportedByDecord`, so that another reader can take them.

decord decodes ahead in a thread of its own, so in a damaged file it may also refuse frames some way before the damage.
What it cannot be asked is whether a picture was patched up after an error inside its data (a few wrong bits); the PyAV
reader is told so by its decoder and refuses such a frame, this one hands it out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.fallback import UnsupportedByBackendError
from uniformer_video.video.index import TIMED_FORMATS, TURNED_FORMATS, VideoIndex, index_video
from uniformer_video.video.reader import DecodeError, ReaderBase
from uniformer_video.video.watch import watched

T = TypeVar("T")

PATIENCE_SECONDS = 60.0
"""How long decord may work on one step (opening, one frame, one short skip) before the file is given up."""

# After the end of a file decord's decoder has 128 "no more frames" signals to give, each of which a skip takes for a
# frame; a longer skip than this could use them up and then never end.
_LONGEST_SKIP = 100
# From these alone decord's and PyAV's conversions to RGB are the same to the bit (and at even heights).
_EXACT_PIXEL_FORMATS = ("yuv420p", "yuvj420p")
# Here it loses the last frames where there are B-frames.
_INEXACT_CONTAINERS = ("mpegts",)


class UnsupportedByDecord(UnsupportedByBackendError):
    """A file that PyAV reads and decord cannot, or not to the same bits. Raised when a reader is made, never later.

    The cases are: the first video stream is not the one that decord chooses; an MPEG transport stream; an mkv or webm
    that is rotated; an mp4, mov, mkv or webm whose frames have no time stamps of their own; a pixel format other than
    yuv420p and yuvj420p; interlaced pictures; an odd height; a recording that begins between two key frames, or whose
    first frame is damaged; decord cannot open the file (no decoder, no duration in its header), or finds another
    number of frames in it than it holds.
    """


def import_decord() -> ModuleType:
    """Import decord and silence FFmpeg's messages inside it, since errors are raised here.

    Raises:
        UserError: it is not installed.
    """
    try:
        import decord
    except ImportError:
        raise UserError(
            "the video backend 'decord' is not installed; install it with `pip install decord` or use the backend "
            "'pyav'"
        ) from None
    decord.logging.set_level(decord.logging.QUIET)
    return decord


class DecordReader(ReaderBase):
    """A :class:`~uniformer_video.video.reader.VideoReader` on decord 0.6.

    Args:
        path: the file.
        threads: decoding threads. 1 is right in a data loader with several workers.

    Raises:
        DecodeError: the file cannot be read.
        UnsupportedByDecord: decord cannot read it as PyAV does; see there.
        UserError: decord is not installed.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        self.path = str(path)
        self._threads = threads
        self._decord = import_decord()
        self._index: VideoIndex = index_video(self.path)
        self.num_frames, self.fps, self.size = self._index.num_frames, self._index.fps, self._index.size
        self._refuse_inexact()
        # decord's reader, in a box of its own: what holds the box (a traceback, say) does not hold the file open.
        self._box: list[Any] = []
        self._next = 0
        try:
            self._open()
        except DecodeError as error:  # The file is sound, or there were no index: decord cannot read this kind.
            kind = re.sub(r"-?\d+", "#", error.cause.replace(self.path, "it"))
            raise UnsupportedByDecord(self.path, error.cause, kind) from None

    def _refuse_inexact(self) -> None:
        """Raise UnsupportedByDecord where decord would hand out other frames than PyAV."""
        pixels, container = self._index.pixel_format, self._index.container
        if not self._index.is_best:
            raise UnsupportedByDecord(self.path, "decord would read another video stream than the first")
        if container in _INEXACT_CONTAINERS:
            raise UnsupportedByDecord(self.path, f"decord is not exact in the container {container}")
        if self._index.rotation and container not in TURNED_FORMATS:
            raise UnsupportedByDecord(self.path, f"decord does not see the rotation in the container {container}")
        if container in TIMED_FORMATS and not self._index.times:
            raise UnsupportedByDecord(self.path, "decord needs frames with time stamps of their own")
        if not self._index.begins_whole:
            raise UnsupportedByDecord(self.path, "decord would show other frames before the first key frame")
        if pixels not in _EXACT_PIXEL_FORMATS:
            raise UnsupportedByDecord(self.path, f"decord is not exact in the pixel format {pixels}")
        if self._index.interlaced:
            raise UnsupportedByDecord(self.path, "decord is not exact in interlaced video")
        height = self._index.stored_size[0]
        if height % 2:
            cause = "decord is not exact at an odd height"
            raise UnsupportedByDecord(self.path, f"{cause}, {height}", cause)

    @property
    def seconds(self) -> np.ndarray:
        """See :attr:`uniformer_video.video.reader.VideoReader.seconds`."""
        return self._index.seconds

    def close(self) -> None:
        """Release the file. May be called twice."""
        super().close()
        self._release()

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`."""
        places = self._places(indices)
        frames = self._room(places)
        if not places:
            return torch.from_numpy(frames)
        if not self._box or min(places) < self._next:
            self._release()
            self._open()

        def work(progress: Callable[[], None]) -> None:
            for number, positions in places.items():
                frames[positions] = self._step_to(number, progress)

        self._call(work)
        return torch.from_numpy(frames)

    def _open(self) -> None:
        box: list[Any] = []

        def work(progress: Callable[[], None]) -> None:
            # As text, since decord parses it; any share of frames above this one is an error.
            box.append(self._decord.VideoReader(self.path, num_threads=self._threads, fault_tol="0.0000001"))

        self._call(work)
        self._box, self._next = box, 0
        found = len(box[0])
        if found != self._index.packets:
            self._release()
            raise DecodeError(self.path, f"decord finds {found} frames where the file holds {self._index.packets}")
        # decord skips by time stamp, so only where every packet's stamp names a frame.
        exact = bool(self._index.times) and self._index.packets == self.num_frames
        keys = box[0].get_key_indices() if exact else []
        self._keys = [*keys, found] if keys and keys[0] == 0 else []

    def _step_to(self, number: int, progress: Callable[[], None]) -> np.ndarray:
        """Go forward to frame ``number`` and return it, uint8 (height, width, 3)."""
        video = self._box[0]
        while self._next < number:
            # A skip across a key frame would be a seek. decord counts key frames in file order, and so must this.
            room = next((key for key in self._keys if key > self._next), self._next) - self._next - 1
            skip = min(number - self._next, room, _LONGEST_SKIP)
            if skip > 0:
                video.skip_frames(skip)
            else:
                video.next()
            progress()
            self._next += max(skip, 1)
        frame = video.next().asnumpy()
        progress()
        self._next += 1
        height, width = self.size
        if frame.ndim == 3 and frame.shape[:2] == self.size and frame.shape[2] > 3:
            # decord takes padded rows whose length is a multiple of the width (16, 32, 48) for more channels.
            frame = frame.reshape(height, -1)[:, : width * 3].reshape(height, width, 3)
        if frame.shape != (*self.size, 3):
            raise DecodeError(self.path, f"frame {number} has the shape {frame.shape}, not {(*self.size, 3)}")
        return frame

    def _release(self) -> None:
        box, self._box = self._box, []
        if box:
            # Letting go of the last reference frees the reader, which joins decord's own thread: watched as well.
            _watched(self.path, lambda progress: box.clear())

    def _call(self, work: Callable[[Callable[[], None]], None]) -> None:
        """Run ``work`` under watch; after an error the file is released.

        Raises:
            DecodeError: decord raised an error or got stuck.
        """

        def to_cause(progress: Callable[[], None]) -> str | None:
            try:
                work(progress)
            except DecodeError as error:
                return error.cause
            except Exception as error:  # decord raises its own errors, RuntimeError, AssertionError, StopIteration, ...
                return f"decord: {_first_line(error)}"
            return None

        try:
            cause = _watched(self.path, to_cause, keep_if_stuck=self._box)
        except DecodeError:
            self._box = []
            raise
        if cause is not None:
            self._release()
            raise DecodeError(self.path, cause)


def _watched(path: str, work: Callable[[Callable[[], None]], T], keep_if_stuck: Any = None) -> T:
    complaint = f"decord made no progress for {PATIENCE_SECONDS:g} seconds; the file is given up"
    return watched(path, work, patience=PATIENCE_SECONDS, complaint=complaint, keep_if_stuck=keep_if_stuck)


def _first_line(error: Exception) -> str:
    """Return decord's message without the time, source file and stack trace that surround it."""
    text = str(error).split("\n")[0] or type(error).__name__
    return re.sub(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ", "", text)
