from __future__ import annotations

import dataclasses
import hashlib
import os
import pickle
import time
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from PIL import Image

import uniformer_video.video.probe as probe_module
from tests.helpers import barcode_frames, write_damaged, write_text, write_video
from tests.video.conftest import COUNT, GOOD, PTS
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.faults import KINDS
from uniformer_video.video.probe import Probe, probe_video
from uniformer_video.video.pyav import PyAVReader

H264 = {"codec": "h264", "pixel_format": "yuv420p", "rotation": 0, "variable_rate": False, "height": 48, "width": 64}
MP4 = "mov,mp4,m4a,3gp,3g2,mj2"


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("name", GOOD)
def test_good_files(video, name, full):
    found = probe_video(video(name), full=full)
    assert (found.path, found.ok, found.reason, found.kind) == (video(name), True, "", "")
    assert (found.frames, found.height, found.width, found.rotation) == (COUNT, 48, 64, 0)
    assert found.fps == pytest.approx(25)
    assert found.seconds == pytest.approx(COUNT / 25, abs=0.002)
    assert not found.variable_rate
    data = Path(video(name)).read_bytes()
    assert (found.bytes, found.sha256) == (len(data), hashlib.sha256(data).hexdigest())


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("plain.mp4", H264 | {"container": MP4, "key_frames": 10.0}),
        ("bframes.mp4", H264 | {"key_frames": 10.0}),
        ("onekey.mp4", H264 | {"key_frames": 40.0}),
        ("nocount.mkv", H264 | {"container": "matroska,webm", "key_frames": 10.0}),
        ("vp9.webm", {"codec": "vp9", "container": "matroska,webm", "key_frames": 10.0}),
        ("av1.mkv", {"codec": "av1", "frames": 5}),
        ("hevc.mp4", {"codec": "hevc"}),
        ("tenbit.mp4", {"codec": "hevc", "pixel_format": "yuv420p10le"}),
        ("mpeg4.avi", {"codec": "mpeg4", "container": "avi", "key_frames": 0.0}),
        ("stream.ts", {"container": "mpegts", "key_frames": 0.0}),
        ("one.mp4", {"frames": 1, "seconds": 0.04, "key_frames": 1.0, "variable_rate": False}),
        ("edited.mp4", {"frames": COUNT - 5, "seconds": 1.4}),
        ("hidden.webm", {"frames": COUNT - 2, "codec": "vp8"}),
        ("variable.mkv", {"frames": len(PTS), "variable_rate": True, "seconds": 0.56}),
        ("variable.mp4", {"frames": len(PTS), "variable_rate": True, "seconds": 0.56}),
        ("odd.webm", {"height": 47, "width": 64}),
    ],
)
def test_what_is_found(video, name, wanted):
    found = dataclasses.asdict(probe_video(video(name)))
    assert found["ok"], found["reason"]
    assert {key: found[key] for key in wanted} == pytest.approx(wanted)


@pytest.mark.parametrize("fps", [24, 30, 60, 120])
@pytest.mark.parametrize("ending", ["mkv", "mp4"])
def test_rounded_time_stamps_are_no_variable_rate(tmp_path, fps, ending):
    path = write_video(tmp_path / f"a.{ending}", barcode_frames(30), fps=fps)
    assert not probe_video(str(path), full=False).variable_rate


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(tmp_path, rotation):
    found = probe_video(str(write_video(tmp_path / "a.mp4", barcode_frames(3), rotation=rotation)))
    assert (found.rotation, found.height, found.width) == (rotation, *((48, 64) if rotation == 180 else (64, 48)))


