from __future__ import annotations

import pytest
import torch

from uniformer_video.models.arguments import (
    as_clips,
    check_mlp_ratios,
    check_numbers,
    check_stages,
    for_each_stage,
)


def test_clips_go_through():
    clips = torch.zeros(2, 3, 4, 32, 40)
    assert as_clips(clips, image=False) is clips
    assert as_clips(clips, image=True) is clips


def test_images_are_clips_of_one_frame_where_allowed():
    images = torch.randn(2, 3, 32, 40)
    clips = as_clips(images, image=True)
    assert clips.shape == (2, 3, 1, 32, 40)
    assert clips.data_ptr() == images.data_ptr()


@pytest.mark.parametrize(
    ("clips", "image", "message"),
    [
        (torch.zeros(2, 3, 32, 40), False, "clips must be (B, 3, T, H, W), got shape (2, 3, 32, 40)"),
        (torch.zeros(3, 32, 40), True, "clips must be (B, 3, H, W) or (B, 3, T, H, W), got shape (3, 32, 40)"),
        (
            torch.zeros(2, 1, 32, 40),
            True,
            "clips must be (B, 3, H, W) or (B, 3, T, H, W), got shape (2, 1, 1, 32, 40)",
        ),
        (
            torch.zeros(2, 3, 1, 32, 40, dtype=torch.uint8),
            False,
            "clips must be normalised and floating, got torch.uint8",
        ),
        (
            torch.zeros(2, 3, 31, 40),
            True,
            "clips of 1 frames of 31x40 are too small: at least 1 frame and 32x32 pixels are needed",
        ),
        (
            torch.zeros(2, 3, 0, 32, 40),
            False,
            "clips of 0 frames of 32x40 are too small: at least 1 frame and 32x32 pixels are needed",
        ),
    ],
)
def test_what_is_no_clip(clips, image, message):
    with pytest.raises(ValueError) as caught:
        as_clips(clips, image=image)
    assert str(caught.value) == message


def test_for_each_stage():
    assert for_each_stage("x", 4.0) == (4.0,) * 4
    assert for_each_stage("x", True) == (True,) * 4
    assert for_each_stage("x", [1, 2, 3, 4]) == (1, 2, 3, 4)
    assert for_each_stage("x", (1, 2, 3, 4)) == (1, 2, 3, 4)
    with pytest.raises(ValueError, match=r"^x must be one value or four, one for each stage, got \[1, 2\]$"):
        for_each_stage("x", (1, 2))


GOOD = {"depths": (1, 0, 2, 1), "widths": (8, 16, 24, 32), "head_dim": 8, "checkpoint_blocks": (0, 0, 0, 0)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depths": (1, 2, 3)}, "depths must be four integers >= 0, one for each stage, got [1, 2, 3]"),
        ({"depths": (1, 2, 3, -1)}, "depths must be four integers >= 0, one for each stage, got [1, 2, 3, -1]"),
        ({"widths": (8, 0, 8, 8)}, "widths must be four integers >= 1, one for each stage, got [8, 0, 8, 8]"),
        (
            {"checkpoint_blocks": (1,) * 5},
            "checkpoint_blocks must be four integers >= 0, one for each stage, got [1, 1, 1, 1, 1]",
        ),
        ({"head_dim": 16}, "widths of stages 3 and 4 must be multiples of head_dim 16, got [24, 32]"),
        ({"head_dim": 0}, "widths of stages 3 and 4 must be multiples of head_dim 0, got [24, 32]"),
    ],
)
def test_check_stages(changes, message):
    check_stages(**GOOD)
    with pytest.raises(ValueError) as caught:
        check_stages(**{**GOOD, **changes})
    assert str(caught.value) == message


@pytest.mark.parametrize("ratios", [(4, 4, 4, 0.01), (0, 4, 4, 4), (-1, 4, 4, 4), (1, 1, 0.03125, 0.03)])
def test_an_mlp_has_a_hidden_channel(ratios):
    check_mlp_ratios((4, 0.0625, 0.05, 0.03125), (8, 16, 24, 32))
    with pytest.raises(ValueError, match="^mlp_ratio must leave each MLP a hidden channel, got "):
        check_mlp_ratios(ratios, (8, 16, 24, 32))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_classes": 0}, "num_classes must be >= 1, got 0"),
        ({"local_kernel": (3, 4, 5)}, "local_kernel must be three odd extents (T, H, W), got [3, 4, 5]"),
        ({"local_kernel": (3, -1, 5)}, "local_kernel must be three odd extents (T, H, W), got [3, -1, 5]"),
        ({"local_kernel": (5, 5)}, "local_kernel must be three odd extents (T, H, W), got [5, 5]"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
        ({"rate": float("nan")}, "rate must be in [0, 1), got nan"),
    ],
)
def test_check_numbers(changes, message):
    good = {"num_classes": 1, "local_kernel": (3, 5, 5), "dropout": 0.0, "rate": 0.999}
    check_numbers(**good)
    with pytest.raises(ValueError) as caught:
        check_numbers(**{**good, **changes})
    assert str(caught.value) == message
