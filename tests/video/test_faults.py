from __future__ import annotations

import pytest
from PIL import Image

from tests.helpers import barcode_frames, write_audio_only, write_damaged, write_text, write_truncated, write_video
from uniformer_video.video.faults import KINDS, is_cut_off, is_no_video, kind_of_fault


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("text.mp4", "not a video"),
        ("audio.m4a", "no video stream"),
        ("cover.m4a", "no video stream"),
        ("noindex.mp4", "truncated"),
        ("cut.mp4", "truncated"),
        ("cut.mkv", "truncated"),
        ("cut.avi", "truncated"),
        ("damaged.mp4", "damaged"),
        ("damaged.mkv", "damaged"),
    ],
)
def test_kinds(video, name, kind):
    assert kind in KINDS
    assert kind_of_fault(video(name)) == kind


def test_a_picture_or_a_text_is_no_video(tmp_path):
    Image.fromarray(barcode_frames(1)[0]).save(tmp_path / "a.png")
    Image.fromarray(barcode_frames(1)[0]).save(tmp_path / "a.jpg")
    write_text(tmp_path / "a.txt")
    for name in ("a.png", "a.jpg", "a.txt"):
        assert kind_of_fault(str(tmp_path / name)) == "not a video"
    assert is_no_video("image2")
    assert is_no_video("png_pipe")
    assert not is_no_video("mov,mp4,m4a,3gp,3g2,mj2")


def test_a_damaged_head(tmp_path):
    good = write_video(tmp_path / "good.mkv", barcode_frames(5))
    assert kind_of_fault(str(write_damaged(tmp_path / "bad.mkv", good, 0.0, 0.3))) == "not a video"


WHOLE = ["plain.mp4", "fragmented.mp4", "edited.mp4", "sound.mkv", "live.webm", "mpeg4.avi", "stream.ts", "one.mp4"]


@pytest.mark.parametrize("name", [*WHOLE, "damaged.mp4", "text.mp4"])
def test_whole_files_are_not_cut_off(video, name):
    assert not is_cut_off(video(name))


@pytest.mark.parametrize("name", ["plain.mp4", "sound.mp4", "sound.mkv", "vp9.webm", "mpeg4.avi"])
@pytest.mark.parametrize("share", [0.999, 0.9, 0.5, 0.1])
def test_cut_off_anywhere(video, tmp_path, name, share):
    assert is_cut_off(str(write_truncated(tmp_path / name, video(name), share)))


@pytest.mark.parametrize("share", [0.999, 0.5, 0.1])
def test_cut_off_with_the_list_of_frames_first(tmp_path, share):
    good = write_video(tmp_path / "good.mp4", barcode_frames(5), container_options={"movflags": "faststart"})
    assert not is_cut_off(str(good))
    assert is_cut_off(str(write_truncated(tmp_path / "cut.mp4", good, share)))


def test_large_and_open_ended_boxes(tmp_path):
    """A box of size 1 has its length in 8 bytes more; one of size 0 goes to the end of the file."""
    moov = b"\0\0\0\x08moov"
    large = b"\0\0\0\x01mdat" + (24).to_bytes(8, "big") + b"12345678"
    file = tmp_path / "a.mp4"
    for data, cut in [
        (large + moov, False),
        (large[:-1], True),
        (moov + large, False),
        (moov + large[:-1], True),
        (moov + b"\0\0\0\0mdat1234567", False),
        (b"\0\0\0\0mdat1234567", True),
        (moov + b"\0\0\0\x03mdat", False),  # no box is that short: damaged, not cut off
    ]:
        file.write_bytes(data)
        assert is_cut_off(str(file)) is cut, data


def test_sound_in_a_matroska_file(tmp_path):
    assert kind_of_fault(str(write_audio_only(tmp_path / "a.mkv"))) == "no video stream"
