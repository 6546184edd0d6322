from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.models.blocks import SplitBlock
from uniformer_video.models.inflate import (
    identity_in_time,
    inflate,
    inflation_mode,
    is_layer_scale,
    is_time_attention,
)
from uniformer_video.runtime.errors import UserError


@given(time=st.integers(1, 7), height=st.integers(1, 4), width=st.integers(1, 4))
def test_both_modes_sum_to_the_image_kernel(time, height, width):
    kernel = torch.arange(2.0 * 3 * height * width).reshape(2, 3, height, width)
    for mode in ("average", "center"):
        inflated = inflate(kernel, time, mode)
        assert inflated.shape == (2, 3, time, height, width)
        torch.testing.assert_close(inflated.sum(2), kernel)


def test_average_by_hand():
    kernel = torch.tensor([[[[3.0, 6.0]]]])
    assert inflate(kernel, 3, "average").tolist() == [[[[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]]]]


@pytest.mark.parametrize(("time", "tap"), [(1, 0), (2, 1), (3, 1), (5, 2)])
def test_center_by_hand(time, tap):
    inflated = inflate(torch.full((1, 1, 1, 1), 7.0), time, "center").flatten().tolist()
    assert inflated == [7.0 if i == tap else 0.0 for i in range(time)]


def test_center_of_a_padded_convolution_is_the_image_convolution_on_every_frame():
    kernel, frame = torch.randn(4, 2, 3, 3), torch.randn(1, 2, 8, 8)
    clip = frame.unsqueeze(2).expand(-1, -1, 5, -1, -1)
    out = F.conv3d(clip, inflate(kernel, 3, "center"), padding=1)
    torch.testing.assert_close(out, F.conv2d(frame, kernel, padding=1).unsqueeze(2).expand_as(out))


@pytest.mark.parametrize("mode", ["average", "center"])
def test_result_is_writable_memory_of_its_own_and_keeps_the_dtype(mode):
    kernel = torch.ones(1, 1, 2, 2, dtype=torch.float16)
    inflated = inflate(kernel, 3, mode)
    inflated += 1
    assert inflated.dtype == torch.float16
    assert kernel.eq(1).all()


def test_only_2d_kernels():
    with pytest.raises(AssertionError, match=r"\(O, I, h, w\), got \(1, 1, 1, 1, 1\)"):
        inflate(torch.zeros(1, 1, 1, 1, 1), 3, "average")
    with pytest.raises(AssertionError, match="must be >= 1, got 0"):
        inflate(torch.zeros(1, 1, 1, 1), 0, "average")


@pytest.mark.parametrize(
    ("setting", "mode"),
    [(None, None), (False, None), ("", None), (True, "average"), ("average", "average"), ("center", "center")],
)
def test_inflation_mode(setting, mode):
    assert inflation_mode(setting) == mode


def test_unknown_mode_lists_the_known():
    with pytest.raises(
        UserError, match=r"^unknown inflation 'centre' \(TRAIN.CHECKPOINT_INFLATE\); known: average, center$"
    ):
        inflate(torch.zeros(1, 1, 1, 1), 3, "centre")


@pytest.mark.parametrize(
    ("name", "is_it"),
    [
        ("blocks1.0.gamma_1", True),
        ("blocks4.12.gamma_2", True),
        ("blocks1.0.norm1.weight", False),
        ("gamma_1.weight", False),
    ],
)
def test_is_layer_scale(name, is_it):
    assert is_layer_scale(name) == is_it


def test_identity_in_time_is_how_a_split_block_starts():
    block = SplitBlock(
        8,
        heads=2,
        mlp_ratio=4.0,
        qkv_bias=True,
        qk_scale=None,
        dropout=0.0,
        attention_dropout=0.0,
        drop_path=0.0,
    )
    block.start_as_identity_in_time()
    state = {f"blocks3.0.{name}": tensor for name, tensor in block.state_dict().items()}
    time = {name for name in state if is_time_attention(name)}
    assert {name.split(".", 2)[2] for name in time} == {
        "t_norm.weight",
        "t_norm.bias",
        "t_attn.qkv.weight",
        "t_attn.qkv.bias",
        "t_attn.proj.weight",
        "t_attn.proj.bias",
    }
    for name in time:
        assert torch.equal(identity_in_time(name, torch.randn_like(state[name])), state[name]), name
