"""Tables of videos and labels: delimiter, header, columns and several labels are told from the table itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import simplejson

from uniformer_video.datasets.csv_text import Row, csv_rows, split_blank
from uniformer_video.datasets.label_columns import (
    LABEL_NAMES,
    PATH_NAMES,
    PLURALS,
    Columns,
    Table,
    key,
    looks_like_file,
)
from uniformer_video.datasets.list_text import short, text_lines
from uniformer_video.runtime.errors import DataError

DELIMITERS = (",", "\t", ";", "|")
"""Tried in this order; where none makes columns, the last blank of each line does."""

_NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "'|'", " ": "blank"}
_SAMPLE = 200  # lines that the delimiter and the columns are told from

# PySlowFast's list of a multi-label set: in `clip.mp4 3,7` the comma stands between labels, not between columns.
_MULTI_LABEL_LINE = re.compile(r".*\.\w{2,5}[ \t]+(?:[0-9]+(?:,[0-9]+)*|-)\s*")


@dataclass(frozen=True, slots=True)
class TableForm:
    """What the user says about a table; None: to be found."""

    delimiter: str | None = None
    has_header: bool | None = None
    label_separator: str | None = None


@dataclass(frozen=True)
class ReadTable:
    """A table's videos: ``(line, path, labels, group, split)``, and how they were read."""

    rows: list[tuple[int, str, tuple[str, ...], str, str]]
    multi_label: bool
    understood: str


def read_table(path: str, text: str, asked: Sequence[str | int | None], form: TableForm) -> ReadTable:
    """Return the videos of a table.

    Args:
        path: the file, for messages.
        text: what it holds.
        asked: the columns of paths, labels, groups and splits as the user names them; None: to be found.
        form: what else the user says.

    Raises:
        DataError: rows of different lengths, broken quotes, no such column, an empty list; with file and line.
    """
    pyslowfast = _is_multi_label_list(path, text, form)
    delimiter = " " if pyslowfast else form.delimiter or _delimiter(path, text, form.label_separator)
    rows = _rows(path, text, delimiter)
    header = None
    if rows and not pyslowfast and _has_header(rows, asked, form):
        header = rows.pop(0)
    if not rows:
        raise DataError(f"{path}: an empty list; write a path and a label for each video")
    _check_widths(path, rows, header)
    where = f"{path}:{header[0] if header else rows[0][0]}"
    table = Table(where, header[1] if header else None, [cells for _, cells in rows[:_SAMPLE]])
    columns = table.columns(*asked)
    if columns.one_hot:
        columns = _checked_one_hot(path, rows, columns)
    several = _Several(columns, table.header, rows, "," if pyslowfast else form.label_separator)
    understood = f"{_NAMES.get(delimiter, short(delimiter))}-separated, {'with a' if header else 'no'} header"
    understood += f", paths in column {table.name(columns.path)}"
    if columns.one_hot:
        understood += f", labels are the names of {len(columns.labels)} columns of 0 and 1"
    else:
        understood += f", labels in {', '.join(table.name(n) for n in columns.labels[:4])}"
        understood += " (several for a video)" if several.multi_label else ""
    for number, what in ((columns.group, "groups"), (columns.split, "splits")):
        understood += f", {what} in {table.name(number)}" if number is not None else ""
    read = [
        (line, cells[columns.path], several.labels(cells), _cell(cells, columns.group), _cell(cells, columns.split))
        for line, cells in rows
    ]
    return ReadTable(read, several.multi_label, understood)


def _cell(cells: list[str], number: int | None) -> str:
    return cells[number] if number is not None else ""


def _is_multi_label_list(path: str, text: str, form: TableForm) -> bool:
    if form.delimiter not in (None, " ") or form.label_separator not in (None, ",") or form.has_header:
        return False
    lines = [line for _, line in text_lines(text)]
    return any("," in line for line in lines) and all(_MULTI_LABEL_LINE.fullmatch(line) for line in lines)


def _delimiter(path: str, text: str, label_separator: str | None) -> str:
    """Return the delimiter that makes the most of the first lines equally long rows of two cells and more."""
    sample = "\n".join(line for _, line in text_lines(text)[:_SAMPLE])
    best, best_share = " ", 0.0
    for delimiter in ("\t", *DELIMITERS) if path.lower().endswith((".tsv", ".tab")) else DELIMITERS:
        if delimiter == label_separator:
            continue
        widths: Counter[int] = Counter()
        with suppress(DataError):  # broken quotes are told by their line once the delimiter is known
            for _, cells in csv_rows(path, sample, delimiter):
                widths[len(cells)] += 1
        many = {width: count for width, count in widths.items() if width > 1}
        share = max(many.values(), default=0) / max(sum(widths.values()), 1)
        if share > best_share:
            best, best_share = delimiter, share
    # A comma in a few of many names is no delimiter.
    return best if best_share > 0.5 or _blankless(sample) else " "


