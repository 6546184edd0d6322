"""Which videos a user means: files, folders, patterns, lists, addresses, names on standard input."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TextIO

from uniformer_video.datasets.label_lists import read_label_list
from uniformer_video.datasets.list_text import check_text, is_file, is_folder, read_text, text_lines
from uniformer_video.datasets.video_folder import VIDEO_SUFFIXES
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.picture_names import PICTURE_ENDINGS

STDIN = "-"
LIST_SUFFIXES = frozenset((".txt", ".csv", ".tsv", ".json", ".jsonl"))
"""Endings of files that are read as lists of videos."""

_WANTED = "give a video, a folder with videos, a quoted pattern such as 'clips/*.mp4', a list (@list.txt) or - "


@dataclass(frozen=True, slots=True)
class Input:
    """A video to look at.

    Attributes:
        path: file, folder of frames, or address.
        labels: what a list says it shows, names or numbers; empty: nothing does.
    """

    path: str
    labels: tuple[str, ...] = ()


def find_inputs(words: Sequence[str], stdin: TextIO | None = None) -> list[Input]:
    """Return the videos that the words of a command line name, each once, in their order.

    - A file is itself, but for ``.txt .csv .tsv .json .jsonl``, which, like ``@any.name``, are lists: a path on each
      line, or with labels, in the forms of :mod:`uniformer_video.datasets.label_lists`. Relative paths are looked for
      beside the list, then in the working directory.
    - A folder whose pictures are the frames of a video is that video; another one gives all videos in it and below.
    - A pattern (``*``, ``?``, ``[...]``; ``**`` for all folders below) gives what it matches, sorted.
    - ``-`` reads a path from each line of standard input. An address (``https://...``) is itself.

    Args:
        words: of the command line.
        stdin: for ``-``.

    Raises:
        DataError: one line: a word that names nothing, a folder or list without a video, a list that cannot be read.
    """
    found: dict[str, Input] = {}
    for word in words:
        for video in _of_word(word, stdin):
            # The first time counts, but for a label that comes later.
            if video.path not in found or (video.labels and not found[video.path].labels):
                found[video.path] = video
    if not found:
        raise DataError(f"no videos; {_WANTED}for names on standard input")
    return list(found.values())


def _of_word(word: str, stdin: TextIO | None) -> Iterable[Input]:
    check_text(word, "the command line", "the name")
    if not word.strip():
        raise DataError(f"an empty name is no video; {_WANTED}for names on standard input")
    if word == STDIN:
        return _of_stdin(stdin)
    if word.startswith("@") and not os.path.exists(word):
        return _of_list(word[1:])
    if "://" in word:
        return [Input(word)]
    path = os.path.expanduser(word)
    if is_folder(path):
        return _of_folder(path)
    if is_file(path):
        return _of_list(path) if os.path.splitext(path)[1].lower() in LIST_SUFFIXES else [Input(path)]
    if glob.has_magic(path):
        return _of_pattern(path)
    raise DataError(f"there is no {word!r}; {_WANTED}for names on standard input")


def _of_stdin(stdin: TextIO | None) -> list[Input]:
    lines = [line.strip("\r\n") for line in stdin or ()]
    names = [line for line in lines if line.strip()]
    if not names:
        raise DataError("standard input names no video; it is read as a path on each line")
    return [Input(check_text(name, "standard input", "the name")) for name in names]


def _of_folder(folder: str) -> list[Input]:
    videos = [Input(path) for path in videos_below(folder)]
    if not videos:
        endings = " ".join(sorted(VIDEO_SUFFIXES))
        raise DataError(f"{folder!r} holds no video and no folder of frames; the endings looked for are {endings}")
    return videos


def videos_below(folder: str) -> Iterator[str]:
    """Yield the videos in a folder and below, sorted: files by their ending, and folders whose files are pictures.

    Names that start with a dot are passed over. Links to folders are followed, each folder is looked into once.
    """
    return _walk(folder, set())


def _walk(folder: str, seen: set[tuple[int, int]]) -> Iterator[str]:
    try:
        state = os.stat(folder)
        with os.scandir(folder) as entries:
            names = sorted((entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder!r} cannot be searched ({error.strerror or error})") from None
    if (state.st_dev, state.st_ino) in seen:
        return
    seen.add((state.st_dev, state.st_ino))
    endings = [os.path.splitext(name)[1].lower() for name, is_dir in names if not is_dir]
    if not VIDEO_SUFFIXES & set(endings) and any(ending in PICTURE_ENDINGS for ending in endings):
        yield folder
        return
    for name, is_dir in names:
        path = os.path.join(folder, name)
        if is_dir:
            yield from _walk(path, seen)
        elif os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES:
            yield path


def _of_pattern(pattern: str) -> list[Input]:
    found = []
    for path in sorted(glob.glob(pattern, recursive=True)):
        if os.path.isdir(path):
            # ** also gives the folders on the way; what they hold comes by itself where the pattern asks for it.
            found += [] if "**" in pattern else videos_below(path)
        else:
            found.append(path)
    if not found:
        raise DataError(f"no file matches {pattern!r}; {_WANTED}for names on standard input")
    return [Input(path) for path in found]


def _of_list(path: str) -> list[Input]:
    try:
        text = read_text(path)
    except FileNotFoundError:
        raise DataError(f"there is no list {path!r}; a list has the path of a video on each line") from None
    lines = [(n, line.strip()) for n, line in text_lines(text) if not line.lstrip().startswith("#")]
    if not lines:
        raise DataError(f"{path}: the list is empty; it has the path of a video on each line")
    base = os.path.dirname(path)
    if all(_is_path(line, base) for _, line in lines):
        return [Input(_place(check_text(line, f"{path}:{n}", "the path"), base)) for n, line in lines]
    entries = read_label_list(path).entries
    return [Input(_place(entry.path, base), tuple(entry.labels)) for entry in entries]


def _is_path(line: str, base: str) -> bool:
    if "://" in line and " " not in line or os.path.splitext(line)[1].lower() in VIDEO_SUFFIXES:
        return True
    return is_file(place := os.path.join(base, line)) or is_folder(place) or is_file(line) or is_folder(line)


def _place(path: str, base: str) -> str:
    """Return the path beside the list, or in the working directory where it is only there."""
    beside = os.path.join(base, path)
    return path if "://" in path or (not os.path.exists(beside) and os.path.exists(path)) else beside
