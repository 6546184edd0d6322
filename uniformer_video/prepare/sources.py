"""What a user has: folders of videos, a folder for each class, with or without folders for the splits."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.video.picture_names import PICTURE_ENDINGS, guess_template, parse_template

SPLITS = ("train", "val", "test")

SPLIT_WORDS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What people call the splits, in lower case."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One video as the user has it.

    Args:
        path: absolute path of the file or of the folder of its frames; an address as it is.
        name: relative to the root of the source, with ``/``: what identifies it on any machine.
        labels: its class names; one but in a multi-label set.
        group: what it shares with other videos, which then go to the same split; empty: nothing.
        split: ``train``, ``val`` or ``test`` where the source says so; else empty.
        where: ``file:line`` of a list; empty in a folder.
    """

    path: str
    name: str
    labels: tuple[str, ...]
    group: str = ""
    split: str = ""
    where: str = ""


@dataclass(frozen=True)
class Source:
    """All videos of a source.

    Args:
        entries: the videos; those of a folder sorted by name, those of a list in its order.
        root: absolute path that the entries' names are relative to.
        multi_label: whether a video may have any number of classes.
        files: the lists read; empty for folders.
        class_names: in label order where a file beside a list of numbers tells them; else empty.
        notes: what was passed over, one line each.
    """

    entries: list[Entry]
    root: str
    multi_label: bool = False
    files: tuple[str, ...] = ()
    class_names: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def scan_folder(folder: Path, *, image_template: str = "", leave_out: Path | None = None) -> Source:
    """Return the videos of class folders, at any depth below them; hidden files and folders are passed over.

    Where the folders are called train and val, validation or test, class folders are looked for in these. Where there
    are no video files at all, folders of numbered pictures are taken for videos.

    Args:
        folder: holds a folder for each class, or ``train``, ``val``, ``test`` folders of class folders.
        image_template: names of the pictures of a video, such as ``img_{:05d}.jpg``: a folder of such is a video.
        leave_out: a folder that is not searched: the one that is written to.

    Raises:
        DataError: no folder, one that cannot be read, or no class folders.
        UserError: a template that is none.
    """
    root = Path(os.path.abspath(folder))
    left_out = leave_out and Path(os.path.abspath(leave_out))
    template = parse_template(image_template) if image_template else None
    scan = _Scan(root, None if template is None else lambda names: any(template.number(n) is not None for n in names))
    scan.leave_out = left_out
    scan.run()
    if not scan.entries and template is None and any(suffix in PICTURE_ENDINGS for suffix in scan.others):
        scan = _Scan(root, lambda names: len(guess_template(names)) == 1)
        scan.leave_out = left_out
        scan.run()
        scan.notes.append("no video files: folders of numbered pictures are taken for videos")
    if not scan.entries:
        raise DataError(
            f"{root} has no videos in class folders; give a folder with a folder for each class, with files such as "
            "running/clip1.mp4, or a list"
        )
    return Source(sorted(scan.entries, key=lambda entry: entry.name), str(root), notes=scan.notes)


