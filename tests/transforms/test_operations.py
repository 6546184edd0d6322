from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tests.transforms.helpers import index_frames, noise_frames, smooth_frames
from uniformer_video.transforms import operations

FACTORS = [0.0, 0.1, 0.37, 0.55, 0.99, 1.0, 1.01, 1.63, 1.9, 4.0]
SIZES = [(1, 1), (1, 9), (2, 2), (3, 3), (17, 30), (31, 8)]


def clip(height: int = 24, width: int = 33) -> torch.Tensor:
    """Frames with different statistics: noise, two of narrow range, black, white, two values."""
    flat = torch.zeros(3, height, width, 3, dtype=torch.uint8)
    flat[1] = 255
    flat[2, :, : width // 2] = 77
    return torch.cat((noise_frames(1, height, width), smooth_frames(2, height, width), flat))


def assert_equals_pillow(result: torch.Tensor, frames: torch.Tensor, function) -> None:
    assert result.dtype == torch.uint8
    assert result.shape == frames.shape
    for got, frame in zip(result, frames, strict=True):
        expected = np.asarray(function(Image.fromarray(frame.numpy())))
        np.testing.assert_array_equal(got.numpy(), expected)


class TestTables:
    """Whole-clip tables against Pillow on each frame."""

    def test_invert(self):
        assert_equals_pillow(operations.invert(clip()), clip(), ImageOps.invert)

    @pytest.mark.parametrize("bits", range(1, 9))
    def test_posterize(self, bits):
        assert_equals_pillow(operations.posterize(clip(), bits), clip(), lambda image: ImageOps.posterize(image, bits))

    def test_posterize_worked_values(self):
        frames = torch.tensor([0, 15, 16, 127, 200, 255], dtype=torch.uint8).view(1, 1, 2, 3)
        assert operations.posterize(frames, 4).flatten().tolist() == [0, 0, 16, 112, 192, 240]
        assert operations.posterize(frames, 0).flatten().tolist() == [0] * 6
        assert operations.posterize(frames, 8).flatten().tolist() == frames.flatten().tolist()

    def test_posterize_refuses_other_bits(self):
        with pytest.raises(AssertionError, match="9"):
            operations.posterize(clip(), 9)

    @pytest.mark.parametrize("threshold", [0, 1, 77, 128, 255, 256])
    def test_solarize(self, threshold):
        expected = lambda image: ImageOps.solarize(image, threshold)  # noqa: E731
        assert_equals_pillow(operations.solarize(clip(), threshold), clip(), expected)

    def test_solarize_extremes(self):
        assert torch.equal(operations.solarize(clip(), 256), clip())
        assert torch.equal(operations.solarize(clip(), 0), operations.invert(clip()))

    @pytest.mark.parametrize("addend", [0, 1, 77, 110, 128, 255])
    def test_solarize_add(self, addend):
        table = [min(255, value + addend) if value < 128 else value for value in range(256)]
        assert_equals_pillow(operations.solarize_add(clip(), addend), clip(), lambda image: image.point(table * 3))

    @pytest.mark.parametrize("factor", FACTORS)
    def test_brightness(self, factor):
        expected = lambda image: ImageEnhance.Brightness(image).enhance(factor)  # noqa: E731
        assert_equals_pillow(operations.brightness(clip(), factor), clip(), expected)

    def test_brightness_on_every_value_and_many_factors(self):
        frames = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
        for factor in np.linspace(0.1, 1.9, 181):
            expected = np.asarray(ImageEnhance.Brightness(Image.fromarray(frames[0].numpy())).enhance(factor))
            np.testing.assert_array_equal(operations.brightness(frames, factor)[0].numpy(), expected)


class TestPerFrame:
    """What depends on the frame is taken from each frame, not from the clip."""

    @pytest.mark.parametrize("factor", FACTORS)
    @pytest.mark.parametrize(
        ("ours", "enhancer"),
        [
            (operations.contrast, ImageEnhance.Contrast),
            (operations.color, ImageEnhance.Color),
            (operations.sharpness, ImageEnhance.Sharpness),
        ],
    )
    def test_enhancers(self, ours, enhancer, factor):
        assert_equals_pillow(ours(clip(), factor), clip(), lambda image: enhancer(image).enhance(factor))

    def test_contrast_zero_is_each_frames_own_mean(self):
        frames = torch.stack([torch.full((4, 6, 3), value, dtype=torch.uint8) for value in (10, 200)])
        frames[0, :, :3] = 30
        result = operations.contrast(frames, 0.0)
        assert result[0].unique().tolist() == [20]
        assert result[1].unique().tolist() == [200]

    def test_color_zero_is_luma(self):
        frames = torch.tensor([255, 0, 0, 0, 255, 0, 0, 0, 255], dtype=torch.uint8).view(1, 1, 3, 3)
        # ITU-R 601: 0.299, 0.587, 0.114 of 255.
        assert operations.color(frames, 0.0)[0, 0].tolist() == [[76] * 3, [150] * 3, [29] * 3]

    def test_auto_contrast(self):
        assert_equals_pillow(operations.auto_contrast(clip()), clip(), ImageOps.autocontrast)

    def test_auto_contrast_worked_values(self):
        # Channel 0 runs from 50 to 150, channel 1 is flat, channel 2 already spans everything.
        frames = torch.tensor([[50, 9, 0], [100, 9, 40], [150, 9, 255]], dtype=torch.uint8).view(1, 1, 3, 3)
        assert operations.auto_contrast(frames)[0, 0].tolist() == [[0, 9, 0], [127, 9, 40], [255, 9, 255]]

    def test_equalize(self):
        assert_equals_pillow(operations.equalize(clip()), clip(), ImageOps.equalize)

    def test_equalize_spreads_a_narrow_range(self):
        frames = smooth_frames(2, 40, 50)
        spread = operations.equalize(frames).float()
        assert frames.float().amax(dim=(1, 2)).max() < 230
        assert (spread.amax(dim=(1, 2)) > 250).all()
        # Quarters of the pixels in quarters of the range; steps of whole pixels bend that a little.
        shares = torch.stack(
            [((spread >= low) & (spread < low + 64)).float().mean(dim=(1, 2)) for low in (0, 64, 128, 192)]
        )
        assert (shares - 0.25).abs().max() < 0.08

    @pytest.mark.parametrize("ours", [operations.auto_contrast, operations.equalize])
    def test_other_frames_of_the_clip_do_not_matter(self, ours):
        frames = clip()
        together = ours(frames)
        for index in range(len(frames)):
            assert torch.equal(ours(frames[index : index + 1])[0], together[index])


class TestGeometry:
    RESAMPLING = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}

    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
    @pytest.mark.parametrize("degrees", [-30.0, -7.3, 0.0, 21.0, 90.0])
    def test_rotate(self, degrees, interpolation):
        expected = lambda image: image.rotate(  # noqa: E731
            degrees, resample=self.RESAMPLING[interpolation], fillcolor=(128, 128, 128)
        )
        assert_equals_pillow(operations.rotate(clip(), degrees, interpolation), clip(), expected)

    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
    @pytest.mark.parametrize(
        ("ours", "amount", "coefficients"),
        [
            (operations.shear_x, 0.3, (1, 0.3, 0, 0, 1, 0)),
            (operations.shear_x, -0.21, (1, -0.21, 0, 0, 1, 0)),
            (operations.shear_y, 0.17, (1, 0, 0, 0.17, 1, 0)),
            (operations.translate_x, 0.45, (1, 0, 0.45 * 33, 0, 1, 0)),
            (operations.translate_x, -0.2, (1, 0, -0.2 * 33, 0, 1, 0)),
            (operations.translate_y, 0.31, (1, 0, 0, 0, 1, 0.31 * 24)),
        ],
    )
    def test_affine(self, ours, amount, coefficients, interpolation):
        frames = clip(24, 33)
        expected = lambda image: image.transform(  # noqa: E731
            image.size,
            Image.AFFINE,
            coefficients,
            resample=self.RESAMPLING[interpolation],
            fillcolor=(128, 128, 128),
        )
        assert_equals_pillow(ours(frames, amount, interpolation), frames, expected)

    def test_translate_by_whole_pixels(self):
        frames = index_frames(8, 10, num_frames=2)
        shifted = operations.translate_x(frames, 0.3, "bilinear")
        assert torch.equal(shifted[:, :, :7], frames[:, :, 3:])
        assert (shifted[:, :, 7:] == 128).all()
        shifted = operations.translate_y(frames, -0.25, "bicubic")
        assert torch.equal(shifted[:, 2:], frames[:, :6])
        assert (shifted[:, :2] == 128).all()

    def test_shear_moves_rows_by_their_number(self):
        frames = index_frames(6, 20)
        sheared = operations.shear_x(frames, 1.0, "nearest")
        for y in range(6):
            # Pixel centres: (x + 0.5, y + 0.5) comes from x + 0.5 + y + 0.5, in column x + y + 1.
            expected = [x + y + 1 if x + y + 1 < 20 else 128 for x in range(20)]
            assert sheared[0, y, :, 1].tolist() == expected

    def test_rotation_is_counter_clockwise(self):
        frames = torch.zeros(1, 9, 9, 3, dtype=torch.uint8)
        frames[0, 4, 8] = 255  # to the right of the centre
        assert operations.rotate(frames, 90.0, "nearest")[0, 0, 4].tolist() == [255] * 3  # now above it

    def test_corners_of_a_rotation_are_grey(self):
        frames = torch.zeros(1, 40, 40, 3, dtype=torch.uint8)
        turned = operations.rotate(frames, 30.0, "bicubic")
        assert turned[0, 0, 0].tolist() == [128, 128, 128]
        assert turned[0, 20, 20].tolist() == [0, 0, 0]


