"""The class names of a list of videos: from a setting, from a file beside the list, or from its class folders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from uniformer_video.datasets.label_sets import (
    ALPHABETICAL,
    LABEL_SETS,
    PUBLISHED,
    alphabetical_orders,
    class_numbers,
    label_set,
    normalise,
    recognise,
)
from uniformer_video.datasets.record_table import RecordTable
from uniformer_video.datasets.records import VideoRecord, read_class_names
from uniformer_video.runtime.errors import DataError

FILES = "classes.json or classes.txt"


def find_class_names(
    folder: Path,
    records: Iterable[VideoRecord],
    num_classes: int,
    *,
    label_set_name: str = "",
    annotated: Sequence[str] | None = None,
) -> list[str] | None:
    """Return the class names of ``records`` in label order, or None where nothing tells them.

    The first there is of: ``annotated``, ``label_set_name``, the file of names in ``folder``, the class folders of the
    list.

    Args:
        folder: the folder of the lists (``DATA.PATH_TO_DATA_DIR``).
        records: a list's videos, for their folders.
        num_classes: classes of the network.
        label_set_name: ``DATA.LABEL_SET``: empty, or a name for :func:`label_set`.

    Raises:
        UserError: no such label set.
        DataError: names of another number than ``num_classes``, a setting and a file that contradict each other, or
            names that contradict the folders which the videos lie in.
    """
    names, source = read_class_names(folder, num_classes), f"the file of class names in {folder}"
    if annotated is not None:
        # These numbered the labels, so nothing else can: a setting or a file that says otherwise is a mistake.
        source = "the annotation"
        _check_number(annotated, num_classes, source)
        if names is not None:
            _check_file(annotated, names, folder, source)
        if label_set_name:
            setting = f"DATA.LABEL_SET {label_set_name!r}"
            _check_number(label_set(label_set_name), num_classes, setting)
            _check_same(annotated, label_set(label_set_name), source, setting, "leave DATA.LABEL_SET empty")
        return list(annotated)
    if label_set_name:
        written, source = names, f"DATA.LABEL_SET {label_set_name!r}"
        names = list(label_set(label_set_name))
        _check_number(names, num_classes, source)
        if written is not None:
            _check_file(names, written, folder, source)
    folders = class_folders(records)
    if names is not None:
        _check_folders(names, folders, source)
        return names
    return _infer(folders, num_classes)


def infer_class_names(records: Iterable[VideoRecord], num_classes: int) -> list[str] | None:
    """Return the class names that the folders of a list tell, as in ``train/abseiling/x.mp4 0``, or None.

    The folders tell them when each label always goes with one folder of its own, all folders bear names of one known
    label set, and either every one of ``num_classes`` labels is there, or there are two labels at least, the set has
    ``num_classes`` classes, and exactly one of its published and its alphabetical order has these names at these
    labels.

    Args:
        records: the videos.
        num_classes: classes of the network.
    """
    return _infer(class_folders(records), num_classes)


def class_folders(records: Iterable[VideoRecord]) -> dict[int, str]:
    """Return the folder of each label; empty where a label has several, a folder has several, or there is none.

    Videos of several labels tell nothing: a folder of theirs may bear the name of any of their classes.
    """
    table = RecordTable.of(records)
    if table.first_several() is not None:
        return {}
    pairs = {(label, _parent(folder)) for label, folder in table.folders_of_labels()}
    folders = dict(pairs)
    different = {normalise(folder) for folder in folders.values()}
    if not len(pairs) == len(folders) == len(different) or "" in different:
        return {}
    return folders


def _parent(path: str) -> str:
    # Not Path: lists are written on other systems, and hold addresses.
    parts = re.split(r"[/\\]", path)
    return parts[-2] if len(parts) > 1 else ""


def _infer(folders: dict[int, str], num_classes: int) -> list[str] | None:
    if len(folders) < 2:
        return None
    every = set(folders) == set(range(num_classes))
    answers: dict[tuple[str, ...], list[str]] = {}
    for name in sorted(LABEL_SETS, key=lambda name: len(LABEL_SETS[name]) != num_classes):
        numbers = class_numbers(name)
        seen = {label: numbers.get(normalise(folder)) for label, folder in folders.items()}
        if None in seen.values():
            continue
        if every:
            return [LABEL_SETS[name][seen[label]] for label in range(num_classes)]
        if len(numbers) != num_classes:
            continue
        published = tuple(range(num_classes))
        # Of several ways to sort, the plainest one that fits: they differ in labels that this list does not have.
        alphabetical = next((order for order in alphabetical_orders(name) if _fits(order, seen)), published)
        for order in (published, alphabetical):
            if _fits(order, seen):
                answer = [LABEL_SETS[name][number] for number in order]
                answers.setdefault(tuple(map(normalise, answer)), answer)
    return next(iter(answers.values())) if len(answers) == 1 else None


def _fits(order: Sequence[int], seen: dict[int, int]) -> bool:
    return all(order[label] == number for label, number in seen.items())


def _check_number(names: Sequence[str], num_classes: int, source: str) -> None:
    if len(names) != num_classes:
        raise DataError(f"{source} has {len(names)} classes, but MODEL.NUM_CLASSES is {num_classes}; make them agree")


def _check_file(names: Sequence[str], written: Sequence[str], folder: Path, source: str) -> None:
    _check_same(names, written, source, f"{FILES} in {folder}", "correct or remove one of them")


def _check_same(names: Sequence[str], others: Sequence[str], source: str, others_source: str, advice: str) -> None:
    """Refuse two lists of as many names that have another name for a class."""
    for number, (name, other) in enumerate(zip(names, others, strict=True)):
        if normalise(name) != normalise(other):
            raise DataError(
                f"{source} and {others_source} contradict each other: class {number} is {name!r} in the one and "
                f"{other!r} in the other; {advice}"
            )


def _check_folders(names: Sequence[str], folders: dict[int, str], source: str) -> None:
    """Refuse names in another order than the labels': a video's folder bears the name of another class than its own."""
    by_key = {normalise(name): number for number, name in enumerate(names)}
    for label, folder in sorted(folders.items()):
        key = normalise(folder)
        if key in by_key and key != normalise(names[label]):
            raise DataError(
                f"{source} has {names[label]!r} as class {label}, but the list's videos of label {label} lie in a "
                f"folder {folder!r}, which there is class {by_key[key]}; {_way_out(folders, len(names))}"
            )


def _way_out(folders: dict[int, str], num_classes: int) -> str:
    """Return what to do about names in another order than the list's: the folders may tell it."""
    told = _infer(folders, num_classes)
    known = recognise(told) if told else None
    if known is None or known.order not in (PUBLISHED, ALPHABETICAL):
        return "put the names into the order of the list's labels"
    setting = known.label_set + (":alphabetical" if known.order == ALPHABETICAL else "")
    return f"the folders are {known}: set DATA.LABEL_SET {setting} and remove a file of names that says otherwise"
