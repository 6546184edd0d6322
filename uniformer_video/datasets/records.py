"""What an annotation gives: one record for each video, and the names of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.datasets.json_text import read_json
from uniformer_video.datasets.list_text import check_text, is_file, read_text, text_lines
from uniformer_video.runtime.errors import DataError


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video.

    Args:
        path: file, address, or folder of frames, ready to be opened.
        label: class number, from 0; in a multi-label set a rising tuple of them, which may be empty.
        num_frames: frames of the video where the annotation says so; only the reader knows the real number.
    """

    path: str
    label: int | tuple[int, ...]
    num_frames: int | None = None

    @property
    def labels(self) -> tuple[int, ...]:
        """The class numbers: one, or those of a multi-label set."""
        return self.label if isinstance(self.label, tuple) else (self.label,)


@dataclass(frozen=True)
class Annotation:
    """What an annotation reader returns.

    Args:
        records: the videos, in the order of the annotation; the readers give a :class:`RecordTable`.
        class_names: in label order, where the annotation itself tells them.
        absent: paths of listed videos that the folder of videos does not hold. A training or validation list leaves
            them out of ``records``; a test list keeps them there, so that the test names them.
        source: the file or files read, for messages.
    """

    records: Sequence[VideoRecord]
    class_names: list[str] | None = None
    absent: tuple[str, ...] = ()
    source: str = ""


def read_class_names(folder: Path, num_classes: int | None) -> list[str] | None:
    """Return the class names in label order from ``classes.json`` (a list) or ``classes.txt`` (one a line).

    None where ``folder`` has neither.

    Args:
        folder: the folder of the lists.
        num_classes: how many there must be; None: any number but none at all.

    Raises:
        DataError: a file that is no list of names, or not of ``num_classes`` names.
    """
    path = folder / "classes.json"
    if is_file(path):
        names = read_json(path, "it is a list of class names in label order")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise DataError(f'{path}: must be a list of class names in label order, such as ["run", "jump"]')
        for number, name in enumerate(names):
            check_text(name, f"{path}, class {number}", "the name")
    else:
        path = folder / "classes.txt"
        if not is_file(path):
            return None
        names = [line.strip() for _, line in text_lines(read_text(path))]
    if num_classes is None and not names:
        raise DataError(f"{path} names no class; write the class names in label order")
    if num_classes is not None and len(names) != num_classes:
        raise DataError(f"{path} names {len(names)} classes, but MODEL.NUM_CLASSES is {num_classes}; make them agree")
    return names
