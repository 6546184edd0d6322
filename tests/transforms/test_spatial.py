from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.helpers import index_frames, noise_frames, rng
from uniformer_video.transforms.spatial import (
    Box,
    cut,
    horizontal_flip,
    random_box,
    random_crop,
    random_resized_crop,
    random_short_side,
    resize,
    resize_short_side,
    resized_crop_box,
    short_side_size,
    view_crop,
)

SIDES = st.integers(1, 4000)


def reference_resize(frame: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear with half-pixel centres in float64, edges repeated; (H, W, 3) -> float (height, width, 3)."""

    def taps(extent: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        centre = np.maximum((np.arange(wanted) + 0.5) * extent / wanted - 0.5, 0)
        low = np.minimum(np.floor(centre).astype(int), extent - 1)
        return low, np.minimum(low + 1, extent - 1), centre - low

    y0, y1, wy = taps(frame.shape[0], height)
    x0, x1, wx = taps(frame.shape[1], width)
    frame = frame.astype(np.float64)
    rows = frame[y0] * (1 - wy)[:, None, None] + frame[y1] * wy[:, None, None]
    return rows[:, x0] * (1 - wx)[None, :, None] + rows[:, x1] * wx[None, :, None]


class TestShortSideSize:
    @pytest.mark.parametrize(
        ("height", "width", "size", "expected"),
        [
            (320, 426, 224, (224, 298)),  # 298.2
            (256, 340, 224, (224, 297)),  # 297.5 is floored
            (240, 320, 224, (224, 298)),  # 298.67 is floored
            (426, 320, 224, (298, 224)),
            (256, 256, 224, (224, 224)),
            (224, 300, 224, (224, 300)),
            (100, 50, 224, (448, 224)),
            (112, 122, 224, (224, 244)),  # in floating point 122 / 112 * 224 is just below 244
            (1, 1000, 224, (224, 224000)),
            (7, 7, 1, (1, 1)),
        ],
    )
    def test_worked_cases(self, height, width, size, expected):
        assert short_side_size(height, width, size) == expected

    @given(SIDES, SIDES, st.integers(1, 512))
    def test_short_side_exact_and_long_side_floored(self, height, width, size):
        new_height, new_width = short_side_size(height, width, size)
        assert min(new_height, new_width) == size
        exact = Fraction(max(height, width) * size, min(height, width))
        assert max(new_height, new_width) == math.floor(exact)
        assert short_side_size(width, height, size) == (new_width, new_height)


class TestResize:
    def test_doubling_by_hand(self):
        # Half-pixel centres: outputs sit at -0.25, 0.25, 0.75, 1.25 of the input.
        frames = torch.tensor([0, 100], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
        assert resize(frames, 1, 4)[0, 0, :, 0].tolist() == [0, 25, 75, 100]

    def test_halving_does_not_antialias(self):
        # From 8 to 2 the centres are 1.5 and 5.5: only two neighbours count, not all four pixels.
        row = torch.tensor([255, 0, 100, 255, 255, 10, 20, 255], dtype=torch.uint8)
        frames = row.view(1, 1, 8, 1).expand(1, 1, 8, 3)
        assert resize(frames, 1, 2)[0, 0, :, 1].tolist() == [50, 15]

    def test_values_are_rounded_not_truncated(self):
        frames = torch.tensor([0, 3], dtype=torch.uint8).view(1, 1, 2, 1).expand(1, 1, 2, 3)
        assert resize(frames, 1, 4)[0, 0, :, 0].tolist() == [0, 1, 2, 3]  # 0, 0.75, 2.25, 3

    @pytest.mark.parametrize(
        ("height", "width", "new_height", "new_width"),
        [(13, 17, 8, 9), (13, 17, 40, 21), (5, 200, 32, 32), (200, 5, 32, 32), (1, 1, 7, 7), (24, 32, 12, 16)],
    )
    def test_against_float64_reference(self, height, width, new_height, new_width):
        frames = noise_frames(3, height, width)
        resized = resize(frames, new_height, new_width)
        assert resized.dtype == torch.uint8
        assert resized.shape == (3, new_height, new_width, 3)
        for frame, result in zip(frames, resized, strict=True):
            exact = reference_resize(frame.numpy(), new_height, new_width)
            # Half a level for the rounding, a little for float32.
            assert np.abs(result.numpy() - exact).max() <= 0.5 + 1e-3

    def test_equals_interpolate_on_whole_batch(self):
        frames = noise_frames(4, 31, 45)
        pixels = F.interpolate(frames.permute(0, 3, 1, 2).float(), size=(20, 29), mode="bilinear", align_corners=False)
        assert torch.equal(resize(frames, 20, 29), pixels.round().to(torch.uint8).permute(0, 2, 3, 1))

    def test_extremes_stay(self):
        for value in (0, 255):
            frames = torch.full((1, 7, 9, 3), value, dtype=torch.uint8)
            assert (resize(frames, 23, 5) == value).all()

    def test_same_size_returns_frames(self):
        frames = noise_frames(2, 8, 9)
        assert resize(frames, 8, 9) is frames

    def test_non_contiguous_frames(self):
        frames = noise_frames(2, 20, 24)
        part = frames[:, 3:15, 2:20]
        assert torch.equal(resize(part, 8, 8), resize(part.contiguous(), 8, 8))

    def test_frames_are_resized_one_by_one_alike(self):
        frames = noise_frames(3, 20, 24)
        together = resize(frames, 9, 11)
        for index in range(3):
            assert torch.equal(together[index : index + 1], resize(frames[index : index + 1], 9, 11))

    @pytest.mark.parametrize("shape", [(20, 24, 3), (2, 3, 20, 24)])
    def test_wrong_shape_is_refused(self, shape):
        with pytest.raises(AssertionError, match=r"frames are \(T, H, W, 3\)"):
            resize(torch.zeros(shape, dtype=torch.uint8), 4, 4)

    def test_float_is_refused(self):
        with pytest.raises(AssertionError, match="frames are uint8, got torch.float32"):
            resize(torch.zeros(1, 4, 4, 3), 2, 2)

    def test_short_side(self):
        assert resize_short_side(noise_frames(1, 30, 41), 20).shape == (1, 20, 27, 3)
        assert resize_short_side(noise_frames(1, 41, 30), 20).shape == (1, 27, 20, 3)
        assert resize_short_side(noise_frames(1, 8, 6), 20).shape == (1, 26, 20, 3)


class TestRandomShortSide:
    def test_sizes_cover_the_range_with_half_weight_at_the_ends(self):
        frames = noise_frames(1, 4, 4)
        generator = rng(3)
        sizes = [random_short_side(frames, 10, 14, generator).shape[1] for _ in range(4000)]
        counts = np.bincount(sizes, minlength=15)[10:]
        assert len(sizes) == counts.sum()
        # A rounded uniform draw: 1/8, 1/4, 1/4, 1/4, 1/8; five deviations are about 0.035.
        np.testing.assert_allclose(counts / 4000, [0.125, 0.25, 0.25, 0.25, 0.125], atol=0.035)

    def test_aspect_is_kept(self):
        assert random_short_side(noise_frames(1, 10, 20), 5, 5, rng()).shape == (1, 5, 10, 3)


class TestRandomCrop:
    def test_is_a_window_and_every_place_comes_up(self):
        frames = index_frames(6, 5, num_frames=2)
        generator = rng(5)
        places = []
        for _ in range(1200):
            window = random_crop(frames, 4, generator)
            top, left = window[0, 0, 0, :2].tolist()
            assert torch.equal(window, frames[:, top : top + 4, left : left + 4])
            places.append((top, left))
        counts = {place: places.count(place) for place in set(places)}
        assert set(counts) == {(top, left) for top in range(3) for left in range(2)}
        assert min(counts.values()) > 130  # 200 expected, deviation 13
        assert max(counts.values()) < 270

    def test_exact_fit(self):
        frames = noise_frames(1, 7, 7)
        assert torch.equal(random_crop(frames, 7, rng()), frames)

    @pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 6)])
    def test_too_small(self, height, width):
        with pytest.raises(ValueError) as caught:
            random_crop(noise_frames(1, height, width), 7, rng())
        expected = f"cannot crop 7x7 from frames of height {height} and width {width}; resize them first"
        assert str(caught.value) == expected


class TestViewCrop:
    @pytest.mark.parametrize(
        ("height", "width", "crops", "expected"),
        [
            (8, 13, 1, [(0, 3)]),  # room 5: the centre rounds up
            (8, 12, 1, [(0, 2)]),
            (8, 13, 3, [(0, 0), (0, 3), (0, 5)]),
            (13, 8, 3, [(0, 0), (3, 0), (5, 0)]),
            (8, 8, 3, [(0, 0), (0, 0), (0, 0)]),
            (8, 15, 2, [(0, 0), (0, 7)]),
            (8, 15, 5, [(0, 0), (0, 2), (0, 4), (0, 6), (0, 7)]),  # 1.75, 3.5, 5.25 rounded up
            (11, 15, 3, [(2, 0), (2, 4), (2, 7)]),  # the short side is centred, rounded up
            (15, 11, 3, [(0, 2), (4, 2), (7, 2)]),
            (11, 11, 3, [(2, 0), (2, 2), (2, 3)]),  # as high as wide: left to right
        ],
    )
    def test_offsets(self, height, width, crops, expected):
        frames = index_frames(height, width, num_frames=2)
        views = [view_crop(frames, 8, crop, crops) for crop in range(crops)]
        assert [tuple(view[0, 0, 0, :2].tolist()) for view in views] == expected
        for view, (top, left) in zip(views, expected, strict=True):
            assert torch.equal(view, frames[:, top : top + 8, left : left + 8])

    @settings(deadline=None)
    @given(st.integers(4, 60), st.integers(4, 60), st.integers(1, 7))
    def test_views_span_the_longer_side_evenly(self, height, width, crops):
        frames = index_frames(height, width)
        corners = [view_crop(frames, 4, crop, crops)[0, 0, 0, :2].tolist() for crop in range(crops)]
        along = 0 if height > width else 1
        room = max(height, width) - 4
        offsets = [corner[along] for corner in corners]
        if crops == 1:
            assert offsets == [math.ceil(room / 2)]
        else:
            assert offsets == [math.ceil(Fraction(crop * room, crops - 1)) for crop in range(crops)]
            assert offsets[0] == 0
            assert offsets[-1] == room
        assert {corner[1 - along] for corner in corners} == {math.ceil((min(height, width) - 4) / 2)}

    @pytest.mark.parametrize("crop", [-1, 3])
    def test_no_such_view(self, crop):
        with pytest.raises(ValueError) as caught:
            view_crop(noise_frames(1, 9, 9), 8, crop, 3)
        assert str(caught.value) == f"no spatial view {crop} of 3: it must be from 0 to crops - 1"

    def test_too_small(self):
        with pytest.raises(ValueError, match="cannot crop 8x8 from frames of height 7 and width 9; resize them first"):
            view_crop(noise_frames(1, 7, 9), 8, 0, 1)


class TestRandomBox:
    def boxes(self, count, *args, **kwargs):
        generator = rng(11)
        drawn = [random_box(*args, generator, **kwargs) for _ in range(count)]
        assert all(box is not None for box in drawn)
        return np.array(drawn)

    def test_area_is_uniform(self):
        # At most 0.4 of a square frame with these aspects always fits, so nothing bends the distribution.
        boxes = self.boxes(4000, 1000, 1000, (0.08, 0.4), (3 / 4, 4 / 3))
        area = boxes[:, 2] * boxes[:, 3] / 1e6
        assert area.min() > 0.0795
        assert area.max() < 0.4005
        assert abs(area.mean() - 0.24) < 0.007  # deviation of the mean 0.0015
        shares = np.histogram(area, bins=np.linspace(0.08, 0.4, 9))[0] / 4000
        np.testing.assert_allclose(shares, 1 / 8, atol=0.026)  # five deviations

    def test_aspect_is_log_uniform(self):
        boxes = self.boxes(4000, 1000, 1000, (0.1, 0.3), (1 / 4, 2.0))
        ratio = np.log(boxes[:, 3] / boxes[:, 2])
        assert ratio.min() > math.log(1 / 4) - 0.01
        assert ratio.max() < math.log(2.0) + 0.01
        shares = np.histogram(ratio, bins=np.linspace(math.log(1 / 4), math.log(2), 7))[0] / 4000
        np.testing.assert_allclose(shares, 1 / 6, atol=0.03)

    def test_place_is_uniform_over_the_room(self):
        boxes = self.boxes(4000, 1000, 500, (0.04, 0.2), (3 / 4, 4 / 3))
        assert (boxes[:, :2] >= 0).all()
        for start, length, extent in ((0, 2, 1000), (1, 3, 500)):
            assert (boxes[:, start] + boxes[:, length] <= extent).all()
            part = boxes[:, start] / (extent - boxes[:, length])
            shares = np.histogram(part, bins=np.linspace(0, 1, 6))[0] / 4000
            np.testing.assert_allclose(shares, 0.2, atol=0.032)

    def test_both_edges_are_reached(self):
        boxes = self.boxes(300, 6, 6, (0.44, 0.45), (1.0, 1.0))
        assert {tuple(box[2:]) for box in boxes} == {(4, 4)}
        assert set(boxes[:, 0]) == set(boxes[:, 1]) == {0, 1, 2}

    def test_whole_frame(self):
        assert random_box(9, 7, (1.0, 1.0), (7 / 9, 7 / 9), rng()) == Box(0, 0, 9, 7)
        assert random_box(9, 7, (1.0, 1.0), (7 / 9, 7 / 9), rng(), whole_side=False) is None

    def test_none_where_nothing_fits(self):
        assert random_box(10, 1000, (0.5, 1.0), (3 / 4, 4 / 3), rng()) is None
        assert random_box(2, 2, (0.001, 0.002), (1.0, 1.0), rng()) is None  # rounds to no pixel at all


class TestResizedCropBox:
    @pytest.mark.parametrize(
        ("height", "width", "expected"),
        [
            (10, 1000, Box(0, 493, 10, 13)),  # too wide: 10 * 4/3 = 13.3 columns
            (1000, 10, Box(493, 0, 13, 10)),  # too tall: 10 / (3/4) = 13.3 rows
            (1, 1000, Box(0, 499, 1, 1)),
        ],
    )
    def test_fallback_is_the_centre_with_clamped_aspect(self, height, width, expected):
        assert resized_crop_box(height, width, (0.5, 1.0), (3 / 4, 4 / 3), rng()) == expected

    def test_fallback_of_allowed_aspect_is_the_whole_frame(self):
        # No box of the drawn area with exactly this aspect fits, but the frame's own aspect is inside the range.
        generator = rng(1)
        assert random_box(1, 2, (0.01, 0.02), (1.0, 2.0), rng(1)) is None
        assert resized_crop_box(1, 2, (0.01, 0.02), (1.0, 2.0), generator) == Box(0, 0, 1, 2)

    @settings(deadline=None, max_examples=200)
    @given(st.integers(1, 400), st.integers(1, 400), st.integers(0, 10**6))
    def test_box_always_lies_inside(self, height, width, seed):
        top, left, box_height, box_width = resized_crop_box(height, width, (0.08, 1.0), (3 / 4, 4 / 3), rng(seed))
        assert box_height >= 1
        assert box_width >= 1
        assert 0 <= top <= height - box_height
        assert 0 <= left <= width - box_width


class TestRandomResizedCrop:
    def test_is_the_resized_box_of_the_same_draw(self):
        frames = noise_frames(3, 50, 70)
        for seed in range(5):
            box = resized_crop_box(50, 70, (0.08, 1.0), (3 / 4, 4 / 3), rng(seed))
            result = random_resized_crop(frames, 16, (0.08, 1.0), (3 / 4, 4 / 3), rng(seed))
            for frame, image in zip(cut(frames, box), result, strict=True):
                exact = reference_resize(frame.numpy(), 16, 16)
                assert np.abs(image.numpy() - exact).max() <= 0.5 + 1e-3

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 500), (500, 1), (3, 2), (15, 17)])
    def test_odd_and_tiny_frames(self, height, width):
        result = random_resized_crop(noise_frames(1, height, width), 16, (0.08, 1.0), (3 / 4, 4 / 3), rng(2))
        assert result.shape == (1, 16, 16, 3)
        assert result.dtype == torch.uint8

    def test_same_seed_same_crop_other_seed_another(self):
        frames = noise_frames(2, 40, 60)
        first = random_resized_crop(frames, 16, (0.08, 1.0), (3 / 4, 4 / 3), rng(9))
        assert torch.equal(first, random_resized_crop(frames, 16, (0.08, 1.0), (3 / 4, 4 / 3), rng(9)))
        assert not torch.equal(first, random_resized_crop(frames, 16, (0.08, 1.0), (3 / 4, 4 / 3), rng(10)))

    def test_frames_are_not_changed(self):
        frames = noise_frames(2, 40, 60)
        copy = frames.clone()
        random_resized_crop(frames, 16, (0.08, 1.0), (3 / 4, 4 / 3), rng(9)).zero_()
        assert torch.equal(frames, copy)


def test_horizontal_flip():
    frames = index_frames(3, 4, num_frames=2)
    flipped = horizontal_flip(frames)
    for x in range(4):
        assert torch.equal(flipped[:, :, x], frames[:, :, 3 - x])
    assert torch.equal(horizontal_flip(flipped), frames)