ALL = {
    "invert": lambda frames: operations.invert(frames),
    "posterize": lambda frames: operations.posterize(frames, 3),
    "solarize": lambda frames: operations.solarize(frames, 100),
    "solarize_add": lambda frames: operations.solarize_add(frames, 60),
    "brightness": lambda frames: operations.brightness(frames, 1.4),
    "contrast": lambda frames: operations.contrast(frames, 1.4),
    "color": lambda frames: operations.color(frames, 1.4),
    "sharpness": lambda frames: operations.sharpness(frames, 1.4),
    "auto_contrast": lambda frames: operations.auto_contrast(frames),
    "equalize": lambda frames: operations.equalize(frames),
    "rotate": lambda frames: operations.rotate(frames, 20.0, "bicubic"),
    "shear_x": lambda frames: operations.shear_x(frames, 0.2, "bilinear"),
    "shear_y": lambda frames: operations.shear_y(frames, 0.2, "bilinear"),
    "translate_x": lambda frames: operations.translate_x(frames, 0.2, "bilinear"),
    "translate_y": lambda frames: operations.translate_y(frames, 0.2, "bilinear"),
}


@pytest.mark.parametrize("name", ALL)
def test_sizes_input_untouched_and_result_writable(name):
    for height, width in SIZES:
        frames = noise_frames(2, height, width)
        copy = frames.clone()
        result = ALL[name](frames)
        assert result.dtype == torch.uint8
        assert result.shape == frames.shape
        result.zero_()
        assert torch.equal(frames, copy)


@pytest.mark.parametrize("name", ALL)
def test_non_contiguous_frames(name):
    frames = smooth_frames(3, 20, 30)[:, 2:15, 5:25].flip(2)
    strided = smooth_frames(3, 20, 30)[::2, 2:15:2, 5:25:3]
    for part in (frames, strided):
        assert torch.equal(ALL[name](part), ALL[name](part.contiguous()))
