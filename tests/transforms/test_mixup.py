from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.helpers import rng
from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms.mixup import Mixup, one_hot_smooth, smooth_multi_hot, soft_targets


def mixer(**changes) -> Mixup:
    published = {
        "alpha": 0.8,
        "cutmix_alpha": 1.0,
        "probability": 1.0,
        "switch_probability": 0.5,
        "label_smoothing": 0.1,
        "num_classes": 5,
    }
    return Mixup(**{**published, **changes})


def numbered(batch: int, num_frames: int = 2, height: int = 12, width: int = 16, dtype=torch.float32) -> torch.Tensor:
    """Clips whose every value is their own number, from 1."""
    numbers = torch.arange(1, batch + 1, dtype=dtype).view(batch, 1, 1, 1, 1)
    return numbers.expand(batch, 3, num_frames, height, width).clone()


MIXUP_ONLY = {"cutmix_alpha": 0.0}
CUTMIX_ONLY = {"alpha": 0.0}


class TestOneHotSmooth:
    def test_worked_values(self):
        targets = one_hot_smooth(torch.tensor([2, 0]), 4, 0.1)
        expected = [[0.025, 0.025, 0.925, 0.025], [0.925, 0.025, 0.025, 0.025]]
        assert targets.dtype == torch.float32
        torch.testing.assert_close(targets, torch.tensor(expected))

    def test_without_smoothing_exactly_one_hot(self):
        targets = one_hot_smooth(torch.tensor([1, 1, 0]), 3)
        assert targets.tolist() == [[0, 1, 0], [0, 1, 0], [1, 0, 0]]

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.floats(0, 0.99))
    def test_rows_sum_to_one_and_the_label_wins(self, labels, smoothing):
        targets = one_hot_smooth(torch.tensor(labels), 10, smoothing)
        torch.testing.assert_close(targets.sum(1), torch.ones(len(labels)))
        assert targets.argmax(1).tolist() == labels

    def test_one_class(self):
        torch.testing.assert_close(one_hot_smooth(torch.tensor([0, 0]), 1, 0.3), torch.ones(2, 1))


class TestSmoothMultiHot:
    def test_worked_values(self):
        labels = torch.tensor([[1.0, 0, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]])
        expected = [[0.925, 0.025, 0.925, 0.025], [0.025] * 4, [0.925] * 4]
        torch.testing.assert_close(smooth_multi_hot(labels, 0.1), torch.tensor(expected))

    @pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool, torch.float64])
    def test_without_smoothing_the_labels_themselves(self, dtype):
        labels = torch.tensor([[1, 0, 1], [0, 0, 0]]).to(dtype)
        targets = smooth_multi_hot(labels)
        assert targets.dtype == torch.float32 and targets.tolist() == [[1, 0, 1], [0, 0, 0]]

    @given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.floats(0, 0.99))
    def test_one_label_each_is_smoothed_as_ever(self, labels, smoothing):
        labels = torch.tensor(labels)
        targets = smooth_multi_hot(one_hot_smooth(labels, 10), smoothing)
        torch.testing.assert_close(targets, one_hot_smooth(labels, 10, smoothing))

    def test_targets_of_either_form(self):
        labels, several = torch.tensor([2, 0]), torch.tensor([[0.0, 1, 1], [1, 0, 0]])
        assert torch.equal(soft_targets(labels, 3, 0.1), one_hot_smooth(labels, 3, 0.1))
        assert torch.equal(soft_targets(several, 3, 0.1), smooth_multi_hot(several, 0.1))
        with pytest.raises(AssertionError, match="labels of 3 classes, not 4"):
            soft_targets(several, 4, 0.1)


