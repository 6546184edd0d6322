"""Opening a video file or address with PyAV: never for ever, and every fault an error about the file."""

from __future__ import annotations

import os
import re
import stat

import av
from av.container import InputContainer
from av.video.stream import VideoStream

from uniformer_video.video.reader import DecodeError

OPEN_SECONDS = 30.0
"""How long the server of an address may take to answer, and again to send what is needed to know the streams."""
READ_SECONDS = 60.0
"""How long the server of an address may take over one packet."""
MAX_PICTURE_PIXELS = 2**26
"""The largest picture that is decoded: 8192x8192 pixels, twice what 8K video has. A few bytes of a file can ask for
far more (30000x30000 is 2.7 GB as RGB), and a process that takes more memory than there is gets killed."""
READING_FAULTS = (av.error.FFmpegError, OSError, IndexError, ValueError, OverflowError, MemoryError)
"""What PyAV raises about a file: besides FFmpeg's errors those of its own about senseless numbers in it, and about
streams that come up in its middle. DecodeError is none of these (no ValueError) on purpose: what catches them would
otherwise put its own words in place of a cause already found."""
_KINDS = (
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class NoDecoderError(DecodeError):
    """A sound file that this FFmpeg has no decoder for; another reader's may have one."""


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
    limit here: where their disk hangs, the operating system itself waits. A limit for all is in ``watch``.

    Raises:
        DecodeError: no such file, a folder, a pipe or device, empty, no video container, no answer.
    """
    options = dict(_OPEN_OPTIONS)
    if is_url(path):
        options["timeout"] = (OPEN_SECONDS, READ_SECONDS)
        # PyAV's time limits do not hold in a seek; this one of FFmpeg's (microseconds), on every wait, does.
        options["options"] = {"rw_timeout": str(int((OPEN_SECONDS + READ_SECONDS) * 1e6))}
    try:
        if not is_url(path):
            _check_file(path)
        return av.open(path, **options)
    except (av.error.InvalidDataError, av.error.EOFError):
        raise DecodeError(path, "not a video file, or cut off or damaged so that it cannot be opened") from None
    except av.error.ExitError:
        raise DecodeError(path, f"cannot be opened: {silence(OPEN_SECONDS)}") from None
    except READING_FAULTS as error:
        raise DecodeError(path, _text(error)) from None


def _check_file(path: str) -> None:
    """Refuse what is no file with bytes in it, before it is opened: opening a pipe would wait for its other end."""
    status = os.stat(path)
    kind = next((name for is_kind, name in _KINDS if is_kind(status.st_mode)), "")
    if kind:
        raise DecodeError(path, f"not a regular file but {kind}")
    if stat.S_ISREG(status.st_mode) and status.st_size == 0:
        raise DecodeError(path, "the file is empty")


def silence(seconds: float) -> str:
    """Return what to say of a server that was given up after ``seconds``."""
    return f"no answer within {seconds:g} seconds"


def reading_fault(error: Exception) -> str:
    """Return what to say of one of ``READING_FAULTS`` that reading or seeking in an open container raised."""
    if isinstance(error, av.error.ExitError):
        return silence(READ_SECONDS)
    return _text(error)


def _text(error: Exception) -> str:
    if isinstance(error, IndexError):
        return "a stream of which its beginning says nothing comes up in its middle"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def video_stream(container: InputContainer, path: str, threads: int = 1) -> VideoStream:
    """Return the first video stream that is no cover picture or thumbnail, its decoder set to so many threads.

    Raises:
        DecodeError: there is none, or its pictures are larger than ``MAX_PICTURE_PIXELS``.
        NoDecoderError: FFmpeg has no decoder for it.
    """
    still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    stream = next((stream for stream in container.streams.video if not stream.disposition & still), None)
    if stream is None:
        raise DecodeError(path, "the file has no video stream")
    codec = stream.codec_context
    if codec is None:
        raise NoDecoderError(path, "no decoder for its video stream")
    if codec.width * codec.height > MAX_PICTURE_PIXELS:
        limit = f"at most {MAX_PICTURE_PIXELS} pixels (8192x8192) are read"
        raise DecodeError(path, f"its pictures are said to be {codec.width}x{codec.height}; {limit}")
    codec.thread_count = threads
    # For pictures that turn out larger than the header says.
    codec.options = {"max_pixels": str(MAX_PICTURE_PIXELS)}
    return stream
