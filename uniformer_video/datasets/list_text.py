"""The text of a list: read as UTF-8, cut for a message, its numbers, and the paths that no system could open."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from uniformer_video.runtime.errors import DataError

# No set has more; a larger "label" is an id in the wrong column, and would make a head that fits no memory.
MAX_CLASSES = 1_000_000

# Letters of a list that are cut into lines at once: enough to be quick, and few enough to be no memory.
_BLOCK = 1 << 18

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def read_text(path: str | os.PathLike[str]) -> str:
    """Return the text of a UTF-8 file, with or without a byte order mark.

    Raises:
        FileNotFoundError: no such file; what then is the caller's to say.
        DataError: a file that cannot be read, or is no UTF-8 text.
    """
    try:
        # newline="": a quoted field of a CSV keeps its line ends; the readers of lines strip them.
        with open(path, encoding="utf-8-sig", newline="") as file:
            return file.read()
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: cannot be read as UTF-8 text ({error}); save the file as UTF-8 text and try again"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None


def text_lines(text: str, first: int = 1) -> list[tuple[int, str]]:
    """Return ``(line number, line)`` of the lines that are not blank, without line ends of any system.

    Not by splitlines(): a path may hold what Unicode, but no file system, takes for a line's end.

    Args:
        text: the lines.
        first: number of the first line.
    """
    return [(number, line.rstrip("\r")) for number, line in enumerate(text.split("\n"), first) if line.strip()]


def text_blocks(text: str) -> Iterator[tuple[int, str]]:
    """Yield ``(number of its first line from 1, block)``: whole lines, some thousands of them, without the last end."""
    start, line = 0, 1
    while start < len(text):
        end = text.find("\n", start + _BLOCK)
        end = len(text.removesuffix("\n")) if end < 0 else end
        yield line, (block := text[start:end])
        line += block.count("\n") + 1
        start = end + 1


def short(value: object, length: int = 80) -> str:
    """Return ``repr(value)`` of a foreign text or value, cut where it is longer than ``length``."""
    if isinstance(value, str):
        return repr(value if len(value) <= length else value[: length - 3] + "...")
    text = type(value).__name__ if isinstance(value, (dict, list)) else repr(value)
    return text if len(text) <= length else text[: length - 3] + "..."


def whole_number(text: str) -> int | None:
    """Return the number that ``text`` writes in decimal digits, such as ``7``, ``+7``, ``-7`` or ``007``; else None."""
    return int(text) if _WHOLE.fullmatch(text) else None


def check_text(text: str, where: str, what: str) -> str:
    """Return ``text``, which no file and no screen can refuse: without NUL and without halves of a character.

    Raises:
        DataError: naming ``where`` and ``what`` it is ("the path").
    """
    if "\0" in text:
        raise DataError(f"{where}: {what} {short(text)} holds a NUL character; remove it")
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise DataError(f"{where}: {what} {short(text)} holds half of a character (a lone surrogate)") from None
    return text


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is a folder; False also for what cannot be a path at all."""
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):
        return False


def is_file(path: str | os.PathLike[str]) -> bool:
    """Return whether ``path`` is a file; False also for what cannot be a path at all."""
    try:
        return Path(path).is_file()
    except (OSError, ValueError):
        return False
