"""Kinetics-400, -600 and -700 from their official CSV files, on a folder of downloaded clips.

The files have a header with ``youtube_id``, ``time_start``, ``time_end`` (seconds) and ``label``, in any order, beside
other columns (https://deepmind.google/research/open-source/kinetics). Clips are named ``id_000010_000020.mp4`` as by
the usual downloaders, ``id_10_20.mp4`` or ``id.mp4``, with any ending of a video, in any sub-folder.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.datasets.csv_text import csv_rows, first_cells
from uniformer_video.datasets.json_text import text_of
from uniformer_video.datasets.list_text import check_text, is_file, short
from uniformer_video.datasets.name_numbers import ClassOrder, class_order, known_order, sorted_order
from uniformer_video.datasets.placing import Listed, place
from uniformer_video.datasets.records import Annotation
from uniformer_video.datasets.video_folder import names_in, video_folder
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)

COLUMNS = ("youtube_id", "time_start", "time_end")

SPLIT_WORDS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}
"""The words for the splits in names of official files, the usual one first."""

_FOLDERS = re.compile(r"(kinetics|k)[-_]?[467]00.*|kinetics|annotations?|lists?|labels?", re.IGNORECASE)
_PREFIX = r"((kinetics|k)[-_]?([467]00)?([-_]?2020)?[-_])?"
_ID = re.compile(r"[^/\\\s]+")


@dataclass(frozen=True, slots=True)
class Clip:
    """One row: a part of a video on the web.

    Args:
        line: where it stands, from 1.
        video: the id.
        start: begin of the clip in whole seconds.
        end: its end.
        label: class name; None in a list without labels.
    """

    line: int
    video: str
    start: int
    end: int
    label: str | None

    @property
    def names(self) -> tuple[str, str, str]:
        """Stems of the files that the clip may be in, the exact one first."""
        return (f"{self.video}_{self.start:06d}_{self.end:06d}", f"{self.video}_{self.start}_{self.end}", self.video)


def is_official(path: Path) -> bool:
    """Return whether a file begins with the header of an official CSV."""
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return set(COLUMNS) <= set(first_cells(file.read(4096)))
    except OSError:
        return False


def find_official(folder: Path, split: str) -> Path | None:
    """Return the official CSV of a split in ``folder`` or in a sub-folder such as ``kinetics400``, or None.

    Raises:
        DataError: several sub-folders have one.
    """
    below = sorted(folder / name for name in names_in(str(folder)) if _FOLDERS.fullmatch(name))
    direct = _official_in(folder, split)
    if direct is not None:
        return direct
    found = [path for path in (_official_in(sub, split) for sub in below) if path is not None]
    if len(found) > 1:
        raise DataError(
            f"{folder} holds several lists, {found[0]} and {found[1]}; set DATA.PATH_TO_DATA_DIR to the folder of one"
        )
    return found[0] if found else None


def _official_in(folder: Path, split: str) -> Path | None:
    names = names_in(str(folder))
    for word in SPLIT_WORDS[split]:
        pattern = re.compile(rf"{_PREFIX}{word}\.csv", re.IGNORECASE)
        # The shortest name first: train.csv before kinetics_700_train.csv.
        for name in sorted(filter(pattern.fullmatch, names), key=lambda name: (len(name), name)):
            if is_file(folder / name) and is_official(folder / name):
                return folder / name
    return None


def read_kinetics_official(
    folder: Path, path: Path, split: str, *, num_classes: int | None, prefix: str = "", label_set: str = ""
) -> Annotation:
    """Return the videos of an official list.

    Labels are the numbers of the class names in ``DATA.LABEL_SET``, in classes.json, in the published order of the
    known label set that has these names, or else in the alphabetical order of the training list's names (as for
    Kinetics-700).

    Args:
        folder: ``DATA.PATH_TO_DATA_DIR``.
        path: the list.
        split: ``train``, ``val`` or ``test``.
        num_classes: classes of the network; None: as many as the lists name.
        prefix: folder of the videos; empty: ``folder``.
        label_set: ``DATA.LABEL_SET``.

    Raises:
        DataError: a list without labels, a row that is no clip, another number of classes, no video there.
    """
    clips = list(read_clips(path))
    unlabelled = next((clip for clip in clips if clip.label is None), None)
    if unlabelled is not None:
        raise DataError(
            f"{path}:{unlabelled.line}: no label, and {split} needs labels; take a list that has them (the validation "
            f"list copied to {folder / 'test.csv'})"
        )
    order = _order(folder, path, {clip.label for clip in clips}, num_classes, label_set)
    root = prefix or str(folder)
    videos = video_folder(root)
    listed = [
        Listed(clip.names, order.number(clip.label, f"{path}:{clip.line}"), f"{clip.names[0]}.mp4", clip.label)
        for clip in clips
    ]
    return place(
        listed,
        lambda item: videos.find(item.names, item.folder),
        root=root,
        split=split,
        source=str(path),
        class_names=order.names,
        looked_for=f"in any sub-folder, as id_000010_000020, id_10_20 or id with any video ending; it holds "
        f"{len(videos)} videos",
        prefix=prefix,
    )


def read_clips(path: Path) -> Iterator[Clip]:
    """Yield the rows of an official CSV.

    Raises:
        DataError: no header, a row of another length, an id or a time that is none; with file and line.
    """
    rows = csv_rows(path, text_of(path, "an official Kinetics list is a CSV file"))
    line, header = next(rows, (1, []))
    columns = {name.lower(): number for number, name in enumerate(header)}
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise DataError(f"{path}:{line}: no column {missing[0]}; an official list has {', '.join(COLUMNS)} and label")
    label = columns.get("label")
    for line, cells in rows:
        where = f"{path}:{line}"
        if len(cells) != len(header):
            raise DataError(f"{where}: {len(cells)} columns where the header has {len(header)}")
        video = check_text(cells[columns["youtube_id"]], where, "the id")
        if not _ID.fullmatch(video):
            raise DataError(f"{where}: youtube_id {short(video)} is none")
        name = check_text(cells[label], where, "the label") if label is not None else ""
        yield Clip(
            line,
            video,
            _seconds(cells[columns["time_start"]], where, "time_start"),
            _seconds(cells[columns["time_end"]], where, "time_end"),
            name or None,
        )


def _seconds(text: str, where: str, column: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < 1e6:
        raise DataError(f"{where}: {column} {short(text)} is no time in seconds")
    return int(value)


def _order(folder: Path, path: Path, names: set[str], num_classes: int | None, label_set: str) -> ClassOrder:
    order = class_order(folder, num_classes, label_set_name=label_set)
    if order is not None:
        return order
    train = find_official(path.parent, "train") or find_official(folder, "train")
    if num_classes is None and train is not None and train != path:
        names = _names(train)
    order = known_order(names, num_classes)
    if order is not None:
        return order
    # The alphabet numbers rightly only where all names are known, and the training list has all.
    if train is not None and train != path:
        names, path = _names(train), train
    elif train is None and num_classes is not None and len(names) < num_classes:
        raise DataError(
            f"{path}: names {len(names)} of {num_classes} classes (MODEL.NUM_CLASSES), and the training list that "
            f"would name all is not in {folder}; put it there, or a classes.json with the names in label order"
        )
    order = sorted_order(names, os.path.basename(path), num_classes)
    logger.info("%s: %d classes, numbered in alphabetical order", path, len(order.names))
    return order


def _names(path: Path) -> set[str]:
    return {clip.label for clip in read_clips(path) if clip.label is not None}
