from __future__ import annotations

import os
import stat
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import barcode_frames, moving_square, read_barcodes
from uniformer_video.runtime.errors import UserError
from uniformer_video.video import writer as writer_module
from uniformer_video.video.open import open_video
from uniformer_video.video.probe import probe_video
from uniformer_video.video.writer import ENCODERS, VideoWriter, written_beside

PAIRS = [(ending, codec) for ending, codecs in ENCODERS.items() for codec in codecs]


def write(path, frames, fps=25.0, **options):
    with VideoWriter(path, fps, frames.shape[1:3], **options) as writer:
        for frame in frames:
            writer.write(frame)
    return str(path)


@pytest.mark.parametrize(("ending", "codec"), PAIRS)
def test_every_ending_and_encoder(tmp_path, ending, codec):
    path = write(tmp_path / f"a{ending}", barcode_frames(12), 30, codec=codec)
    with open_video(path, "pyav") as reader:
        assert (reader.num_frames, reader.size) == (12, (48, 64))
        assert reader.fps == pytest.approx(30)
        assert read_barcodes(reader.frames_at(range(12))) == list(range(12))
    assert os.listdir(tmp_path) == [f"a{ending}"]


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "h264"), ("A.MP4", "h264"), ("a.b.mov", "h264"), ("a.webm", "vp9"), ("a.avi", "h264")]
)
def test_the_encoder_follows_from_the_ending(tmp_path, name, codec):
    found = probe_video(write(tmp_path / name, barcode_frames(3)))
    assert (found.ok, found.codec, found.frames) == (True, codec, 3)


def test_colours(tmp_path):
    frames = moving_square(3, color=(220, 60, 40), background=(40, 60, 80))
    with open_video(write(tmp_path / "a.mp4", frames, crf=1), "pyav") as reader:
        got = reader.frames_at([0]).numpy()[0].astype(int)
    assert np.abs(got[24, 8] - (220, 60, 40)).max() <= 4
    assert np.abs(got[8, 56] - (40, 60, 80)).max() <= 4


@pytest.mark.parametrize("size", [(47, 64), (48, 63), (47, 63), (1, 1), (2, 2), (5, 200)])
def test_odd_sizes_repeat_the_last_row_and_column(tmp_path, size):
    frames = np.full((2, *size, 3), 30, np.uint8)
    frames[:, -1], frames[:, :, -1] = 200, 200
    even = tuple(side + side % 2 for side in size)
    with open_video(write(tmp_path / "a.mp4", frames, crf=1), "pyav") as reader:
        assert reader.size == even
        got = reader.frames_at([0]).numpy()[0].astype(int)
    wanted = np.pad(frames[0].astype(int), ((0, even[0] - size[0]), (0, even[1] - size[1]), (0, 0)), mode="edge")
    assert np.abs(got - wanted).max() <= 12


@pytest.mark.parametrize(
    ("fps", "rate"),
    [
        (25, Fraction(25)),
        (30000 / 1001, Fraction(30000, 1001)),
        (Fraction(24000, 1001), Fraction(24000, 1001)),
        (60000 / 1001, Fraction(60000, 1001)),
        (12.5, Fraction(25, 2)),
        (0.25, Fraction(1, 4)),
        (np.float64(15), Fraction(15)),
        (1e-9, Fraction(1, 1001)),
    ],
)
def test_rates_are_kept(tmp_path, fps, rate):
    assert VideoWriter(tmp_path / "a.mp4", fps, (4, 4)).rate == rate


@given(st.floats(0.1, 1000))
def test_any_rate_is_met_closely(fps):
    assert float(VideoWriter("a.mp4", fps, (4, 4)).rate) == pytest.approx(fps, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".webm", ".avi"])
def test_fractional_rates_in_files(tmp_path, ending):
    path = write(tmp_path / f"a{ending}", barcode_frames(30), 30000 / 1001)
    with open_video(path, "pyav") as reader:
        assert reader.fps == pytest.approx(30000 / 1001, rel=1e-4)
        np.testing.assert_allclose(reader.seconds, np.arange(30) * 1001 / 30000, atol=0.001)


def test_quality_matters(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), np.uint8)
    for codec in ("libx264", "mpeg4", "libvpx-vp9"):
        sizes = [
            os.path.getsize(write(tmp_path / f"{codec}{crf}.mp4", noise, codec=codec, crf=crf)) for crf in (10, 45)
        ]
        assert sizes[0] > 1.5 * sizes[1]


# Whole or not at all


def test_an_exception_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="^mine$"), VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer:
        writer.write(barcode_frames(1)[0])
        raise RuntimeError("mine")
    assert os.listdir(tmp_path) == []


def test_an_exception_leaves_what_was_there(tmp_path):
    (tmp_path / "a.mp4").write_text("older")
    with pytest.raises(OSError, match="^mine$"), VideoWriter(tmp_path / "a.mp4", 25, (48, 64)):
        raise OSError("mine")
    assert (tmp_path / "a.mp4").read_text() == "older"
    assert os.listdir(tmp_path) == ["a.mp4"]
    write(tmp_path / "a.mp4", barcode_frames(2))
    assert probe_video(str(tmp_path / "a.mp4")).frames == 2


