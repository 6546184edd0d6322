from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.helpers import index_frames, noise_frames, rng, smooth_frames
from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms import spatial
from uniformer_video.transforms.clip import (
    ClipTransform,
    TrainTransform,
    ViewTransform,
    denormalize,
    normalize,
    to_clip,
)
from uniformer_video.transforms.color import color_jitter
from uniformer_video.transforms.rand_augment import RandAugment

MEAN, STD = (0.45, 0.45, 0.45), (0.225, 0.225, 0.225)
AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


class TestNormalize:
    def test_worked_values(self):
        clips = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1)
        result = normalize(clips, (0.5, 0.25, 0.2), (0.5, 0.25, 0.1))
        torch.testing.assert_close(result.flatten(), torch.tensor([-1.0, 3.0, 0.0]))

    @pytest.mark.parametrize("shape", [(3, 2, 4, 5), (2, 3, 2, 4, 5), (2, 4, 3, 2, 4, 5)])
    def test_every_channel_has_its_own(self, shape):
        mean, std = (0.1, 0.2, 0.3), (0.5, 0.6, 0.7)
        clips = torch.from_numpy(rng(1).integers(0, 256, shape, dtype=np.uint8))
        result = normalize(clips, mean, std)
        assert result.dtype == torch.float32
        expected = np.moveaxis(clips.double().numpy() / 255, -4, -1)
        expected = np.moveaxis((expected - np.array(mean)) / np.array(std), -1, -4)
        np.testing.assert_allclose(result.numpy(), expected, atol=2e-6)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
    def test_floats_are_in_the_same_unit_and_left_alone(self, dtype):
        clips = to_clip(noise_frames(2, 5, 6))
        floats = clips.to(dtype)
        result = normalize(floats, MEAN, STD)
        assert result.dtype == torch.float32
        assert torch.equal(result, normalize(clips, MEAN, STD))
        assert torch.equal(floats, clips.to(dtype))

    def test_wrong_number_of_channels(self):
        with pytest.raises(AssertionError):
            normalize(torch.zeros(2, 4, 5, 3, dtype=torch.uint8), MEAN, STD)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self):
        clips = to_clip(noise_frames(2, 5, 6))
        result = normalize(clips.cuda(), MEAN, STD)
        assert result.is_cuda
        torch.testing.assert_close(result.cpu(), normalize(clips, MEAN, STD))


class TestDenormalize:
    def test_every_pixel_value_comes_back(self):
        values = torch.arange(256, dtype=torch.uint8).repeat(3).view(3, 1, 16, 16)
        clips = torch.stack((values, values.flip(0)))
        mean, std = (0.45, 0.4, 0.3), (0.225, 0.2, 0.5)
        result = denormalize(normalize(clips, mean, std), mean, std)
        assert result.dtype == torch.uint8 and torch.equal(result, clips)

    def test_what_no_pixel_can_show_is_cut_off(self):
        clips = torch.tensor([-9.0, 0.0, 9.0]).view(1, 1, 1, 3).expand(3, 2, 1, 3)
        copy = clips.clone()
        assert denormalize(clips, MEAN, STD)[1, 1, 0].tolist() == [0, 115, 255]
        assert torch.equal(clips, copy)


def test_to_clip():
    frames = index_frames(4, 5, num_frames=3)
    clip = to_clip(frames)
    assert clip.shape == (3, 3, 4, 5)
    assert clip.is_contiguous()
    assert clip.dtype == torch.uint8
    assert clip[:, 2, 3, 1].tolist() == [3, 1, 2]  # y, x, t
    assert torch.equal(clip.permute(1, 2, 3, 0), frames)


