from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from tests.transforms.helpers import noise_frames, rng, smooth_frames
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.transforms.rand_augment import OPERATIONS, RandAugment, Step

NAMES = {
    "AutoContrast",
    "Equalize",
    "Invert",
    "Rotate",
    "Posterize",
    "Solarize",
    "SolarizeAdd",
    "Color",
    "Contrast",
    "Brightness",
    "Sharpness",
    "ShearX",
    "ShearY",
    "TranslateXRel",
    "TranslateYRel",
}
GEOMETRIC = {"Rotate", "ShearX", "ShearY", "TranslateXRel", "TranslateYRel"}
ENHANCERS = {"Color", "Contrast", "Brightness", "Sharpness"}
NO_ARGUMENT = {"AutoContrast", "Equalize", "Invert"}
NOTATION = "rand[-m<magnitude>][-n<layers>][-mstd<deviation>][-mmax<limit>][-p<probability>][-w0][-inc<0|1>]"


def draws(augment: RandAugment, count: int = 3000, seed: int = 0) -> list[list[Step]]:
    generator = rng(seed)
    return [augment.draw(generator) for _ in range(count)]


def arguments(augment: RandAugment, seed: int = 0) -> dict[str, list[float]]:
    """The arguments drawn for each operation; every one comes up."""
    found: dict[str, list[float]] = {name: [] for name in NAMES}
    for steps in draws(augment, seed=seed):
        for step in steps:
            found[step.name].append(step.argument)
    assert all(found.values())
    return found


def pillow(image: Image.Image, step: Step) -> Image.Image:
    """One step on one image, written with Pillow alone."""
    value = step.argument
    resample = {None: None, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC, "nearest": Image.NEAREST}
    geometry = {
        "ShearX": lambda: (1, value, 0, 0, 1, 0),
        "ShearY": lambda: (1, 0, 0, value, 1, 0),
        "TranslateXRel": lambda: (1, 0, value * image.size[0], 0, 1, 0),
        "TranslateYRel": lambda: (1, 0, 0, 0, 1, value * image.size[1]),
    }
    keywords = {"resample": resample[step.interpolation], "fillcolor": (128, 128, 128)}
    if step.name in geometry:
        return image.transform(image.size, Image.AFFINE, geometry[step.name](), **keywords)
    if step.name == "Rotate":
        return image.rotate(value, **keywords)
    if step.name in ENHANCERS:
        return getattr(ImageEnhance, step.name)(image).enhance(value)
    table = [min(255, i + (value or 0)) if i < 128 else i for i in range(256)]
    return {
        "AutoContrast": lambda: ImageOps.autocontrast(image),
        "Equalize": lambda: ImageOps.equalize(image),
        "Invert": lambda: ImageOps.invert(image),
        "Posterize": lambda: ImageOps.posterize(image, value),
        "Solarize": lambda: ImageOps.solarize(image, value),
        "SolarizeAdd": lambda: image.point(table * 3),
    }[step.name]()


