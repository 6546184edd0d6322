from __future__ import annotations

import dataclasses
from fractions import Fraction

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import uniformer_video.video.transcode as transcode_module
from tests.helpers import barcode_frames, moving_square, read_barcodes, write_video
from tests.video.conftest import COUNT, GOOD, PTS
from uniformer_video.video.index import index_video
from uniformer_video.video.probe import probe_video
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.transcode import transcode_video, transcoded_size


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new.mp4"


@pytest.mark.parametrize(
    "name", [*GOOD, "live.webm", "av1.mkv", "tenbit.mp4", "halfchroma.mp4", "bframes.ts", "one.mp4"]
)
def test_every_frame_and_its_time(video, target, name):
    with PyAVReader(video(name)) as reader:
        times, count = reader.seconds, reader.num_frames
    transcode_video(video(name), target, gop=8)
    with PyAVReader(str(target)) as reader:
        assert (reader.num_frames, reader.size) == (count, (48, 64))
        assert read_barcodes(reader.frames_at(range(count))) == list(range(count))
        np.testing.assert_allclose(reader.seconds, times, atol=1e-6)


@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_a_variable_rate_is_kept(video, target, name):
    transcode_video(video(name), target)
    with PyAVReader(str(target)) as reader:
        np.testing.assert_allclose(reader.seconds * 1000, PTS, atol=0.01)
        assert read_barcodes(reader.frames_at([11, 4, 5])) == [11, 4, 5]


@pytest.mark.parametrize("fps", [Fraction(30000, 1001), 12, 60, Fraction(1, 2)])
@pytest.mark.parametrize("ending", ["avi", "mkv", "mp4"])
def test_rates(tmp_path, target, fps, ending):
    codec = "mpeg4" if ending == "avi" else "libx264"
    source = write_video(tmp_path / f"a.{ending}", barcode_frames(30), fps=fps, codec=codec)
    transcode_video(source, target)
    old, new = probe_video(str(source)), probe_video(str(target))
    assert new.fps == pytest.approx(float(fps), rel=1e-3)
    assert (new.frames, new.seconds) == (30, pytest.approx(old.seconds, abs=0.002))


def test_units_of_time(video):
    """The source's own; microseconds where it is finer; a frame where frames are only counted."""
    index = dataclasses.replace(index_video(video("variable.mkv")), time_base=Fraction(1, 10**9))
    index = dataclasses.replace(index, stamps=[5_000_000 + 1_000_000 * time for time in PTS])
    assert transcode_module._unit(index) == Fraction(1, 1_000_000)
    assert transcode_module._stamps(index) == [1000 * time for time in PTS]
    index = dataclasses.replace(index, time_base=Fraction(1, 600), stamps=[7, 27, 47])
    assert (transcode_module._unit(index), transcode_module._stamps(index)) == (Fraction(1, 600), [0, 20, 40])
    index = dataclasses.replace(index, stamps=[], num_frames=3, fps=30000 / 1001)
    assert (transcode_module._unit(index), transcode_module._stamps(index)) == (Fraction(1001, 30000), [0, 1, 2])


