"""Rows of CSV files of other people: each with its line, and every fault of the file as one line of message."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator

from uniformer_video.datasets.list_text import short
from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES
from uniformer_video.runtime.errors import DataError

_ENDING = re.compile(r"\.\w{2,5}(?=\s)")
_NUMBERS = re.compile(r"[-+.,\d]+(?:\s+[-+.,\d]+)+")

Row = tuple[int, list[str]]
"""The line that a row begins on, from 1, and its cells without the blanks around them."""


def csv_rows(path: str | os.PathLike[str], text: str, delimiter: str = ",") -> Iterator[Row]:
    """Yield the rows of a CSV text that are not blank. Quoted cells may hold delimiters and line ends.

    Args:
        path: the file, for messages.
        text: what it holds.
        delimiter: one character.

    Raises:
        DataError: quotes that do not close, or a cell of more than 131,072 characters.
    """
    # strict: a quote that does not close would otherwise swallow the rest of the list without a word.
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    line = 1
    while True:
        try:
            cells = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"{path}:{line}: not CSV ({error}); check the quotes of this line") from None
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]
        line = rows.line_num + 1


def first_cells(text: str, delimiter: str = ",") -> list[str]:
    """Return the cells of the first line that is not blank, in lower case; [] where there are none to be read."""
    line = next((line for line in text[:100_000].splitlines() if line.strip()), "")
    try:
        return [cell.strip().lower() for _, cells in csv_rows("", line, delimiter) for cell in cells]
    except DataError:
        return []


def split_blank(path: str | os.PathLike[str], line: int, text: str) -> Row:
    """Return a line as two cells, path and label. Either may stand in quotes.

    The blank behind a video's ending divides, so that a label may hold blanks, else the last one, so that a path may.

    Raises:
        DataError: no blank between two words, or several numbers behind a video (`v.avi 120 3`: which is the label?).
    """
    text = text.strip()
    if '"' in text:
        try:
            rows = [cells for _, cells in csv_rows(path, text, " ")]
        except DataError:
            rows = []
        if len(rows) == 1 and len(rows[0]) == 2:
            return line, rows[0]
    ends = [m.end() for m in _ENDING.finditer(text) if m[0].lower() in VIDEO_SUFFIXES]
    label = text[ends[0] :].strip() if len(ends) == 1 else ""
    if label and "/" not in label.split()[0]:  # else an ending is that of a folder
        if _NUMBERS.fullmatch(label):
            raise DataError(
                f"{path}:{line}: {short(label)} behind the video is several numbers; a line has a path and a label, "
                "several labels as 1,2"
            )
        return line, [text[: ends[0]], label]
    words = text.rsplit(None, 1)
    if len(words) != 2:
        raise DataError(f"{path}:{line}: no label after a blank in {short(text)}; a list has a path and a label a line")
    return line, [words[0].strip(), words[1]]