class TestNotation:
    def test_published(self):
        augment = RandAugment.from_string("rand-m7-n4-mstd0.5-inc1")
        assert augment == RandAugment(
            magnitude=7,
            layers=4,
            magnitude_std=0.5,
            max_magnitude=10,
            probability=0.5,
            weighted=False,
            increasing=True,
            interpolation="bicubic",
        )

    def test_plain_rand_has_timms_defaults(self):
        assert RandAugment.from_string("rand") == RandAugment(magnitude=10, layers=2, magnitude_std=0, increasing=False)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("rand-m5-n2-mstd0.25", RandAugment(magnitude=5, layers=2, magnitude_std=0.25)),
            ("rand-inc1-n3-m9", RandAugment(magnitude=9, layers=3, increasing=True)),
            ("rand-inc0", RandAugment(increasing=False)),
            ("rand-m0", RandAugment(magnitude=0)),
            ("rand-m12-mmax15", RandAugment(magnitude=12, max_magnitude=15)),
            ("rand-mmax8", RandAugment(magnitude=8, max_magnitude=8)),
            ("rand-mmax20", RandAugment(magnitude=10, max_magnitude=20)),
            ("rand-p0.25", RandAugment(probability=0.25)),
            ("rand-p1", RandAugment(probability=1.0)),
            ("rand-w0-n13", RandAugment(weighted=True, layers=13)),
            ("rand-m6.5", RandAugment(magnitude=6.5)),
        ],
    )
    def test_parts(self, text, expected):
        assert RandAugment.from_string(text) == expected

    def test_whole_numbers_stay_whole(self):
        augment = RandAugment.from_string("rand-n3-w0-inc1")
        assert type(augment.layers) is int
        assert augment.weighted is True
        assert augment.increasing is True

    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "random"])
    def test_interpolation(self, interpolation):
        assert RandAugment.from_string("rand", interpolation).interpolation == interpolation

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("rand-m7-x3", "unknown part 'x3'"),
            ("rand-m7-", "unknown part ''"),
            ("rand-m", "unknown part 'm'"),
            ("rand-mstd.5", "unknown part 'mstd.5'"),
            ("rand-m7n4", "unknown part 'm7n4'"),
            ("rand-M7", "unknown part 'M7'"),
            ("rand-t3a", "unknown part 't3a'"),
            ("augmix-m3", "it must begin with 'rand', not 'augmix'"),
            ("", "it must begin with 'rand', not ''"),
            ("rand-m7-m8", "part 'm8' is the second of its kind"),
            ("rand-m11", "part 'm11' is out of range: 0 to 10, the limit that mmax sets"),
            ("rand-m9-mmax8", "part 'm9' is out of range: 0 to 8, the limit that mmax sets"),
            ("rand-mmax0", "part 'mmax0' is out of range: above 0"),
            ("rand-n0", "part 'n0' is out of range: a whole number of operations, 1 or more"),
            ("rand-n2.5", "part 'n2.5' is out of range: a whole number of operations, 1 or more"),
            ("rand-p1.5", "part 'p1.5' is out of range: 0 to 1"),
            ("rand-w1", "part 'w1' is out of range: only the weights w0 are known"),
            ("rand-inc2", "part 'inc2' is out of range: 0 or 1"),
            ("rand-w0-n14", "w0 chooses without repetition from 13 operations, n must be at most 13"),
        ],
    )
    def test_faults(self, text, fault):
        with pytest.raises(ConfigError) as caught:
            RandAugment.from_string(text)
        expected = f"AUG.AA_TYPE {text!r}: {fault}; the notation is {NOTATION}, for example rand-m7-n4-mstd0.5-inc1"
        assert str(caught.value) == expected

    def test_unknown_interpolation(self):
        with pytest.raises(ConfigError) as caught:
            RandAugment.from_string("rand", "lanczos")
        expected = "AUG.INTERPOLATION: unknown interpolation 'lanczos'; known: bicubic, bilinear, nearest, random"
        assert str(caught.value) == expected


class TestChoice:
    def test_the_fifteen_operations_come_up_alike_and_apply_half_the_time(self):
        steps = draws(RandAugment.from_string("rand-n4"), count=6000)
        counts = Counter(step.name for drawn in steps for step in drawn)
        assert set(counts) == NAMES == set(OPERATIONS)
        # 24000 choices, 1/15 each, half of them applied: 800 expected, deviation 28.
        assert min(counts.values()) > 660
        assert max(counts.values()) < 940
        lengths = np.bincount([len(drawn) for drawn in steps], minlength=5) / 6000
        np.testing.assert_allclose(lengths, [1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16], atol=0.033)

    @pytest.mark.parametrize(("part", "share"), [("p0", 0.0), ("p1", 1.0), ("p0.2", 0.2)])
    def test_probability(self, part, share):
        applied = [len(steps) for steps in draws(RandAugment.from_string(f"rand-n2-{part}"), count=2000)]
        # Five deviations of 4000 draws, which is none where the outcome is certain.
        assert abs(sum(applied) / 4000 - share) <= 5 * (share * (1 - share) / 4000) ** 0.5

    def test_choice_is_with_repetition(self):
        steps = draws(RandAugment.from_string("rand-n4-p1"))
        repeated = sum(len({step.name for step in drawn}) < 4 for drawn in steps) / len(steps)
        # 1 - 14/15 * 13/15 * 12/15 = 0.353, deviation 0.009.
        assert abs(repeated - 0.353) < 0.045

    def test_weights_choose_without_repetition(self):
        steps = draws(RandAugment.from_string("rand-n1-p1-w0"), count=8000)
        counts = Counter(drawn[0].name for drawn in steps)
        shares = {name: counts[name] / 8000 for name in NAMES}
        assert shares["Posterize"] == shares["Invert"] == 0
        for name, share in {"Rotate": 0.3, "ShearX": 0.2, "ShearY": 0.2, "TranslateXRel": 0.1, "Color": 0.025}.items():
            assert abs(shares[name] - share) < 5 * (share * (1 - share) / 8000) ** 0.5
        for drawn in draws(RandAugment.from_string("rand-n13-p1-w0"), count=50):
            assert {step.name for step in drawn} == NAMES - {"Posterize", "Invert"}

    def test_weights_sum_to_one(self):
        assert sum(operation.weight for operation in OPERATIONS.values()) == pytest.approx(1.0)


