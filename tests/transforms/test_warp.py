"""A clip warped at once against Pillow on each frame: equal to the bit, whatever the matrix and the pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.helpers import noise_frames, smooth_frames
from uniformer_video.transforms import warp
from uniformer_video.transforms.operations import warp_each
from uniformer_video.transforms.spatial import Box, cut

INTERPOLATIONS = ["bilinear", "bicubic"]


def pictures(kind: str, count: int, height: int, width: int) -> torch.Tensor:
    if kind == "noise":
        return noise_frames(count, height, width)
    if kind == "smooth":
        return smooth_frames(count, height, width)
    frames = torch.zeros(count, height, width, 3, dtype=torch.uint8)
    if kind == "flat":  # few levels in large areas, white too
        for number in range(count):
            frames[number, : height // 2] = 7 * number + 3
            frames[number, :, width // 2 :, number % 3] = 255
    return frames


def whole(frames: torch.Tensor) -> Box:
    return Box(0, 0, frames.shape[1], frames.shape[2])


def test_this_machine_takes_the_fast_path():
    assert warp._is_exact()


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from(["noise", "smooth", "flat", "black"]),
    count=st.integers(4, 18),
    size=st.tuples(st.integers(1, 45), st.integers(1, 45)),
    matrix=st.tuples(*[st.floats(-1.5, 1.5), st.floats(-1, 1), st.floats(-30, 30)] * 2),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_any_matrix(kind, count, size, matrix, interpolation):
    frames = pictures(kind, count, *size)
    got = warp.affine(frames, matrix, interpolation, whole(frames))
    assert got is None or got.equal(warp_each(frames, matrix, interpolation))


@settings(max_examples=100, deadline=None)
@given(
    kind=st.sampled_from(["noise", "smooth", "flat"]),
    matrix=st.one_of(
        st.tuples(st.just(1), st.floats(-0.5, 0.5), st.just(0), st.just(0), st.just(1), st.just(0)),
        st.tuples(st.just(1), st.just(0), st.just(0), st.floats(-0.5, 0.5), st.just(1), st.just(0)),
        st.tuples(st.just(1), st.just(0), st.floats(-20, 20), st.just(0), st.just(1), st.just(0)),
        st.tuples(st.just(1), st.just(0), st.just(0), st.just(0), st.just(1), st.integers(-20, 20)),
    ),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_shears_and_shifts(kind, matrix, interpolation):
    """One row or column of neighbours, or a single one, is summed."""
    frames = pictures(kind, 6, 24, 33)
    got = warp.affine(frames, matrix, interpolation, whole(frames))
    assert got is None or got.equal(warp_each(frames, matrix, interpolation))


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
@pytest.mark.parametrize("angle", [-29.3, 3.0, 17.77])
def test_a_large_clip_in_parts_and_groups(angle, interpolation):
    cosine, sine = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    frames = torch.cat((smooth_frames(8, 256, 340), noise_frames(3, 256, 340), pictures("flat", 6, 256, 340)))
    matrix = (cosine, sine, -20.0, -sine, cosine, 30.0)
    got = warp.affine(frames, matrix, interpolation, whole(frames))
    assert got is not None
    assert got.equal(warp_each(frames, matrix, interpolation))


@settings(max_examples=40, deadline=None)
@given(top=st.integers(0, 23), left=st.integers(0, 32), data=st.data())
def test_a_part(top, left, data):
    keep = Box(top, left, data.draw(st.integers(1, 24 - top)), data.draw(st.integers(1, 33 - left)))
    frames = smooth_frames(5, 24, 33)
    matrix = (0.95, 0.3, -3.0, -0.3, 0.95, 4.0)
    got = warp.affine(frames, matrix, "bicubic", keep)
    assert got.equal(cut(warp_each(frames, matrix, "bicubic"), keep))
    assert warp_each(frames, matrix, "bicubic", keep).equal(got)


def test_frames_cut_and_mirrored():
    frames = noise_frames(12, 40, 50)
    for part in (frames[:, 3:30, 7:41], frames.flip(2), frames[::2], frames.permute(0, 2, 1, 3)):
        matrix = (0.9, 0.2, 1.0, -0.2, 0.9, 2.0)
        assert warp.affine(part, matrix, "bilinear", whole(part)).equal(warp_each(part, matrix, "bilinear"))


def test_what_pillow_does_as_fast(monkeypatch):
    frames = noise_frames(8, 20, 30)
    matrix = (1.0, 0.1, 0.0, 0.0, 1.0, 0.0)
    assert warp.affine(frames, matrix, "nearest", whole(frames)) is None
    assert warp.affine(frames[:3], matrix, "bicubic", whole(frames)) is None
    # All values in doubt: halves between two whole numbers, everywhere.
    frames[:] = (torch.arange(30) % 2 * 2 + 100).to(torch.uint8)[None, None, :, None]
    assert warp.affine(frames, (1, 0, 0.5, 0, 1, 0), "bilinear", whole(frames)) is None
    monkeypatch.setattr(warp, "_GROUP_BYTES", 3 * 12 * 20 * 30)
    assert warp.affine(noise_frames(8, 20, 30), matrix, "bicubic", whole(frames)) is None


def test_a_pillow_that_computes_otherwise_is_noticed(monkeypatch):
    monkeypatch.setattr(warp, "_exact", lambda stacked, places, taps, kernel: 0)
    assert not warp._is_exact.__wrapped__()


def test_places_of():
    generator = np.random.default_rng(0)
    for count in (0, 1, 7, 8, 9, 1000, 1003):
        for share in (0.0, 0.01, 0.5, 1.0):
            flags = generator.random(count) < share
            np.testing.assert_array_equal(warp.places_of(flags), np.flatnonzero(flags))


@pytest.mark.parametrize("window", [(4, 4), (1, 4), (4, 1), (2, 2), (1, 2)])
def test_flat_windows(window):
    pixels = np.random.default_rng(1).integers(0, 2, (9, 11, 4), np.uint8)
    pixels[2:8, 1:7, 2] = 1
    mask = warp._flat(pixels, *window)
    rows, columns = window
    for y in range(9):
        for x in range(11):
            part = pixels[y : y + rows, x : x + columns]
            expected = part.shape[:2] == window and (part == part[0, 0]).all((0, 1))
            np.testing.assert_array_equal(mask[y, x], np.where(expected, 255, 0))
