from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.video.sampling import DenseSampler, SegmentSampler, View, ViewGrid

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "golden_view_indices.json").read_text())
lengths, frames, strides, counts = (
    st.integers(1, 2000),
    st.integers(1, 40),
    st.integers(1, 33),
    st.integers(1, 12),
)
seeds = st.integers(0, 2**32 - 1)


def check_clip(indices: np.ndarray, num_frames: int, length: int) -> None:
    assert indices.dtype == np.int64
    assert indices.shape == (num_frames,)
    assert indices.min() >= 0
    assert indices.max() < length
    assert (np.diff(indices) >= 0).all()


# View grid


def test_grid_is_clip_major_then_crop():
    assert list(ViewGrid(2, 3)) == [View(0, 0), View(0, 1), View(0, 2), View(1, 0), View(1, 1), View(1, 2)]


@given(clips=counts, crops=counts)
def test_grid_length_iteration_and_indexing_agree(clips, crops):
    grid = ViewGrid(clips, crops)
    assert len(grid) == clips * crops == len(set(grid))
    assert [grid[i] for i in range(len(grid))] == list(grid)
    assert all(0 <= view.clip < clips and 0 <= view.crop < crops for view in grid)


@pytest.mark.parametrize("index", [6, -1])
def test_grid_index_outside(index):
    with pytest.raises(IndexError, match=f"^view {index} of a grid of 6$"):
        ViewGrid(2, 3)[index]


@pytest.mark.parametrize(("clips", "crops"), [(0, 1), (1, 0), (-1, 3)])
def test_grid_needs_a_view(clips, crops):
    with pytest.raises(ValueError, match=f"at least 1 clip and 1 crop, got {clips} x {crops}$"):
        ViewGrid(clips, crops)


# Dense sampling


@pytest.mark.parametrize("row", GOLDEN, ids=lambda r: f"{r['num_frames']}x{r['stride']}-{r['length']}-{r['clip']}")
def test_dense_golden(row):
    sampler = DenseSampler(row["num_frames"], row["stride"])
    assert sampler.view(row["length"], row["clip"], row["clips"]).tolist() == row["indices"]


def test_golden_covers_both_recipes():
    assert len(GOLDEN) == 20
    assert {(row["num_frames"], row["clips"]) for row in GOLDEN} == {(8, 4), (16, 1)}


def test_dense_hand_worked():
    # span 8, delta 12: two clips start at 0 and 12; points 0, 7/3, 14/3, 7 cut to 0, 2, 4, 7.
    sampler = DenseSampler(4, 2)
    assert sampler.view(20, 0, 2).tolist() == [0, 2, 4, 7]
    assert sampler.view(20, 1, 2).tolist() == [12, 14, 16, 19]
    assert sampler.view(20, 0, 1).tolist() == [6, 8, 10, 13]
    # floor(12 / 4) = 3 for five clips.
    assert [sampler.view(20, clip, 5)[0] for clip in range(5)] == [0, 3, 6, 9, 12]
    # floor before the product: delta 13, K = 4, step floor(13 / 3) = 4, not 13 * 3 / 3.
    assert [sampler.view(21, clip, 4)[0] for clip in range(4)] == [0, 4, 8, 12]


def test_dense_without_offset_hand_worked():
    # delta 13: starts 0, 13/4, 26/4, 39/4; the second clip's points 3.25 + (0, 7/3, 14/3, 7) cut to whole frames.
    sampler = DenseSampler(4, 2, use_offset=False)
    assert sampler.view(21, 0, 1).tolist() == [0, 2, 4, 7]
    assert sampler.view(21, 1, 4).tolist() == [3, 5, 7, 10]
    assert sampler.view(21, 3, 4).tolist() == [9, 12, 14, 16]


def test_dense_short_video_holds_its_last_frame():
    assert DenseSampler(4, 2).view(5, 1, 4).tolist() == [0, 2, 4, 4]
    assert DenseSampler(4, 2).view(1, 0, 1).tolist() == [0, 0, 0, 0]
    assert DenseSampler(4, 2).train(5, np.random.default_rng(0)).tolist() == [0, 2, 4, 4]


def test_dense_single_frame_is_the_start():
    assert DenseSampler(1, 8).view(20, 0, 1).tolist() == [6]


@given(length=lengths, num_frames=frames, stride=strides, clips=counts, data=st.data())
def test_dense_view_properties(length, num_frames, stride, clips, data):
    clip = data.draw(st.integers(0, clips - 1))
    sampler = DenseSampler(num_frames, stride)
    indices = sampler.view(length, clip, clips)
    check_clip(indices, num_frames, length)
    span = num_frames * stride
    delta = max(length - span, 0)
    start = delta // 2 if clips == 1 else clip * (delta // (clips - 1))
    # Exact arithmetic: the reference has no rounding at all.
    exact = [start + Fraction(i * (span - 1), max(num_frames - 1, 1)) for i in range(num_frames)]
    assert indices.tolist() == [min(int(point), length - 1) for point in exact]
    if length >= span and num_frames > 1:
        assert indices[-1] - indices[0] == span - 1


