"""The quick way through a long list of ``path label`` lines: blocks of lines without anything unusual, many at once.

What is unusual (a blank line, another separator, a label that is no class) is left to the reader of single lines, which
knows all cases and has a message for each mistake.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

SEPARATORS = " ,\t;|:"
"""Separators of lists that have a quick way."""

DIGITS = 6
"""A label of more digits is left to the reader of single lines."""


class PlainLines(NamedTuple):
    """The lines of a block, each as ``folder + name`` and ``label``; folders end in a slash or are empty."""

    folders: Sequence[str]
    names: Sequence[str]
    labels: list[int]


def plain_lines(block: str, separator: str, num_classes: int | None) -> PlainLines | None:
    """Return the lines of a block, or None where any of them is unusual.

    Args:
        block: whole lines, without the last one's end.
        separator: stands between path and label; the last one on a line counts.
        num_classes: labels must be below this; None: any label of up to :data:`DIGITS` digits.
    """
    if len(separator) != 1 or separator not in SEPARATORS:
        return None
    found = _pattern(separator).findall(block)
    if len(found) != block.count("\n") + 1:
        return None
    folders, names, words = zip(*found, strict=True)
    labels = list(map(int, words))
    return None if num_classes is not None and max(labels) >= num_classes else PlainLines(folders, names, labels)


@cache
def _pattern(separator: str) -> re.Pattern[str]:
    # No white space at the ends of the path or beside the separator: then nothing is to be stripped from it.
    # [0-9], not \d: int() and str.isdigit know the digits of other scripts, class numbers do not.
    return re.compile(
        rf"^(?=[^\s\0])((?:[^\n\r\0]*[/\\])?)([^\n\r\0/\\]*[^\s\0/\\]){re.escape(separator)}([0-9]{{1,{DIGITS}}})\r?$",
        re.MULTILINE,
    )
