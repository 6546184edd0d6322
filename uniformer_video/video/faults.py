"""What kind of fault a file has that cannot be read as a video: told from its structure, in a word."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import av

from uniformer_video.video.container import open_container
from uniformer_video.video.matroska import matroska_fault
from uniformer_video.video.reader import DecodeError

KINDS = (
    "missing",
    "unreadable",
    "empty",
    "not a video",
    "no video stream",
    "no decoder",
    "truncated",
    "damaged",
    "timeout",
    "no pictures",
)
"""The words: no such file; not for us to read, or no file at all; zero bytes; other data than video (a text, a single
picture); sound alone; a codec without decoder; the end is missing; some data is wrong; reading took too long; a folder
without pictures, or where it is not clear which."""

_EBML = b"\x1a\x45\xdf\xa3"
# What the first box of an mp4 or mov may be.
_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot")


def kind_of_fault(path: str) -> str:
    """Return why a file that exists, holds bytes and can be opened for reading is no video to us; see ``KINDS``.

    Args:
        path: a file that reading as a video raised DecodeError for.
    """
    try:
        container = open_container(path)
    except DecodeError:
        with open(path, "rb") as file:
            if not _looks_like_video(file.read(12)):
                return "not a video"
        return "truncated" if is_cut_off(path) else "damaged"
    with container:
        if is_no_video(container.format.name):
            return "not a video"
        still = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
        streams = [stream for stream in container.streams.video if not stream.disposition & still]
        if not streams:
            return "no video stream"
        if streams[0].codec_context is None:
            return "no decoder"
    return "truncated" if is_cut_off(path) else "damaged"


def is_no_video(container: str) -> bool:
    """Return whether FFmpeg's name of a container is one of a single picture or of text, which it shows as a video."""
    return container in ("image2", "tty") or container.endswith("_pipe")


def _looks_like_video(head: bytes) -> bool:
    return head[:4] in (_EBML, b"RIFF") or head[4:8] in _FIRST_BOXES


def is_cut_off(path: str) -> bool:
    """Return whether an mp4, mov, mkv, webm or avi ends before it should, by the lengths it tells itself.

    Of other containers, and of files without such lengths, nothing is known: False.
    """
    length = os.path.getsize(path)
    with open(path, "rb") as file:
        head = file.read(12)
        if head[:4] == _EBML:
            return "breaks off" in (matroska_fault(path) or "")
        if head[:4] == b"RIFF":
            return int.from_bytes(head[4:8], "little") + 8 > length
        if head[4:8] not in _FIRST_BOXES:
            return False
        boxes = list(_boxes(file, length))
    # Without the box moov there is no list of frames; it is often the last.
    names = [name for name, _ in boxes]
    return not names or boxes[-1][1] > length or not {b"moov", b"moof"} & set(names)


def _boxes(file: BinaryIO, length: int) -> Iterator[tuple[bytes, int]]:
    """Yield name and end (in bytes from the start) of each outermost box of an mp4 (ISO/IEC 14496-12, section 4.2)."""
    start = 0
    while start + 8 <= length:
        file.seek(start)
        head = file.read(16)
        size = int.from_bytes(head[:4], "big")
        if size == 1:
            size = int.from_bytes(head[8:16], "big")
        end = length if size == 0 else start + size
        yield head[4:8], end
        if end <= start + 7:  # No box is that short: damaged from here on.
            return
        start = end