class TestTrainTransform:
    def test_published_recipe_step_by_step(self):
        augment = RandAugment.from_string("rand-m7-n4-mstd0.5-inc1")
        transform: ClipTransform = TrainTransform(crop_size=16, augment=augment)
        frames = smooth_frames(3, 40, 50)
        flips = 0
        for seed in range(12):
            clip, mirrored = transform(frames, rng(seed))
            generator = rng(seed)
            expected = augment(frames, generator)
            expected = spatial.random_resized_crop(expected, 16, AREA, ASPECT, generator)
            assert mirrored == (generator.random() < 0.5)
            if mirrored:
                flips += 1
                expected = spatial.horizontal_flip(expected)
            assert clip.dtype == torch.uint8
            assert clip.shape == (3, 3, 16, 16)
            assert clip.is_contiguous()
            assert torch.equal(clip, to_clip(expected))
        assert 0 < flips < 12

    def test_colour_jitter_where_there_is_no_rand_augment(self):
        transform = TrainTransform(crop_size=16, augment=None, color_jitter=0.4, flip=False)
        frames = smooth_frames(2, 30, 40)
        generator = rng(3)
        expected = color_jitter(frames, 0.4, 0.4, 0.4, generator)
        expected = spatial.random_resized_crop(expected, 16, AREA, ASPECT, generator)
        assert torch.equal(transform(frames, rng(3))[0], to_clip(expected))

    def test_rand_augment_switches_colour_jitter_off(self):
        augment = RandAugment.from_string("rand-m7-n2-inc1")
        frames = smooth_frames(2, 30, 40)
        with_jitter = TrainTransform(crop_size=16, augment=augment, color_jitter=0.4)
        without = TrainTransform(crop_size=16, augment=augment)
        assert torch.equal(with_jitter(frames, rng(3))[0], without(frames, rng(3))[0])

    def test_short_side_jitter_where_there_is_no_scale(self):
        transform = TrainTransform(crop_size=16, augment=None, scale=None, jitter_scales=(18, 24), flip=False)
        frames = noise_frames(2, 30, 40)
        for seed in range(4):
            generator = rng(seed)
            expected = spatial.random_short_side(frames, 18, 24, generator)
            expected = spatial.random_crop(expected, 16, generator)
            assert torch.equal(transform(frames, rng(seed))[0], to_clip(expected))

    def test_scale_and_ratio_are_used(self):
        frames = noise_frames(1, 20, 20)
        whole = TrainTransform(crop_size=20, augment=None, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)
        assert torch.equal(whole(frames, rng())[0], to_clip(frames))

    def test_flip_is_half_and_can_be_switched_off(self):
        frames = index_frames(8, 8)
        arguments = {"crop_size": 8, "augment": None, "scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
        generator, flipping, fixed = rng(2), TrainTransform(**arguments), TrainTransform(**arguments, flip=False)
        flipped = 0
        for _ in range(2000):
            clip, mirrored = flipping(frames, generator)
            flipped += mirrored
            assert torch.equal(clip, to_clip(frames.flip(2) if mirrored else frames))
            clip, mirrored = fixed(frames, generator)
            assert not mirrored and torch.equal(clip, to_clip(frames))
        assert abs(flipped / 2000 - 0.5) < 0.056  # five deviations

    @pytest.mark.parametrize("augment", [None, RandAugment.from_string("rand-m7-n2-mstd0.5-inc1")])
    def test_a_label_that_forbids_mirroring_changes_no_draw(self, augment):
        transform = TrainTransform(crop_size=16, augment=augment)
        frames = smooth_frames(2, 30, 40)
        seen = set()
        for seed in range(12):
            free, held = rng(seed), rng(seed)
            clip, mirrored = transform(frames, free)
            other, never = transform(frames, held, may_mirror=False)
            assert never is False
            assert torch.equal(other, clip.flip(-1) if mirrored else clip)
            assert free.random() == held.random()
            seen.add(mirrored)
        assert seen == {False, True}

    def test_identical_frames_stay_identical(self):
        transform = TrainTransform(crop_size=16, augment=RandAugment.from_string("rand-m9-n4-mstd0.5-inc1-p1"))
        frames = smooth_frames(1, 30, 41).expand(4, -1, -1, -1)
        for seed in range(8):
            clip, _ = transform(frames, rng(seed))
            assert torch.equal(clip, clip[:, :1].expand_as(clip))

    def test_same_seed_same_clip_and_frames_untouched(self):
        transform = TrainTransform(crop_size=16, augment=RandAugment.from_string("rand-m7-n4-mstd0.5-inc1"))
        frames = noise_frames(2, 30, 41)
        copy = frames.clone()
        clips = [transform(frames, rng(seed))[0] for seed in (1, 1, 2)]
        assert torch.equal(clips[0], clips[1])
        assert not torch.equal(clips[0], clips[2])
        assert torch.equal(frames, copy)

    def test_the_clip_does_not_share_memory_with_the_frames(self):
        transform = TrainTransform(crop_size=8, augment=None, scale=None, jitter_scales=(8, 8), flip=False)
        frames = noise_frames(1, 8, 8)
        copy = frames.clone()
        transform(frames, rng())[0].zero_()
        assert torch.equal(frames, copy)

    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 3), st.booleans(), st.integers(0, 10**6))
    def test_any_size_of_frame(self, height, width, num_frames, resized_crop, seed):
        transform = TrainTransform(
            crop_size=15,
            augment=RandAugment.from_string("rand-m7-n2-mstd0.5-inc1"),
            scale=AREA if resized_crop else None,
            jitter_scales=(15, 19),
        )
        clip, _ = transform(noise_frames(num_frames, height, width), rng(seed))
        assert clip.shape == (3, num_frames, 15, 15)
        assert clip.dtype == torch.uint8

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"crop_size": 0}, "training crop size 0 (DATA.TRAIN_CROP_SIZE) must be at least 1 pixel"),
            (
                {"scale": (0.5, 0.1)},
                "crop area range (0.5, 0.1) (DATA.TRAIN_JITTER_SCALES_RELATIVE) must be low, high "
                "with 0 < low <= high <= 1",
            ),
            (
                {"scale": (0.0, 1.0)},
                "crop area range (0.0, 1.0) (DATA.TRAIN_JITTER_SCALES_RELATIVE) must be low, high "
                "with 0 < low <= high <= 1",
            ),
            (
                {"scale": (0.5, 1.5)},
                "crop area range (0.5, 1.5) (DATA.TRAIN_JITTER_SCALES_RELATIVE) must be low, high "
                "with 0 < low <= high <= 1",
            ),
            (
                {"ratio": (2.0, 1.0)},
                "crop aspect range (2.0, 1.0) (DATA.TRAIN_JITTER_ASPECT_RELATIVE) must be low, high "
                "with 0 < low <= high",
            ),
            (
                {"scale": None, "jitter_scales": (200, 320)},
                "short side range (200, 320) (DATA.TRAIN_JITTER_SCALES) must be low, high "
                "with crop size 224 (DATA.TRAIN_CROP_SIZE) <= low <= high",
            ),
            (
                {"scale": None, "jitter_scales": (320, 256)},
                "short side range (320, 256) (DATA.TRAIN_JITTER_SCALES) must be low, high "
                "with crop size 224 (DATA.TRAIN_CROP_SIZE) <= low <= high",
            ),
        ],
    )
    def test_faults(self, arguments, message):
        with pytest.raises(UserError) as caught:
            TrainTransform(**{"crop_size": 224, "augment": None, **arguments})
        assert str(caught.value) == message

    def test_ranges_that_are_not_used_are_not_checked(self):
        assert TrainTransform(crop_size=224, augment=None, jitter_scales=(8, 4)).jitter_scales == (8, 4)
        assert TrainTransform(crop_size=224, augment=None, scale=None, ratio=(2.0, 1.0)).scale is None


