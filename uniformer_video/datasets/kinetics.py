"""PySlowFast's lists: ``train.csv``, ``val.csv``, ``test.csv`` with a ``path label`` on each line.

In a multi-label set a line is ``path 3,7``: class numbers without blanks between them, ``-`` for none. Where the
separator of the list is a comma, a ``|`` stands between the numbers.
"""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

from uniformer_video.datasets.list_text import (
    MAX_CLASSES,
    check_text,
    is_folder,
    read_text,
    short,
    text_blocks,
    text_lines,
    whole_number,
)
from uniformer_video.datasets.plain_lines import plain_lines
from uniformer_video.datasets.record_table import RecordTable, RecordTableBuilder
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.memory import trim_heap

logger = get_logger(__name__)

# Enough to tell a wrong prefix from a few lost files, and quick on a network drive.
PROBED_FILES = 50

NO_LABELS = "-"
"""What a list of a multi-label set has in place of labels for a video of no class."""

_SEPARATORS = (",", "\t", ";", " ")  # what a list may have in place of the one that is set


def read_kinetics(
    data_dir: str,
    split: str,
    *,
    num_classes: int | None,
    separator: str = " ",
    prefix: str = "",
    multi_label: bool = False,
) -> RecordTable:
    """Return the records of ``data_dir/<split>.csv``.

    Args:
        data_dir: folder of the lists.
        split: ``train``, ``val`` or ``test``.
        num_classes: labels must be from 0 to this less one; None: any from 0.
        separator: stands between path and label; the last one on a line counts.
        prefix: folder of relative paths; empty: the folder of the list, or the working directory where the first path
            is found only there.
        multi_label: a line has any number of labels, and a record a tuple of them.

    Raises:
        DataError: no such folder or list, an empty list, a header, a line without a label, a label outside the classes
            or twice on a line (with file and line), or a list none of whose first files exists.
    """
    path = list_folder(data_dir) / f"{split}.csv"
    records = read_path_label_list(
        path, num_classes=num_classes, separator=separator, prefix=prefix, multi_label=multi_label
    )
    if split == "test":
        warn_of_one_label(path, records, separator)
    return records


def list_folder(data_dir: str) -> Path:
    """Return ``DATA.PATH_TO_DATA_DIR`` as a folder that exists.

    Raises:
        DataError: it is not set, or no folder.
    """
    way_out = (
        "to the folder that holds train.csv, val.csv and test.csv, such as tools/prepare_dataset.py makes of your "
        "videos (`make demo` shows the toolkit on generated ones)"
    )
    if not data_dir:
        raise DataError(f"DATA.PATH_TO_DATA_DIR is not set; set it {way_out}")
    if not is_folder(data_dir):
        raise DataError(f"DATA.PATH_TO_DATA_DIR {data_dir!r} is no folder; set it {way_out}")
    return Path(data_dir)


def read_path_label_list(
    path: Path, *, num_classes: int | None, separator: str = " ", prefix: str = "", multi_label: bool = False
) -> RecordTable:
    """Return the records of a list with a ``path label`` on each line; arguments and errors as :func:`read_kinetics`'s.

    Args:
        path: the list.
        num_classes: labels must be from 0 to this less one; None: any from 0.
        separator: stands between path and label.
        prefix: folder of relative paths.
        multi_label: a line has any number of labels.
    """
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such list; write one with a `{_form(separator)}` on each line") from None
    builder = RecordTableBuilder()
    root: str | None = None
    folders: dict[str, str] = {}
    for number, block in text_blocks(text):
        plain = None if multi_label else plain_lines(block, separator, num_classes)
        if plain is None:
            lines = text_lines(block, number)
            entries = [parse_line(path, n, line, separator, num_classes, multi_label) for n, line in lines]
            if entries and root is None:
                root = list_root(path.parent, entries[0][0], prefix)
            for name, label in entries:
                builder.add(video_path(root, name), label)
            continue
        if root is None:
            root = list_root(path.parent, plain.folders[0] + plain.names[0], prefix)
        for folder in dict.fromkeys(plain.folders):
            folders.setdefault(folder, video_path(root, f"{folder}x")[:-1])
        builder.add_many([folders[folder] for folder in plain.folders], plain.names, plain.labels)
    if not len(builder):
        raise DataError(f"{path}: an empty list; write one with a `{_form(separator)}` on each line")
    records = builder.finish()
    del text, builder
    trim_heap()  # before worker processes get a copy of what is left between the records
    _probe(path, records, prefix)
    return records


def warn_of_one_label(path: Path, records: RecordTable, separator: str = " ") -> None:
    """Say in the log that all videos of a test list have one label, as placeholders have."""
    if len(records) > 1 and records.has_one_label():
        label = label_text(records[0].labels, separator)
        logger.warning("%s: all %d labels are %s; the accuracy will say little", path, len(records), label)


def label_text(labels: tuple[int, ...], separator: str = " ") -> str:
    """Return labels of one video as a multi-label list writes them: ``3,7``, or ``-`` for none."""
    return _joiner(separator).join(map(str, labels)) or NO_LABELS


