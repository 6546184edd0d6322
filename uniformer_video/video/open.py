"""Opening a video with the backend a user names."""

from __future__ import annotations

from collections.abc import Callable

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.video.decord import DecordReader, UnsupportedByDecord
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import VideoReader

BACKENDS: dict[str, Callable[..., VideoReader]] = {"pyav": PyAVReader, "decord": DecordReader}
"""The readers by name. decord itself is imported when its reader is first made."""

_LOGGER = get_logger(__name__)
# Kinds of files of which this process has said that another reader takes them.
_TOLD: set[str] = set()


def open_video(path: str, backend: str = "pyav", threads: int = 1) -> VideoReader:
    """Open a video file.

    What decord cannot read as PyAV does (see :class:`~uniformer_video.video.decord.UnsupportedByDecord`) is read with
    PyAV, so that the choice of backend decides about speed, never about frames; the log says so once for each kind of
    file.

    Args:
        path: the file.
        backend: a name in ``BACKENDS``.
        threads: decoding threads. 1 is right in a data loader with several workers.

    Raises:
        DecodeError: the file cannot be read.
        UserError: there is no such backend, or it is not installed.
    """
    reader = BACKENDS.get(backend)
    if reader is None:
        raise UserError(f"unknown video backend {backend!r}; known: {', '.join(sorted(BACKENDS))}")
    try:
        return reader(path, threads=threads)
    except UnsupportedByDecord as error:
        if error.kind not in _TOLD:
            _TOLD.add(error.kind)
            _LOGGER.warning("decord cannot read %s (%s); such files are read with pyav", error.path, error.cause)
    return PyAVReader(path, threads=threads)
