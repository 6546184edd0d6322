from __future__ import annotations

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from PIL import Image

import uniformer_video.video.fallback as fallback
from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import BROKEN, COUNT, GOOD, ONLY_PYAV
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.open import BACKENDS, VideoOpener, check_backend, open_video
from uniformer_video.video.reader import DecodeError

backends = pytest.mark.parametrize("backend", ["pyav", "decord"])


# Choosing


def test_the_choice_by_measurement_is_pyav(video):
    for backend in ("auto", "pyav"):
        with open_video(video("plain.mp4"), backend, threads=2) as reader:
            assert type(reader) is BACKENDS["pyav"]
            assert reader._threads == 2
    with open_video(video("plain.mp4")) as reader:
        assert type(reader) is BACKENDS["pyav"]


@pytest.mark.parametrize("name", [*GOOD, *ONLY_PYAV, "variable.mkv", "edited.mp4", "hidden.webm", "one.mp4"])
def test_auto_reads_every_kind_and_says_nothing(video, told, name):
    with open_video(video(name)) as reader, open_video(video(name), "pyav") as other:
        assert (reader.num_frames, reader.fps, reader.size) == (other.num_frames, other.fps, other.size)
        assert reader.frames_at([reader.num_frames - 1, 0]).equal(other.frames_at([reader.num_frames - 1, 0]))
    assert told() == []


@pytest.mark.parametrize("backend", ["auto", "pyav"])
def test_check_of_a_backend_that_is_always_there(backend):
    check_backend(backend)


def test_check_of_a_backend_before_any_file_is_opened(monkeypatch):
    with pytest.raises(UserError, match="^unknown video backend 'opencv'; known: auto, decord, pyav, torchcodec$"):
        check_backend("opencv")
    for name in ("decord", "torchcodec"):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(UserError, match=f"^the video backend '{name}' is not installed; install it with `pip "):
            check_backend(name)


def test_unknown_backend():
    with pytest.raises(UserError, match="^unknown video backend 'opencv'; known: auto, decord, pyav, torchcodec$"):
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
    monkeypatch.setattr(fallback, "_TOLD", set())
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
        ("uniformer_video.video.fallback", "WARNING", line.format(video(name), cause))
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


def test_decord_and_torchcodec_are_not_imported_with_the_package():
    code = "import sys, uniformer_video.video.open; sys.exit(bool({'decord', 'torchcodec'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# A data set's opener


def test_an_opener_can_be_sent_to_a_worker(video):
    opener = VideoOpener("pyav", threads=2, timeout_seconds=30.0)
    again = pickle.loads(pickle.dumps(opener))
    assert again == opener
    with again(video("plain.mp4")) as reader:
        assert read_barcodes(reader.frames_at([30, 2])) == [30, 2]
        assert reader.inner._threads == 2


def test_an_opener_without_limits_is_open_video(video):
    with VideoOpener()(video("plain.mp4")) as reader:
        assert type(reader) is BACKENDS["pyav"]
    with VideoOpener("decord")(video("plain.mp4")) as reader:
        assert type(reader) is BACKENDS["decord"]


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_limit_changes_no_frame_and_no_error(video, seconds):
    opener = VideoOpener(timeout_seconds=seconds)
    for name in ("bframes.mp4", "variable.mkv", "mpeg4.avi"):
        with opener(video(name)) as reader, open_video(video(name)) as other:
            assert (reader.num_frames, reader.fps, reader.size) == (other.num_frames, other.fps, other.size)
            assert reader.seconds.tolist() == other.seconds.tolist()
            wanted = [reader.num_frames - 1, 0, 3]
            assert reader.frames_at(wanted).equal(other.frames_at(wanted))
    for name in BROKEN:
        with pytest.raises(DecodeError) as one:
            opener(video(name))
        with pytest.raises(DecodeError) as two:
            open_video(video(name))
        assert (type(one.value), str(one.value)) == (type(two.value), str(two.value))


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_missing_backend_is_a_users_mistake_under_a_limit_too(video, monkeypatch, seconds):
    monkeypatch.setitem(sys.modules, "decord", None)
    with pytest.raises(UserError, match="'decord' is not installed"):
        VideoOpener("decord", timeout_seconds=seconds)(video("plain.mp4"))


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_a_folder_is_a_folder_of_frames(tmp_path, seconds):
    for number, picture in enumerate(barcode_frames(4), start=1):
        Image.fromarray(picture).save(tmp_path / f"img_{number:05d}.png")
    opener = VideoOpener(timeout_seconds=seconds, image_template="img_{:05d}.png", image_fps=8.0)
    with opener(str(tmp_path)) as reader:
        assert (reader.num_frames, reader.fps, reader.size) == (4, 8.0, (48, 64))
        assert read_barcodes(reader.frames_at([3, 0])) == [3, 0]
        assert reader.seconds.tolist() == [0.0, 0.125, 0.25, 0.375]


@pytest.mark.parametrize("seconds", [0.0, 30.0])
def test_resampling_in_time(video, seconds):
    """25 frames a second at 12.5: every other frame, 20 of 40."""
    with VideoOpener(timeout_seconds=seconds, target_fps=12.5)(video("plain.mp4")) as reader:
        assert (reader.num_frames, reader.fps) == (20, 12.5)
        assert read_barcodes(reader.frames_at([0, 5, 19])) == [0, 10, 38]


def test_openings_leave_no_threads_and_files_behind(video):
    opener = VideoOpener(timeout_seconds=30.0)
    opener(video("plain.mp4")).close()
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for number in range(60):
        for name in ("plain.mp4", "empty.mp4", "cut.mkv"):
            with contextlib.suppress(DecodeError), opener(video(name)) as reader:
                reader.frames_at([number % COUNT])
    assert threading.active_count() == threads
    if files:
        assert len(os.listdir("/proc/self/fd")) == files
