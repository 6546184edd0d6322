"""Which column of a list holds paths, labels, groups and splits: by the usual names, by the user's word, by content."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from uniformer_video.datasets.list_text import short
from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES
from uniformer_video.runtime.errors import DataError

# Best first: of "class" and "class_id" the one that names the class.
PATH_NAMES = (
    *("path", "video_path", "file_path", "filepath", "file", "filename", "file_name", "video_file", "video"),
    *("clip_path", "clip", "video_name", "clip_name", "name", "url", "uri", "video_id", "clip_id", "id"),
)
LABEL_NAMES = (
    *("label", "labels", "class_name", "label_name", "category_name", "class", "classes", "category", "categories"),
    *("action", "actions", "tag", "tags", "target", "targets"),
    *("class_id", "label_id", "category_id", "class_index", "label_index"),
)
GROUP_NAMES = ("group", "group_id", "subject", "subject_id", "source", "source_id", "person", "actor", "participant")
SPLIT_NAMES = ("split", "subset", "partition", "set")

PLURALS = frozenset(("labels", "classes", "categories", "actions", "tags", "targets"))
"""Columns whose cells may hold several labels with ``|`` between them."""


def key(name: str) -> str:
    """Return a column's name as the usual names are written: ``Video Path`` is ``video_path``."""
    return re.sub(r"[\s-]+", "_", name.strip().lower())


def usual(names: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return that of a list's own ``names`` which comes first among the ``wanted`` usual ones; None without one."""
    found = {key(name): name for name in reversed(names)}
    return next((found[word] for word in wanted if word in found), None)


def looks_like_file(text: str) -> bool:
    """Return whether a cell is surely a file: it ends as videos do, or has folders."""
    return os.path.splitext(text)[1].lower() in VIDEO_SUFFIXES or "/" in text or "\\" in text


@dataclass(frozen=True, slots=True)
class Columns:
    """The numbers of a table's columns from 0; ``one_hot``: the labels are the names of the columns that hold a 1."""

    path: int
    labels: tuple[int, ...]
    group: int | None = None
    split: int | None = None
    one_hot: bool = False


class Table:
    """The head and the first rows of a table, asked for its columns.

    Args:
        where: file and line, for messages.
        header: the names of the columns; None: the list has none.
        rows: some rows, all as long as the header.
    """

    def __init__(self, where: str, header: list[str] | None, rows: list[list[str]]) -> None:
        self.where, self.header, self.rows = where, header, rows
        self.width = len(header or rows[0])

    def columns(
        self,
        path_column: str | int | None,
        label_column: str | int | None,
        group_column: str | int | None,
        split_column: str | int | None,
    ) -> Columns:
        """Return the columns: those that the user names (by name, or by number from 1), else those that are found.

        Raises:
            DataError: no such column, or no column that must hold the paths or the labels.
        """
        path = self._asked(path_column, "path")
        label = self._asked(label_column, "label")
        group = self._asked(group_column, "group")
        split = self._asked(split_column, "split")
        taken = {number for number in (path, label, group, split) if number is not None}
        group = self._named(GROUP_NAMES, taken) if group is None else group
        split = self._named(SPLIT_NAMES, taken) if split is None else split
        # What the label column is called is never what the path column is called: labels are found first, so that of
        # `video,name,label` the path is `video`, and of `name,class` the `name`.
        labels = (label,) if label is not None else self._several_labels(taken)
        if not labels:
            found = self._named(LABEL_NAMES, taken)
            labels = (found,) if found is not None else ()
        path = self._named(PATH_NAMES, taken) if path is None else path
        if path is None:
            path = self._path_by_content(taken)
        if labels:
            return Columns(path, labels, group, split)
        rest = [number for number in range(self.width) if number not in taken]
        if len(rest) == 1:
            return Columns(path, (rest[0],), group, split)
        if self.header and len(rest) > 1 and all(row[n] in ("0", "1") for row in self.rows for n in rest):
            return Columns(path, tuple(rest), group, split, one_hot=True)
        raise DataError(f"{self.where}: which column holds the labels? {self._there()}; say so with --label-column")

    def name(self, number: int) -> str:
        """Return a column's name for people."""
        return short(self.header[number]) if self.header else f"{number + 1}"

    def _asked(self, asked: str | int | None, what: str) -> int | None:
        if asked is None or asked == "":
            return None
        keys = [key(name) for name in self.header or []]
        if isinstance(asked, str) and key(asked) in keys:
            return keys.index(key(asked))
        if re.fullmatch("[0-9]{1,6}", str(asked)) and 1 <= int(asked) <= self.width:
            return int(asked) - 1
        raise DataError(
            f"{self.where}: there is no {what} column {short(str(asked))}; {self._there()}; "
            f"name one with --{what}-column, or give its number from 1"
        )

    def _named(self, wanted: Sequence[str], taken: set[int]) -> int | None:
        if self.header is None:
            return None
        free = ["" if number in taken else name for number, name in enumerate(self.header)]
        found = usual(free, wanted)
        if found is None:
            return None
        number = free.index(found)
        taken.add(number)
        return number

    def _several_labels(self, taken: set[int]) -> tuple[int, ...]:
        """Return the columns ``label_1``, ``label_2``, ... (two or more), or the same name several times."""
        stems: dict[str, list[int]] = {}
        for number, name in enumerate(self.header or []):
            stem = re.sub(r"_?[0-9]+$", "", key(name))
            if number not in taken and stem in LABEL_NAMES:
                stems.setdefault(stem, []).append(number)
        several = next((tuple(stems[word]) for word in LABEL_NAMES if len(stems.get(word, ())) > 1), ())
        taken.update(several)
        return several

    def _path_by_content(self, taken: set[int]) -> int:
        free = [number for number in range(self.width) if number not in taken]
        files = {number: sum(looks_like_file(row[number]) for row in self.rows) for number in free}
        best = max(free, key=lambda number: (files[number], -number), default=None)
        # Two columns without a header, and no ending to tell by: the first has the paths, as everywhere.
        if best is None or (not files[best] and (self.header is not None or self.width > 2)):
            raise DataError(f"{self.where}: which column holds the paths? {self._there()}; say so with --path-column")
        taken.add(best)
        return best

    def _there(self) -> str:
        if self.header is None:
            return f"the list has {self.width} columns and no header"
        shown = ", ".join(short(name, 40) for name in self.header[:12])
        return f"its columns are {shown}" + (" ..." if len(self.header) > 12 else "")
