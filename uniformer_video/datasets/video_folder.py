"""What a folder of videos holds, by the stems of the file names: searched once, kept while nothing in it changes."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from uniformer_video.datasets.label_sets import normalise
from uniformer_video.datasets.list_text import is_folder
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.video.picture_names import PICTURE_ENDINGS

logger = get_logger(__name__)

VIDEO_SUFFIXES = frozenset(
    (
        *(".3g2", ".3gp", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".m2ts", ".m2v", ".m4v", ".mj2"),
        *(".mkv", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".rm", ".rmvb", ".ts", ".vob"),
        *(".webm", ".wmv", ".y4m"),
    )
)
"""Endings of video files, in lower case."""

# So many pictures before the first video: a folder of frames, whose other thousands need not be listed.
FRAME_FOLDER_PICTURES = 64

# A folder that changed so shortly before it was searched may change again without a new time of change.
_SETTLED_SECONDS = 2.0


@dataclass(frozen=True)
class VideoFolder:
    """The videos below a folder.

    Args:
        root: the folder.
        stems: path(s) relative to ``root`` by file name without its ending; of a folder of frames by the folder's name.
            Names that start with a dot are left out.
    """

    root: str
    stems: dict[str, str | tuple[str, ...]]
    folders: dict[str, int] = field(repr=False, default_factory=dict)  # time of change in ns, to see that it is current

    def __len__(self) -> int:
        return sum(1 if isinstance(found, str) else len(found) for found in self.stems.values())

    def find(self, names: Sequence[str], folder: str = "", others: Collection[str] = ()) -> str | None:
        """Return the path of the first of ``names`` (stems, case counts) that is there; None where none is.

        Args:
            names: best first.
            folder: of several files of one name, the one in a folder of this (class) name is taken, else the first by
                path.
            others: a file in a folder of one of these names (normalised class names) is another video, unless it is
                ``folder`` itself.
        """
        wanted = None
        for name in names:
            found = self.stems.get(name)
            if found is None:
                continue
            if isinstance(found, str) and not others:
                return os.path.join(self.root, found)
            wanted = normalise(folder) if wanted is None else wanted
            paths = (found,) if isinstance(found, str) else found
            ranked = []
            for path in paths:
                parent = normalise(os.path.basename(os.path.dirname(path)))
                if parent == wanted or parent not in others:
                    ranked.append((parent != wanted, path))
            if ranked:
                return os.path.join(self.root, min(ranked)[1])
        return None


_searched: dict[str, VideoFolder] = {}


def video_folder(root: str, key: str = "DATA.PATH_PREFIX") -> VideoFolder:
    """Return what lies below ``root``, in sub-folders too. A second call searches again only where something changed.

    Symbolic links are followed, each folder is searched once. Folders that cannot be listed are passed over with one
    warning.

    Args:
        root: the folder.
        key: the setting that names it, for messages.

    Raises:
        DataError: no such folder.
    """
    if not root or not is_folder(root):
        raise DataError(f"{key} {root!r} is no folder; set {key} to the folder that holds the videos")
    known = _searched.get(os.path.abspath(root))
    if known is not None and known.root == root and _current(known):
        return known
    found = _search(root)
    _searched.pop(os.path.abspath(root), None)
    if _may_be_kept(found):
        _searched[os.path.abspath(root)] = found
    return found


def names_in(folder: str) -> frozenset[str]:
    """Return the names of what lies directly in a folder; none where it cannot be listed."""
    try:
        with os.scandir(folder or ".") as entries:
            return frozenset(entry.name for entry in entries)
    except (OSError, ValueError):
        return frozenset()


def _search(root: str) -> VideoFolder:
    stems: dict[str, str | tuple[str, ...]] = {}
    folders: dict[str, int] = {}
    seen: set[tuple[int, int]] = set()
    refused: list[str] = []
    waiting = [""]
    while waiting:
        relative = waiting.pop()
        try:
            state = os.stat(os.path.join(root, relative))
            if (state.st_dev, state.st_ino) in seen:  # a link in a circle, or a second way to one folder
                continue
            seen.add((state.st_dev, state.st_ino))
            folders[relative] = state.st_mtime_ns
            waiting.extend(_list(root, relative, stems))
        except OSError as error:
            refused.append(f"{os.path.join(root, relative)} ({error.strerror})")
    if refused:
        logger.warning("%d folders below %s cannot be searched, for example %s", len(refused), root, refused[0])
    return VideoFolder(root, stems, folders)


def _list(root: str, relative: str, stems: dict[str, str | tuple[str, ...]]) -> list[str]:
    """Add the videos of one folder to ``stems`` and return its sub-folders."""
    below, pictures, videos = [], 0, 0
    with os.scandir(os.path.join(root, relative)) as entries:
        for entry in entries:
            name = entry.name
            if name.startswith("."):
                continue
            stem, suffix = os.path.splitext(name)
            suffix = suffix.lower()
            if suffix in VIDEO_SUFFIXES and not entry.is_dir():
                videos += 1
                _add(stems, stem, os.path.join(relative, name))
            elif suffix in PICTURE_ENDINGS:
                pictures += 1
                if pictures >= FRAME_FOLDER_PICTURES and not videos:
                    break
            elif entry.is_dir():
                below.append(os.path.join(relative, name))
    if pictures and not videos and relative:
        _add(stems, os.path.basename(relative), relative)
        return [] if pictures >= FRAME_FOLDER_PICTURES else below
    return below


def _add(stems: dict[str, str | tuple[str, ...]], stem: str, path: str) -> None:
    there = stems.get(stem)
    if there is None:
        stems[stem] = path
    else:
        stems[stem] = (*((there,) if isinstance(there, str) else there), path)


def _current(found: VideoFolder) -> bool:
    try:
        return all(os.stat(os.path.join(found.root, f)).st_mtime_ns == t for f, t in found.folders.items())
    except OSError:
        return False


def _may_be_kept(found: VideoFolder) -> bool:
    return max(found.folders.values(), default=0) < (time.time() - _SETTLED_SECONDS) * 1e9
