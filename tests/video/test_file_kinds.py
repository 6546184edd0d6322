"""Kinds of files met in the wild: the right frames at the right places and times, whatever the backend."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.helpers import barcode_frames, moving_square, read_barcodes, write_damaged, write_video
from tests.video.conftest import BACKENDS, COUNT, PTS, backends
from tests.video.forge import write_covered_video
from uniformer_video.video.index import index_video
from uniformer_video.video.open import VideoOpener, open_video
from uniformer_video.video.reader import DecodeError

KINDS = {
    "alpha.webm": {"codec": "libvpx-vp9", "pix_fmt": "yuva420p"},
    "alpha.mkv": {"codec": "ffv1", "pix_fmt": "yuva420p"},
    "alpha.mov": {"codec": "prores_ks", "pix_fmt": "yuva444p10le"},
    "picture.mov": {"codec": "png", "pix_fmt": "rgba"},
    "av1.mp4": {"codec": "libsvtav1"},
    "av1.webm": {"codec": "libsvtav1"},
    "av1deep.mp4": {"codec": "libsvtav1", "pix_fmt": "yuv420p10le"},
    "h264deep.mp4": {"pix_fmt": "yuv420p10le", "b_frames": 2},
    "vp8.webm": {"codec": "libvpx"},
    "vp9.mp4": {"codec": "libvpx-vp9"},
    "interlaced.mp4": {"codec_options": {"x264-params": "tff=1:interlaced=1"}, "b_frames": 2},
    "interlaced.mkv": {"codec": "mpeg2video", "codec_options": {"flags": "+ildct+ilme", "bf": "2"}},
    "program.mpg": {"codec": "mpeg2video", "codec_options": {"bf": "2"}},
    "flash.flv": {"b_frames": 2},
    "windows.wmv": {"codec": "wmv2"},
    "phone.3gp": {"b_frames": 2},
    "motion.avi": {"codec": "mjpeg", "pix_fmt": "yuvj420p"},
    "bare.h264": {"b_frames": 2},
    "bare.ivf": {"codec": "libvpx-vp9"},
    "moving.gif": {"codec": "gif", "pix_fmt": "rgb8"},
}


@pytest.fixture(scope="module")
def kind(tmp_path_factory):
    """Return a function that gives the path of a file of a kind: COUNT frames, 25 a second, a key frame every 10."""
    folder = tmp_path_factory.mktemp("kinds")
    frames = barcode_frames(COUNT)

    def path_of(name: str) -> str:
        path = folder / name
        if not path.exists():
            write_video(path, frames, gop=10, **KINDS[name])
        return str(path)

    return path_of


@backends
@pytest.mark.parametrize("name", KINDS)
def test_frames_and_times(kind, backend, name):
    rng = random.Random(name)
    with open_video(kind(name), backend) as reader:
        assert (reader.num_frames, reader.size) == (COUNT, (48, 64))
        assert reader.fps == pytest.approx(25)
        assert np.allclose(reader.seconds, np.arange(COUNT) / 25, atol=1e-3)
        whole = reader.frames_at(range(COUNT))
        assert read_barcodes(whole) == list(range(COUNT))
        for count in (1, 3, 9):
            indices = [rng.randrange(COUNT) for _ in range(count)]
            assert torch.equal(reader.frames_at(indices), whole[indices])


# Times


@backends
@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_times_of_a_variable_rate(video, backend, name):
    with open_video(video(name), backend) as reader:
        assert (reader.seconds.dtype, reader.seconds.shape) == (np.float64, (len(PTS),))
        assert np.allclose(reader.seconds, np.array(PTS) / 1000, atol=1e-4)


@pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.ts"])
def test_times_count_from_the_first_frame_shown(tmp_path, name):
    path = write_video(tmp_path / name, barcode_frames(8), pts=[5000 + 40 * i for i in range(8)])
    with open_video(str(path)) as reader:
        assert reader.seconds[0] == 0.0
        assert np.allclose(np.diff(reader.seconds), 0.04, atol=1e-3)


@backends
def test_times_after_an_edit_list(video, backend):
    with open_video(video("edited.mp4"), backend) as reader:
        assert np.allclose(reader.seconds, np.arange(COUNT - 5) / 25)


@backends
def test_times_around_hidden_frames(video, backend):
    """Where frames 3 and 17 are decoded but not shown, their time passes all the same."""
    with open_video(video("hidden.webm"), backend) as reader:
        shown = [number for number in range(COUNT) if number not in (3, 17)]
        assert np.allclose(reader.seconds, np.array(shown) / 25, atol=1e-3)


@backends
def test_one_frame_has_the_time_0(video, backend):
    with open_video(video("one.mp4"), backend) as reader:
        assert reader.seconds.tolist() == [0.0]


# Headers that are wrong or say nothing


@backends
def test_no_duration(video, backend):
    with av.open(video("live.webm")) as container:
        assert container.duration is None
    with open_video(video("live.webm"), backend) as reader:
        assert (reader.num_frames, reader.fps) == (COUNT, 25.0)
        assert reader.seconds[-1] == pytest.approx(39 / 25, abs=1e-3)
        assert read_barcodes(reader.frames_at([39, 0])) == [39, 0]


@pytest.mark.parametrize("name", ["lie.mkv", "lie.mp4"])
def test_a_rate_that_the_time_stamps_do_not_keep(tmp_path, name):
    """Written as of 25 frames a second, shown 10 a second."""
    path = str(write_video(tmp_path / name, barcode_frames(30), fps=25, pts=[i * 100 for i in range(30)]))
    with open_video(path) as reader:
        assert reader.fps == pytest.approx(10, rel=0.03)
        assert np.allclose(reader.seconds, np.arange(30) / 10, atol=1e-3)


@backends
@pytest.mark.parametrize("said", [5, 4000])
def test_frame_count_of_an_avi_header_is_wrong(tmp_path, backend, said):
    data = bytearray(write_video(tmp_path / "x.avi", barcode_frames(COUNT), codec="mpeg4", gop=10).read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        at = data.index(tag) + offset
        assert struct.unpack_from("<I", data, at) == (COUNT,)
        struct.pack_into("<I", data, at, said)
    (tmp_path / "lie.avi").write_bytes(data)
    with open_video(str(tmp_path / "lie.avi"), backend) as reader:
        assert reader.num_frames == COUNT
        assert read_barcodes(reader.frames_at([39, 7])) == [39, 7]


# Streams


@backends
@pytest.mark.parametrize("name", ["covered.mp4", "covered.mkv"])
def test_a_cover_beside_the_video_is_passed_by(tmp_path, backend, name):
    path = write_covered_video(tmp_path / name, barcode_frames(20))
    with av.open(str(path)) as container:  # FFmpeg lists a cover last, whatever its place
        cover = av.stream.Disposition.attached_pic
        assert [bool(s.disposition & cover) for s in container.streams.video] == [False, True]
    with open_video(str(path), backend) as reader:
        assert (reader.num_frames, reader.size) == (20, (48, 64))
        assert read_barcodes(reader.frames_at([19, 0, 19])) == [19, 0, 19]


# Pictures


@backends
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("i.mp4", {"codec_options": {"x264-params": "tff=1:interlaced=1"}, "crf": 4}),
        ("i.mkv", {"codec": "mpeg2video", "codec_options": {"flags": "+ildct+ilme", "b": "8M"}}),
        ("i.ts", {"codec": "mpeg2video", "codec_options": {"flags": "+ildct+ilme", "b": "8M"}}),
    ],
)
def test_interlaced_frames_are_given_as_stored(tmp_path, backend, name, options):
    """One frame of two woven fields for each stored one: no field is dropped, doubled or blended."""
    frames = np.empty((12, 48, 64, 3), np.uint8)
    frames[:, 0::2], frames[:, 1::2] = 60, 190
    path = str(write_video(tmp_path / name, frames, **options))
    with av.open(path) as container:
        assert next(container.decode(video=0)).interlaced_frame
    with open_video(path, backend) as reader:
        assert reader.num_frames == 12
        got = reader.frames_at(range(12)).numpy().astype(int)
    assert np.abs(got[:, 0::2] - 60).max() <= 3
    assert np.abs(got[:, 1::2] - 190).max() <= 3


@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "pyav"])
def test_interlaced_colours_do_not_depend_on_the_backend(tmp_path, backend):
    """In 4:2:0 each field has chroma rows of its own, which not all FFmpegs know."""
    y, x = np.mgrid[0:48, 0:64]
    frames = [np.stack([x * 3 + t * 5, y * 5 + t * 3, (x + y) * 2], -1).astype(np.uint8) for t in range(8)]
    path = str(write_video(tmp_path / "x.mp4", frames, codec_options={"x264-params": "tff=1:interlaced=1"}))
    with open_video(path, "pyav") as one, open_video(path, backend) as other:
        assert torch.equal(one.frames_at(range(8)), other.frames_at(range(8)))


@backends
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_in_matroska(tmp_path, backend, rotation):
    upright = barcode_frames(9) if rotation == 180 else barcode_frames(9, 64, 48)
    path = write_video(tmp_path / "x.mkv", np.rot90(upright, -rotation // 90, axes=(1, 2)), rotation=rotation)
    with open_video(str(path), backend) as reader:
        assert reader.size == upright.shape[1:3]
        assert read_barcodes(reader.frames_at([8, 0, 3])) == [8, 0, 3]


@pytest.mark.parametrize("name", ["alpha.mkv", "alpha.mov"])
def test_transparency_is_left_out_and_colours_stay_as_stored(tmp_path, name):
    """Nothing is blended with black or white, even where the picture is see-through."""
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(KINDS[name]["codec"], rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, KINDS[name]["pix_fmt"]
        picture = np.full((48, 64, 4), (220, 60, 40, 255), np.uint8)
        picture[:, 32:, 3] = 0
        frame = av.VideoFrame.from_ndarray(picture, format="rgba").reformat(format=stream.pix_fmt)
        frame.pts, frame.time_base = 0, Fraction(1, 25)
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert index_video(str(path)).pixel_format.startswith("yuva")
    with open_video(str(path)) as reader:
        got = reader.frames_at([0]).numpy()[0].astype(int)
    for column in (10, 52):
        assert np.abs(got[24, column] - (220, 60, 40)).max() <= 4


@backends
@pytest.mark.parametrize("codec", ["libx265", "libsvtav1"])
def test_ten_bits_become_eight(tmp_path, backend, codec):
    frames = moving_square(5, 64, 64, color=(220, 60, 40), background=(40, 60, 80))
    options = {"crf": "5"} if codec == "libsvtav1" else {}
    path = str(
        write_video(tmp_path / "x.mp4", frames, codec=codec, pix_fmt="yuv420p10le", crf=4, codec_options=options)
    )
    with open_video(path, backend) as reader:
        got = reader.frames_at([0]).numpy()[0].astype(int)
    assert np.abs(got[32, 8] - (220, 60, 40)).max() <= 6
    assert np.abs(got[8, 56] - (40, 60, 80)).max() <= 6


@backends
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_together_with_an_edit_list_and_b_frames(tmp_path, backend, rotation):
    from tests.video.forge import shift_edit_list

    upright = barcode_frames(COUNT) if rotation == 180 else barcode_frames(COUNT, 64, 48)
    stored = np.rot90(upright, -rotation // 90, axes=(1, 2))
    plain = write_video(tmp_path / "turned.mp4", stored, rotation=rotation, gop=10, b_frames=2)
    with open_video(str(shift_edit_list(tmp_path / "x.mp4", plain, frames=5)), backend) as reader:
        assert (reader.num_frames, reader.size) == (COUNT - 5, upright.shape[1:3])
        assert read_barcodes(reader.frames_at([34, 0, 17])) == [39, 5, 22]


# One opening, one pass


@pytest.mark.parametrize("name", ["av1.mp4", "interlaced.mp4", "alpha.webm"])
def test_views_in_any_order_are_one_pass(kind, name):
    from tests.video.watched import Watched

    with Watched(kind(name)) as reader:
        wanted = [31, 4, 4, 22, 0, 13, 39, 8, 17, 26, 35]
        assert read_barcodes(reader.frames_at(wanted)) == wanted
        assert len(reader.passes) == 1
        # Each frame is decoded once, or stepped over: interlaced.mp4 has some that are not wanted and no other needs.
        assert reader.decoded + len(reader._skipper.left_out) == COUNT
        assert not reader._skipper.left_out & set(wanted)
        assert reader.converted == len(set(wanted))


@backends
def test_a_damaged_file_is_never_wrong_frames(tmp_path, backend):
    """Under a time limit as without: right frames, or an error."""
    source = write_video(tmp_path / "whole.mp4", barcode_frames(60), gop=10, b_frames=2)
    for number, start in enumerate((0.3, 0.5, 0.7)):
        path = write_damaged(tmp_path / f"{number}.mp4", source, start, start + 0.03)
        try:
            with VideoOpener(backend, timeout_seconds=30)(str(path)) as reader:
                assert read_barcodes(reader.frames_at([0, 59])) == [0, 59]
        except DecodeError as error:
            assert error.path == str(path)


def test_the_kinds_are_what_they_are_called(kind):
    found = {name: index_video(kind(name)) for name in KINDS}
    assert found["alpha.mov"].pixel_format.startswith("yuva444p")
    assert found["alpha.webm"].pixel_format == "yuv420p", "the transparency of VP9 is a stream beside it"
    assert {found[n].pixel_format for n in ("av1deep.mp4", "h264deep.mp4")} == {"yuv420p10le"}
    with av.open(kind("alpha.webm")) as container:
        assert container.streams.video[0].metadata.get("alpha_mode") == "1"
    assert Path(kind("bare.h264")).exists() and found["bare.h264"].stamps == []
