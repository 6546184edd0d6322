"""RandAugment on the part that a crop keeps, against all steps on whole frames and a cut; and the whole pipeline."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.helpers import noise_frames, rng, smooth_frames
from uniformer_video.transforms import spatial
from uniformer_video.transforms.clip import TrainTransform, ViewTransform, normalize, to_clip
from uniformer_video.transforms.rand_augment import OPERATIONS, RandAugment, apply_steps
from uniformer_video.transforms.spatial import Box, cut

HEIGHT, WIDTH = 26, 34
_AUGMENT = RandAugment.from_string("rand-m7-n4-mstd0.5-inc1-p1")


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    top=st.integers(0, HEIGHT - 1),
    left=st.integers(0, WIDTH - 1),
    count=st.integers(2, 9),
    data=st.data(),
)
def test_a_part_of_all_steps(seed, top, left, count, data):
    keep = Box(top, left, data.draw(st.integers(1, HEIGHT - top)), data.draw(st.integers(1, WIDTH - left)))
    frames = torch.cat((smooth_frames(count - 1, HEIGHT, WIDTH), noise_frames(1, HEIGHT, WIDTH)))
    before = frames.clone()
    steps = _AUGMENT.draw(rng(seed))
    expected = frames
    for step in steps:
        expected = step(expected)
    assert apply_steps(frames, steps, keep).equal(cut(expected, keep))
    assert frames.equal(before)


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("keep", [Box(0, 0, 26, 34), Box(0, 0, 1, 1), Box(5, 7, 12, 9), Box(25, 33, 1, 1)])
def test_each_operation(name, keep):
    frames = torch.cat((smooth_frames(5, HEIGHT, WIDTH), noise_frames(2, HEIGHT, WIDTH)))
    step = _AUGMENT._step(name, rng(3))
    assert step(frames, keep).equal(cut(step(frames), keep))
    assert apply_steps(frames, [step], keep).equal(cut(step(frames), keep))


def test_only_what_is_needed_is_known():
    step = {name: _AUGMENT._step(name, rng(0)) for name in OPERATIONS}
    keep = Box(0, 10, 5, 8)
    assert step["Invert"].needs(keep, 26, 34) == keep
    assert step["Sharpness"].needs(keep, 26, 34) == Box(0, 9, 6, 10)
    assert step["Equalize"].needs(keep, 26, 34) == step["Rotate"].needs(keep, 26, 34) == Box(0, 0, 26, 34)


@pytest.mark.parametrize("seed", range(25))
def test_training_clips_are_those_of_whole_frames(seed):
    frames = smooth_frames(6, 48, 60)
    augment = RandAugment.from_string("rand-m7-n4-mstd0.5-inc1")
    clip, mirrored = TrainTransform(crop_size=32, augment=augment)(frames, rng(seed))
    generator = rng(seed)
    plain = augment(frames, generator)
    plain = spatial.random_resized_crop(plain, 32, (0.08, 1.0), (3 / 4, 4 / 3), generator)
    assert mirrored is bool(generator.random() < 0.5)
    assert clip.equal(to_clip(spatial.horizontal_flip(plain) if mirrored else plain))
    assert clip.is_contiguous()


@pytest.mark.parametrize("size", [(30, 41), (24, 33), (50, 24)])
def test_views_cut_at_once(size):
    transform = ViewTransform(crop_size=24, crops=3)
    resized = transform.resize(noise_frames(7, *size))
    views = [([0, 3, 3, 6], 0), ([1, 2, 4, 5], 2), ([6, 5, 0, 0], 1)]
    together = transform.cut_views(resized, views)
    assert together.shape == (3, 3, 4, 24, 24)
    for got, (frames, crop) in zip(together, views, strict=True):
        assert got.equal(transform(resized[frames], crop))


@pytest.mark.parametrize("shape", [(2, 3, 4, 80, 90), (3, 9, 70, 70), (2, 2, 3, 3, 70, 75)])
def test_large_clips_are_normalised_as_small_ones(shape):
    clips = torch.from_numpy(rng(0).integers(0, 256, shape, "uint8"))
    mean, std = [0.45, 0.4, 0.35], [0.225, 0.2, 0.3]
    got = normalize(clips, mean, std)
    as_rows = clips.movedim(-4, -1).reshape(-1, 3)
    rows = torch.cat([normalize(part.t().reshape(3, -1, 1, 1), mean, std) for part in as_rows.split(10000)], 1)
    assert got.equal(rows.reshape(3, *clips.movedim(-4, 0).shape[1:]).movedim(0, -4))
    assert got.dtype == torch.float32
    assert normalize(clips.float(), mean, std).equal(got)
    strided = clips.movedim(-1, 0).contiguous().movedim(0, -1)
    assert normalize(strided, mean, std).equal(got)
