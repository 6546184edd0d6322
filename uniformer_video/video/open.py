"""Opening a video with the backend a user names."""

from __future__ import annotations

from collections.abc import Callable

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.decord import DecordReader
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import VideoReader

BACKENDS: dict[str, Callable[..., VideoReader]] = {"pyav": PyAVReader, "decord": DecordReader}
"""The readers by name. decord itself is imported when its reader is first made."""


def open_video(path: str, backend: str = "pyav", threads: int = 1) -> VideoReader:
    """Open a video file.

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
    return reader(path, threads=threads)