def with_groups(entries: list[Entry], pattern: str) -> tuple[list[Entry], int]:
    """Return the entries with the groups that a regular expression finds in their names, and how many it leaves alone.

    Args:
        entries: the videos.
        pattern: searched in ``Entry.name``; the first group, or the whole match where it has none, names the group.

    Raises:
        UserError: no regular expression.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"--group-pattern {pattern!r} is no regular expression ({error})") from None
    grouped, alone = [], 0
    for entry in entries:
        match = expression.search(entry.name)
        group = (match[1] if expression.groups else match[0]) if match else ""
        alone += not group
        grouped.append(replace(entry, group=group or ""))
    return grouped, alone


def split_of(word: str, where: str) -> str:
    """Return the split that a list's word means; empty for an empty word.

    Raises:
        DataError: another word, naming ``where`` it stands.
    """
    found = SPLIT_WORDS.get(word.strip().lower(), "")
    if word.strip() and not found:
        raise DataError(f"{where}: {word!r} is no split; write train, val (or validation) or test")
    return found


def count_of(number: int, noun: str) -> str:
    """Return ``1 video`` or ``2 videos``."""
    return f"{number} {noun}" + ("" if number == 1 else "s")


class _Scan:
    """A walk over class folders, and what it met.

    Args:
        root: absolute.
        is_video: whether a folder with files of these names is a video; None: none is.
    """

    def __init__(self, root: Path, is_video: Callable[[list[str]], bool] | None) -> None:
        self.root, self.is_video = root, is_video
        self.leave_out: Path | None = None
        self.entries: list[Entry] = []
        self.notes: list[str] = []
        self.others: Counter[str] = Counter()

    def run(self) -> None:
        """Find the class folders, and the videos in them."""
        root = self.root
        names = self.folders(root)
        splits = {name: SPLIT_WORDS[name.lower()] for name in names if name.lower() in SPLIT_WORDS}
        if "train" in splits.values() and (len(set(splits.values())) > 1 or len(names) == 1):
            others = [name for name in names if name not in splits]
            if others:
                self.notes.append(f"passed over beside the folders of the splits: {_listed(others)}")
            for name, split in splits.items():
                classes = self.folders(root / name)
                if not classes and self.count_loose(root / name):
                    raise DataError(
                        f"{root / name} has videos but no class folders; make a folder for each class in it"
                    )
                self.add_classes(root / name, classes, split)
        else:
            loose = self.count_loose(root)
            if loose and not names:
                raise DataError(
                    f"{root} has {count_of(loose, 'video')} but no class folders; make a folder for each class in it, "
                    "or give a list with a path and a label on each line"
                )
            if loose:
                self.notes.append(f"passed over: {count_of(loose, 'video')} in {root} itself, outside of class folders")
            self.add_classes(root, names, "")
        self.note_other_files()

    def folders(self, folder: Path) -> list[str]:
        """Return the sorted names of the folders in ``folder`` that may be searched."""
        try:
            with os.scandir(folder) as entries:
                names = sorted(entry.name for entry in entries if entry.is_dir())
        except OSError as error:
            raise DataError(f"{folder}: {error.strerror or error}; give a folder or a list of videos") from None
        return [name for name in names if self._is_open(folder / name)]

    def add_classes(self, folder: Path, names: list[str], split: str) -> None:
        """Add the videos of the class folders ``names`` in ``folder``."""
        for name in names:
            found = [Entry(str(path), self.name_of(path), (name,), split=split) for path in self.videos(folder / name)]
            if not found:
                self.notes.append(f"passed over: folder {folder / name} has no videos")
            self.entries += found

    def name_of(self, path: Path) -> str:
        return path.relative_to(self.root).as_posix()

    def videos(self, folder: Path) -> Iterator[Path]:
        """Yield the videos below a class folder: files, or folders of pictures; count what is neither."""
        seen: set[str] = set()
        for place, folders, files in os.walk(folder, followlinks=True, onerror=_refuse):
            real = os.path.realpath(place)
            if real in seen:  # a link back to a folder above
                folders.clear()
                continue
            seen.add(real)
            folders[:] = sorted(name for name in folders if self._is_open(Path(place, name)))
            if self.is_video and place != str(folder) and self.is_video(files):
                folders.clear()
                yield Path(place)
                continue
            for name in sorted(files):
                suffix = Path(name).suffix.lower()
                if name.startswith("."):
                    continue
                if suffix in VIDEO_SUFFIXES:
                    yield Path(place, name)
                else:
                    self.others[suffix or "no ending"] += 1

    def _is_open(self, folder: Path) -> bool:
        return not _is_hidden(folder.name) and folder != self.leave_out

    def count_loose(self, folder: Path) -> int:
        """Return how many videos lie in ``folder`` itself."""
        with os.scandir(folder) as entries:
            return sum(
                not entry.name.startswith(".") and Path(entry.name).suffix.lower() in VIDEO_SUFFIXES and entry.is_file()
                for entry in entries
            )

    def note_other_files(self) -> None:
        """Say once what else lies in the class folders."""
        if not self.others:
            return
        kinds = ", ".join(f"{count} {suffix}" for suffix, count in self.others.most_common(6))
        hint = ""
        if self.is_video is None and any(suffix in PICTURE_ENDINGS for suffix in self.others):
            hint = "; if they are frames of videos, name them with --image-template, such as img_{:05d}.jpg"
        self.notes.append(f"passed over: {count_of(sum(self.others.values()), 'file')} of other kinds ({kinds}){hint}")


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror}); correct its permissions or move it away")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in ("__MACOSX", "@eaDir")  # what archives and network disks leave behind


def _listed(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
