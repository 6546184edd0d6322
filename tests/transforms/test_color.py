from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from tests.transforms.helpers import noise_frames, rng, smooth_frames
from uniformer_video.runtime.errors import UserError
from uniformer_video.transforms import color
from uniformer_video.transforms.color import color_jitter


@pytest.fixture
def record(monkeypatch):
    """Replace the adjustments by ones that note their name and factor; returns the notes."""
    notes: list[tuple[str, float]] = []

    def noting(name):
        def adjust(frames, factor):
            notes.append((name, factor))
            return frames

        return adjust

    for name in ("brightness", "contrast", "saturation"):
        monkeypatch.setitem(color._ADJUSTMENTS, name, noting(name))
    return notes


class TestDraws:
    def test_factors_are_uniform_in_their_range(self, record):
        generator = rng(4)
        for _ in range(2000):
            color_jitter(noise_frames(1, 1, 1), 0.4, 0.2, 1.5, generator)
        for name, low, high in (("brightness", 0.6, 1.4), ("contrast", 0.8, 1.2), ("saturation", 0.0, 2.5)):
            factors = np.array([factor for noted, factor in record if noted == name])
            assert len(factors) == 2000
            assert factors.min() >= low
            assert factors.max() <= high
            shares = np.histogram(factors, bins=np.linspace(low, high, 6))[0] / 2000
            np.testing.assert_allclose(shares, 0.2, atol=0.045)  # five deviations

    def test_all_six_orders_come_up_alike(self, record):
        generator = rng(5)
        orders: dict[tuple[str, ...], int] = {}
        for _ in range(1800):
            record.clear()
            color_jitter(noise_frames(1, 1, 1), 0.4, 0.4, 0.4, generator)
            order = tuple(name for name, _ in record)
            orders[order] = orders.get(order, 0) + 1
        assert len(orders) == 6
        assert min(orders.values()) > 220  # 300 expected, deviation 16
        assert max(orders.values()) < 380

    def test_strength_zero_leaves_an_adjustment_out(self, record):
        color_jitter(noise_frames(1, 1, 1), 0.0, 0.3, 0.0, rng())
        assert [name for name, _ in record] == ["contrast"]


class TestPixels:
    def test_one_draw_for_all_frames_equal_to_pillow(self, monkeypatch):
        factors: list[tuple[str, float]] = []
        for name, adjust in list(color._ADJUSTMENTS.items()):

            def noting(frames, factor, name=name, adjust=adjust):
                factors.append((name, factor))
                return adjust(frames, factor)

            monkeypatch.setitem(color._ADJUSTMENTS, name, noting)
        enhancers = {
            "brightness": ImageEnhance.Brightness,
            "contrast": ImageEnhance.Contrast,
            "saturation": ImageEnhance.Color,
        }
        frames = torch.cat((noise_frames(2, 15, 22), smooth_frames(2, 15, 22)))
        for seed in range(6):
            factors.clear()
            result = color_jitter(frames, 0.4, 0.4, 0.4, rng(seed))
            assert len(factors) == 3
            for frame, got in zip(frames, result, strict=True):
                image = Image.fromarray(frame.numpy())
                for name, factor in factors:
                    image = enhancers[name](image).enhance(factor)
                np.testing.assert_array_equal(got.numpy(), np.asarray(image))

    @pytest.mark.parametrize(
        ("strengths", "reference"),
        [
            ((0.5, 0.0, 0.0), lambda x, grey, factor: factor * x),
            ((0.0, 0.5, 0.0), lambda x, grey, factor: factor * x + (1 - factor) * grey.mean()),
            ((0.0, 0.0, 0.5), lambda x, grey, factor: factor * x + (1 - factor) * grey[..., None]),
        ],
    )
    def test_against_the_formulas(self, strengths, reference):
        """The blends as torchvision's tensor code writes them, within the rounding of grey, mean and result."""
        frames = noise_frames(2, 12, 14)
        generator = rng(8)
        generator.permutation(3)
        factor = generator.uniform(0.5, 1.5)
        result = color_jitter(frames, *strengths, rng(8))
        for frame, got in zip(frames.numpy().astype(float), result.numpy().astype(float), strict=True):
            grey = frame @ np.array([0.299, 0.587, 0.114])
            expected = np.clip(reference(frame, grey, factor), 0, 255)
            assert np.abs(got - expected).max() < 1.6

    def test_all_zero_returns_the_frames(self):
        frames = noise_frames(2, 4, 5)
        assert color_jitter(frames, 0.0, 0.0, 0.0, rng()) is frames

    def test_same_seed_same_pixels(self):
        frames = smooth_frames(1, 9, 11)
        first = color_jitter(frames, 0.4, 0.4, 0.4, rng(3))
        assert first.dtype == torch.uint8
        assert torch.equal(first, color_jitter(frames, 0.4, 0.4, 0.4, rng(3)))
        assert not torch.equal(first, color_jitter(frames, 0.4, 0.4, 0.4, rng(4)))


@pytest.mark.parametrize("index", range(3))
def test_negative_strength(index):
    strengths = [0.1, 0.1, 0.1]
    strengths[index] = -0.2
    name = ("brightness", "contrast", "saturation")[index]
    with pytest.raises(UserError) as caught:
        color_jitter(noise_frames(1, 2, 2), *strengths, rng())
    assert str(caught.value) == f"colour jitter: {name} is -0.2; it must be 0 (off) or more"
