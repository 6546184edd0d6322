"""What both readers must do, on the same files."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers import barcode_frames, moving_square, read_barcodes, write_video
from tests.video.conftest import COUNT, GOOD, PTS, backends
from uniformer_video.video.open import open_video


@backends
@pytest.mark.parametrize("name", GOOD)
def test_every_frame_is_the_right_one(video, backend, name):
    with open_video(video(name), backend) as reader:
        assert reader.path == video(name)
        assert (reader.num_frames, reader.size) == (COUNT, (48, 64))
        assert reader.fps == pytest.approx(25.0)
        assert isinstance(reader.fps, float)
        frames = reader.frames_at(range(COUNT))
    assert (frames.dtype, tuple(frames.shape)) == (torch.uint8, (COUNT, 48, 64, 3))
    assert frames.is_contiguous()
    assert read_barcodes(frames) == list(range(COUNT))


@backends
@pytest.mark.parametrize("name", GOOD)
def test_any_order_with_repeats_again_and_again(video, backend, name):
    rng = random.Random(0)
    with open_video(video(name), backend) as reader:
        whole = reader.frames_at(range(COUNT))
        for count in (1, 1, 2, 3, 5, 8, 60):
            indices = [rng.randrange(COUNT) for _ in range(count)]
            frames = reader.frames_at(indices)
            assert read_barcodes(frames) == indices
            assert torch.equal(frames, whole[indices])


@backends
@pytest.mark.parametrize("indices", [[39], [0], [35, 3], [12, 12], [9, 10, 11], [30, 20, 10, 0]])
def test_first_call_of_a_fresh_reader(video, backend, indices):
    with open_video(video("bframes.mp4"), backend) as reader:
        assert read_barcodes(reader.frames_at(indices)) == indices


@backends
@pytest.mark.parametrize("kind", [tuple, np.array, torch.tensor])
def test_kinds_of_index_lists(video, backend, kind):
    with open_video(video("plain.mp4"), backend) as reader:
        assert read_barcodes(reader.frames_at(kind([7, 2]))) == [7, 2]


@backends
def test_no_indices(video, backend):
    with open_video(video("plain.mp4"), backend) as reader:
        frames = reader.frames_at([])
        assert (frames.dtype, tuple(frames.shape)) == (torch.uint8, (0, 48, 64, 3))


@backends
def test_colours_and_channel_order(tmp_path, backend):
    frames = moving_square(3, 48, 64, color=(220, 60, 40), background=(40, 60, 80))
    with open_video(str(write_video(tmp_path / "c.mp4", frames, crf=1)), backend) as reader:
        got = reader.frames_at([0]).numpy()[0].astype(int)
    assert np.abs(got[24, 8] - (220, 60, 40)).max() <= 4
    assert np.abs(got[8, 56] - (40, 60, 80)).max() <= 4


@backends
@pytest.mark.parametrize("rotation", [90, 180, 270, -90])
def test_rotation(tmp_path, backend, rotation):
    upright = barcode_frames(6, 64, 48)
    # Stored turned back by the angle that a player turns it counter-clockwise.
    stored = np.rot90(barcode_frames(6) if rotation % 180 == 0 else upright, -rotation // 90, axes=(1, 2))
    path = write_video(tmp_path / "turned.mp4", stored, rotation=rotation)
    with open_video(str(path), backend) as reader:
        assert reader.size == ((48, 64) if rotation % 180 == 0 else (64, 48))
        frames = reader.frames_at([4, 0])
    assert tuple(frames.shape[1:3]) == reader.size
    assert read_barcodes(frames) == [4, 0]


@backends
@pytest.mark.parametrize("name", ["variable.mkv", "variable.mp4"])
def test_variable_frame_rate(video, backend, name):
    with open_video(video(name), backend) as reader:
        assert reader.num_frames == len(PTS)
        assert reader.fps > 0
        assert read_barcodes(reader.frames_at([11, 4, 5, 0])) == [11, 4, 5, 0]


@backends
def test_edit_list(video, backend):
    with open_video(video("edited.mp4"), backend) as reader:
        assert reader.num_frames == COUNT - 5
        assert read_barcodes(reader.frames_at([0, 1, 20, 34])) == [5, 6, 25, 39]
        assert read_barcodes(reader.frames_at(range(35))) == list(range(5, 40))


@backends
def test_frames_a_codec_hides(video, backend):
    shown = [number for number in range(COUNT) if number not in (3, 17)]
    with open_video(video("hidden.webm"), backend) as reader:
        assert reader.num_frames == COUNT - 2
        assert read_barcodes(reader.frames_at(range(COUNT - 2))) == shown
        assert read_barcodes(reader.frames_at([16, 2, 37])) == [shown[16], shown[2], 39]


@backends
def test_single_frame(video, backend):
    with open_video(video("one.mp4"), backend) as reader:
        assert reader.num_frames == 1
        assert read_barcodes(reader.frames_at([0, 0])) == [0, 0]


@backends
@pytest.mark.parametrize("index", [COUNT, -1])
def test_index_outside_is_an_index_error(video, backend, index):
    with open_video(video("plain.mp4"), backend) as reader, pytest.raises(IndexError, match=f"^frame {index} of "):
        reader.frames_at([0, index])


@pytest.mark.parametrize("size", [(48, 64), (50, 66), (54, 62), (98, 190), (36, 118)])
@pytest.mark.parametrize("colours", ["", "colormatrix=bt709:colorprim=bt709:transfer=bt709", "fullrange=on"])
def test_readers_give_the_same_bits(tmp_path, size, colours):
    """Smooth colour texture, so that chroma interpolation and the colour matrix matter."""
    height, width = size
    y, x = np.mgrid[0:height, 0:width]
    frames = [np.stack([x * 3 + t * 5, y * 2 + t * 3, (x + y) * 2], -1).astype(np.uint8) for t in range(8)]
    options = {"x264-params": colours} if colours else {}
    path = str(write_video(tmp_path / "texture.mp4", frames, b_frames=2, codec_options=options))
    with open_video(path, "pyav") as one, open_video(path, "decord") as other:
        a, b = one.frames_at(range(8)), other.frames_at(range(8))
    assert torch.equal(a, b)
    assert a.float().std() > 40


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_readers_give_the_same_bits_when_turned(tmp_path, rotation):
    y, x = np.mgrid[0:50, 0:66]
    frames = [np.stack([x * 3 + t, y * 2, x + y], -1).astype(np.uint8) for t in range(4)]
    path = str(write_video(tmp_path / "texture.mp4", frames, rotation=rotation))
    with open_video(path, "pyav") as one, open_video(path, "decord") as other:
        assert torch.equal(one.frames_at(range(4)), other.frames_at(range(4)))


@pytest.mark.parametrize("name", GOOD)
def test_readers_agree_on_all_files(video, name):
    with open_video(video(name), "pyav") as one, open_video(video(name), "decord") as other:
        assert (one.num_frames, one.fps, one.size) == (other.num_frames, other.fps, other.size)
        assert torch.equal(one.frames_at(range(COUNT)), other.frames_at(range(COUNT)))


@settings(max_examples=40, deadline=None)
@given(indices=st.lists(st.integers(0, COUNT - 1), max_size=12))
def test_pyav_frames_do_not_depend_on_what_else_is_asked(video, indices):
    with open_video(video("opengop.mp4"), "pyav") as reader:
        assert read_barcodes(reader.frames_at(indices)) == indices
