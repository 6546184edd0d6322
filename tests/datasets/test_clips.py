"""Clips of one opened video: one pass over it, the right pixels, draws that depend on the position alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from uniformer_video.datasets.clips import TrainClips, ViewClips
from uniformer_video.transforms.clip import TrainTransform, ViewTransform
from uniformer_video.transforms.rand_augment import RandAugment
from uniformer_video.transforms.spatial import resize_short_side, view_crop
from uniformer_video.video.open import open_video
from uniformer_video.video.sampling import DenseSampler, SegmentSampler, ViewGrid

pytestmark = pytest.mark.usefixtures("random_state_unchanged")


class SpyReader:
    """A video whose frames are a function of their number; notes every call."""

    def __init__(self, num_frames, height=40, width=56):
        self.num_frames, self.size = num_frames, (height, width)
        self.calls = []

    def frames_at(self, indices):
        self.calls.append(list(indices))
        return torch.stack([self.frame(i) for i in indices])

    def frame(self, index):
        height, width = self.size
        y, x, c = np.ogrid[:height, :width, :3]
        return torch.from_numpy(((7 * index + 3 * y + 2 * x + 50 * c) % 256).astype(np.uint8))


class NoteTransform:
    """A training transform that keeps what it is given and puts a draw into every pixel."""

    def __init__(self):
        self.frames = []

    def __call__(self, frames, generator, *, may_mirror=True):
        self.frames.append(frames)
        draw = int(generator.integers(2**60))
        return torch.full((3, len(frames), 2, 2), draw), may_mirror and draw % 2 == 1


# ------------------------------------------------------------------------------------------------------------ test


def one_by_one(reader, sampler, clips, crops, size):
    """Cut every view by itself, with the public functions only."""
    views = []
    for clip in range(clips):
        for crop in range(crops):
            frames = reader.frames_at(sampler.view(reader.num_frames, clip, clips).tolist())
            views.append(view_crop(resize_short_side(frames, size), size, crop, crops).permute(3, 0, 1, 2))
    return torch.stack(views)


@pytest.mark.parametrize("sampler", [DenseSampler(4, 3), DenseSampler(4, 3, use_offset=False), SegmentSampler(4)])
@pytest.mark.parametrize(("clips", "crops"), [(1, 1), (4, 3), (2, 1), (1, 3), (3, 5)])
@pytest.mark.parametrize("size", [(40, 56), (56, 40), (32, 32)])
def test_views_are_those_cut_one_by_one(sampler, clips, crops, size):
    make = ViewClips(sampler, ViewTransform(crop_size=32, crops=crops), ViewGrid(clips, crops))
    reader = SpyReader(37, *size)
    views = make(reader, 0, 0).pixels
    assert len(make) == clips * crops
    assert (views.dtype, tuple(views.shape)) == (torch.uint8, (clips * crops, 3, 4, 32, 32))
    assert views.is_contiguous()
    assert torch.equal(views, one_by_one(SpyReader(37, *size), sampler, clips, crops, 32))


@settings(deadline=None)
@given(length=st.integers(1, 60), frames=st.integers(1, 6), stride=st.integers(1, 9), clips=st.integers(1, 5))
def test_one_pass_names_each_distinct_frame_once(length, frames, stride, clips):
    sampler, reader = DenseSampler(frames, stride), SpyReader(length, 32, 32)
    make = ViewClips(sampler, ViewTransform(crop_size=32, crops=1), ViewGrid(clips, 1))
    views = make(reader, 0, 0).pixels
    wanted = sorted({int(i) for clip in range(clips) for i in sampler.view(length, clip, clips)})
    assert reader.calls == [wanted]
    assert all(type(i) is int for i in reader.calls[0])
    assert torch.equal(views, one_by_one(SpyReader(length, 32, 32), sampler, clips, 1, 32))


def test_views_are_clip_major_then_crop():
    reader = SpyReader(100, 32, 96)
    views = ViewClips(DenseSampler(2, 10), ViewTransform(crop_size=32, crops=3), ViewGrid(2, 3))(reader, 0, 0).pixels
    # Two clips of 20 source frames begin at 0 and 80; crops begin at columns 0, 32, 64.
    for clip, start in enumerate((0, 80)):
        for crop, left in enumerate((0, 32, 64)):
            expected = reader.frame(start)[:, left : left + 32].permute(2, 0, 1)
            assert torch.equal(views[3 * clip + crop, :, 0], expected)


def test_views_do_not_depend_on_epoch_record_or_threads(toy_set):
    make = ViewClips(DenseSampler(4, 2), ViewTransform(crop_size=32, crops=3), ViewGrid(2, 3))
    path = str(toy_set / "videos" / "test red 1.mp4")
    with open_video(path) as reader:
        first = make(reader, 0, 0).pixels
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with open_video(path) as reader:
            assert torch.equal(make(reader, 5, 77).pixels, first)
    finally:
        torch.set_num_threads(threads)


# -------------------------------------------------------------------------------------------------------- training


def test_repeats_share_the_window_and_its_decoding_but_no_draw():
    transform, reader = NoteTransform(), SpyReader(50)
    clips = TrainClips(DenseSampler(4, 3), transform, repeats=5, seed=1)(reader, 2, 9).pixels
    assert tuple(clips.shape) == (5, 3, 4, 2, 2)
    assert len(reader.calls) == 1
    assert all(frames is transform.frames[0] for frames in transform.frames) and len(transform.frames) == 5
    window = reader.calls[0]
    assert all(type(i) is int for i in window)
    # Four points over 12 frames from a real start: steps of 11 / 3, cut off.
    assert [i - window[0] for i in window] in ([0, 3, 7, 11], [0, 4, 7, 11], [0, 4, 8, 11], [0, 3, 7, 10])
    assert len(set(clips[:, 0, 0, 0, 0].tolist())) == 5


def draws(*, seed, epoch, record, repeats=3):
    reader = SpyReader(5000)
    clips = TrainClips(DenseSampler(4, 3), NoteTransform(), repeats=repeats, seed=seed)(reader, epoch, record).pixels
    return reader.calls[0][0], clips[:, 0, 0, 0, 0].tolist()


def test_draws_are_a_function_of_seed_epoch_record_and_repeat():
    base = draws(seed=3, epoch=4, record=5)
    assert draws(seed=3, epoch=4, record=5) == base
    others = [draws(seed=2, epoch=4, record=5), draws(seed=3, epoch=5, record=5), draws(seed=3, epoch=4, record=4)]
    others.append(draws(seed=3, epoch=5, record=4))  # epoch and record do not just add up
    for start, values in others:
        assert start != base[0] and values != base[1]
    # More repeats change neither the window nor the first clips.
    start, values = draws(seed=3, epoch=4, record=5, repeats=6)
    assert (start, values[:3]) == base


def test_a_later_turn_of_a_record_has_draws_of_its_own():
    def made(turn, record=5):
        reader = SpyReader(5000)
        clips = TrainClips(DenseSampler(4, 3), NoteTransform(), repeats=2, seed=3)(reader, 4, record, turn=turn)
        return reader.calls[0][0], clips.pixels[:, 0, 0, 0, 0].tolist()

    base = draws(seed=3, epoch=4, record=5, repeats=2)
    assert made(0) == base  # a first turn is what an item was before there were turns
    turns = [made(turn) for turn in range(5)]
    assert len({start for start, _ in turns}) == 5
    assert len({value for _, values in turns for value in values}) == 10
    assert made(2) == turns[2] != made(2, record=6)


def test_training_clips_say_where_they_come_from():
    make = TrainClips(DenseSampler(4, 3), NoteTransform(), repeats=6, seed=1)
    reader = SpyReader(50)
    made = make(reader, 2, 9)
    assert (made.indices.shape, made.indices.dtype) == ((6, 4), np.int64)
    assert all(window.tolist() == reader.calls[0] for window in made.indices)
    assert made.mirrored == tuple(draw % 2 == 1 for draw in made.pixels[:, 0, 0, 0, 0].tolist())
    assert set(made.mirrored) == {False, True}
    assert make(SpyReader(50), 2, 9, may_mirror=False).mirrored == (False,) * 6


def test_only_mirrored_clips_change_where_left_must_stay_left():
    make = TrainClips(DenseSampler(4, 2), TrainTransform(crop_size=32, augment=None), repeats=8, seed=0)
    free, held = make(SpyReader(30), 0, 0), make(SpyReader(30), 0, 0, may_mirror=False)
    assert np.array_equal(free.indices, held.indices)
    for one, other, mirrored in zip(free.pixels, held.pixels, free.mirrored, strict=True):
        assert torch.equal(one.flip(-1) if mirrored else one, other)
    assert set(free.mirrored) == {False, True}


def test_views_say_where_they_come_from():
    made = ViewClips(DenseSampler(2, 10), ViewTransform(crop_size=32, crops=3), ViewGrid(2, 3))(SpyReader(100), 0, 0)
    assert made.indices.tolist() == [[0, 19]] * 3 + [[80, 99]] * 3
    assert made.mirrored == (False,) * 6


def test_windows_spread_over_the_whole_video():
    starts = [draws(seed=0, epoch=epoch, record=1)[0] for epoch in range(40)]
    assert min(starts) < 500 and max(starts) > 4400 and len(set(starts)) > 35


@pytest.mark.parametrize("augment", [None, "rand-m7-n4-mstd0.5-inc1"])
def test_with_the_real_transform(augment):
    augment = augment and RandAugment.from_string(augment)
    transform = TrainTransform(crop_size=32, augment=augment, color_jitter=0.4)
    make = TrainClips(DenseSampler(4, 2), transform, repeats=2, seed=0)
    clips = make(SpyReader(30), 0, 0).pixels
    assert len(make) == 2
    assert (clips.dtype, tuple(clips.shape)) == (torch.uint8, (2, 3, 4, 32, 32))
    assert not torch.equal(clips[0], clips[1])
    assert torch.equal(make(SpyReader(30), 0, 0).pixels, clips)
    assert not torch.equal(make(SpyReader(30), 1, 0).pixels, clips)


def test_a_training_clip_does_not_depend_on_the_number_of_threads():
    augment = RandAugment.from_string("rand-m9-n6-mstd0.5-inc1")
    make = TrainClips(DenseSampler(4, 2), TrainTransform(crop_size=48, augment=augment), repeats=4, seed=0)
    first = make(SpyReader(30, 120, 160), 0, 0).pixels
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert torch.equal(make(SpyReader(30, 120, 160), 0, 0).pixels, first)
    finally:
        torch.set_num_threads(threads)
