"""Where the videos of an official list lie: what the folder holds becomes records, what it lacks is counted."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from uniformer_video.datasets.kinetics import video_path
from uniformer_video.datasets.record_table import RecordTableBuilder
from uniformer_video.datasets.records import Annotation
from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES, names_in
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """A video of an official list.

    Args:
        names: stems of the files it may be, best first.
        label: class number.
        expected: path relative to the folder of the videos where it should lie.
        folder: name of its class, for files of one name in several folders.
        num_frames: frames by the list.
    """

    names: tuple[str, ...]
    label: int
    expected: str
    folder: str = ""
    num_frames: int | None = None


def place(
    listed: Sequence[Listed],
    find: Callable[[Listed], str | None],
    *,
    root: str,
    split: str,
    source: str,
    class_names: Sequence[str] | None,
    looked_for: str,
    prefix: str,
) -> Annotation:
    """Return the records of a list, with one line in the log where videos are missing.

    A training or validation list leaves out what is missing. A test list keeps it, with the path where it should lie:
    testing drops nothing.

    Args:
        listed: the videos.
        find: the path of a video, or None.
        root: the folder of the videos.
        split: ``train``, ``val`` or ``test``.
        source: the list, for messages.
        class_names: in label order, where known.
        looked_for: how files are named, for the message.
        prefix: ``DATA.PATH_PREFIX``, for the message.

    Raises:
        DataError: an empty list, or a folder that holds none of its videos.
    """
    if not listed:
        raise DataError(f"{source}: lists no video")
    records = RecordTableBuilder()
    absent: list[str] = []
    for item in listed:
        path = find(item)
        if path is None:
            path = os.path.join(root, item.expected)
            absent.append(path)
            if split != "test":
                continue
        records.add(path, item.label, item.num_frames)
    if len(absent) == len(listed):
        is_now = f"it is {prefix!r}" if prefix else "it is not set"
        raise DataError(
            f"{source}: none of its {len(listed)} videos is in {root}, for example {absent[0]} ({looked_for}); set "
            f"DATA.PATH_PREFIX to the folder of the videos ({is_now})"
        )
    if absent:
        logger.warning(
            "%s: %d of %d videos (%.1f%%) are not in %s, for example %s; %s",
            *(source, len(absent), len(listed), 100 * len(absent) / len(listed), root, os.path.basename(absent[0])),
            "the test will count them as unread" if split == "test" else "they are left out",
        )
    return Annotation(records.finish(), list(class_names) if class_names is not None else None, tuple(absent), source)


class Listing:
    """Says what exists below a folder, listing each folder once: a network drive answers 200,000 questions slowly.

    Args:
        root: the folder of relative paths.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.listed: dict[str, frozenset[str]] = {}
        self.stems: dict[str, dict[str, str]] = {}

    def find(self, name: str) -> str | None:
        """Return the path of a folder or video, also of a video named without its ending; None where it is not."""
        path = video_path(self.root, name)
        if "://" in name:
            return path
        folder, base = os.path.split(path.rstrip("/"))
        if folder not in self.listed:
            self.listed[folder] = names_in(folder)
        if base in self.listed[folder]:
            return path
        if folder not in self.stems:
            pairs = (os.path.splitext(there) for there in sorted(self.listed[folder], reverse=True))
            self.stems[folder] = {stem: stem + end for stem, end in pairs if end.lower() in VIDEO_SUFFIXES}
        found = self.stems[folder].get(base)
        return os.path.join(folder, found) if found else None