class TestViewTransform:
    @pytest.mark.parametrize(
        ("height", "width", "crops", "corners"),
        [
            (16, 25, 3, [(0, 0), (0, 5), (0, 9)]),
            (25, 16, 3, [(0, 0), (5, 0), (9, 0)]),
            (16, 25, 1, [(0, 5)]),
            (16, 16, 2, [(0, 0), (0, 0)]),
        ],
    )
    def test_views_of_frames_of_the_right_size_are_windows(self, height, width, crops, corners):
        transform = ViewTransform(crop_size=16, crops=crops)
        frames = index_frames(height, width, num_frames=2)
        resized = transform.resize(frames)
        assert torch.equal(resized, frames)
        for crop, (top, left) in enumerate(corners):
            clip = transform(resized, crop)
            assert clip.shape == (3, 2, 16, 16)
            assert clip.is_contiguous()
            assert clip.dtype == torch.uint8
            assert torch.equal(clip, to_clip(frames[:, top : top + 16, left : left + 16]))

    @pytest.mark.parametrize(("height", "width"), [(40, 61), (61, 40), (9, 14), (300, 17), (17, 300), (1, 1)])
    @pytest.mark.parametrize("crops", [1, 3, 4])
    def test_any_size_of_frame(self, height, width, crops):
        transform = ViewTransform(crop_size=16, crops=crops)
        resized = transform.resize(noise_frames(2, height, width))
        assert min(resized.shape[1:3]) == 16
        assert {tuple(transform(resized, crop).shape) for crop in range(crops)} == {(3, 2, 16, 16)}

    def test_agrees_with_normalise_then_resize_then_crop(self):
        """The published order works on normalised floats; ours rounds to uint8 in between: half a level at most."""
        frames = torch.cat((noise_frames(2, 32, 43), smooth_frames(2, 32, 43)))
        transform = ViewTransform(crop_size=24, crops=3)
        resized = transform.resize(frames)
        floats = normalize(to_clip(frames), MEAN, STD).transpose(0, 1)
        floats = F.interpolate(floats, size=(24, 32), mode="bilinear", align_corners=False).transpose(0, 1)
        for crop, left in enumerate((0, 4, 8)):
            ours = normalize(transform(resized, crop), MEAN, STD)
            difference = (ours - floats[..., left : left + 24]).abs().max() * 0.225 * 255
            assert difference <= 0.5 + 1e-3

    def test_no_such_view(self):
        transform = ViewTransform(crop_size=16, crops=3)
        with pytest.raises(ValueError, match="no spatial view 3 of 3: it must be from 0 to crops - 1"):
            transform(noise_frames(1, 16, 20), 3)

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"crop_size": 0, "crops": 1}, "test crop size 0 (DATA.TEST_CROP_SIZE) must be at least 1 pixel"),
            ({"crop_size": 16, "crops": 0}, "0 spatial views (TEST.NUM_SPATIAL_CROPS); there must be at least 1"),
        ],
    )
    def test_faults(self, arguments, message):
        with pytest.raises(UserError) as caught:
            ViewTransform(**arguments)
        assert str(caught.value) == message