KIND_OF = {
    "empty.mp4": ("empty", "the file is empty"),
    "text.mp4": ("not a video", "not a video file, or cut off or damaged so that it cannot be opened"),
    "audio.m4a": ("no video stream", "the file has no video stream"),
    "cover.m4a": ("no video stream", "the file has no video stream"),
    "noindex.mp4": ("truncated", ""),
    "damagedhead.mp4": ("not a video", ""),
    "cut.mp4": ("truncated", ""),
    "cut.mkv": ("truncated", ""),
    "cut.avi": ("truncated", ""),
    "damaged.mkv": ("damaged", "damaged at byte "),
}


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("name", sorted(KIND_OF))
@pytest.mark.timeout(30)
def test_broken_files(video, name, full):
    found = probe_video(video(name), full=full)
    kind, reason = KIND_OF[name]
    assert (found.path, found.ok, found.kind) == (video(name), False, kind)
    assert found.reason.startswith(reason)
    assert found.reason
    assert "\n" not in found.reason
    assert video(name) not in found.reason
    assert found.bytes == os.path.getsize(video(name))
    assert bool(found.sha256) == (name != "empty.mp4")


def test_damaged_pictures_are_seen_only_when_decoded(video):
    full, fast = (probe_video(video("damaged.mp4"), full=full) for full in (True, False))
    assert (full.ok, full.kind) == (False, "damaged")
    assert full.reason.startswith("frame ")
    assert f" of {COUNT} cannot be decoded: " in full.reason
    assert fast.ok
    # What is known stays told.
    assert dataclasses.replace(full, ok=True, kind="", reason="") == fast


def test_missing_and_what_is_no_file(tmp_path):
    found = probe_video(str(tmp_path / "none.mp4"))
    assert found == Probe(found.path, kind="missing", reason="No such file or directory")
    below = str(write_text(tmp_path / "a.txt")) + "/b.mp4"
    assert (probe_video(below).kind, probe_video(below).reason) == ("missing", "Not a directory")
    os.mkfifo(tmp_path / "pipe.mp4")
    found = probe_video(str(tmp_path / "pipe.mp4"), timeout_seconds=5)
    assert (found.kind, found.reason) == ("unreadable", "it is neither a file nor a folder")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(video, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(Path(video("plain.mp4")).read_bytes())
    path.chmod(0)
    found = probe_video(str(path))
    assert (found.kind, found.reason) == ("unreadable", "Permission denied")


def test_a_single_picture_or_text_is_no_video(tmp_path):
    Image.fromarray(barcode_frames(1)[0]).save(tmp_path / "a.jpg")
    write_text(tmp_path / "a.txt")
    for name in ("a.jpg", "a.txt"):
        found = probe_video(str(tmp_path / name))
        assert (found.ok, found.kind) == (False, "not a video")


def test_paths_may_be_path_objects(video, tmp_path):
    path = write_video(tmp_path / "a.mp4", barcode_frames(3))
    assert probe_video(path).path == str(path)


def test_probes_go_through_a_pool(video):
    found = probe_video(video("plain.mp4"), full=False)
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.ok = False


# Frames are neither held nor converted


def test_frames_are_decoded_one_by_one(video, monkeypatch):
    counts = []
    original = PyAVReader.decoded_frames
    monkeypatch.setattr(PyAVReader, "decoded_frames", lambda reader: counts.append(1) or original(reader))
    monkeypatch.setattr(PyAVReader, "frames_at", None)
    monkeypatch.setattr(PyAVReader, "upright_rgb", None)
    assert probe_video(video("plain.mp4")).ok
    assert probe_video(video("plain.mp4"), full=False).ok
    assert len(counts) == 1


# Time limit


@pytest.mark.timeout(30)
def test_a_stuck_file_is_given_up(video, monkeypatch):
    monkeypatch.setattr(probe_module, "open_indexed", lambda path: time.sleep(1.5))
    start = time.monotonic()
    found = probe_video(video("plain.mp4"), timeout_seconds=0.1)
    assert time.monotonic() - start < 1.2
    assert found == Probe(video("plain.mp4"), kind="timeout", reason="not read within 0.1 seconds")
    assert "timeout" in KINDS


def test_work_that_was_given_up_ends_at_the_next_frame(video, monkeypatch):
    steps = []
    original = PyAVReader._number_of

    def slow(reader, frame, expected):
        steps.append(expected)
        time.sleep(0.02)
        return original(reader, frame, expected)

    monkeypatch.setattr(PyAVReader, "_number_of", slow)
    assert probe_video(video("plain.mp4"), timeout_seconds=0.1).kind == "timeout"
    time.sleep(0.1)
    count = len(steps)
    time.sleep(0.1)
    assert len(steps) == count < 20


def test_a_limit_that_is_not_reached_changes_nothing(video):
    for name in ("plain.mp4", "text.mp4", "cut.mkv"):
        assert probe_video(video(name), timeout_seconds=60) == probe_video(video(name))


def test_our_own_defects_are_not_a_files_fault(video, monkeypatch):
    monkeypatch.setattr(probe_module, "_varies", lambda *_: 1 / 0)
    for limit in (0.0, 60.0):
        with pytest.raises(ZeroDivisionError):
            probe_video(video("plain.mp4"), timeout_seconds=limit)


@pytest.mark.parametrize("error", [IndexError("x"), OverflowError("x"), MemoryError()])
def test_what_pyav_makes_of_senseless_numbers_is_a_files_fault(video, monkeypatch, error):
    monkeypatch.setattr(probe_module, "open_indexed", Mock(side_effect=error))
    probe = probe_video(video("plain.mp4"))
    assert (probe.kind, probe.reason) == ("damaged", f"cannot be read: {str(error) or 'MemoryError'}")


# Folders of pictures


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "clip").mkdir()
    for number, frame in enumerate(barcode_frames(6), start=1):
        Image.fromarray(frame).save(tmp_path / "clip" / f"img_{number:05d}.jpg")
    return tmp_path / "clip"


