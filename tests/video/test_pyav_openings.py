"""How often the PyAV reader opens a file, and that going back to its start changes no frame."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import av
import pytest

from tests.helpers import read_barcodes
from tests.video.watched import Watched
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError


@pytest.fixture
def opened(monkeypatch):
    """The paths that have been opened, in order."""
    paths: list[str] = []
    real = av.open

    def counting(path, *args, **kwargs):
        paths.append(path)
        return real(path, *args, **kwargs)

    monkeypatch.setattr(av, "open", counting)
    return paths


SEEKABLE = [
    "plain.mp4",
    "bframes.mp4",
    "opengop.mp4",
    "onekey.mp4",
    "fragmented.mp4",
    "nocount.mkv",
    "sound.mkv",
    "sound.mp4",
    "vp9.webm",
    "live.webm",
    "mpeg4.avi",
    "h264.avi",
    "mpeg2.mkv",
    "hevc.mp4",
    "tenbit.mp4",
    "edited.mp4",
    "hidden.webm",
    "variable.mkv",
    "one.mp4",
    "two.mp4",
    "av1.mkv",
]


@pytest.mark.parametrize("name", SEEKABLE)
def test_one_opening_for_many_calls(video, opened, name):
    """And what comes after going back to the start is what a file just opened gives."""
    path = video(name)
    del opened[:]  # made just now, perhaps
    with PyAVReader(path) as reader:
        count = reader.num_frames
        whole = reader.frames_at(range(count))
        for indices in ([0], [count - 1], [count // 2, 0], range(count)):
            assert reader.frames_at(indices).equal(whole[list(indices)])
        assert opened == [path]
    with PyAVReader(path) as reader:
        reader._index = replace(reader._index, start_time=None)  # never rewound: opened for every pass
        assert reader.frames_at(range(count)).equal(whole)
    assert opened == [path] * 3


@pytest.mark.parametrize("name", ["stream.ts", "bframes.ts"])
def test_a_transport_stream_is_opened_anew(video, opened, name):
    path = video(name)
    del opened[:]
    with PyAVReader(path) as reader:
        assert reader._container is None
        assert read_barcodes(reader.frames_at([30, 2])) == [30, 2]
        assert read_barcodes(reader.frames_at([1])) == [1]
    assert opened == [path] * 3


@pytest.mark.parametrize("name", ["plain.mp4", "nocount.mkv", "mpeg4.avi"])
def test_a_start_that_is_not_reached_is_opened_anew(video, opened, name):
    path = video(name)
    del opened[:]
    with Watched(path) as reader:
        reader._index = replace(reader._index, start=(99, 99, 99))
        assert read_barcodes(reader.frames_at([3])) == [3]
        assert reader.passes == [(-1, [3]), (-1, [3])]
    assert opened == [path] * 2


def test_a_seek_that_fails_is_opened_anew(video, opened):
    path = video("mpeg4.avi")
    del opened[:]
    with Watched(path) as reader:
        reader._index = replace(reader._index, start_time=-(2**62))  # an avi cannot go there
        assert read_barcodes(reader.frames_at([3])) == [3]
        assert len(reader.passes) == 2
    assert opened == [path] * 2


def test_a_key_frame_seek_that_fails_is_opened_anew(video, opened, monkeypatch):
    path = video("plain.mp4")
    del opened[:]
    with Watched(path) as reader:
        at, calls = reader._at, []

        def failing(key):
            calls.append(key)
            if key >= 0:
                raise av.error.PermissionError(1, "Operation not permitted", path)
            return at(key)

        monkeypatch.setattr(reader, "_at", failing)
        assert read_barcodes(reader.frames_at([35])) == [35]
        assert calls == [3, -1]
    assert opened == [path] * 2


def test_file_that_vanishes_after_opening(video, tmp_path):
    """What is open stays readable; what has to be opened anew is an error."""
    for name in ("plain.mp4", "stream.ts"):
        (tmp_path / name).write_bytes(Path(video(name)).read_bytes())
    kept, reopened = PyAVReader(str(tmp_path / "plain.mp4")), PyAVReader(str(tmp_path / "stream.ts"))
    (tmp_path / "stream.ts").unlink()
    with pytest.raises(DecodeError, match="stream.ts: No such file or directory$"):
        reopened.frames_at([0])
    if os.name == "posix":
        (tmp_path / "plain.mp4").unlink()
        assert read_barcodes(kept.frames_at([7])) == [7]
    kept.close()