def parse_line(
    path: Path, number: int, line: str, separator: str, num_classes: int | None, multi_label: bool
) -> tuple[str, int | tuple[int, ...]]:
    """Return path and label(s) of one line of a list; arguments and errors as :func:`read_path_label_list`'s."""
    where = f"{path}:{number}"
    # A list made on Windows or by hand may end a line in blanks; a separator of blanks must not be lost with them.
    stripped = line.strip() if separator.strip() else line.strip(" \t\r")
    name, found, label = stripped.rpartition(separator)
    name, label = name.strip(), label.strip()
    if not found or not name or not label:
        what = "path before" if found and label else "label after"
        other = next((s for s in _SEPARATORS if s != separator and s in stripped), None)
        if number == 1 and other and not any(c.isdigit() for c in stripped.rpartition(other)[2]):
            raise DataError(_header(where, line, separator))
        wanted = f"; a list is `{_form(separator)}` lines"
        raise DataError(f"{where}: no {what} a {separator!r} in {short(line)}{_hint(other) or wanted}")
    check_text(name, where, "the path")
    if multi_label:
        return name, _labels(where, line, name, label, separator, num_classes)
    return name, _label(where, line, stripped, label, separator, num_classes)


def _label(where: str, line: str, stripped: str, label: str, separator: str, num_classes: int | None) -> int:
    value = whole_number(label)
    if value is not None:
        return check_label(value, where, num_classes)
    if where.endswith(":1") and not any(c.isdigit() for c in label) and label != NO_LABELS:
        raise DataError(_header(where, line, separator))
    several = label.split(_joiner(separator))
    if label == NO_LABELS or (len(several) > 1 and None not in map(whole_number, several)):
        raise DataError(
            f"{where}: labels {label!r} are those of a multi-label set; set DATA.MULTI_LABEL True, or write one label"
        )
    other = next((s for s in _SEPARATORS if s != separator and stripped.rpartition(s)[2].strip().isdigit()), None)
    raise DataError(
        f"{where}: label {short(label)} is no whole number; a list is `{_form(separator)}` lines{_hint(other)}"
    )


def _labels(where: str, line: str, name: str, text: str, separator: str, num_classes: int | None) -> tuple[int, ...]:
    joiner = _joiner(separator)
    if name.endswith(joiner):
        raise DataError(f"{where}: a blank between the labels of {short(line)}; write them as 3{joiner}7")
    if text == NO_LABELS:
        return ()
    values: list[int] = []
    for word in text.split(joiner):
        value = whole_number(word.strip())
        if value is None:
            if where.endswith(":1") and not any(c.isdigit() for c in text):
                raise DataError(_header(where, line, separator))
            raise DataError(
                f"{where}: label {short(word)} of {short(text)} is no whole number; labels are written as "
                f"3{joiner}7, no label as {NO_LABELS}"
            )
        if check_label(value, where, num_classes) in values:
            raise DataError(f"{where}: label {value} twice in {short(text)}; write each label once")
        values.append(value)
    return tuple(sorted(values))


def check_label(value: int, where: str, num_classes: int | None) -> int:
    """Return a class number that is one.

    Args:
        value: the number.
        where: file and line.
        num_classes: number of classes; None: no more than :data:`MAX_CLASSES`.

    Raises:
        DataError: outside the classes.
    """
    if num_classes is None and not 0 <= value < MAX_CLASSES:
        raise DataError(f"{where}: label {value} is outside 0 to {MAX_CLASSES - 1}; a label is a class number from 0")
    if num_classes is not None and not 0 <= value < num_classes:
        raise DataError(
            f"{where}: label {value} is outside 0 to {num_classes - 1} (MODEL.NUM_CLASSES {num_classes}); "
            "correct the one or the other"
        )
    return value


def _joiner(separator: str) -> str:
    """Return what stands between the labels of one video: what the list's separator is not."""
    return "|" if "," in separator else ","


def _header(where: str, line: str, separator: str) -> str:
    return f"{where}: {short(line)} looks like a header; remove it (a list is `{_form(separator)}` lines alone)"


def _form(separator: str) -> str:
    # Written out: a tab itself would show as a blank.
    return repr(f"path{separator}label")[1:-1]


def _hint(other: str | None) -> str:
    return f"; if {other!r} separates them, set DATA.PATH_LABEL_SEPARATOR {other!r}" if other else ""


def list_root(folder: Path, first: str, prefix: str) -> str:
    """Return the folder of a list's relative paths.

    Args:
        folder: folder of the list.
        first: first path of the list.
        prefix: ``DATA.PATH_PREFIX``, which comes first; empty: ``folder``, or the working directory where the first
            path is found only there.
    """
    if prefix:
        return prefix
    # os.path: a line too long for a file name does not exist, where Path would raise.
    if not os.path.exists(folder / first) and os.path.exists(first):
        return ""
    return str(folder)


def video_path(root: str, name: str) -> str:
    """Return where a listed video lies: below ``root`` a relative path, an address as it is."""
    return name if "://" in name else os.path.join(root, name)


def _probe(path: Path, records: RecordTable, prefix: str) -> None:
    local = [r.path for r in islice(records, PROBED_FILES) if "://" not in r.path]
    if local and not any(os.path.exists(p) for p in local):
        is_now = f"it is {prefix!r}" if prefix else "it is not set"
        raise DataError(
            f"{path}: none of its first {len(local)} videos exists, for example {local[0]}; correct the list or set "
            f"DATA.PATH_PREFIX ({is_now})"
        )