def test_a_folder_of_pictures(folder):
    found = probe_video(str(folder), image_fps=30)
    files = sorted(folder.iterdir())
    whole = hashlib.sha256(b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)).hexdigest()
    assert found == Probe(
        path=str(folder),
        ok=True,
        frames=6,
        fps=30.0,
        seconds=0.2,
        height=48,
        width=64,
        codec="jpeg",
        container="folder",
        pixel_format="RGB",
        key_frames=1.0,
        bytes=sum(file.stat().st_size for file in files),
        sha256=whole,
    )
    assert probe_video(str(folder), full=False, image_fps=30) == dataclasses.replace(found, sha256="")
    assert probe_video(str(folder), image_template="img_%05d.jpg", timeout_seconds=60).frames == 6


def test_a_folder_with_a_damaged_picture(folder):
    write_damaged(folder / "img_00003.jpg", folder / "img_00002.jpg", 0.0, 0.2)
    found = probe_video(str(folder))
    assert (found.ok, found.kind, found.frames, found.sha256) == (False, "damaged", 6, "")
    assert found.reason.startswith("img_00003.jpg ")
    assert probe_video(str(folder), full=False).ok


def test_a_folder_whose_first_picture_is_damaged(folder):
    write_text(folder / "img_00001.jpg")
    for full in (True, False):
        found = probe_video(str(folder), full=full)
        assert (found.kind, found.reason) == ("damaged", "img_00001.jpg is not a picture, or damaged")


def test_folders_without_pictures(tmp_path, folder):
    found = probe_video(str(tmp_path))
    assert (found.ok, found.kind) == (False, "no pictures")
    assert found.reason.startswith("the folder holds no numbered picture")
    found = probe_video(str(folder), image_template="x_{}.jpg")
    assert (found.kind, found.reason[:29]) == ("no pictures", "no picture is named x_{}.jpg;")


def test_a_bad_template_is_the_users_mistake(folder):
    with pytest.raises(UserError, match="^the picture template 'x.jpg' has 0 numbers"):
        probe_video(str(folder), image_template="x.jpg")


# Anything at all


@pytest.mark.parametrize("name", ["plain.mp4", "nocount.mkv", "vp9.webm", "mpeg4.avi", "stream.ts"])
@pytest.mark.timeout(60)
def test_any_damage_gives_a_probe(video, tmp_path, name):
    whole = Path(video(name)).read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / name
    for _ in range(25):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 4):
            data[at : at + 6] = rng.bytes(6)
        path.write_bytes(data)
        found = probe_video(str(path))
        assert found.ok == (not found.reason) == (not found.kind)
        assert found.ok or found.kind in KINDS
        assert "\n" not in found.reason