class TestDraw:
    def drawn(self, count: int, height: int = 100, width: int = 100, **changes):
        generator, mix = rng(3), mixer(**changes)
        return [mix.draw(height, width, generator) for _ in range(count)]

    @pytest.mark.parametrize("switch", [0.0, 0.3, 1.0])
    def test_switch(self, switch):
        share = sum(box is not None for _, box in self.drawn(3000, switch_probability=switch)) / 3000
        assert abs(share - switch) <= 5 * (switch * (1 - switch) / 3000) ** 0.5

    @pytest.mark.parametrize("probability", [0.0, 0.4, 1.0])
    def test_probability(self, probability):
        mixed = sum((weight, box) != (1.0, None) for weight, box in self.drawn(3000, probability=probability)) / 3000
        assert abs(mixed - probability) <= 5 * (probability * (1 - probability) / 3000) ** 0.5

    def test_one_alpha_alone_decides_whatever_the_switch(self):
        assert all(box is None for _, box in self.drawn(200, switch_probability=1.0, **MIXUP_ONLY))
        assert all(box is not None for _, box in self.drawn(200, switch_probability=0.0, **CUTMIX_ONLY))

    def test_both_off(self):
        assert set(self.drawn(50, alpha=0.0, cutmix_alpha=0.0)) == {(1.0, None)}

    @pytest.mark.parametrize("alpha", [0.2, 0.8, 1.0, 4.0])
    def test_mixup_weight_is_beta(self, alpha):
        weights = np.array([weight for weight, _ in self.drawn(6000, alpha=alpha, **MIXUP_ONLY)])
        assert weights.min() >= 0
        assert weights.max() <= 1
        variance = 1 / (4 * (2 * alpha + 1))  # of Beta(alpha, alpha)
        assert abs(weights.mean() - 0.5) < 5 * (variance / 6000) ** 0.5
        assert abs(weights.var() / variance - 1) < 0.1

    def test_cutmix_box_before_clipping_has_the_area_of_a_uniform_weight(self):
        # Boxes that touch no border are not clipped: their side is that of the drawn area, 1 - lambda, made even.
        inside = [
            box
            for _, box in self.drawn(4000, 200, 400, **CUTMIX_ONLY)
            if box.top > 0 and box.left > 0 and box.top + box.height < 200 and box.left + box.width < 400
        ]
        assert len(inside) > 500
        for box in inside:
            assert abs(box.width - 2 * box.height) <= 4  # the frame's shape, each side rounded down to even
            assert box.height % 2 == box.width % 2 == 0

    def test_cutmix_weight_is_exactly_the_part_that_stays(self):
        for weight, box in self.drawn(500, 37, 53, **CUTMIX_ONLY):
            assert weight == 1 - box.height * box.width / (37 * 53)
            assert 0 <= box.top <= box.top + box.height <= 37
            assert 0 <= box.left <= box.left + box.width <= 53

    def test_cutmix_mean_weight(self):
        # With a side s = sqrt(1 - lambda) of a unit frame and a uniform centre, a side's expected overlap is
        # s - s^2 / 4; lambda is uniform, so E[(s - s^2/4)^2] over s^2 uniform = 1/2 - 1/5 + 1/48.
        weights = [weight for weight, _ in self.drawn(6000, 400, 400, **CUTMIX_ONLY)]
        assert abs(np.mean(weights) - (1 - (1 / 2 - 1 / 5 + 1 / 48))) < 0.02

    def test_cutmix_centres_reach_every_border(self):
        boxes = [box for _, box in self.drawn(1000, 20, 20, **CUTMIX_ONLY) if box.height and box.width]
        assert min(box.top for box in boxes) == min(box.left for box in boxes) == 0
        assert max(box.top + box.height for box in boxes) == max(box.left + box.width for box in boxes) == 20


