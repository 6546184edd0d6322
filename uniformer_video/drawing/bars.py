"""Scores as bars of characters, for a terminal."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, TextIO

from uniformer_video.drawing.text import printable

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_PERCENT = len(" 100.0 %")
_SHORTEST_BAR = 8
_WIDEST, _NARROWEST = 100, 20


class BarRow(NamedTuple):
    """One line of a table.

    Attributes:
        name: of the class.
        score: in [0, 1].
        marked: whether a mark stands before it.
        before: what stands before the name and is never cut, such as a time; of one length in all rows of a table.
    """

    name: str
    score: float
    marked: bool = False
    before: str = ""


def bar(share: float, width: int, *, unicode: bool = True) -> str:
    """Return a bar of at most ``width`` characters, ``share`` of it filled, padded with blanks.

    Args:
        share: in [0, 1]; beyond it, and NaN, the nearest end.
        width: characters, at least 1.
        unicode: eighths of a block; False: whole ``#``.
    """
    share = min(max(share, 0.0), 1.0) if share == share else 0.0
    if not unicode:
        return ("#" * round(share * width)).ljust(width)
    whole, part = divmod(round(share * width * 8), 8)
    return ("█" * whole + (_EIGHTHS[part] if part else "")).ljust(width)


def score_lines(rows: Sequence[BarRow], width: int, *, unicode: bool = True) -> list[str]:
    """Return a table of classes, a line each: mark, name, bar, percent.

    Args:
        rows: in the order to show.
        width: columns of the terminal; no line is wider (but for the shortest that can be read).
        unicode: whether the terminal shows more than ASCII.
    """
    width = max(min(width, _WIDEST), _NARROWEST)
    marks = any(row.marked for row in rows)
    indent = "  "
    room = width - len(indent) - 2 * marks - _PERCENT - 2 - max((columns(row.before) for row in rows), default=0)
    room = max(room, 1)
    names = [printable(row.name) if unicode else ascii_only(printable(row.name)) for row in rows]
    # A name gets up to half of what is left, and all of it where a bar would be too short to be one.
    longest = max((columns(name) for name in names), default=0)
    column = min(longest, max(room // 2, 1))
    bars = room - column
    if bars < _SHORTEST_BAR:
        column, bars = room, 0
    lines = []
    for row, name in zip(rows, names, strict=True):
        mark = (("* " if row.marked else "  ") if marks else "") + row.before
        shown = padded(cut_middle(name, column, unicode=unicode), column)
        drawn = f"  {bar(row.score, bars, unicode=unicode)}" if bars else ""
        lines.append(f"{indent}{mark}{shown}{drawn} {100 * row.score:5.1f} %")
    return lines


def cut_middle(text: str, width: int, *, unicode: bool = True) -> str:
    """Return ``text`` with its middle left out where it takes more than ``width`` columns."""
    if columns(text) <= width:
        return text
    gap = "…" if unicode else ".."
    room = max(width - len(gap), 0)
    head = _taken(text, (room + 1) // 2)
    tail = _taken(text[::-1], room // 2)[::-1]
    return f"{head}{gap}{tail}"[: max(width, 0)]


def columns(text: str) -> int:
    """Return how many columns of a terminal ``text`` takes: East Asian characters two, combining ones none."""
    return sum(_columns(character) for character in text)


def padded(text: str, width: int) -> str:
    """Return ``text`` with blanks behind it, up to ``width`` columns."""
    return text + " " * (width - columns(text))


def ascii_only(text: str) -> str:
    """Return ``text`` with a question mark in place of whatever is not ASCII; accents are taken off."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return plain.encode("ascii", "replace").decode("ascii")


def terminal_width(stream: TextIO, default: int = 80) -> int:
    """Return the columns of the terminal that ``stream`` writes to; $COLUMNS, or ``default``, where it is none."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or default
    except (OSError, ValueError, AttributeError):
        return shutil.get_terminal_size((default, 24)).columns


def shows_unicode(stream: TextIO) -> bool:
    """Return whether a stream takes the characters of a bar and an ellipsis."""
    try:
        f"{_EIGHTHS}…".encode(getattr(stream, "encoding", None) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _taken(text: str, width: int) -> str:
    """Return as much of the start of ``text`` as fits into ``width`` columns."""
    used = 0
    for place, character in enumerate(text):
        used += _columns(character)
        if used > width:
            return text[:place]
    return text