class TestLevels:
    """Levels to arguments, at levels without noise."""

    @pytest.mark.parametrize(
        ("level", "rotate", "shear", "translate"), [(10, 30.0, 0.3, 0.45), (7, 21.0, 0.21, 0.315), (0, 0.0, 0.0, 0.0)]
    )
    def test_geometry_takes_either_sign(self, level, rotate, shear, translate):
        found = arguments(RandAugment.from_string(f"rand-m{level}-n4-inc1"))
        limits = {"Rotate": rotate, "ShearX": shear, "ShearY": shear}
        limits |= {"TranslateXRel": translate, "TranslateYRel": translate}
        for name, limit in limits.items():
            np.testing.assert_allclose(np.abs(found[name]), limit, rtol=1e-12)
            if limit:
                negative = np.mean(np.array(found[name]) < 0)
                assert abs(negative - 0.5) < 0.13  # about 400 draws, deviation 0.025

    @pytest.mark.parametrize(("level", "low", "high"), [(10, 0.1, 1.9), (7, 0.37, 1.63), (0, 1.0, 1.0)])
    def test_increasing_enhancers_go_either_way_from_one(self, level, low, high):
        found = arguments(RandAugment.from_string(f"rand-m{level}-n4-inc1"))
        for name in ENHANCERS:
            factors = np.array(found[name])
            np.testing.assert_allclose(np.where(factors < 1, low, high), factors, rtol=1e-12)
            if level:
                assert abs(np.mean(factors < 1) - 0.5) < 0.13

    @pytest.mark.parametrize(("level", "factor"), [(10, 1.9), (7, 1.36), (5, 1.0), (0, 0.1)])
    def test_plain_enhancers(self, level, factor):
        found = arguments(RandAugment.from_string(f"rand-m{level}-n4"))
        for name in ENHANCERS:
            np.testing.assert_allclose(found[name], factor, rtol=1e-12)

    @pytest.mark.parametrize(
        ("level", "increasing", "bits", "threshold", "addend"),
        [
            (10, 1, 0, 0, 110),
            (7, 1, 2, 77, 77),  # 4 - int(2.8), 256 - int(179.2)
            (5, 1, 2, 128, 55),
            (2, 1, 4, 205, 22),
            (0, 1, 4, 256, 0),
            (10, 0, 4, 256, 110),
            (7, 0, 2, 179, 77),
            (5, 0, 2, 128, 55),
            (0, 0, 0, 0, 0),
        ],
    )
    def test_bits_threshold_addend(self, level, increasing, bits, threshold, addend):
        found = arguments(RandAugment.from_string(f"rand-m{level}-n4-inc{increasing}"))
        assert set(found["Posterize"]) == {bits}
        assert set(found["Solarize"]) == {threshold}
        assert len(set(found["SolarizeAdd"])) == 1
        assert abs(found["SolarizeAdd"][0] - addend) <= (level == 7)  # 7 / 10 * 110 is 77 or just below
        assert type(found["Posterize"][0]) is int

    def test_above_ten_stays_usable(self):
        found = arguments(RandAugment.from_string("rand-m20-mmax20-n4-inc1"))
        assert set(np.abs(found["Rotate"])) == {60.0}
        assert set(found["Posterize"]) == {0}
        assert set(found["Solarize"]) == {0}
        assert set(found["SolarizeAdd"]) == {128}
        assert {round(factor, 6) for factor in found["Color"]} == {0.1, 2.8}

    def test_some_operations_take_nothing(self):
        for steps in draws(RandAugment.from_string("rand-n4"), count=300):
            for step in steps:
                assert (step.argument is None) == (step.name in NO_ARGUMENT)
                assert (step.interpolation is None) == (step.name not in GEOMETRIC)


class TestMagnitudeNoise:
    def levels(self, text: str) -> np.ndarray:
        return np.abs(arguments(RandAugment.from_string(text))["Rotate"]) / 3.0

    def test_is_normal_about_the_magnitude(self):
        levels = self.levels("rand-m6-n4-mstd0.5")
        assert abs(levels.mean() - 6) < 0.13  # about 400 draws: deviation 0.025
        assert abs(levels.std() - 0.5) < 0.09

    def test_is_clipped_to_ten_and_zero(self):
        levels = self.levels("rand-m10-n4-mstd0.5")
        assert levels.max() == pytest.approx(10.0)
        assert abs(np.mean(np.isclose(levels, 10.0)) - 0.5) < 0.13
        assert abs(np.mean(self.levels("rand-m0-n4-mstd0.5") == 0) - 0.5) < 0.13

    def test_is_clipped_to_mmax(self):
        assert self.levels("rand-m3-n4-mstd2-mmax4").max() == pytest.approx(4.0)

    def test_above_hundred_is_uniform(self):
        levels = self.levels("rand-m8-n4-mstd101")
        assert levels.max() <= 8
        shares = np.histogram(levels, bins=np.linspace(0, 8, 5))[0] / len(levels)
        np.testing.assert_allclose(shares, 0.25, atol=0.11)

    def test_every_step_has_its_own(self):
        steps = draws(RandAugment.from_string("rand-m5-n4-mstd0.5-p1"), count=300)
        rotations = [[abs(step.argument) for step in drawn if step.name == "Rotate"] for drawn in steps]
        twice = [values for values in rotations if len(values) > 1]
        assert twice
        assert all(len(set(values)) == len(values) for values in twice)


