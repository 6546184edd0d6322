"""A folder of empty videos, and lists of `path label` lines in it."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.kinetics import read_kinetics
from uniformer_video.runtime.errors import DataError


@pytest.fixture
def folder(tmp_path):
    """Return a folder with files a.mp4, b.mp4, c.mp4 and "my clip.mp4" in it."""
    for name in ("a.mp4", "b.mp4", "c.mp4", "my clip.mp4"):
        (tmp_path / name).touch()
    return tmp_path


def write(folder, text, split="train"):
    path = folder / f"{split}.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read(folder, split="train", num_classes=10, **options):
    return read_kinetics(str(folder), split, num_classes=num_classes, **options)


def error_of(folder, split="train", **options):
    with pytest.raises(DataError) as error:
        read(folder, split, **options)
    assert "\n" not in str(error.value)
    return str(error.value)
