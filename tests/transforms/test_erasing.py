from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.transforms.helpers import rng
from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms.erasing import draw_boxes, random_erasing

MARK = 1000.0  # no noise comes near it


def marked(batch: int, num_frames: int = 3, height: int = 24, width: int = 30) -> torch.Tensor:
    return torch.full((batch, 3, num_frames, height, width), MARK)


def erase(clips: torch.Tensor, probability: float = 1.0, seeds=None, **kwargs) -> torch.Tensor:
    seeds = range(len(clips)) if seeds is None else seeds
    return random_erasing(clips, probability, **kwargs, generators=[rng(seed) for seed in seeds])


def box_of(erased: torch.Tensor) -> tuple[int, int, int, int]:
    """Return top, left, height, width of the erased part of one frame's mask; assert that it is a full rectangle."""
    rows, columns = erased.any(1).nonzero().flatten(), erased.any(0).nonzero().flatten()
    top, left = int(rows[0]), int(columns[0])
    height, width = int(rows[-1]) - top + 1, int(columns[-1]) - left + 1
    assert int(erased.sum()) == height * width
    return top, left, height, width


class TestBoxes:
    def drawn(self, count: int, probability: float = 1.0, max_count: int = 1, height: int = 1000, width: int = 1000):
        generator = rng(7)
        return [draw_boxes(height, width, probability, max_count, generator) for _ in range(count)]

    @pytest.mark.parametrize("probability", [0.0, 0.25, 1.0])
    def test_probability(self, probability):
        share = sum(bool(boxes) for boxes in self.drawn(4000, probability)) / 4000
        assert abs(share - probability) <= 5 * (probability * (1 - probability) / 4000) ** 0.5

    def test_area_is_uniform(self):
        area = np.array([box.height * box.width for (box,) in self.drawn(4000)]) / 1e6
        assert area.min() > 0.0195
        assert area.max() < 1 / 3 + 0.001
        # Every aspect fits while 3.33 * area < 1, hence below 0.3: uniform there; the rest up to 1/3 is thinned.
        below = area[area < 0.3]
        assert len(below) > 3200
        shares = np.histogram(below, bins=np.linspace(0.02, 0.3, 8))[0] / len(below)
        np.testing.assert_allclose(shares, 1 / 7, atol=0.031)

    def test_aspect_is_log_uniform_both_ways(self):
        ratio = np.log([box.width / box.height for (box,) in self.drawn(4000)])
        limit = math.log(1 / 0.3)
        assert ratio.min() > -limit - 0.05
        assert ratio.max() < limit + 0.05
        assert ratio.min() < -limit + 0.05
        assert ratio.max() > limit - 0.05
        shares = np.histogram(ratio, bins=np.linspace(-limit, limit, 7))[0] / 4000
        np.testing.assert_allclose(shares, 1 / 6, atol=0.035)

    def test_place_is_uniform_and_inside(self):
        boxes = np.array([tuple(box) for (box,) in self.drawn(4000, height=600, width=1000)])
        assert (boxes[:, 0] + boxes[:, 2] <= 600).all()
        assert (boxes[:, 1] + boxes[:, 3] <= 1000).all()
        for start, length, extent in ((0, 2, 600), (1, 3, 1000)):
            part = boxes[:, start] / (extent - boxes[:, length])
            shares = np.histogram(part, bins=np.linspace(0, 1, 6))[0] / 4000
            np.testing.assert_allclose(shares, 0.2, atol=0.033)

    def test_never_a_whole_side(self):
        drawn = [box for boxes in self.drawn(500, height=8, width=20) for box in boxes]
        assert drawn
        assert all(box.height < 8 and box.width < 20 for box in drawn)

    def test_count_is_uniform_and_shares_the_area(self):
        drawn = self.drawn(3000, max_count=3)
        counts = np.bincount([len(boxes) for boxes in drawn], minlength=4) / 3000
        assert counts[0] == 0
        np.testing.assert_allclose(counts[1:], 1 / 3, atol=0.045)
        for boxes in drawn:
            assert sum(box.height * box.width for box in boxes) / 1e6 < 1 / 3 + 0.003
            assert all(box.height * box.width / 1e6 > 0.0195 / len(boxes) for box in boxes)

    def test_a_frame_too_small_for_any_box(self):
        assert self.drawn(20, height=1, width=1) == [[]] * 20


