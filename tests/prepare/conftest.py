"""Small videos in class folders, and a set made of them."""

from __future__ import annotations

import pytest

from tests.helpers import moving_square, write_empty, write_truncated, write_video
from uniformer_video.prepare.prepare import PrepareOptions, prepare_dataset


def write_clips(folder, lengths):
    """Write a video for each ``path: number of frames``, no two with the same bytes."""
    for number, (name, length) in enumerate(sorted(lengths.items())):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = moving_square(length, 32, 48, color=(250 - 9 * number % 240, 20 + 11 * number % 230, 60))
        write_video(path, frames, crf=30)
    return folder


def prepare(source, out, **more):
    """Make a set in this process and return the content of ``dataset.json`` and what was said."""
    said = []
    content = prepare_dataset(PrepareOptions(str(source), str(out), workers=0, **more), said.append)
    return content, said


def listed(out):
    """Return path: (split, label) of all lists."""
    found = {}
    for split in ("train", "val", "test"):
        path = out / f"{split}.csv"
        for line in path.read_text().splitlines() if path.exists() else ():
            name, _, label = line.rpartition(" ")
            found[name] = (split, label)
    return found


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Return a folder of 3 classes with 5, 4 and 1 good videos, and bad ones of some kinds. Not to be changed."""
    folder = tmp_path_factory.mktemp("clips")
    lengths = {f"run/{n}.mp4": 8 + n for n in range(5)}
    lengths |= {f"jump up/deep/{n}.mkv": 9 for n in range(4)} | {"sit/only.mp4": 12}
    write_clips(folder, lengths)
    write_empty(folder / "run" / "empty.mp4")
    write_truncated(folder / "sit" / "cut.mp4", folder / "run" / "0.mp4")
    (folder / "run" / "again.mp4").write_bytes((folder / "run" / "1.mp4").read_bytes())
    (folder / "sit" / "notes.txt").write_text("not a video")
    (folder / "sit" / ".hidden.mp4").write_text("not looked at")
    return folder


@pytest.fixture(scope="session")
def made(clips, tmp_path_factory):
    """Return the folder of the set made of ``clips``, what was said, and dataset.json's content. Not to change."""
    out = tmp_path_factory.mktemp("made") / "mine"
    content, said = prepare(clips, out, command=("prepare_dataset.py",))
    return out, said, content
