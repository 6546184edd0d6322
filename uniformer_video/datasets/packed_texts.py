"""Many texts in two arrays, which processes can share and no reading writes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np


class PackedTexts(Sequence[str]):
    """Texts in two arrays.

    Args:
        data: uint8, the UTF-8 bytes of all texts.
        ends: unsigned integers ``(N + 1,)``, 0 and the end of each text in ``data``.
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray) -> None:
        self.data, self.ends = data, ends

    def __len__(self) -> int:
        return len(self.ends) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        """Return one text, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self[number] for number in range(*index.indices(len(self)))]
        number = range(len(self))[index]
        return unpacked(self.data[self.ends[number] : self.ends[number + 1]].tobytes())

    def block(self, start: int, stop: int) -> list[str]:
        """Return texts ``start`` to ``stop``, many at once."""
        ends = self.ends[start : stop + 1].astype(np.int64)
        ends = (ends - ends[0]).tolist()
        data = self.data[int(self.ends[start]) : int(self.ends[stop])].tobytes()
        return [unpacked(data[a:b]) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def encoded(text: str) -> bytes:
    """Return the bytes of a text; halves of characters stay, as names on a disk in no known encoding have them."""
    return text.encode("utf-8", "surrogatepass")


def unpacked(data: bytes) -> str:
    """Return the text of :func:`encoded` bytes."""
    return data.decode("utf-8", "surrogatepass")


def narrow_ends(ends: np.ndarray) -> np.ndarray:
    """Return rising numbers in the narrowest type that has them: four bytes, as a rule."""
    return ends.astype(np.uint32 if ends[-1] < 1 << 32 else np.uint64)