class TestInterpolation:
    @pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
    def test_fixed(self, interpolation):
        steps = draws(RandAugment.from_string("rand-n4", interpolation), count=200)
        assert {step.interpolation for drawn in steps for step in drawn} == {None, interpolation}

    def test_random_is_bilinear_or_bicubic(self):
        steps = draws(RandAugment.from_string("rand-n4", "random"))
        counts = Counter(step.interpolation for drawn in steps for step in drawn if step.name in GEOMETRIC)
        assert set(counts) == {"bilinear", "bicubic"}
        assert all(type(name) is str for name in counts)
        assert abs(counts["bilinear"] / counts.total() - 0.5) < 0.06  # about 2000 draws: deviation 0.011


class TestClip:
    @pytest.mark.parametrize("text", ["rand-m7-n4-mstd0.5-inc1", "rand-m9-n3-p1", "rand-m5-n2-mstd0.25-w0"])
    @pytest.mark.parametrize("interpolation", ["bicubic", "random"])
    def test_equals_pillow_frame_by_frame_with_one_draw(self, text, interpolation):
        augment = RandAugment.from_string(text, interpolation)
        frames = torch.cat((noise_frames(2, 23, 30), smooth_frames(2, 23, 30)))
        applied = 0
        for seed in range(25):
            steps = augment.draw(rng(seed))
            applied += len(steps)
            result = augment(frames, rng(seed))
            assert result.dtype == torch.uint8
            assert result.shape == frames.shape
            for frame, got in zip(frames, result, strict=True):
                image = Image.fromarray(frame.numpy())
                for step in steps:
                    image = pillow(image, step)
                np.testing.assert_array_equal(got.numpy(), np.asarray(image))
        assert applied > 10

    @pytest.mark.parametrize("increasing", [0, 1])
    def test_every_operation_at_full_level_equals_pillow(self, increasing):
        frames = smooth_frames(2, 19, 26)
        seen = set()
        for steps in draws(RandAugment.from_string(f"rand-m9-n4-p1-inc{increasing}"), count=60):
            for step in steps:
                seen.add(step.name)
                for frame, got in zip(frames, step(frames), strict=True):
                    np.testing.assert_array_equal(got.numpy(), np.asarray(pillow(Image.fromarray(frame.numpy()), step)))
        assert seen == NAMES

    def test_identical_frames_stay_identical(self):
        augment = RandAugment.from_string("rand-m9-n4-mstd0.5-inc1-p1", "random")
        frames = smooth_frames(1, 20, 24).expand(5, -1, -1, -1)
        for seed in range(20):
            result = augment(frames, rng(seed))
            assert torch.equal(result, result[:1].expand_as(result))

    def test_same_seed_same_pixels(self):
        augment = RandAugment.from_string("rand-m7-n4-mstd0.5-inc1-p1")
        frames = smooth_frames(2, 20, 24)
        results = [augment(frames, rng(seed)) for seed in (1, 1, 2)]
        assert torch.equal(results[0], results[1])
        assert not torch.equal(results[0], results[2])

    def test_nothing_drawn_returns_the_frames(self):
        frames = noise_frames(1, 4, 4)
        assert RandAugment.from_string("rand-p0")(frames, rng()) is frames

    @settings(deadline=None, max_examples=40)
    @given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 3), st.integers(0, 10**6))
    def test_any_size(self, height, width, num_frames, seed):
        frames = noise_frames(num_frames, height, width)
        copy = frames.clone()
        result = RandAugment.from_string("rand-m9-n3-mstd1-inc1-p1", "random")(frames, rng(seed))
        assert result.dtype == torch.uint8
        assert result.shape == frames.shape
        assert torch.equal(frames, copy)

    @pytest.mark.parametrize(("height", "width"), [(2, 600), (600, 2)])
    def test_very_wide_and_tall(self, height, width):
        augment = RandAugment.from_string("rand-m9-n15-p1-inc1")
        assert augment(noise_frames(1, height, width), rng(1)).shape == (1, height, width, 3)
