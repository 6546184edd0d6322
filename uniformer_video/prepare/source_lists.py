"""What a user has: a list of videos with their labels, or a list for each split."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.datasets.label_lists import LabelEntry, LabelList, read_label_list
from uniformer_video.datasets.placing import Listing
from uniformer_video.datasets.records import read_class_names
from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES
from uniformer_video.prepare.sources import SPLIT_WORDS, Entry, Source, scan_folder, split_of
from uniformer_video.runtime.errors import DataError

_LIST_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".txt")


@dataclass(frozen=True, slots=True)
class ListOptions:
    """How lists are to be read, where their own look does not tell it.

    Args:
        videos: folder of relative paths; empty: that of the list.
        path_column: name or number (from 1) of the column, as for all columns; None: told by the list.
        label_column: class, or classes.
        group_column: what videos share that must stay in one split.
        split_column: train, val or test.
        label_separator: stands between the labels of one video; None: told by the list.
        delimiter: stands between columns; None: told by the list.
        has_header: whether the first row names the columns; None: told by the list.
    """

    videos: str = ""
    path_column: str | None = None
    label_column: str | None = None
    group_column: str | None = None
    split_column: str | None = None
    label_separator: str | None = None
    delimiter: str | None = None
    has_header: bool | None = None


def read_source(
    source: str | os.PathLike[str],
    options: ListOptions | None = None,
    *,
    image_template: str = "",
    leave_out: Path | None = None,
) -> Source:
    """Return the videos of whatever a user has: a list, a folder of lists for the splits, or class folders.

    Args:
        source: a file or a folder. Of a folder with a train list and class folders the lists count.
        options: of lists.
        image_template: names of the pictures of a video; see :func:`scan_folder`.
        leave_out: a folder that is not searched.

    Raises:
        DataError: naming file and line, or folder.
    """
    options = options or ListOptions()
    path = Path(os.path.abspath(source))
    if path.is_dir():
        lists = find_lists(path)
        if "train" not in lists:
            if options.videos:
                raise DataError(f"--videos belongs to a list, but {source} is a folder without a train list; drop it")
            return scan_folder(path, image_template=image_template, leave_out=leave_out)
    elif path.suffix.lower() in VIDEO_SUFFIXES:
        raise DataError(f"{source} is a video; give a folder of class folders or a list")
    elif path.is_file():
        lists = {"": path}
    else:
        raise DataError(f"{source}: no such file or folder; give a folder of class folders or a list")
    if options.videos and not os.path.isdir(options.videos):
        raise DataError(f"--videos {options.videos}: no such folder; give the one that the list's paths begin in")
    root = os.path.abspath(options.videos or (path if path.is_dir() else path.parent))
    there = Listing(root)
    entries: list[Entry] = []
    several, notes = False, []
    for split, file in lists.items():
        read = _read(file, options)
        several = several or read.multi_label
        notes.append(f"{file}: {read.understood}")
        entries += [_entry(row, file, split, there) for row in read.entries]
    if several and not options.label_separator and all(len(entry.labels) == 1 for entry in entries):
        several = False
        notes.append("each video has exactly one label: a set of one label for each video")
    names = {label for entry in entries for label in entry.labels}
    return Source(
        entries,
        root,
        multi_label=several,
        files=tuple(map(str, lists.values())),
        class_names=_names_beside(next(iter(lists.values())).parent, names),
        notes=notes,
    )


def find_lists(folder: Path) -> dict[str, Path]:
    """Return the lists called train, val, test, or a usual word for it, by split.

    Raises:
        DataError: two lists for one split.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        split = SPLIT_WORDS.get(path.stem.lower(), "")
        if not split or path.suffix.lower() not in _LIST_SUFFIXES or not path.is_file():
            continue
        if split in found:
            raise DataError(f"{found[split]} and {path} are both lists of {split}; remove one, or give a single list")
        found[split] = path
    order = ("train", "val", "test")
    return {split: found[split] for split in order if split in found}


def _read(file: Path, options: ListOptions) -> LabelList:
    return read_label_list(
        file,
        path_column=options.path_column,
        label_column=options.label_column,
        group_column=options.group_column,
        split_column=options.split_column,
        delimiter=options.delimiter,
        has_header=options.has_header,
        label_separator=options.label_separator,
    )


def _entry(row: LabelEntry, file: Path, split: str, there: Listing) -> Entry:
    where = f"{file}:{row.line}"
    path, name = _place(row.path, there)
    # The file's own name says more than a column of words such as "trainval".
    return Entry(path, name, row.labels, row.group, split or split_of(row.split, where), where)


def _place(listed: str, there: Listing) -> tuple[str, str]:
    """Return the absolute path of a listed video, which may lack its ending, and its name."""
    if "://" in listed:
        return listed, listed
    path = os.path.abspath(there.find(listed) or os.path.join(there.root, listed))
    below = os.path.relpath(path, there.root)
    return path, (path if below.startswith("..") else below).replace(os.sep, "/")


def _names_beside(folder: Path, labels: set[str]) -> tuple[str, ...]:
    """Return the class names of a file beside a list whose labels are numbers that it names; else nothing."""
    if not labels or not all(label.isascii() and label.isdigit() for label in labels):
        return ()
    names = read_class_names(folder, None) or []
    return tuple(names) if max(map(int, labels)) < len(names) else ()