def _blankless(sample: str) -> bool:
    return not any(len(line.split()) > 1 for line in sample.split("\n"))


def _rows(path: str, text: str, delimiter: str) -> list[Row]:
    if delimiter == " ":
        return [split_blank(path, number, line) for number, line in text_lines(text)]
    if len(delimiter) != 1 or delimiter in '"\r\n\0':
        raise DataError(
            f"{path}: the delimiter {short(delimiter)} is none; allowed is one character, such as ',' or a tab"
        )
    return list(csv_rows(path, text, delimiter))


def _has_header(rows: list[Row], asked: Sequence[str | int | None], form: TableForm) -> bool:
    if form.has_header is not None:
        return form.has_header
    first = rows[0][1]
    keys = {key(cell) for cell in first}
    if any(isinstance(word, str) and word and not word.isdigit() and key(word) in keys for word in asked):
        return True
    if any(looks_like_file(cell) for cell in first):
        return False
    if keys & set(PATH_NAMES) or (keys & set(LABEL_NAMES) and len(rows) > 1):
        return True
    # No usual name; but a row without a file above rows with files names the columns.
    below = [cells for _, cells in rows[1:_SAMPLE]]
    return bool(below) and all(any(looks_like_file(cell) for cell in cells) for cells in below)


def _check_widths(path: str, rows: list[Row], header: Row | None) -> None:
    width = len(header[1]) if header else Counter(len(cells) for _, cells in rows[:_SAMPLE]).most_common(1)[0][0]
    if width < 2:
        line, cells = header or rows[0]
        raise DataError(
            f"{path}:{line}: one column only, {short(cells[0])}; a list has a path and a label for each video "
            "(say with --delimiter what stands between them)"
        )
    for line, cells in rows:
        if len(cells) != width:
            other = "header has" if header else "others have"
            raise DataError(
                f"{path}:{line}: {len(cells)} columns where the {other} {width}; put cells that hold the delimiter "
                "into quotes"
            )


def _checked_one_hot(path: str, rows: list[Row], columns: Columns) -> Columns:
    for line, cells in rows:
        wrong = next((cells[n] for n in columns.labels if cells[n] not in ("0", "1")), None)
        if wrong is not None:
            raise DataError(f"{path}:{line}: {short(wrong)} in a column of 0 and 1; name a column with --label-column")
    return columns


class _Several:
    """Takes the labels of a row out of its cells, by the form that the whole table has."""

    def __init__(
        self, columns: Columns, header: list[str] | None, rows: list[Row], label_separator: str | None
    ) -> None:
        self.columns, self.header, self.separator = columns, header or [], label_separator
        cells = [row[columns.labels[0]] for _, row in rows]
        if len(columns.labels) > 1:
            self.form = "one_hot" if columns.one_hot else "columns"
        elif label_separator:
            self.form = "separator"
        elif any(_json_list(cell) is not None for cell in cells):
            self.form = "json"
        elif header and key(header[columns.labels[0]]) in PLURALS and any("|" in cell for cell in cells):
            self.form, self.separator = "separator", "|"
        else:
            self.form = "one"

    @property
    def multi_label(self) -> bool:
        return self.form != "one"

    def labels(self, cells: list[str]) -> tuple[str, ...]:
        found = [cells[number] for number in self.columns.labels]
        if self.form == "one_hot":
            return tuple(self.header[n] for n in self.columns.labels if cells[n] == "1")
        if self.form == "separator":
            # "-" is what a list of `path 3,7` lines has for no label.
            return tuple(w.strip() for w in found[0].split(self.separator) if w.strip()) if found[0] != "-" else ()
        if self.form == "json":
            several = _json_list(found[0])
            return tuple(several) if several is not None else ((found[0],) if found[0] else ())
        return tuple(found) if self.form == "one" else tuple(word for word in found if word)


def _json_list(cell: str) -> list[str] | None:
    """Return the labels of a cell such as ``["run", "jump"]`` or ``[3, 7]``; None where it is no such list."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return None
    try:
        value = simplejson.loads(cell)
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, list) or not all(isinstance(w, (str, int)) and not isinstance(w, bool) for w in value):
        return None
    return [str(word).strip() for word in value]
