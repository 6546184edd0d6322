from __future__ import annotations

import logging
import subprocess
import sys

import pytest
import torch

import uniformer_video.video.open as module
from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import BROKEN, GOOD, ONLY_PYAV
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.open import BACKENDS, open_video
from uniformer_video.video.reader import DecodeError

backends = pytest.mark.parametrize("backend", ["pyav", "decord"])


# Choosing


def test_default_backend_is_pyav(video):
    with open_video(video("plain.mp4")) as reader:
        assert type(reader) is BACKENDS["pyav"]


def test_unknown_backend():
    with pytest.raises(UserError, match="^unknown video backend 'opencv'; known: decord, pyav$"):
        open_video("x.mp4", "opencv")


def test_decord_not_installed(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(UserError) as caught:
        open_video(video("plain.mp4"), "decord")
    assert str(caught.value) == (
        "the video backend 'decord' is not installed; install it with `pip install decord` or use the backend 'pyav'"
    )


# What decord cannot read


@pytest.fixture
def told(monkeypatch, caplog):
    """A function that returns what has been logged, of a process that has said nothing yet."""
    monkeypatch.setattr(module, "_TOLD", set())
    monkeypatch.setattr(logging.getLogger("uniformer_video"), "propagate", True)
    caplog.set_level(logging.INFO, "uniformer_video")
    return lambda: [(r.name, r.levelname, r.getMessage()) for r in caplog.records]


@pytest.mark.parametrize("name", ONLY_PYAV)
def test_decord_gives_way_to_pyav(video, told, name):
    with open_video(video(name), "decord", threads=2) as reader, open_video(video(name)) as other:
        assert type(reader) is BACKENDS["pyav"]
        assert reader._threads == 2
        assert (reader.num_frames, reader.fps, reader.size) == (other.num_frames, other.fps, other.size)
        wanted = [reader.num_frames - 1, 3, 0]
        frames = reader.frames_at(wanted)
        assert torch.equal(frames, other.frames_at(wanted))
    assert read_barcodes(frames) == wanted
    assert len(told()) == 1


@pytest.mark.parametrize("name", [name for name in GOOD if name not in ONLY_PYAV])
def test_decord_reads_the_others_itself(video, told, name):
    with open_video(video(name), "decord") as reader:
        assert type(reader) is BACKENDS["decord"]
    assert told() == []


def test_giving_way_is_logged_once_for_each_kind(video, told):
    for name in ("two.mp4", "tenbit.mp4", "two.mp4", "halfchroma.mp4", "tenbit.mp4", "stream.ts", "bframes.ts"):
        open_video(video(name), "decord").close()
    line = "decord cannot read {} ({}); such files are read with pyav"
    assert told() == [
        ("uniformer_video.video.open", "WARNING", line.format(video(name), cause))
        for name, cause in [
            ("two.mp4", "decord would read another video stream than the first"),
            ("tenbit.mp4", "decord is not exact in the pixel format yuv420p10le"),
            ("halfchroma.mp4", "decord is not exact in the pixel format yuv422p"),
            ("stream.ts", "decord is not exact in the container mpegts"),
        ]
    ]


def test_files_of_one_kind_are_told_once_whatever_their_names(tmp_path, told):
    for number, name in enumerate(["a.webm", "some other 7.webm"]):
        path = str(
            write_video(
                tmp_path / name, barcode_frames(6 + number), codec="libvpx-vp9", container_options={"live": "1"}
            )
        )
        with open_video(path, "decord") as reader:
            assert read_barcodes(reader.frames_at([5])) == [5]
    assert len(told()) == 1


@backends
def test_broken_files_are_never_told_of(video, told, backend):
    for name in BROKEN:
        with pytest.raises(DecodeError) as caught:
            open_video(video(name), backend)
        assert type(caught.value) is DecodeError
    assert told() == []


def test_decord_is_not_imported_with_the_package():
    code = "import sys, uniformer_video.video.open; sys.exit('decord' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
