"""Many frames resized at once against each for itself: equal to the bit, whatever the sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.transforms.helpers import noise_frames, smooth_frames
from uniformer_video.transforms import resizing
from uniformer_video.transforms.resizing import resize_bilinear, resize_by_definition

_SIDE = st.integers(1, 60)


def by_definition(frames: torch.Tensor, height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([resize_by_definition(frame, height, width) for frame in frames]))


def test_this_machine_takes_the_fast_path():
    assert resizing._is_exact()


@settings(max_examples=200, deadline=None)
@given(count=st.integers(1, 19), before=st.tuples(_SIDE, _SIDE), after=st.tuples(_SIDE, _SIDE), seed=st.integers(0, 99))
def test_equals_the_definition(count, before, after, seed):
    frames = np.random.default_rng(seed).integers(0, 256, (count, *before, 3), np.uint8)
    frames = torch.from_numpy(frames)
    assert resize_bilinear(frames, *after).equal(by_definition(frames, *after))


@pytest.mark.parametrize(
    ("before", "after"),
    [((256, 340), (224, 297)), ((64, 48), (32, 24)), ((28, 28), (56, 56)), ((120, 160), (90, 120)), ((70, 30), (7, 3))],
)
def test_ties_go_as_in_the_definition(before, after):
    """Sizes in small ratios put many values exactly between two whole numbers."""
    for frames in (noise_frames(17, *before), smooth_frames(4, *before)):
        assert resize_bilinear(frames, *after).equal(by_definition(frames, *after))


def test_cut_and_mirrored_frames():
    frames = noise_frames(12, 40, 50)
    for part in (frames[:, 3:30, 7:41], frames.flip(2), frames[::2], frames[:, ::2, 1::3], frames.permute(0, 2, 1, 3)):
        assert resize_bilinear(part, 24, 33).equal(by_definition(part, 24, 33))


@pytest.mark.parametrize("count", [1, 5])
def test_memory_is_a_clip(count):
    assert resize_bilinear(noise_frames(count, 40, 50), 24, 33).permute(3, 0, 1, 2).is_contiguous()


@pytest.mark.parametrize(("group_bytes", "exact"), [(1, True), (5 * 12 * 40 * 50, True), (2**23, False)])
def test_large_frames_and_other_machines(monkeypatch, group_bytes, exact):
    """Frames that do not fit together, and a torch that rounds otherwise: one by one."""
    monkeypatch.setattr(resizing, "_GROUP_BYTES", group_bytes)
    monkeypatch.setattr(resizing, "_is_exact", lambda: exact)
    frames = noise_frames(13, 40, 50)
    assert resize_bilinear(frames, 24, 33).equal(by_definition(frames, 24, 33))


def test_a_torch_that_computes_otherwise_is_noticed(monkeypatch):
    taps = resizing._taps
    monkeypatch.setattr(resizing, "_taps", lambda *sizes: [part.flip(1) for part in taps(*sizes)])
    assert not resizing._is_exact.__wrapped__()  # the same products in another order


def test_no_frames():
    assert resize_bilinear(torch.empty((0, 4, 5, 3), dtype=torch.uint8), 6, 7).shape == (0, 6, 7, 3)