class TestMix:
    def test_mixup_blends_with_the_reversed_batch(self):
        mix = mixer(**MIXUP_ONLY, label_smoothing=0.0)
        clips, labels = numbered(4), torch.tensor([0, 1, 2, 3])
        weight, _ = mix.draw(12, 16, rng(1))
        mixed, targets = mix(clips, labels, rng(1))
        assert 0.01 < weight < 0.99
        for index in range(4):
            expected = weight * (index + 1) + (1 - weight) * (4 - index)
            torch.testing.assert_close(mixed[index], torch.full_like(mixed[index], expected))
            row = torch.zeros(5)
            row[index], row[3 - index] = weight, 1 - weight
            torch.testing.assert_close(targets[index], row)

    def test_cutmix_pastes_one_box_into_all_frames(self):
        mix = mixer(**CUTMIX_ONLY, label_smoothing=0.0)
        clips, labels = numbered(4, num_frames=3), torch.tensor([0, 1, 2, 3])
        for seed in range(20):
            weight, box = mix.draw(12, 16, rng(seed))
            mixed, targets = mix(clips, labels, rng(seed))
            inside = torch.zeros(12, 16, dtype=torch.bool)
            inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
            for index in range(4):
                assert (mixed[index][..., inside] == 4 - index).all()
                assert (mixed[index][..., ~inside] == index + 1).all()
                kept = float((mixed[index] == index + 1).double().mean())
                assert kept == pytest.approx(weight, abs=1e-12)
                assert float(targets[index, index]) == pytest.approx(weight, abs=1e-6)
                assert float(targets[index, 3 - index]) == pytest.approx(1 - weight, abs=1e-6)

    def test_smoothing_and_mixing_together(self):
        mix = mixer(**MIXUP_ONLY)
        weight, _ = mix.draw(12, 16, rng(2))
        _, targets = mix(numbered(2), torch.tensor([4, 1]), rng(2))
        off, on = 0.02, 0.92
        expected = [off, weight * off + (1 - weight) * on, off, off, weight * on + (1 - weight) * off]
        torch.testing.assert_close(targets[0], torch.tensor(expected))

    @pytest.mark.parametrize("only", [MIXUP_ONLY, CUTMIX_ONLY])
    def test_several_labels_are_mixed_as_the_pixels(self, only):
        mix = mixer(**only, label_smoothing=0.1)
        labels = torch.tensor([[1.0, 1, 0, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 1, 0]])
        weight, _ = mix.draw(12, 16, rng(4))
        mixed, targets = mix(numbered(3), labels, rng(4))
        smooth = labels * 0.9 + 0.02
        assert 0 < weight < 1
        torch.testing.assert_close(targets, weight * smooth + (1 - weight) * smooth.flip(0))
        torch.testing.assert_close(mixed.mean((1, 2, 3, 4))[0], torch.tensor(weight * 1 + (1 - weight) * 3))
        assert labels.tolist() == [[1, 1, 0, 0, 0], [0] * 5, [0, 1, 1, 1, 0]]

    def test_one_hot_labels_are_mixed_as_numbers_are(self):
        labels = torch.tensor([4, 1, 0])
        for seed in range(6):
            expected = mixer()(numbered(3), labels, rng(seed))
            got = mixer()(numbered(3), one_hot_smooth(labels, 5), rng(seed))
            assert torch.equal(got[0], expected[0])
            torch.testing.assert_close(got[1], expected[1])

    def test_equal_labels_keep_their_target(self):
        _, targets = mixer()(numbered(2), torch.tensor([3, 3]), rng(2))
        torch.testing.assert_close(targets, one_hot_smooth(torch.tensor([3, 3]), 5, 0.1))

    def test_not_mixed_is_smoothed_only(self):
        clips, labels = numbered(3), torch.tensor([0, 1, 2])
        mixed, targets = mixer(probability=0.0)(clips, labels, rng())
        assert mixed is clips
        assert torch.equal(targets, one_hot_smooth(labels, 5, 0.1))

    @pytest.mark.parametrize("only", [MIXUP_ONLY, CUTMIX_ONLY])
    @pytest.mark.parametrize("batch", [1, 3, 5])
    def test_odd_batch_middle_meets_itself(self, only, batch):
        middle = batch // 2
        labels = torch.arange(batch)
        for seed in range(5):
            mixed, targets = mixer(**only)(numbered(batch), labels, rng(seed))
            torch.testing.assert_close(mixed[middle], numbered(batch)[middle])
            torch.testing.assert_close(targets[middle], one_hot_smooth(labels, 5, 0.1)[middle])
            torch.testing.assert_close(targets.sum(1), torch.ones(batch))

    @pytest.mark.parametrize("only", [MIXUP_ONLY, CUTMIX_ONLY])
    def test_inputs_are_left_alone(self, only):
        clips, labels = numbered(4), torch.tensor([0, 1, 2, 3])
        mixer(**only)(clips, labels, rng(1))
        assert torch.equal(clips, numbered(4))
        assert labels.tolist() == [0, 1, 2, 3]

    @pytest.mark.parametrize("only", [MIXUP_ONLY, CUTMIX_ONLY])
    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
    def test_type_is_kept(self, only, dtype):
        mixed, targets = mixer(**only)(numbered(2, dtype=dtype), torch.tensor([0, 1]), rng(1))
        assert mixed.dtype == dtype
        assert targets.dtype == torch.float32

    def test_same_seed_same_batch(self):
        clips = torch.randn((4, 3, 2, 9, 11), generator=torch.Generator().manual_seed(0))
        labels = torch.tensor([0, 1, 2, 3])
        for seed in range(4):
            first, second = mixer()(clips, labels, rng(seed)), mixer()(clips, labels, rng(seed))
            assert torch.equal(first[0], second[0])
            assert torch.equal(first[1], second[1])
        assert not torch.equal(mixer()(clips, labels, rng(0))[0], mixer()(clips, labels, rng(1))[0])

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
    def test_any_shape_gives_the_targets_that_the_pixels_show(self, batch, height, width, seed):
        mix = mixer(label_smoothing=0.0, num_classes=6)
        clips = one_hot_smooth(torch.arange(batch), 6).view(batch, 6, 1, 1, 1).expand(-1, -1, 1, height, width)
        mixed, targets = mix(clips, torch.arange(batch), rng(seed))
        # Clips that are their own one-hot label: the mean over pixels must be the mixed target.
        torch.testing.assert_close(mixed.mean(dim=(2, 3, 4)), targets, atol=1e-5, rtol=0)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu_alike(self):
        labels = torch.tensor([0, 1, 2, 3])
        for seed in range(6):
            mixed, targets = mixer()(numbered(4).cuda(), labels.cuda(), rng(seed))
            here, expected = mixer()(numbered(4), labels, rng(seed))
            torch.testing.assert_close(mixed.cpu(), here)
            torch.testing.assert_close(targets.cpu(), expected)


