"""PySlowFast's lists: ``train.csv``, ``val.csv``, ``test.csv`` with a ``path label`` on each line."""

from __future__ import annotations

import os
from pathlib import Path

from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)

# Enough to tell a wrong prefix from a few lost files, and quick on a network drive.
PROBED_FILES = 50

_SEPARATORS = (",", "\t", ";", " ")  # what a list may have in place of the one that is set


def read_kinetics(
    data_dir: str, split: str, *, num_classes: int, separator: str = " ", prefix: str = ""
) -> list[VideoRecord]:
    """Return the records of ``data_dir/<split>.csv``.

    Args:
        data_dir: folder of the lists.
        split: ``train``, ``val`` or ``test``.
        num_classes: labels must be from 0 to this less one.
        separator: stands between path and label; the last one on a line counts.
        prefix: folder of relative paths; empty: the folder of the list, or the working directory where the first path
            is found only there.

    Raises:
        DataError: no such folder or list, an empty list, a header, a line without a label, a label outside the classes
            (with file and line), or a list none of whose first files exists.
    """
    if not data_dir:
        raise DataError(
            "DATA.PATH_TO_DATA_DIR is not set; set it to the folder that holds train.csv, val.csv and test.csv "
            "(`make demo` shows the toolkit on generated videos)"
        )
    folder = Path(data_dir)
    if not folder.is_dir():
        raise DataError(
            f"DATA.PATH_TO_DATA_DIR {data_dir!r} is no folder; set it to the one that holds train.csv, val.csv and "
            "test.csv (`make demo` shows the toolkit on generated videos)"
        )
    path = folder / f"{split}.csv"
    try:
        # Not splitlines(): a path may hold what Unicode, but no file system, takes for a line's end.
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except FileNotFoundError:
        raise DataError(f"{path}: no such list; write one with a `{_form(separator)}` on each line") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    entries = [_parse(path, n, line, separator, num_classes) for n, line in enumerate(lines, 1) if line.strip()]
    if not entries:
        raise DataError(f"{path}: an empty list; write one with a `{_form(separator)}` on each line")
    root = _root(folder, entries[0][0], prefix)
    records = [VideoRecord(name if "://" in name else os.path.join(root, name), label) for name, label in entries]
    _probe(path, records, prefix)
    if split == "test" and len(records) > 1 and len({r.label for r in records}) == 1:
        logger.warning("%s: all %d labels are %d; the accuracy will say little", path, len(records), records[0].label)
    return records


def _parse(path: Path, number: int, line: str, separator: str, num_classes: int) -> tuple[str, int]:
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
        raise DataError(f"{where}: no {what} a {separator!r} in {_short(line)}{_hint(other) or wanted}")
    try:
        value = int(label)
    except ValueError:
        if number == 1 and not any(c.isdigit() for c in label):
            raise DataError(_header(where, line, separator)) from None
        other = next((s for s in _SEPARATORS if s != separator and stripped.rpartition(s)[2].strip().isdigit()), None)
        raise DataError(
            f"{where}: label {label!r} is no whole number; a list is `{_form(separator)}` lines{_hint(other)}"
        ) from None
    if not 0 <= value < num_classes:
        raise DataError(
            f"{where}: label {value} is outside 0 to {num_classes - 1} (MODEL.NUM_CLASSES {num_classes}); "
            "correct the one or the other"
        )
    return name, value


def _header(where: str, line: str, separator: str) -> str:
    return f"{where}: {_short(line)} looks like a header; remove it (a list is `{_form(separator)}` lines alone)"


def _form(separator: str) -> str:
    # Written out: a tab itself would show as a blank.
    return repr(f"path{separator}label")[1:-1]


def _hint(other: str | None) -> str:
    return f"; if {other!r} separates them, set DATA.PATH_LABEL_SEPARATOR {other!r}" if other else ""


def _short(line: str) -> str:
    return repr(line if len(line) <= 80 else line[:77] + "...")


def _root(folder: Path, first: str, prefix: str) -> str:
    if prefix:
        return prefix
    # os.path: a line too long for a file name does not exist, where Path would raise.
    if not os.path.exists(folder / first) and os.path.exists(first):
        return ""
    return str(folder)


def _probe(path: Path, records: list[VideoRecord], prefix: str) -> None:
    local = [r.path for r in records[:PROBED_FILES] if "://" not in r.path]
    if local and not any(os.path.exists(p) for p in local):
        is_now = f"it is {prefix!r}" if prefix else "it is not set"
        raise DataError(
            f"{path}: none of its first {len(local)} videos exists, for example {local[0]}; correct the list or set "
            f"DATA.PATH_PREFIX ({is_now})"
        )