class TestFill:
    def test_same_box_in_all_frames_and_channels_as_drawn(self):
        clips = erase(marked(6))
        for index, clip in enumerate(clips):
            erased = clip != MARK
            assert torch.equal(erased, erased[:1, :1].expand_as(erased))
            (box,) = draw_boxes(24, 30, 1.0, 1, rng(index))
            assert box_of(erased[0, 0]) == tuple(box)

    def test_boxes_differ_between_clips(self):
        clips = erase(marked(6))
        assert len({box_of((clip != MARK)[0, 0]) for clip in clips}) > 3

    def test_outside_is_untouched_and_changed_in_place(self):
        clips = torch.randn((3, 3, 4, 20, 20), generator=torch.Generator().manual_seed(0))
        before = clips.clone()
        result = erase(clips)
        assert result is clips
        for clip, old, index in zip(clips, before, range(3), strict=True):
            (box,) = draw_boxes(20, 20, 1.0, 1, rng(index))
            outside = torch.ones(20, 20, dtype=torch.bool)
            outside[box.top : box.top + box.height, box.left : box.left + box.width] = False
            assert torch.equal(clip[..., outside], old[..., outside])
            assert (clip[..., ~outside] != old[..., ~outside]).all()

    def test_pixel_is_standard_normal_everywhere(self):
        clips = erase(marked(8, num_frames=4, height=64, width=64), mode="pixel")
        noise = clips[clips != MARK]
        assert len(noise) > 20000
        assert abs(noise.mean()) < 5 / len(noise) ** 0.5
        assert abs(noise.std() - 1) < 5 / (2 * len(noise)) ** 0.5
        assert len(noise.unique()) > 0.99 * len(noise)  # frames and channels do not share it

    def test_rand_is_one_colour_for_each_channel(self):
        colours = []
        for clip in erase(marked(300, height=16, width=16), mode="rand"):
            for channel in clip:
                values = channel[channel != MARK].unique()
                assert len(values) == 1
                colours.append(float(values))
        assert len(set(colours)) == 900
        assert abs(np.mean(colours)) < 0.17  # five deviations
        assert abs(np.std(colours) - 1) < 0.12

    def test_const_is_zero(self):
        clips = erase(marked(4), mode="const")
        assert set(clips.unique().tolist()) == {0.0, MARK}

    def test_probability_zero_leaves_everything(self):
        assert (erase(marked(4), 0.0) == MARK).all()

    def test_several_boxes(self):
        (clip,) = erase(marked(1, height=200, width=200), max_count=5, seeds=[4])
        boxes = draw_boxes(200, 200, 1.0, 5, rng(4))
        assert len(boxes) == 5
        expected = torch.zeros(200, 200, dtype=torch.bool)
        for top, left, height, width in boxes:
            expected[top : top + height, left : left + width] = True
        assert torch.equal((clip != MARK)[0, 0], expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_other_types_have_the_same_noise_rounded(self, dtype):
        # The mark, 1000, is exact in all of these types (1111101000 in binary: seven bits).
        assert torch.equal(erase(marked(2).to(dtype)), erase(marked(2)).to(dtype))

    def test_non_contiguous_clips(self):
        clips = torch.full((2, 3, 24, 30, 3), MARK).permute(0, 1, 4, 2, 3)
        assert not clips.is_contiguous()
        assert torch.equal(erase(clips), erase(marked(2)))

    @pytest.mark.parametrize(("num_frames", "height", "width"), [(1, 7, 5), (2, 1, 40), (1, 2, 2), (1, 300, 3)])
    def test_odd_shapes(self, num_frames, height, width):
        clips = erase(marked(4, num_frames, height, width))
        assert clips.shape == (4, 3, num_frames, height, width)
        assert torch.isfinite(clips).all()


class TestDraws:
    @pytest.mark.parametrize("mode", ["pixel", "rand", "const"])
    def test_a_clip_depends_on_its_own_generator_alone(self, mode):
        together = erase(marked(4), 0.6, mode=mode, max_count=2, seeds=[5, 6, 7, 8])
        for index, seed in enumerate([5, 6, 7, 8]):
            alone = erase(marked(1), 0.6, mode=mode, max_count=2, seeds=[seed])
            assert torch.equal(together[index], alone[0])

    def test_same_seed_same_noise(self):
        assert torch.equal(erase(marked(3)), erase(marked(3)))
        assert not torch.equal(erase(marked(1), seeds=[1]), erase(marked(1), seeds=[2]))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu_the_boxes_are_the_same(self):
        here, there = erase(marked(4)), erase(marked(4).cuda())
        assert there.is_cuda
        assert torch.equal(here == MARK, (there == MARK).cpu())
        assert torch.equal(there, erase(marked(4).cuda()))


class TestFaults:
    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"mode": "noise"}, "random erasing: unknown mode 'noise' (AUG.RE_MODE); known: const, pixel, rand"),
            ({"probability": 1.5}, "random erasing: probability 1.5 (AUG.RE_PROB) must be from 0 to 1"),
            ({"probability": -0.1}, "random erasing: probability -0.1 (AUG.RE_PROB) must be from 0 to 1"),
            ({"max_count": 0}, "random erasing: 0 boxes (AUG.RE_COUNT); there must be at least 1"),
        ],
    )
    def test_arguments(self, arguments, message):
        with pytest.raises(UserError) as caught:
            erase(marked(1), **arguments)
        assert str(caught.value) == message

    def test_invariants(self):
        with pytest.raises(AssertionError, match="erasing is for normalised clips, got torch.uint8"):
            erase(marked(1).to(torch.uint8))
        with pytest.raises(AssertionError, match=r"clips are \(B, 3, T, H, W\), got \(3, 3, 24, 30\)"):
            erase(marked(1)[0])
        with pytest.raises(AssertionError, match="1 generators for 2 clips"):
            erase(marked(2), seeds=[0])
