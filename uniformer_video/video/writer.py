"""Writing frames as a video file, whole or not at all."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType

import av
import numpy as np

from uniformer_video.runtime.errors import UserError, WriteError

ENCODERS = {
    ".mp4": ("libx264", "libx265", "libvpx-vp9", "mpeg4"),
    ".mov": ("libx264", "libx265", "mpeg4"),
    ".mkv": ("libx264", "libx265", "libvpx-vp9", "mpeg4"),
    ".webm": ("libvpx-vp9",),
    ".avi": ("libx264", "mpeg4"),
}
"""The files that can be written, by ending, with FFmpeg's names of the encoders for each; the first is the default."""

# The rates of television are whole numbers over 1001, and containers want a small denominator.
_LARGEST_DENOMINATOR = 1001


class VideoWriter:
    """Writes a video file frame by frame; a context manager.

    The frames go to a file beside it, which takes its place on a clean exit. After an exception there is no new file.

    Args:
        path: the file; its ending, one of ``ENCODERS``, chooses the container. Its folder must exist.
        fps: frames each second, above 0; a fractional rate (30000 / 1001) is kept.
        size: (height, width) of the frames, pixels. An odd one is made even by repeating the last row or column.
        codec: FFmpeg's name of an encoder; "" is the first of ``ENCODERS`` for the ending.
        crf: constant quality, 0 to 51, lower is better.

    Raises:
        UserError: another ending, an encoder that this ending does not take or that is not installed, a rate or size
            that is none; on entering, a folder that cannot be written.
    """

    def __init__(
        self, path: str | os.PathLike[str], fps: float, size: tuple[int, int], *, codec: str = "", crf: int = 20
    ) -> None:
        self.path = Path(path)
        self.codec = encoder_for(self.path, codec)
        if not (math.isfinite(fps) and fps > 0):
            raise UserError(f"{self.path}: a rate of {fps} frames each second; a number above 0 is wanted")
        if min(size) < 1:
            raise UserError(f"{self.path}: frames of {size[0]} x {size[1]} pixels; at least 1 x 1 is wanted")
        self.size = (int(size[0]), int(size[1]))
        self.rate = frame_rate(fps)
        self.count = 0
        self._crf = crf
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> VideoWriter:
        with contextlib.ExitStack() as exits:
            temporary = exits.enter_context(written_beside(self.path))
            with write_errors(self.path):
                self._container = exits.enter_context(av.open(str(temporary), "w"))
                self._stream = self._container.add_stream(self.codec, rate=self.rate, options=self._options())
            self._stream.height, self._stream.width = (side + side % 2 for side in self.size)
            self._stream.pix_fmt = "yuv420p"
            self._exits = exits.pop_all()
        return self

    def _options(self) -> dict[str, str]:
        if self.codec == "mpeg4":  # has a quantizer, 1 to 31, in place of a constant quality
            step = str(min(max(self._crf // 6, 1), 31))
            return {"qmin": step, "qmax": step}
        if self.codec == "libvpx-vp9":
            return {"crf": str(self._crf), "b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        options = {"crf": str(self._crf), "preset": "fast"}
        if self.path.suffix.lower() == ".avi":  # keeps no time stamps, only the order of packets
            options["bf"] = "0"
        return options | ({"x265-params": "log-level=none"} if self.codec == "libx265" else {})

    def write(self, frame: np.ndarray) -> None:
        """Add one frame.

        Args:
            frame: uint8 (H, W, 3) RGB, with (H, W) the ``size`` of the writer.

        Raises:
            ValueError: another shape or dtype.
            UserError: the file cannot be written on, the disk being full, say.
        """
        frame = np.asarray(frame)
        wanted = (*self.size, 3)
        if frame.dtype != np.uint8 or frame.shape != wanted:
            raise ValueError(f"{self.path}: a frame of {frame.dtype} {frame.shape} came; uint8 {wanted} is wanted")
        height, width = self.size
        if height % 2 or width % 2:
            frame = np.pad(frame, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture.pts, picture.time_base = self.count, 1 / self.rate
        with write_errors(self.path):
            self._container.mux(self._stream.encode(picture))
        self.count += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._exits.__exit__(kind, error, trace)
            return
        with self._exits, write_errors(self.path):
            if not self.count:
                raise UserError(f"{self.path}: there is no frame to write")
            self._container.mux(self._stream.encode(None))
            self._container.close()


def frame_rate(fps: float) -> Fraction:
    """Return a rate as the fraction that containers keep, denominator at most 1001: 30000/1001 for 29.97002997."""
    return max(Fraction(fps).limit_denominator(_LARGEST_DENOMINATOR), Fraction(1, _LARGEST_DENOMINATOR))


def encoder_for(path: Path, codec: str = "") -> str:
    """Return the encoder for a file: ``codec``, or the default for the file's ending.

    Raises:
        UserError: another ending than those of ``ENCODERS``, an encoder that it does not take, or not in this FFmpeg.
    """
    known = ENCODERS.get(path.suffix.lower())
    if known is None:
        raise UserError(f"{path}: videos are written to files that end in {', '.join(ENCODERS)}")
    codec = codec or known[0]
    if codec not in known:
        raise UserError(f"{path}: no encoder {codec!r} for {path.suffix.lower()} files; choose from {', '.join(known)}")
    if codec not in av.codecs_available:
        raise UserError(
            f"{path}: the encoder {codec!r} is not in this FFmpeg; `pip install av` brings one that has it, or choose "
            f"from {', '.join(name for name in known if name != codec) or 'the other endings: ' + ', '.join(ENCODERS)}"
        )
    return codec


@contextlib.contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turn the errors of FFmpeg and the system into a WriteError about the file that was to be written."""
    try:
        yield
    except (av.error.FFmpegError, OSError) as error:
        raise WriteError(f"{path} cannot be written: {error.strerror or error}") from None


@contextlib.contextmanager
def written_beside(path: Path) -> Iterator[Path]:
    """Give the name of a temporary file beside ``path``, with its ending; rename it over ``path`` on a clean exit.

    As ``runtime.paths.atomic_write``, for a library that opens the file itself.

    Raises:
        UserError: the folder is missing or cannot be written.
    """
    with write_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        temporary = Path(name)
    try:
        # mkstemp makes the file private; give it what a plain open() would have.
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        os.close(handle)
        yield temporary
        with write_errors(path), open(temporary, "rb") as file:
            os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