class TestFaults:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"alpha": -1.0}, "mixup: alpha is -1.0 (MIXUP.ALPHA); it must be 0 (off) or more"),
            ({"alpha": float("nan")}, "mixup: alpha is nan (MIXUP.ALPHA); it must be 0 (off) or more"),
            (
                {"cutmix_alpha": float("inf")},
                "mixup: cutmix_alpha is inf (MIXUP.CUTMIX_ALPHA); it must be 0 (off) or more",
            ),
            ({"probability": 1.1}, "mixup: probability is 1.1 (MIXUP.PROB); it must be from 0 to 1"),
            (
                {"switch_probability": -0.5},
                "mixup: switch_probability is -0.5 (MIXUP.SWITCH_PROB); it must be from 0 to 1",
            ),
            (
                {"label_smoothing": 1.0},
                "mixup: label_smoothing is 1.0 (MIXUP.LABEL_SMOOTH_VALUE); it must be at least 0 and below 1",
            ),
        ],
    )
    def test_arguments(self, change, message):
        with pytest.raises(UserError) as caught:
            mixer(**change)
        assert str(caught.value) == message

    def test_invariants(self):
        with pytest.raises(AssertionError, match="mixing is for normalised clips, got torch.uint8"):
            mixer()(numbered(2).to(torch.uint8), torch.tensor([0, 1]), rng())
        with pytest.raises(AssertionError, match="2 clips, 3 labels"):
            mixer()(numbered(2), torch.tensor([0, 1, 2]), rng())
