"""Every fault of a set that is there, each with its file and line."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniformer_video.datasets.json_text import read_json
from uniformer_video.datasets.kinetics import list_root, parse_line, video_path
from uniformer_video.datasets.list_text import read_text, text_lines
from uniformer_video.datasets.records import read_class_names
from uniformer_video.prepare.prepared import FORMAT, fingerprint_of, portable_name
from uniformer_video.prepare.probe_all import probe_all
from uniformer_video.prepare.sources import SPLITS
from uniformer_video.prepare.write import CLASSES_FILE, DATASET_FILE
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.probe import Probe


@dataclass(frozen=True, slots=True)
class _Line:
    """One video of a list."""

    split: str
    number: int
    listed: str
    path: str
    labels: tuple[int, ...]
    where: str  # list:line, without its folder


def check_dataset(
    folder: str | os.PathLike[str],
    *,
    videos: str = "",
    separator: str = " ",
    fast: bool = False,
    image_template: str = "",
    workers: int = 1,
    timeout_seconds: float = 0.0,
) -> tuple[list[str], int]:
    """Return a line ``file:line: fault`` for each fault of a set, and how many videos its lists have.

    Looked at are: every line of the lists; whether each file is there and can be decoded; labels against the class
    names; a video twice in a list or in two of them, by path and by bytes; classes without a training video; and what
    ``dataset.json`` says, if there is one. Nothing is written, and nothing remembered from earlier runs is trusted.

    Args:
        folder: holds ``train.csv``, ``val.csv``, ``test.csv`` with a ``path label`` on each line.
        videos: folder of relative paths; empty: that of the lists.
        separator: stands between path and label.
        fast: read headers only.
        image_template: names of the pictures of videos that are folders.
        workers: processes; 0: this one.
        timeout_seconds: that one video may take; 0: no limit.

    Raises:
        DataError: no such folder, or none of the lists is in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError(f"--check {folder}: no such folder; give one that holds train.csv, val.csv and test.csv")
    if not any((root / f"{split}.csv").is_file() for split in SPLITS):
        raise DataError(f"--check {folder}: it holds none of train.csv, val.csv and test.csv; make a set of it first")
    check = _Check(root, videos, separator)
    check.names()
    check.lists()
    check.twice()
    probes = probe_all(
        [line.path for line in check.lines],
        full=not fast,
        timeout_seconds=timeout_seconds,
        image_template=image_template,
        workers=workers,
        label="checking videos",
    )
    check.files(probes)
    check.classes()
    check.description(probes)
    return check.sorted_faults(), len(check.lines)


