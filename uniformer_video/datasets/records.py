"""What an annotation file gives: one record for each video, and the names of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import simplejson

from uniformer_video.runtime.errors import DataError


@dataclass(frozen=True, slots=True)
class VideoRecord:
    """One labelled video.

    Args:
        path: file or URL, ready to be opened.
        label: class number, from 0.
        num_frames: frames of the video where the annotation says so.
    """

    path: str
    label: int
    num_frames: int | None = None


def read_class_names(folder: Path, num_classes: int) -> list[str] | None:
    """Return the class names in label order from ``classes.json`` (a list) or ``classes.txt`` (one a line).

    None where ``folder`` has neither.

    Raises:
        DataError: a file that is no list of names, or not of ``num_classes`` names.
    """
    path = folder / "classes.json"
    if path.is_file():
        text = _text(path)
        try:
            names = simplejson.loads(text)
        except ValueError as error:
            raise DataError(f"{path}: not JSON ({error}); it is a list of class names in label order") from None
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            raise DataError(f'{path}: must be a list of class names in label order, such as ["run", "jump"]')
    else:
        path = folder / "classes.txt"
        if not path.is_file():
            return None
        names = [line.strip() for line in _text(path).split("\n") if line.strip()]
    if len(names) != num_classes:
        raise DataError(f"{path} names {len(names)} classes, but MODEL.NUM_CLASSES is {num_classes}; make them agree")
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as UTF-8 text ({error})") from None
