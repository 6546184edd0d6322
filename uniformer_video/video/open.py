"""Opening a video with the backend a user names, or the one that measured best."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.memory import trim_heap
from uniformer_video.video.container import NoDecoderError
from uniformer_video.video.decord import DecordReader, import_decord
from uniformer_video.video.fallback import UnsupportedByBackendError, tell_once
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import VideoReader
from uniformer_video.video.torchcodec import TorchcodecReader, import_torchcodec
from uniformer_video.video.watch import TimedReader

BACKENDS: dict[str, Callable[..., VideoReader]] = {
    "pyav": PyAVReader,
    "decord": DecordReader,
    "torchcodec": TorchcodecReader,
}
"""The readers by name. decord and torchcodec themselves are imported when their readers are first made."""
AUTO = "auto"
"""The name of the choice by measurement (see :func:`open_video`)."""


def open_video(path: str, backend: str = AUTO, threads: int = 1) -> VideoReader:
    """Open a video file.

    ``auto`` is PyAV, by measurement (`tools/benchmark.py readers`, one thread): over ten real files that all can read,
    decord 0.6 took 1.3 to 1.4 times as long and torchcodec 0.17 1.04 (a clip) to 1.3 times (all frames), both vetted
    with PyAV first, without which they would not be exact. And PyAV alone is exact for every kind of file. Where its
    FFmpeg has no decoder for a file, torchcodec takes it if it is installed.

    What decord and torchcodec cannot read as PyAV does (see
    :class:`~uniformer_video.video.fallback.UnsupportedByBackendError`) is read with PyAV, so that the choice of backend
    decides about speed, never about frames; the log says so once for each kind of file.

    Args:
        path: the file.
        backend: ``auto`` or a name in ``BACKENDS``.
        threads: decoding threads. 1 is right in a data loader with several workers.

    Raises:
        DecodeError: the file cannot be read.
        UserError: there is no such backend, or it is not installed.
    """
    if backend == AUTO:
        return _open_auto(path, threads)
    reader = BACKENDS.get(backend)
    if reader is None:
        raise UserError(f"unknown video backend {backend!r}; known: {', '.join([AUTO, *sorted(BACKENDS)])}")
    try:
        return reader(path, threads=threads)
    except UnsupportedByBackendError as error:
        given_way = error
    opened = PyAVReader(path, threads=threads)
    tell_once(backend, given_way, given_way.kind)
    return opened


def _open_auto(path: str, threads: int) -> VideoReader:
    try:
        return PyAVReader(path, threads=threads)
    except NoDecoderError as error:
        missing = error
    try:
        reader = TorchcodecReader(path, threads=threads)
    except UserError:  # not installed
        raise missing from None
    tell_once("pyav", missing, missing.cause, "torchcodec")
    return reader


def check_backend(backend: str) -> None:
    """Raise what is wrong with a backend's name or installation, before any file is opened.

    Out of a worker process it would come with a traceback.

    Raises:
        UserError: there is no such backend, or it is not installed.
    """
    if backend not in (AUTO, *BACKENDS):
        raise UserError(f"unknown video backend {backend!r}; known: {', '.join([AUTO, *sorted(BACKENDS)])}")
    imports = {"decord": import_decord, "torchcodec": import_torchcodec}
    if backend in imports:
        imports[backend]()


TRIM_PERIOD = 50
"""Videos opened by a process between two times that it gives back unused memory."""
_OPENINGS = itertools.count(1)


@dataclass(frozen=True)
class VideoOpener:
    """Opens every video of a data set alike; can be sent to worker processes.

    Args:
        backend: ``auto`` or a name in ``BACKENDS``.
        threads: decoding threads.
        timeout_seconds: how long opening a video and reading its frames may take together; 0 for no limit. See
            :class:`~uniformer_video.video.watch.TimedReader`.
        target_fps: above 0, videos are resampled in time to this rate.
        image_template: names of the pictures in a folder of frames, such as ``img_{:05d}.jpg``; empty: told from its
            files.
        image_fps: frame rate of such folders.
    """

    backend: str = AUTO
    threads: int = 1
    timeout_seconds: float = 0.0
    target_fps: float = 0.0
    image_template: str = ""
    image_fps: float = 12.0

    def __call__(self, path: str) -> VideoReader:
        """Open a video file or a folder of frames.

        Raises:
            DecodeError: it cannot be read, or not in time.
            UserError: there is no such backend, or it is not installed.
        """
        if next(_OPENINGS) % TRIM_PERIOD == 0:
            trim_heap()
        reader: VideoReader
        if self.timeout_seconds > 0:
            reader = TimedReader(path, lambda: self._open(path), self.timeout_seconds)
        else:
            reader = self._open(path)
        if self.target_fps > 0:
            from uniformer_video.video.resample import ResampledReader

            reader = ResampledReader(reader, self.target_fps)
        return reader

    def _open(self, path: str) -> VideoReader:
        if os.path.isdir(path):
            from uniformer_video.video.frames import FrameFolderReader

            return FrameFolderReader(path, self.image_template, self.image_fps)
        return open_video(path, self.backend, self.threads)
