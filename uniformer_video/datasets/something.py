"""Something-Something from its official files: V2 from JSON, V1 from CSV, on videos or on folders of frames.

V2 has ``labels.json`` (class name to number as text) and ``train.json``, ``validation.json``, ``test.json``, each also
as ``something-something-v2-train.json`` and so on; an entry has an ``id``, which names the video, and a ``template``,
which is the class name but for brackets. V1 has ``something-something-v1-train.csv`` with ``id;class name`` lines and
``something-something-v1-labels.csv`` with a class name on each line. Nobody has the labels of the test lists, so
published test results are of the validation list; ``test-answers.csv`` (``id;class name``) is used where it is there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from uniformer_video.datasets.csv_text import csv_rows
from uniformer_video.datasets.json_text import json_entries, read_json, text_of
from uniformer_video.datasets.label_sets import LABEL_SETS, TITLES
from uniformer_video.datasets.list_text import check_text, is_file, short, text_lines, whole_number
from uniformer_video.datasets.name_numbers import ClassOrder, checked_order, class_order
from uniformer_video.datasets.placing import Listed, place
from uniformer_video.datasets.records import Annotation
from uniformer_video.datasets.video_folder import names_in, video_folder
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger, log_once

logger = get_logger(__name__)

FOLDERS = ("", "labels", "annotations", "annotation")
"""Where below ``DATA.PATH_TO_DATA_DIR`` the files are looked for."""

_WORDS = {"train": ("train",), "val": ("validation", "val"), "test": ("test",)}
_LONG = {"ssv1": "something-something-v1-", "ssv2": "something-something-v2-"}
_WANTED = 'a list of Something-Something V2 has entries such as {"id": "1", "template": "Holding [something]"}'
_LABELS_WANTED = 'labels.json has the class names with their numbers, such as {"Holding something": "0"}'

_Named = tuple[int, str, str]  # line, id, class name


def list_names(version: str, split: str) -> tuple[str, ...]:
    """Return the names that the list of a split may have, the usual one first."""
    words = _WORDS[split]
    ending = ".json" if version == "ssv2" else ".csv"
    short_names = words if version == "ssv2" else ()  # a train.csv is a list of `path label` lines
    return tuple(f"{word}{ending}" for word in (*short_names, *(_LONG[version] + word for word in words)))


def read_something(
    folder: Path, version: str, split: str, *, num_classes: int | None, prefix: str = "", label_set: str = ""
) -> Annotation | None:
    """Return the videos of an official list; None where the folder has none.

    Args:
        folder: ``DATA.PATH_TO_DATA_DIR``; the files may also be in its sub-folder ``labels`` or ``annotations``.
        version: ``ssv1`` or ``ssv2``.
        split: ``train``, ``val`` or ``test``; without the answers of the test, ``test`` is the validation list.
        num_classes: classes of the network; None: as many as the files have.
        prefix: folder of the videos, or of the folders of frames; empty: ``folder``.
        label_set: ``DATA.LABEL_SET``, whose order then counts.

    Raises:
        DataError: a file that is no such list, with file and line; another number of classes; none of the videos there.
    """
    path = _list_of(folder, version, split)
    if path is None:
        return None
    named = _read_json_list(path) if path.suffix == ".json" else _read_csv_list(path)
    order = _order(folder, version, num_classes, label_set)
    root = prefix or str(folder)
    suffix = ".webm" if version == "ssv2" else ""
    listed = [Listed((name,), order.number(text, f"{path}:{line}"), name + suffix) for line, name, text in named]
    find, holds = _finder(root, listed)
    return place(
        listed,
        find,
        root=root,
        split=split,
        source=str(path),
        class_names=order.names,
        looked_for=f"a video or a folder of frames of that id; {holds}",
        prefix=prefix,
    )


def _list_of(folder: Path, version: str, split: str) -> Path | None:
    if split == "test":
        answers = _find(folder, ("test-answers.csv", f"{_LONG[version]}test-answers.csv"))
        if answers is not None:
            return answers
        path = _find(folder, list_names(version, "val"))
        if path is not None:
            log_once(logger, f"{path}: the test is of this validation list, as published (the test list has no labels)")
        return path
    return _find(folder, list_names(version, split))


def _find(folder: Path, names: Sequence[str]) -> Path | None:
    paths = (folder / below / name for below in FOLDERS for name in names)
    return next((path for path in paths if is_file(path)), None)


def _read_json_list(path: Path) -> list[_Named]:
    named = []
    for entry in json_entries(path, text_of(path, _WANTED), _WANTED):
        where = f"{path}:{entry.line}"
        if entry.key or not isinstance(entry.value, dict):
            raise DataError(f"{where}: {short(entry.value)} is no entry; {_WANTED}")
        template, name = entry.value.get("template"), entry.value.get("id")
        if isinstance(name, int) and not isinstance(name, bool):
            name = str(name)
        if not isinstance(name, str):
            raise DataError(f"{where}: no id; {_WANTED}")
        if not isinstance(template, str):
            raise DataError(f"{where}: no template for id {short(name)}; {_WANTED}")
        named.append((entry.line, _id(name, where), _class_name(template, where)))
    return named


def _read_csv_list(path: Path) -> list[_Named]:
    named = []
    for number, (line, cells) in enumerate(csv_rows(path, text_of(path, "it has `id;class name` lines"), ";")):
        where = f"{path}:{line}"
        if number == 0 and [cell.lower() for cell in cells[:2]] in (["id", "label"], ["id", "template"]):
            continue
        if len(cells) < 2 or not cells[1]:
            raise DataError(
                f"{where}: no class name after a ';' in {short(';'.join(cells))}; a list is `id;class name`"
            )
        # A class name may hold a semicolon; an id cannot.
        named.append((line, _id(cells[0], where), _class_name(";".join(cells[1:]), where)))
    return named


def _id(name: str, where: str) -> str:
    name = check_text(name.strip(), where, "the id")
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise DataError(f"{where}: the id {short(name)} is none; it is the name of a video without its ending")
    return name


def _class_name(template: str, where: str) -> str:
    return check_text(template.replace("[", "").replace("]", "").strip(), where, "the class")


def _order(folder: Path, version: str, num_classes: int | None, label_set: str) -> ClassOrder:
    names: Sequence[str] | None = None
    path = _find(folder, ("labels.json", f"{_LONG['ssv2']}labels.json") if version == "ssv2" else _v1_labels())
    if path is not None:
        names = _numbered(path) if version == "ssv2" else _name_lines(path)
    order = class_order(folder, num_classes, official=names, official_source=str(path), label_set_name=label_set)
    if order is not None:
        return order
    return checked_order(LABEL_SETS[version], f"{TITLES[version]} (without its file of labels)", num_classes)


def _v1_labels() -> tuple[str, ...]:
    return (f"{_LONG['ssv1']}labels.csv", "labels.csv")


def _name_lines(path: Path) -> list[str]:
    """Return the class names of a file with one on each line; they hold commas, so that the file is no CSV."""
    lines = text_lines(text_of(path, "it has a class name on each line"))
    return [_class_name(line.strip().strip('"'), f"{path}:{number}") for number, line in lines]


def _numbered(path: Path) -> list[str]:
    """Return the class names of labels.json in the order of their numbers, which must be 0, 1, 2, ..."""
    content = read_json(path, _LABELS_WANTED)
    if not isinstance(content, dict) or not content:
        raise DataError(f"{path}: {_LABELS_WANTED}")
    by_number: dict[int, str] = {}
    for entry in json_entries(path, text_of(path, _LABELS_WANTED), _LABELS_WANTED):
        where = f"{path}:{entry.line}"
        number = entry.value if type(entry.value) is int else whole_number(str(entry.value))
        if number is None or isinstance(entry.value, bool):
            raise DataError(f"{where}: {short(entry.value)} is no class number; {_LABELS_WANTED}")
        if number in by_number:
            raise DataError(f"{where}: number {number} for {short(by_number[number])} and for {short(entry.key)}")
        by_number[number] = check_text(entry.key.replace("[", "").replace("]", ""), where, "the class")
    missing = next((n for n in range(len(by_number)) if n not in by_number), None)
    if missing is not None:
        raise DataError(f"{path}: {len(by_number)} classes, but none has the number {missing}; {_LABELS_WANTED}")
    return [by_number[number] for number in range(len(by_number))]


def _finder(root: str, listed: Sequence[Listed]) -> tuple[Callable[[Listed], str | None], str]:
    """Return what finds a video, or the folder of its frames, and words on what there is.

    Folders of frames lie directly below ``root``: a search through all of them would list millions of pictures.
    """
    direct = names_in(root)
    if any(os.path.isdir(os.path.join(root, item.names[0])) for item in listed if item.names[0] in direct):
        return (
            lambda item: os.path.join(root, item.names[0]) if item.names[0] in direct else None,
            f"{root} holds {len(direct)} folders and files",
        )
    videos = video_folder(root)
    return (lambda item: videos.find(item.names)), f"{root} holds {len(videos)} videos, with its sub-folders"
