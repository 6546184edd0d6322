"""Lists of ``folder frames label`` lines (train_videofolder.txt and the like) on folders of frames, or on videos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from uniformer_video.datasets.kinetics import check_label, list_root
from uniformer_video.datasets.list_text import check_text, is_file, read_text, short, text_lines, whole_number
from uniformer_video.datasets.placing import Listed, Listing, place
from uniformer_video.datasets.records import Annotation
from uniformer_video.runtime.errors import DataError

CATEGORIES = "category.txt"
"""The file beside the lists with a class name on each line, in label order."""

LIST_NAMES = {
    "train": ("train_videofolder.txt",),
    "val": ("val_videofolder.txt", "validation_videofolder.txt"),
    "test": ("test_videofolder.txt", "val_videofolder.txt", "validation_videofolder.txt"),
}
"""The names that a list of a split may have: a test without a list of its own is of the validation list."""


@dataclass(frozen=True, slots=True)
class FrameLine:
    """One line: the path as it is written, the frames by the list, and the label."""

    line: int
    path: str
    num_frames: int
    label: int


def is_frame_list(path: Path, separator: str = " ") -> bool:
    """Return whether the first lines of a file all are ``folder frames label``."""
    try:
        lines = text_lines(read_text(path))[:50]
    except (FileNotFoundError, DataError):
        return False
    return bool(lines) and all(_parts(line, separator) is not None for _, line in lines)


def read_frame_list(
    path: Path, split: str, *, num_classes: int | None, separator: str = " ", prefix: str = ""
) -> Annotation:
    """Return the records of a list of ``folder frames label`` lines.

    A path may also be that of a video, with or without its ending. ``num_frames`` is what the list says; the reader
    counts for itself.

    Args:
        path: the list; names of the classes are read from ``category.txt`` beside it.
        split: ``train``, ``val`` or ``test``: whether missing folders are left out or kept.
        num_classes: labels must be from 0 to this less one; None: as many as ``category.txt`` has, or any.
        separator: stands between the three; the last two on a line count. A blank stands for any run of blanks.
        prefix: folder of the paths; empty: the folder of the list, or the working directory where the first path is
            found only there.

    Raises:
        DataError: a line of another form or with a label outside the classes, with file and line; an empty list; none
            of the folders there.
    """
    names = _categories(path.parent / CATEGORIES, num_classes)
    lines = _read_lines(path, separator, num_classes if names is None else len(names))
    root = list_root(path.parent, lines[0].path, prefix)
    there = Listing(root)
    return place(
        [Listed((line.path,), line.label, line.path, num_frames=line.num_frames) for line in lines],
        lambda item: there.find(item.names[0]),
        root=root,
        split=split,
        source=str(path),
        class_names=names,
        looked_for="a folder of frames or a video",
        prefix=prefix,
    )


def _parts(line: str, separator: str) -> tuple[str, int, int] | None:
    line = line.strip().replace("\t", " ") if separator == " " else line.strip()
    rest, _, label = line.rpartition(separator)
    name, _, frames = rest.strip().rpartition(separator)
    numbers = whole_number(frames.strip()), whole_number(label.strip())
    return None if not name.strip() or None in numbers else (name.strip(), *numbers)


def _read_lines(path: Path, separator: str, num_classes: int | None) -> list[FrameLine]:
    form = repr(f"folder{separator}frames{separator}label")[1:-1]
    try:
        lines = text_lines(read_text(path))
    except FileNotFoundError:
        raise DataError(f"{path}: no such list; write one with a `{form}` on each line") from None
    read = []
    for number, line in lines:
        where = f"{path}:{number}"
        parts = _parts(line, separator)
        if parts is None:
            raise DataError(f"{where}: {short(line)} is no `{form}` with whole numbers of frames and label")
        name, frames, label = parts
        if frames < 0:
            raise DataError(f"{where}: {frames} frames; write how many frames {short(name)} has")
        read.append(
            FrameLine(number, check_text(name, where, "the path"), frames, check_label(label, where, num_classes))
        )
    if not read:
        raise DataError(f"{path}: an empty list; write one with a `{form}` on each line")
    return read


def _categories(path: Path, num_classes: int | None) -> list[str] | None:
    if not is_file(path):
        return None
    names = [check_text(line.strip(), f"{path}:{number}", "the name") for number, line in text_lines(read_text(path))]
    if num_classes is not None and len(names) != num_classes:
        raise DataError(f"{path} names {len(names)} classes, but MODEL.NUM_CLASSES is {num_classes}; make them agree")
    return names