def test_the_file_appears_at_the_end_under_a_name_its_muxer_knows(tmp_path):
    with VideoWriter(tmp_path / "a.mkv", 25, (48, 64)) as writer:
        writer.write(barcode_frames(1)[0])
        (name,) = os.listdir(tmp_path)
        assert name.startswith(".a.")
        assert name.endswith(".mkv")
        assert writer.count == 1
    assert os.listdir(tmp_path) == ["a.mkv"]


def test_permissions_are_those_of_any_new_file(tmp_path):
    write(tmp_path / "a.mp4", barcode_frames(1))
    (tmp_path / "plain").touch()
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("a.mp4", "plain")}
    assert len(modes) == 1


def test_no_frames(tmp_path):
    with (
        pytest.raises(UserError, match="a.mp4: there is no frame to write$"),
        VideoWriter(tmp_path / "a.mp4", 5, (4, 4)),
    ):
        pass
    assert os.listdir(tmp_path) == []


# Mistakes


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.gif", {}, "a.gif: videos are written to files that end in .mp4, .mov, .mkv, .webm, .avi"),
        ("a", {}, "a: videos are written to files that end in .mp4, .mov, .mkv, .webm, .avi"),
        ("a.webm", {"codec": "libx264"}, "a.webm: no encoder 'libx264' for .webm files; choose from libvpx-vp9"),
        ("a.avi", {"codec": "x"}, "a.avi: no encoder 'x' for .avi files; choose from libx264, mpeg4"),
        ("a.mp4", {"fps": 0}, "a.mp4: a rate of 0 frames each second; a number above 0 is wanted"),
        ("a.mp4", {"fps": float("nan")}, "a.mp4: a rate of nan frames each second"),
        ("a.mp4", {"size": (0, 5)}, "a.mp4: frames of 0 x 5 pixels; at least 1 x 1 is wanted"),
    ],
)
def test_mistakes(name, options, message):
    with pytest.raises(UserError) as caught:
        VideoWriter(name, **({"fps": 25, "size": (4, 4)} | options))
    assert str(caught.value).startswith(message)


def test_an_encoder_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(writer_module.av, "codecs_available", {"mpeg4"})
    assert VideoWriter("a.mp4", 25, (4, 4), codec="mpeg4").codec == "mpeg4"
    with pytest.raises(UserError) as caught:
        VideoWriter("a.mp4", 25, (4, 4))
    assert str(caught.value) == (
        "a.mp4: the encoder 'libx264' is not in this FFmpeg; `pip install av` brings one that has it, or choose from "
        "libx265, libvpx-vp9, mpeg4"
    )


@pytest.mark.parametrize("name", ["none/a.mp4", "file/a.mp4"])
def test_a_folder_that_is_none(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=f"{name} cannot be written: "), VideoWriter(tmp_path / name, 25, (4, 4)):
        pass


@pytest.mark.parametrize(
    "frame", [np.zeros((4, 5, 3), np.uint8), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.uint8)]
)
def test_other_frames_than_announced(tmp_path, frame):
    with pytest.raises(ValueError, match=r"a frame of .* came; uint8 \(4, 4, 3\) is wanted$"):  # noqa: SIM117
        with VideoWriter(tmp_path / "a.mp4", 25, (4, 4)) as writer:
            writer.write(frame)
    assert os.listdir(tmp_path) == []


def test_frames_of_any_memory_layout(tmp_path):
    frames = barcode_frames(3)
    views = [np.asfortranarray(frames[0]), frames[1][::-1][::-1], np.flip(frames[2][..., ::-1].copy(), -1)]
    with VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer:
        for view in views:
            writer.write(view)
    with open_video(str(tmp_path / "a.mp4"), "pyav") as reader:
        assert read_barcodes(reader.frames_at(range(3))) == [0, 1, 2]


def test_a_full_disk_is_a_users_error(tmp_path, monkeypatch):
    def full(*_):
        raise av.error.FFmpegError(28, "No space left on device")

    with pytest.raises(UserError, match="a.mp4 cannot be written: No space left on device$"):  # noqa: SIM117
        with VideoWriter(tmp_path / "a.mp4", 25, (48, 64)) as writer:
            monkeypatch.setattr(writer, "_container", type("Full", (), {"mux": full, "close": lambda self: None})())
            writer.write(barcode_frames(1)[0])
    assert os.listdir(tmp_path) == []


def test_written_beside_alone(tmp_path):
    with written_beside(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
        assert not (tmp_path / "a.txt").exists()
    assert (tmp_path / "a.txt").read_text() == "new"
    with pytest.raises(KeyError), written_beside(tmp_path / "a.txt") as temporary:
        temporary.write_text("newer")
        raise KeyError
    assert (tmp_path / "a.txt").read_text() == "new"
    assert os.listdir(tmp_path) == ["a.txt"]