def test_only_frames_that_are_shown(video, target):
    transcode_video(video("edited.mp4"), target)
    with PyAVReader(str(target)) as reader:
        assert read_barcodes(reader.frames_at(range(reader.num_frames))) == list(range(5, COUNT))
    transcode_video(video("hidden.webm"), target)
    with PyAVReader(str(target)) as reader:
        assert read_barcodes(reader.frames_at([2, 3, 16])) == [2, 4, 18]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_upright(tmp_path, target, rotation):
    upright = barcode_frames(6, 48, 96) if rotation == 180 else barcode_frames(6, 96, 48)
    source = write_video(tmp_path / "a.mp4", np.rot90(upright, -rotation // 90, axes=(1, 2)), rotation=rotation)
    transcode_video(source, target, short_side=40)
    found = probe_video(str(target))
    assert (found.rotation, found.height, found.width) == (0, *((40, 80) if rotation == 180 else (80, 40)))
    with PyAVReader(str(target)) as reader:
        assert read_barcodes(reader.frames_at([5, 0])) == [5, 0]


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "tags", "rotation"),
    [
        ("libx264", "yuv420p", {}, 0),
        ("libx264", "yuv420p", {}, 90),
        ("libx264", "yuv420p", {"colorspace": "bt709", "color_range": "tv"}, 0),
        ("libx264", "yuv420p", {"colorspace": "bt709", "color_range": "tv"}, 90),
        ("libx264", "yuvj420p", {}, 0),
        ("libx264", "yuvj420p", {}, 90),
        ("libx264", "yuv444p", {}, 90),
        ("libx265", "yuv420p10le", {}, 90),
        ("libx264rgb", "rgb24", {}, 0),
        ("libx264rgb", "rgb24", {}, 90),
        ("ffv1", "bgra", {}, 0),
        ("ffv1", "gray", {}, 0),
        ("libvpx-vp9", "yuva420p", {}, 0),
    ],
)
def test_colours_are_those_of_the_source(tmp_path, target, codec, pix_fmt, tags, rotation):
    frames = moving_square(3, 64, 96, color=(220, 60, 40), background=(40, 90, 160))
    ending = "mp4" if codec.startswith("libx") else "mkv"
    path = write_video(
        tmp_path / f"a.{ending}", frames, codec=codec, pix_fmt=pix_fmt, crf=5, codec_options=tags, rotation=rotation
    )
    transcode_video(path, target, crf=5)
    with PyAVReader(str(path)) as old, PyAVReader(str(target)) as new:
        before, after = (reader.frames_at([0]).numpy()[0].astype(int) for reader in (old, new))
    assert after.shape == before.shape
    # Away from the edges, where 4:2:0 blurs colour.
    flat = [(32, 10), (8, 80)] if not rotation else [(86, 32), (16, 8)]
    for row, column in flat:
        assert np.abs(after[row, column] - before[row, column]).max() <= 4, (before[row, column], after[row, column])


# Groups of pictures


@pytest.mark.parametrize("gop", [1, 4, 16])
def test_short_closed_groups(tmp_path, target, gop):
    """A key frame exactly every ``gop`` frames, also where the scene changes; decoding order is presentation order."""
    frames = barcode_frames(40)
    frames[20:] = 255 - frames[20:]
    source = write_video(tmp_path / "a.mp4", frames, gop=250, b_frames=3)
    transcode_video(source, target, gop=gop)
    with av.open(str(target)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        assert [n for n, packet in enumerate(packets) if packet.is_keyframe] == list(range(0, 40, gop))
        assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)
        assert all(packet.pts == packet.dts for packet in packets)
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert len(container.streams) == 1
    assert probe_video(str(target)).key_frames == gop


def test_a_group_is_decoded_alone(tmp_path, target):
    """From each key frame on, frames are right without any packet before it."""
    transcode_video(write_video(tmp_path / "a.mp4", barcode_frames(40), gop=250), target, gop=10)
    with PyAVReader(str(target)) as reader:
        for number in (0, 9, 10, 25, 39):
            assert read_barcodes(reader.frames_at([number])) == [number]


def test_the_list_of_frames_comes_first(video, target):
    transcode_video(video("sound.mp4"), target)
    data = target.read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


# Sizes


@pytest.mark.parametrize(
    ("size", "short_side", "wanted"),
    [
        ((240, 320), 320, (240, 320)),
        ((1080, 1920), 320, (320, 568)),
        ((1920, 1080), 320, (568, 320)),
        ((480, 854), 320, (320, 570)),
        ((50, 66), 320, (50, 66)),
        ((47, 63), 320, (48, 64)),
        ((321, 321), 320, (320, 320)),
        ((500, 500), 255, (254, 254)),
        ((1, 1), 320, (2, 2)),
        ((10, 4000), 2, (2, 800)),
    ],
)
def test_sizes(size, short_side, wanted):
    assert transcoded_size(size, short_side) == wanted


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(2, 1000))
def test_any_size_is_even_small_enough_and_of_the_same_shape(height, width, short_side):
    new = transcoded_size((height, width), short_side)
    assert all(side % 2 == 0 and side >= 2 for side in new)
    assert min(new) <= short_side
    scale = min(short_side // 2 * 2 / min(height, width), 1)
    assert all(abs(got - side * scale) <= 2 for got, side in zip(new, (height, width), strict=True))
    assert transcoded_size((width, height), short_side) == new[::-1]


@pytest.mark.parametrize(("size", "wanted"), [((96, 128), (60, 80)), ((47, 63), (48, 64)), ((120, 70), (102, 60))])
def test_files_are_scaled(tmp_path, target, size, wanted):
    frames = barcode_frames(5, *size)
    source = write_video(tmp_path / "a.mkv", frames, codec="ffv1", pix_fmt="bgr0")
    transcode_video(source, target, short_side=60)
    with PyAVReader(str(target)) as reader:
        assert reader.size == wanted
        assert read_barcodes(reader.frames_at(range(5))) == list(range(5))
