"""Is a Matroska (mkv, webm) file whole? FFmpeg skips a gap or a missing end in silence; frame numbers then shift."""

from __future__ import annotations

import os
from os import PathLike
from typing import BinaryIO

_EBML, _SEGMENT, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
# What may stand directly inside a Segment, and inside a Cluster (RFC 9559, sections 5.1 and 5.1.3).
_IN_SEGMENT = {
    _CLUSTER,
    0x114D9B74,  # SeekHead
    0x1549A966,  # Info
    0x1654AE6B,  # Tracks
    0x1C53BB6B,  # Cues
    0x1941A469,  # Attachments
    0x1043A770,  # Chapters
    0x1254C367,  # Tags
    0xEC,  # Void
    0xBF,  # CRC-32
}
_IN_CLUSTER = {
    0xE7,  # Timestamp
    0x5854,  # SilentTracks
    0xA7,  # Position
    0xAB,  # PrevSize
    0xA3,  # SimpleBlock
    0xA0,  # BlockGroup
    0xAF,  # EncryptedBlock
    0xEC,
    0xBF,
}

_LONGEST_HEADER = 16
"""Bytes of an element's name and size, each of 8 at most."""


def matroska_fault(path: str | PathLike[str]) -> str | None:
    """Return what is wrong with the structure of a Matroska file, or None when it is whole.

    Only headers are read, not the pictures. Elements of unknown size (live recordings) are entered, not skipped.

    Args:
        path: a file that is known to be Matroska.

    Raises:
        OSError: the file cannot be opened.
    """
    # Read, not mapped: a disk that hangs under a mapped file would stop all threads of the process.
    with open(path, "rb") as file:
        return _walk(file, os.fstat(file.fileno()).st_size)


def _walk(file: BinaryIO, length: int) -> str | None:
    position, in_segment, end = 0, False, length
    while position < end:
        file.seek(position)
        header = file.read(_LONGEST_HEADER)
        try:
            name, width = _number(header, 0, keep_marker=True)
            size, width = _number(header, width, keep_marker=False)
            at = position + width
        except IndexError:
            return "the file breaks off in the middle of an element's header"
        except ValueError:
            return f"damaged at byte {position}"
        if not in_segment:
            if name not in (_EBML, _SEGMENT):
                return f"damaged at byte {position}"
            if name == _SEGMENT:
                # What follows the segment is none of FFmpeg's business, nor ours.
                in_segment, end = True, length if size is None else at + size
        elif name not in _IN_SEGMENT and name not in _IN_CLUSTER:
            # After a segment of unknown size a second file may begin; there this check stops.
            return None if name == _EBML else f"damaged at byte {position}"
        if size is not None and at + size > length:
            return f"the file breaks off: {length} bytes of {at + size}"
        # Segments and clusters are entered; everything else is stepped over.
        entered = name in (_SEGMENT, _CLUSTER)
        if size is None and not entered:
            return f"damaged at byte {position}"
        position = at if entered else at + size
    return None


def _number(data: bytes, position: int, keep_marker: bool) -> tuple[int | None, int]:
    """Return the variable-length number at ``position`` (None: "unknown") and the position after it.

    Raises:
        IndexError: the data ends before it does.
        ValueError: no number begins with this byte.
    """
    first = data[position]
    width = 9 - first.bit_length()
    if width > 8:
        raise ValueError(position)
    if position + width > len(data):
        raise IndexError(position)
    value = int.from_bytes(data[position : position + width], "big")
    if keep_marker:
        return value, position + width
    value &= (1 << 7 * width) - 1
    return (None if value == (1 << 7 * width) - 1 else value), position + width