@given(length=lengths, num_frames=frames, stride=strides, clips=counts, data=st.data())
def test_dense_view_without_offset_properties(length, num_frames, stride, clips, data):
    clip = data.draw(st.integers(0, clips - 1))
    indices = DenseSampler(num_frames, stride, use_offset=False).view(length, clip, clips)
    check_clip(indices, num_frames, length)
    delta = max(length - num_frames * stride, 0)
    assert indices[0] == int(delta * clip / clips)


@given(length=lengths, num_frames=frames, stride=strides, seed=seeds)
def test_dense_train_properties(length, num_frames, stride, seed):
    sampler = DenseSampler(num_frames, stride)
    indices = sampler.train(length, np.random.default_rng(seed))
    check_clip(indices, num_frames, length)
    span = num_frames * stride
    assert indices[0] <= max(length - span, 0)
    if length > span and num_frames > 1:
        assert indices[-1] - indices[0] == span - 1
    assert indices.tolist() == sampler.train(length, np.random.default_rng(seed)).tolist()


def test_dense_train_reaches_all_starts_evenly():
    # A real start in [0, 10] cut to a frame: 0 to 9 equally often (and 10 never but by chance 0).
    generator = np.random.default_rng(3)
    starts = [DenseSampler(2, 5).train(20, generator)[0] for _ in range(4000)]
    counted = np.bincount(starts, minlength=11)
    assert counted[10] == 0
    assert counted[:10].min() > 320
    assert counted[:10].max() < 480


def test_dense_train_takes_its_start_from_the_generator():
    start = np.random.default_rng(11).uniform(0, 292)
    expected = [int(start + 7 * i / 7) for i in range(8)]
    assert DenseSampler(8, 1).train(300, np.random.default_rng(11)).tolist() == expected


# Segment sampling


def test_segment_view_hand_worked():
    # length 17, 8 frames: seg = 2, starts 0, 2, ... 14; one view adds int(2 / 2) = 1.
    sampler = SegmentSampler(8)
    assert sampler.view(17, 0, 1).tolist() == [1, 3, 5, 7, 9, 11, 13, 15]
    # three views add int(0.5), int(1.0), int(1.5).
    assert [sampler.view(17, clip, 3)[0] for clip in range(3)] == [0, 1, 1]


def test_segment_view_rounds_halves_to_even():
    # length 11, 4 frames: seg = 2.5, starts round(0, 2.5, 5, 7.5) = 0, 2, 5, 8; one view adds int(1.25) = 1.
    assert SegmentSampler(4).view(11, 0, 1).tolist() == [1, 3, 6, 9]


def test_segment_view_of_a_short_video_repeats():
    # length 3, 8 frames: seg = 0.25, starts round(0, .25, .5, .75, 1, 1.25, 1.5, 1.75).
    assert SegmentSampler(8).view(3, 0, 1).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert SegmentSampler(8).view(1, 0, 1).tolist() == [0] * 8


@given(length=lengths, num_frames=frames, clips=counts, data=st.data())
def test_segment_view_properties(length, num_frames, clips, data):
    clip = data.draw(st.integers(0, clips - 1))
    indices = SegmentSampler(num_frames).view(length, clip, clips)
    check_clip(indices, num_frames, length)
    segment = (length - 1) / num_frames
    extra = int(segment / (clips + 1) * (clip + 1))
    assert indices.tolist() == [round(segment * i) + extra for i in range(num_frames)]


@given(length=lengths, num_frames=frames, seed=seeds)
def test_segment_train_takes_one_frame_of_each_segment(length, num_frames, seed):
    sampler = SegmentSampler(num_frames)
    indices = sampler.train(length, np.random.default_rng(seed))
    check_clip(indices, num_frames, length)
    segment = (length - 1) / num_frames
    for i, index in enumerate(indices):
        assert round(segment * i) <= index <= round(segment * (i + 1))
    assert indices.tolist() == sampler.train(length, np.random.default_rng(seed)).tolist()


def test_segment_train_reaches_both_ends_of_each_segment():
    # length 9, 2 frames: segments 0 to 4 and 4 to 8, both ends included, equally likely.
    generator = np.random.default_rng(5)
    drawn = np.array([SegmentSampler(2).train(9, generator) for _ in range(2000)])
    assert set(drawn[:, 0]) == {0, 1, 2, 3, 4}
    assert set(drawn[:, 1]) == {4, 5, 6, 7, 8}
    assert np.bincount(drawn[:, 0]).min() > 320


# Wrong arguments


@pytest.mark.parametrize("sampler", [DenseSampler(8, 4), SegmentSampler(8)], ids=["dense", "segment"])
def test_wrong_length_or_view(sampler):
    for call in (lambda: sampler.view(0, 0, 1), lambda: sampler.train(0, np.random.default_rng(0))):
        with pytest.raises(ValueError, match="^a video has at least 1 frame, got length 0$"):
            call()
    for clip, clips in ((1, 1), (-1, 2), (0, 0)):
        with pytest.raises(ValueError, match=f"^clip {clip} of {clips}; clips are counted from 0$"):
            sampler.view(10, clip, clips)


def test_wrong_frame_count_or_stride():
    with pytest.raises(ValueError, match="^num_frames and stride are at least 1, got 0 and 4$"):
        DenseSampler(0, 4)
    with pytest.raises(ValueError, match="^num_frames and stride are at least 1, got 8 and 0$"):
        DenseSampler(8, 0)
    with pytest.raises(ValueError, match="^num_frames is at least 1, got 0$"):
        SegmentSampler(0)