@dataclass
class _Check:
    """What was found so far."""

    folder: Path
    prefix: str
    separator: str
    class_names: list[str] | None = None
    lines: list[_Line] = field(default_factory=list)
    found: list[tuple[str, int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.content = self._content()
        self.whole = True  # whether all lines could be read
        self.unread: set[str] = set()  # splits with lines that could not

    def add(self, name: str, line: int, fault: str) -> None:
        self.found.append((name, line, fault))

    def sorted_faults(self) -> list[str]:
        files = [f"{split}.csv" for split in SPLITS]
        order = sorted(self.found, key=lambda f: (files.index(f[0]) if f[0] in files else len(files), f[0], f[1]))
        lines = [f"{self.folder / name}{f':{line}' if line else ''}: {fault}" for name, line, fault in order]
        return ["".join(c if c.isprintable() else "?" for c in line) for line in lines]

    def _content(self) -> dict[str, Any] | None:
        path = self.folder / DATASET_FILE
        if not os.path.lexists(path):
            return None
        try:
            content = read_json(path, "it is what prepare_dataset.py wrote")
        except DataError as error:
            self.found.append((DATASET_FILE, *_told(error, path)))
            return None
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            self.add(DATASET_FILE, 1, f"not of format {FORMAT}; make the set anew with prepare_dataset.py")
            return None
        return content

    def names(self) -> None:
        try:
            self.class_names = read_class_names(self.folder, None)
        except DataError as error:
            self.found.append((CLASSES_FILE, *_told(error, self.folder / CLASSES_FILE)))
            return
        if self.class_names is None:
            if self.content is not None:
                self.add(CLASSES_FILE, 0, "no such file, but dataset.json says that the set has class names")
            return
        for name, count in Counter(self.class_names).items():
            if count > 1:
                self.add(CLASSES_FILE, self._line_of(CLASSES_FILE, f'"{name}"'), f"class {name!r} is named twice")

    def lists(self) -> None:
        counts = (self.content or {}).get("counts")
        counts = counts if isinstance(counts, dict) else {}
        for split in SPLITS:
            name = f"{split}.csv"
            try:
                rows = text_lines(read_text(self.folder / name))
            except FileNotFoundError:
                if counts.get(split, 1):
                    way_out = "; without a test, set TEST.ENABLE False" if split == "test" else ""
                    self.add(name, 0, f"no such list{way_out}")
                continue
            except DataError as error:
                self._unread(split, error)
                continue
            if not rows:
                self.add(name, 1, "an empty list")
            self._list(split, name, rows)

    def _list(self, split: str, name: str, rows: Sequence[tuple[int, str]]) -> None:
        several = self._several(rows)
        parsed = []
        for number, text in rows:
            try:
                path, label = parse_line(self.folder / name, number, text, self.separator, None, several)
                parsed.append((number, path, label if isinstance(label, tuple) else (label,)))
            except DataError as error:
                self._unread(split, error)
        root = list_root(self.folder, parsed[0][1], self.prefix) if parsed else ""
        for number, path, labels in parsed:
            place = video_path(root, path)
            place = place if "://" in place else os.path.normpath(place)
            self.lines.append(_Line(split, number, path, place, labels, f"{name}:{number}"))
            for label in labels:
                if self.class_names is not None and label >= len(self.class_names):
                    most = len(self.class_names) - 1
                    self.whole = False
                    self.add(name, number, f"label {label} is outside 0 to {most}, the classes of {CLASSES_FILE}")

    def _unread(self, split: str, error: DataError) -> None:
        self.whole = False
        self.unread.add(split)
        number, fault = _told(error, self.folder / f"{split}.csv")
        # What a recipe is told by a setting, --check is told by an option.
        setting = "DATA.PATH_LABEL_SEPARATOR"
        self.add(f"{split}.csv", number, fault.replace(f"set {setting}", f"say --delimiter, and in training {setting}"))

    def _several(self, rows: Sequence[tuple[int, str]]) -> bool:
        """Return whether the set is multi-label: as it says, else as a line with ``3,7`` tells."""
        said = (self.content or {}).get("multi_label")
        if isinstance(said, bool):
            return said
        labels = [text.strip().rpartition(self.separator)[2].split(",") for _, text in rows]
        return any(len(words) > 1 and all(word.isdigit() for word in words) for words in labels)

    def twice(self) -> None:
        first: dict[str, _Line] = {}
        for line in self.lines:
            before = first.setdefault(line.path, line)
            if before is not line:
                leak = "" if before.split == line.split else ": it leaks from one split into another"
                self.add(f"{line.split}.csv", line.number, f"{line.listed} is also in {before.where}{leak}")

    def files(self, probes: dict[str, Probe]) -> None:
        kept = bool(((self.content or {}).get("options") or {}).get("keep_duplicates"))
        first: dict[str, _Line] = {}
        for line in self.lines:
            probe = probes[line.path]
            if not probe.ok:
                self.whole = False
                self.add(f"{line.split}.csv", line.number, f"{line.listed}: {probe.reason}")
            elif probe.sha256:
                before = first.setdefault(probe.sha256, line)
                leak = before.split != line.split
                if before.path != line.path and (leak or not kept):
                    more = ": it leaks from one split into another" if leak else ""
                    fault = f"{line.listed} has the same bytes as {before.listed} in {before.where}{more}"
                    self.add(f"{line.split}.csv", line.number, fault)

    def classes(self) -> None:
        if "train" in self.unread:
            return  # who knows what its other lines have
        train = {label for line in self.lines if line.split == "train" for label in line.labels}
        if self.class_names is not None:
            for label, name in enumerate(self.class_names):
                if label not in train:
                    line = self._line_of(CLASSES_FILE, f'"{name}"')
                    self.add(CLASSES_FILE, line, f"class {label} {name!r} has no video in train.csv")
            return
        every = {label for line in self.lines for label in line.labels}
        for label in range(max(every, default=-1) + 1):
            if label not in train:
                self.add("train.csv", 0, f"class {label} has no video in it")

    def description(self, probes: dict[str, Probe]) -> None:
        """Compare with what ``dataset.json`` says."""
        if self.content is None:
            return
        before = len(self.found)
        wanted = self.content.get("num_classes")
        if self.class_names is not None and wanted != len(self.class_names):
            self._differs("num_classes", wanted, f"{CLASSES_FILE} names {len(self.class_names)}")
        counts = self.content.get("counts")
        sizes = Counter(line.split for line in self.lines)
        for split in SPLITS:
            said = counts.get(split) if isinstance(counts, dict) else None
            if self.whole and said != sizes[split]:
                self._differs(split, said, f"{split}.csv has {sizes[split]} videos")
        self._class_counts()
        if self.whole and len(self.found) == before and self.class_names is not None:
            root = Path(str(self.content.get("root", "")))
            place = Path(os.path.abspath(self.folder))
            videos = [
                (portable_name(os.path.abspath(n.path) if "://" not in n.path else n.path, place, root), n)
                for n in self.lines
            ]
            now, _ = fingerprint_of([(name, probes[n.path], n.labels, n.split) for name, n in videos], self.class_names)
            if now != self.content.get("fingerprint"):
                fault = "the fingerprint is another: a file, a label or a split has changed since the set was made"
                self.add(DATASET_FILE, self._line_of(DATASET_FILE, '"fingerprint"'), fault)

    def _class_counts(self) -> None:
        said = self.content.get("classes") if self.content else None
        if not (self.whole and self.class_names is not None and isinstance(said, dict)):
            return
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for line in self.lines:
            for label in line.labels:
                counts[label][line.split] += 1
        for label, name in enumerate(self.class_names):
            now = {split: counts[label][split] for split in SPLITS}
            if said.get(name) != now:
                there = " ".join(f"{split} {count}" for split, count in now.items())
                self._differs(name, said.get(name), f"the lists have {there}")

    def _differs(self, key: str, said: object, there: str) -> None:
        self.add(DATASET_FILE, self._line_of(DATASET_FILE, f'"{key}":'), f"{key} is {said}, but {there}")

    def _line_of(self, name: str, text: str) -> int:
        """Return the first line of a file with ``text`` in it; 1 where there is none."""
        try:
            lines = (self.folder / name).read_text(encoding="utf-8-sig").split("\n")
        except (OSError, UnicodeDecodeError):
            return 1
        return next((number for number, line in enumerate(lines, 1) if text in line), 1)


def _told(error: DataError, path: Path) -> tuple[int, str]:
    """Return line and fault of an error that begins with its file, or file and line."""
    rest = str(error).removeprefix(str(path)).removeprefix(":")
    number, colon, fault = rest.partition(": ")
    return (int(number), fault) if colon and number.isdigit() else (1, rest.strip())
