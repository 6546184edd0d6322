"""How a file is damaged: cut off, or one byte changed, at places that are named."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple


class Damage(NamedTuple):
    """A way to damage a file of ``size`` bytes.

    Attributes:
        name: such as ``cut to 100 bytes``.
        do: takes the bytes and returns the damaged ones.
    """

    name: str
    do: Callable[[bytes], bytes]


def cut(length: int) -> Damage:
    """Return the damage of a file that ends after ``length`` bytes; negative: so many bytes before its end."""
    name = f"cut to {length} bytes" if length >= 0 else f"cut by {-length} bytes"
    return Damage(name, lambda content: content[:length])


def flip(place: int, name: str, bit: int = 0) -> Damage:
    """Return the damage of one bit that is changed at a place of the file."""

    def do(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[place] ^= 1 << bit
        return bytes(changed)

    return Damage(f"one bit changed in {name}", do)


def damages_of(path: Path) -> Iterator[Damage]:
    """Yield damages of a checkpoint that is a zip file: every part of it that a reader needs."""
    size = path.stat().st_size
    yield from (cut(0), cut(1), cut(100), cut(size // 2), cut(-1000), cut(-1))
    parts = sorted(parts_of(path).items())
    tensors = [part for name, part in parts if "/data/" in name]
    for where, (start, length) in (("its first tensor", tensors[0]), ("its last tensor", tensors[-1])):
        yield flip(start + length // 2, where)
    start, length = next(part for name, part in parts if name.endswith("/data.pkl"))
    yield flip(start + length // 3, "its pickle")
    # The central directory lies behind the last part; its first entry begins with a signature and has the place of
    # the part, four bytes, at 42.
    directory = directory_of(path)
    yield flip(directory, "the zip directory's signature")
    yield flip(directory + 42, "the zip directory's first offset", bit=2)
    yield flip(size - 22, "the zip directory's end")


def parts_of(path: Path) -> dict[str, tuple[int, int]]:
    """Return where each part of a zip file that stores without packing lies: first byte and length."""
    places = {}
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            head = info.header_offset
            lengths = [int.from_bytes(content[head + at : head + at + 2], "little") for at in (26, 28)]
            if info.file_size:
                places[info.filename] = (head + 30 + sum(lengths), info.file_size)
    return places


def directory_of(path: Path) -> int:
    """Return where the central directory of a zip file begins."""
    with zipfile.ZipFile(path) as archive:
        return archive.start_dir
