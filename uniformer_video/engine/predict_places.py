"""Where the results of ``tools/predict.py`` go: refused before any video is read, and never over what it reads."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.paths import make_output_dir
from uniformer_video.video.writer import ENCODERS, encoder_for

STDOUT = "-"
FEATURE_ENDINGS = (".npz", ".npy")
_LABELLED = ".labelled.mp4"


def check_places(
    *, json: str = "", csv: str = "", features: str = "", video: str = "", read: Iterable[str], videos: Sequence[str]
) -> None:
    """Refuse places that could not be written, or that hold what the command reads.

    Args:
        json: file, ``-``, or empty.
        csv: file, ``-``, or empty.
        features: ``.npz``, ``.npy`` or a folder, which is made; or empty.
        video: file or folder, which is made; or empty.
        read: what the command was told to read: lists, weights, a configuration.
        videos: the videos.

    Raises:
        UserError: one line, with the option.
    """
    wanted = [("--json", json), ("--csv", csv)]
    if features.lower().endswith(FEATURE_ENDINGS):
        wanted.append(("--features", features))
        if features.lower().endswith(".npy"):
            wanted.append(("--features", paths_beside(features)))
    elif features:
        _check_folder("--features", features, "features are written to files that end in .npz or .npy, or to a folder")
    taken = {os.path.realpath(os.path.expanduser(path)): "which this command reads" for path in (*read, *videos)}
    for option, target in wanted:
        if target in ("", STDOUT):
            continue
        _check_file(option, target)
        place = os.path.realpath(target)
        if place in taken:
            raise UserError(f"{option} would write over {target!r}, {taken[place]}; give another name")
        taken[place] = f"which {option} writes too"
    if video:
        _check_video(video, videos)


class LabelledPlaces:
    """The files for labelled videos: never over an input, nor over what else lies in a folder with inputs.

    Args:
        target: a file for the only video, or a folder.
        videos: all videos of the run.
    """

    def __init__(self, target: str, videos: Sequence[str]) -> None:
        self.target = Path(target)
        self.taken = {os.path.realpath(path) for path in videos}
        # A link lies in one folder and its file in another.
        self.folders = {os.path.dirname(path) for path in self.taken}
        self.folders |= {os.path.realpath(os.path.dirname(path)) for path in videos}

    def place(self, name: str) -> Path:
        """Return the file for a video called ``name``, which no other video gets."""
        if self.target.suffix.lower() in ENCODERS:
            return self.target
        # `clip.mp4` beside the input `clip.avi` would be somebody else's.
        place = self.target / (f"{name}{_LABELLED}" if os.path.realpath(self.target) in self.folders else f"{name}.mp4")
        while os.path.realpath(place) in self.taken:
            place = place.with_name(place.name.removesuffix(".mp4") + _LABELLED)
        self.taken.add(os.path.realpath(place))
        return place


def paths_beside(target: str) -> str:
    """Return the file with the paths of the videos, which stands beside features in ``.npy``."""
    return os.path.splitext(target)[0] + ".txt"


def _check_file(option: str, target: str) -> None:
    folder = Path(target).absolute().parent
    if os.path.isdir(target):
        raise UserError(f"{option} {target!r} is a folder; give the name of a file")
    if not folder.is_dir():
        raise UserError(f"{option} {target!r} cannot be written: {str(folder)!r} is no folder; make it first")
    if not os.access(folder, os.W_OK):
        raise UserError(f"{option} {target!r} cannot be written: no permission in {str(folder)!r}; give another place")


def _check_folder(option: str, target: str, otherwise: str) -> None:
    if Path(target).suffix and not os.path.isdir(target):
        raise UserError(f"{option} {target!r}: {otherwise}")
    make_output_dir(target, option)


def _check_video(target: str, videos: Sequence[str]) -> None:
    if Path(target).suffix.lower() not in ENCODERS:
        if Path(target).suffix and not os.path.isdir(target):
            encoder_for(Path(target))  # says which endings there are
        make_output_dir(target, "--video")
        return
    if len(videos) > 1:
        raise UserError(f"--video {target!r} is one file for {len(videos)} videos; give a folder")
    encoder_for(Path(target))
    if os.path.exists(target) and os.path.realpath(target) == os.path.realpath(videos[0]):
        raise UserError(f"--video {target!r} is the input itself; give another name")
    _check_file("--video", target)
