"""The folder of a prepared set: whose it is, and writing into it so that nothing is half there."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uniformer_video.prepare.prepared import Bad, PreparedSet, describe, list_line, listed_path
from uniformer_video.prepare.probe_all import CACHE_FILE
from uniformer_video.prepare.sources import SPLITS
from uniformer_video.runtime.errors import DataError, write_error
from uniformer_video.runtime.paths import atomic_write, make_output_dir

DATASET_FILE = "dataset.json"
CLASSES_FILE = "classes.json"
BAD_FILE = "bad.csv"
SHEET_FILE = "contact_sheet.png"
VIDEO_FOLDER = "videos"
"""Where rewritten videos lie."""

CLAIM_FILE = ".prepare.json"
"""Marks a folder as one of this tool, before anything else is in it."""

_LISTS = tuple(f"{split}.csv" for split in SPLITS)
_OURS = (*_LISTS, CLASSES_FILE, DATASET_FILE, BAD_FILE, SHEET_FILE)
_NOBODYS = {".DS_Store", "Thumbs.db", CLAIM_FILE}  # no reason to refuse a folder


def claim_folder(out: str | os.PathLike[str], source: str, *, overwrite: bool = False) -> Path:
    """Return the absolute folder of a set, made if needed and marked as this tool's.

    Args:
        out: the folder: new, empty, or of an earlier run on the same source.
        source: absolute path of what the user has.
        overwrite: take any folder. Nothing of it is deleted: see :func:`write_set`.

    Raises:
        UserError: it cannot be written.
        DataError: it is the source itself, holds other things, or a set of another source.
    """
    folder = Path(os.path.abspath(out))
    if os.path.realpath(folder) == os.path.realpath(source):
        raise DataError(f"--out {out} is the folder of the videos itself; give another one, such as {out}/prepared")
    make_output_dir(folder, key="--out")
    claim = _read_json(folder / CLAIM_FILE)
    if not overwrite:
        others = sorted(set(os.listdir(folder)) - _NOBODYS)
        if claim is None and others:
            raise DataError(
                f"--out {out} holds other things, such as {others[0]}; give a new folder, or --overwrite (which "
                "deletes nothing: a file that is in the way gets .old behind its name)"
            )
        if claim is not None and claim.get("source") != source and set(others) - {CACHE_FILE}:
            raise DataError(
                f"--out {out} is the set of another source, {claim.get('source')}; give a new folder, or --overwrite"
            )
    _write_json(folder / CLAIM_FILE, {"files": (claim or {}).get("files", {}), "source": source})
    return folder


def write_set(folder: Path, prepared: PreparedSet, sheet: bytes) -> dict[str, Any]:
    """Write the files of a set, the lists last, and return the content of ``dataset.json``.

    A file of one of their names that this tool did not write, or that was changed since, stays under a name with
    ``.old`` behind it. A split without videos has no list.

    Args:
        folder: absolute, claimed.
        prepared: the set.
        sheet: the PNG with a class in each row.
    """
    content = describe(prepared, folder)
    files = {
        BAD_FILE: _bad_text(prepared.bad).encode(),
        SHEET_FILE: sheet,
        # One name a line: a fault of a class can then be told with its line.
        CLASSES_FILE: (json.dumps(list(prepared.class_names), indent=0, ensure_ascii=False) + "\n").encode(),
        DATASET_FILE: (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    for split in reversed(SPLITS):
        lines = [
            list_line(listed_path(video.path, folder), video.labels, multi_label=prepared.multi_label) + "\n"
            for video in prepared.of_split(split)
        ]
        if lines:
            files[f"{split}.csv"] = "".join(lines).encode()
    _make_room(folder, files)
    for name, data in files.items():
        with atomic_write(folder / name, "wb") as file:
            file.write(data)
    return content


def _make_room(folder: Path, files: dict[str, bytes]) -> None:
    """Remove the lists of an earlier set, so that no two sets mix, and keep what a user wrote or changed.

    What this tool wrote is known by its hash. The hashes of what it is about to write are noted first, so that a run
    which is killed in the middle leaves nothing that the next one takes for a user's.
    """
    claim = _read_json(folder / CLAIM_FILE) or {}
    known = claim.get("files")
    known = {k: v for k, v in known.items() if isinstance(v, list)} if isinstance(known, dict) else {}
    for name in _OURS:
        path = folder / name
        if not os.path.lexists(path):
            known.pop(name, None)
        elif not (path.is_file() and _digest(path.read_bytes()) in known.get(name, ())):
            _set_aside(path)
            known.pop(name, None)
        elif name in _LISTS:
            path.unlink()
    for name, data in files.items():
        known[name] = [*known.get(name, [])[-1:], _digest(data)]
    _write_json(folder / CLAIM_FILE, {**claim, "files": known})


def _set_aside(path: Path) -> None:
    try:
        os.replace(path, _free_name(path))
    except OSError as error:
        raise write_error(path, error) from None


def _free_name(path: Path) -> Path:
    number, free = 1, path.with_name(f"{path.name}.old")
    while os.path.lexists(free):
        number += 1
        free = path.with_name(f"{path.name}.old{number}")
    return free


def _bad_text(bad: Sequence[Bad]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "reason"])
    # A name that is no UTF-8 is written with escapes: it is for people.
    writer.writerows([video.path.encode("utf-8", "backslashreplace").decode(), video.reason] for video in bad)
    return file.getvalue()


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
