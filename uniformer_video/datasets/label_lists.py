"""Lists of videos and class names in whatever form users have them: CSV, TSV, JSON, JSONL.

What is understood:

- Tables with comma, tab, semicolon or a blank (the last one of a line) between the columns, with or without a header.
  Columns are found by their usual names (:mod:`label_columns`), without names by content. A label is one cell. It is
  several labels where a separator is given, where its column is called in the plural (``labels``) and cells hold ``|``,
  where a cell is a JSON list, where there are several label columns (``label_1,label_2``), where the remaining columns
  hold 0 and 1 alone (their names are the labels), and in PySlowFast's ``clip.mp4 3,7``.
- JSON: a list of objects or of ``[path, label]``; an object of path -> label(s) or path -> object; an object with such
  a list as ``videos``, ``data`` or ``annotations``.
- JSONL: an object or a ``[path, label]`` on each line.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uniformer_video.datasets.json_text import JsonEntry, json_entries, text_of
from uniformer_video.datasets.label_columns import GROUP_NAMES, LABEL_NAMES, PATH_NAMES, SPLIT_NAMES, key, usual
from uniformer_video.datasets.label_tables import TableForm, read_table
from uniformer_video.datasets.list_text import check_text, short, text_lines
from uniformer_video.runtime.errors import DataError

INNER = ("videos", "data", "annotations")
"""Members of an object that hold the list."""

_WANTED = (
    'a list of videos in JSON is a list of objects such as {"path": "a.mp4", "label": "run"}, or an object such as '
    '{"a.mp4": "run"}'
)
_TABLE_SUFFIXES = (".csv", ".tsv", ".txt", ".tab")
_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True, slots=True)
class LabelEntry:
    """One video of a list.

    Args:
        path: as the list has it.
        labels: class names (or numbers, as text); one, unless the list has several labels for a video.
        group: what the list says the video shares with others; "" without it.
        split: the list's word for the video's split; "" without it.
        line: where it stands, from 1.
    """

    path: str
    labels: tuple[str, ...]
    group: str
    split: str
    line: int


@dataclass(frozen=True)
class LabelList:
    """A list of videos and their labels.

    Args:
        entries: the videos in the order of the list, at least one.
        multi_label: whether the list's form gives a video any number of labels.
        understood: how the list was read, for a log line.
    """

    entries: list[LabelEntry]
    multi_label: bool
    understood: str


def read_label_list(
    path: str | os.PathLike[str],
    *,
    path_column: str | int | None = None,
    label_column: str | int | None = None,
    group_column: str | int | None = None,
    split_column: str | int | None = None,
    delimiter: str | None = None,
    has_header: bool | None = None,
    label_separator: str | None = None,
) -> LabelList:
    """Return the videos of a CSV, TSV, JSON or JSONL list (see the module for what is understood).

    Args:
        path: the file, UTF-8 with or without a byte order mark.
        path_column: name (any case) or number from 1 of the column with the paths; the key in JSON. None: found.
        label_column: the same for the labels.
        group_column: the same for the groups; None: a column with a usual name, if there is one.
        split_column: the same for the splits.
        delimiter: between two columns; " " is the last blank of a line. None: found.
        has_header: whether the first row names the columns. None: found.
        label_separator: between two labels of a cell or text; None: a cell is one label, but see the module.

    Raises:
        DataError: a file that cannot be read or understood, a video without path or label, an empty list; with file
            and line.
    """
    name = os.fspath(path)
    text = text_of(name, "give a CSV, TSV, JSON or JSONL list of videos and labels")
    asked = (path_column, label_column, group_column, split_column)
    kind = _kind(Path(name).suffix.lower(), text)
    if kind == "table":
        # A shell hands over the two characters that stand for a tab.
        form = TableForm(delimiter.replace("\\t", "\t") if delimiter else None, has_header, label_separator or None)
        table = read_table(name, text, asked, form)
        rows, multi_label, understood = table.rows, table.multi_label, table.understood
    else:
        rows, multi_label, understood = _JsonList(name, text, asked, label_separator).read(kind == "jsonl")
    entries = []
    for line, video, labels, group, split in rows:
        where = f"{name}:{line}"
        if not video:
            raise DataError(f"{where}: no path; each video needs one")
        if not multi_label and (len(labels) != 1 or not labels[0]):
            raise DataError(f"{where}: no label for {short(video)}; each video needs one")
        for word, what in ((video, "the path"), (group, "the group"), (split, "the split")):
            check_text(word, where, what)
        for label in labels:
            check_text(label, where, "the label")
        # A label twice says no more than once.
        entries.append(LabelEntry(video, tuple(dict.fromkeys(word for word in labels if word)), group, split, line))
    if not entries:
        raise DataError(f"{name}: an empty list; write a path and a label for each video")
    return LabelList(entries, multi_label, understood)


def _kind(suffix: str, text: str) -> str:
    start = text.lstrip()[:1]
    if suffix in _JSON_LINES:
        return "jsonl"
    if suffix in _TABLE_SUFFIXES or (suffix != ".json" and start not in ("[", "{")):
        return "table"
    # JSON lines are often named .json: a second line that begins as the first.
    begins = [line.lstrip()[:1] for _, line in text_lines(text[:1_000_000])]
    closed = [line.rstrip()[-1:] for _, line in text_lines(text[:1_000_000])]
    pairs = {"{": "}", "[": "]"}
    lines = len(begins) > 1 and begins[1] == start and closed[0] == pairs.get(start)
    return "jsonl" if lines else "json"


_Read = tuple[int, str, tuple[str, ...], str, str]


class _JsonList:
    """Reads the entries of a JSON list with one way of naming paths, labels, groups and splits."""

    def __init__(self, path: str, text: str, asked: Sequence[str | int | None], label_separator: str | None) -> None:
        self.path, self.text = path, text
        # A column number of a table means nothing here.
        self.asked = [None if word in (None, "") else str(word) for word in asked]
        self.label_separator = label_separator
        self.several = bool(label_separator)

    def read(self, lines: bool) -> tuple[list[_Read], bool, str]:
        form = "JSON lines" if lines else "JSON"
        if lines:
            # In brackets, a line is a list of one; so that also a line with two objects is read.
            parts = (json_entries(self.path, f"[{line}]", _WANTED, (), n) for n, line in text_lines(self.text))
            entries = [entry for part in parts for entry in part]
        else:
            entries = json_entries(self.path, self.text, _WANTED, INNER)
        rows = [self._entry(entry) for entry in entries]
        keys = " and ".join(short(word) for word in self.asked[:2] if word)
        return rows, self.several, form + (f" with {keys}" if keys else "") + (", several labels" * self.several)

    def _entry(self, entry: JsonEntry) -> _Read:
        where, value, video = f"{self.path}:{entry.line}", entry.value, entry.key
        if isinstance(value, dict):
            path_key = self._key(value, 0, PATH_NAMES, where, needed=not video)
            label_key = self._key(value, 1, LABEL_NAMES, where, needed=True)
            group_key = self._key(value, 2, GROUP_NAMES, where, needed=False)
            split_key = self._key(value, 3, SPLIT_NAMES, where, needed=False)
            video = self._word(value[path_key], where, "the path") if path_key is not None else video
            group = self._word(value[group_key], where, "the group", optional=True) if group_key is not None else ""
            split = self._word(value[split_key], where, "the split", optional=True) if split_key is not None else ""
            return entry.line, video.strip(), self._labels(value[label_key], where), group, split
        if not video:
            if not (isinstance(value, list) and len(value) == 2 and isinstance(value[0], str)):
                raise DataError(f"{where}: {short(value)} is no video with a label; {_WANTED}")
            video, value = value
        return entry.line, video.strip(), self._labels(value, where), "", ""

    def _key(self, value: dict[str, Any], role: int, names: Sequence[str], where: str, *, needed: bool) -> str | None:
        what = ("path", "label", "group", "split")[role]
        asked = self.asked[role]
        if asked is not None:
            found = next((name for name in value if key(name) == key(asked)), None)
        else:
            others = {key(word) for word in self.asked if word}
            found = usual([name for name in value if key(name) not in others], names)
        if found is None and (needed or asked is not None):
            there = ", ".join(short(name, 40) for name in list(value)[:12]) or "none"
            wanted = f"key {short(asked)}" if asked else f"{what}"
            raise DataError(f"{where}: no {wanted} among the keys {there}; name the key with --{what}-column")
        return found

    def _labels(self, value: Any, where: str) -> tuple[str, ...]:
        if isinstance(value, list):
            self.several = True
            return tuple(self._word(word, where, "the label") for word in value)
        word = self._word(value, where, "the label", optional=True)
        if self.label_separator:
            return tuple(part.strip() for part in word.split(self.label_separator))
        return (word,)

    def _word(self, value: Any, where: str, what: str, *, optional: bool = False) -> str:
        if value is None and optional:
            return ""
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise DataError(f"{where}: {what} is {short(value)}; it must be a text or a whole number")
        if isinstance(value, float):
            if not value.is_integer():
                raise DataError(f"{where}: {what} is {short(value)}; it must be a text or a whole number")
            value = int(value)
        return value.strip() if isinstance(value, str) else str(value)
