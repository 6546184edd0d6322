"""Opening a video file or address with PyAV: never for ever, and every fault an error about the file."""

from __future__ import annotations

import os
import re

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from uniformer_video.video.reader import DecodeError

OPEN_SECONDS = 30.0
"""How long the server of an address may take to answer, and again to send what is needed to know the streams."""
READ_SECONDS = 60.0
"""How long the server of an address may take over one packet."""


def _open_options(version: str) -> dict[str, str]:
    """Return the further arguments that ``av.open`` of this PyAV version needs.

    A title in an old encoding is no reason to refuse a video. Before PyAV 19 that had to be asked for; since then it is
    the rule, and the argument is gone.
    """
    major = re.match(r"\d+", version)
    return {"metadata_errors": "replace"} if major and int(major[0]) < 19 else {}


_OPEN_OPTIONS = _open_options(av.__version__)


def is_url(path: str) -> bool:
    """Return whether ``path`` is an address that FFmpeg opens itself (http://...), not a file name."""
    return "://" in path


def open_container(path: str) -> InputContainer:
    """Open ``path`` with FFmpeg.

    Reading an address is given up when its server keeps silent (``OPEN_SECONDS``, ``READ_SECONDS``). Files have no such
    limit: where their disk hangs, the operating system itself waits, and a limit could not end that.

    Raises:
        DecodeError: no such file, a folder, empty, no video container, no answer.
    """
    options = dict(_OPEN_OPTIONS)
    if is_url(path):
        options["timeout"] = (OPEN_SECONDS, READ_SECONDS)
        # PyAV's time limits do not hold in a seek; this one of FFmpeg's (microseconds), on every wait, does.
        options["options"] = {"rw_timeout": str(int((OPEN_SECONDS + READ_SECONDS) * 1e6))}
    try:
        if not is_url(path) and os.stat(path).st_size == 0:
            raise DecodeError(path, "the file is empty")
        return av.open(path, **options)
    except (av.error.InvalidDataError, av.error.EOFError):
        raise DecodeError(path, "not a video file, or cut off or damaged so that it cannot be opened") from None
    except av.error.ExitError:
        raise DecodeError(path, f"cannot be opened: {silence(OPEN_SECONDS)}") from None
    except (av.error.FFmpegError, OSError) as error:
        raise DecodeError(path, error.strerror or str(error)) from None


def silence(seconds: float) -> str:
    """Return what to say of a server that was given up after ``seconds``."""
    return f"no answer within {seconds:g} seconds"


def reading_fault(error: OSError) -> str:
    """Return what to say of an error that reading or seeking in an open container raised."""
    if isinstance(error, av.error.ExitError):
        return silence(READ_SECONDS)
    return error.strerror or str(error)


def video_stream(container: InputContainer, path: str, threads: int = 1) -> VideoStream:
    """Return the first video stream that is not a cover picture, its decoder set to so many threads.

    Raises:
        DecodeError: there is none, or FFmpeg has no decoder for it.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            if stream.codec_context is None:
                raise DecodeError(path, "no decoder for its video stream")
            stream.codec_context.thread_count = threads
            return stream
    raise DecodeError(path, "the file has no video stream")
