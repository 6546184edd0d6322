from __future__ import annotations

import pytest
import torch
from torch import nn

from uniformer_video.models.blocks import GlobalBlock, LocalBlock, SplitBlock

GLOBAL = {
    "heads": 2,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "qk_scale": None,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path": 0.0,
}
LOCAL = {"kernel": (3, 5, 5), "mlp_ratio": 4.0, "dropout": 0.0, "drop_path": 0.0}
MAKERS = [
    lambda **kwargs: LocalBlock(8, **LOCAL, **kwargs),
    lambda **kwargs: GlobalBlock(8, **GLOBAL, **kwargs),
    lambda **kwargs: SplitBlock(8, **GLOBAL, **kwargs),
]


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 8), (1, 1, 1, 1, 8)])
def test_shape_is_kept_and_memory_is_channels_last(make, shape):
    out = make().eval()(torch.randn(shape))
    assert out.shape == shape
    assert out.is_contiguous()


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
def test_a_block_whose_branches_end_in_zeros_is_the_identity(make):
    block = make().eval()
    for last in (block.pos_embed, block.conv2 if hasattr(block, "conv2") else block.attn.proj, block.mlp.fc2):
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
    x = torch.randn(2, 3, 4, 5, 8)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
def test_layer_scale_comes_first_and_starts_as_told(make):
    plain, scaled = make(), make(layer_scale=0.25)
    assert list(scaled.state_dict()) == ["gamma_1", "gamma_2", *plain.state_dict()]
    shape = (1, 8, 1, 1, 1) if isinstance(plain, LocalBlock) else (8,)
    for gamma in (scaled.gamma_1, scaled.gamma_2):
        assert gamma.shape == shape
        assert gamma.requires_grad
        assert gamma.eq(0.25).all()
    assert plain.gamma_1 is plain.gamma_2 is None


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
def test_layer_scale_multiplies_each_channel_of_each_branch(make):
    plain, scaled = make().eval(), make(layer_scale=1.0).eval()
    scaled.load_state_dict(plain.state_dict(), strict=False)
    x = torch.randn(2, 3, 4, 5, 8)
    assert torch.equal(scaled(x), plain(x)), "a factor of 1 changes nothing"
    for name in ("gamma_1", "gamma_2"):
        nn.init.normal_(getattr(scaled, name))
    # The factors can be had by the last layer of each branch just as well.
    for last, gamma in ((plain.conv2 if hasattr(plain, "conv2") else plain.attn.proj, 1), (plain.mlp.fc2, 2)):
        factors = getattr(scaled, f"gamma_{gamma}").detach().flatten()
        last.weight.data *= factors.view(-1, *[1] * (last.weight.ndim - 1))
        last.bias.data *= factors
    torch.testing.assert_close(scaled(x), plain(x))


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
def test_layer_scale_of_zero_leaves_the_position_encoding_alone_and_gets_a_gradient(make):
    block = make(layer_scale=0.0)
    x = torch.randn(2, 3, 4, 5, 8)
    out = block(x)
    torch.testing.assert_close(out, x + block.pos_embed(x.movedim(-1, 1)).movedim(1, -1))
    out.square().sum().backward()
    assert block.gamma_1.grad.abs().min() > 0
    assert block.gamma_2.grad.abs().min() > 0


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
def test_layer_scale_in_bf16_keeps_its_precision(make):
    block = make(layer_scale=1e-6).eval()
    x = torch.randn(1, 2, 3, 3, 8)
    with torch.inference_mode():
        wanted = block(x)
        with torch.autocast("cpu", torch.bfloat16):
            got = block(x)
    assert got.dtype == torch.float32
    assert got.is_contiguous()
    assert (got - wanted).abs().max() < 2e-2


@pytest.mark.parametrize("make", MAKERS, ids=["local", "global", "split"])
def test_position_kernel(make):
    assert make().pos_embed.kernel_size == (3, 3, 3)
    block = make(position_kernel=(1, 3, 5))
    assert block.pos_embed.weight.shape == (8, 1, 1, 3, 5)
    assert block(torch.randn(1, 2, 4, 5, 8)).shape == (1, 2, 4, 5, 8)


def test_drop_path_drops_all_but_the_position_encoding():
    block = GlobalBlock(8, **{**GLOBAL, "drop_path": 0.999999}).train()
    x = torch.randn(2, 3, 4, 5, 8)
    torch.manual_seed(0)
    position = block.pos_embed(x.movedim(-1, 1)).movedim(1, -1)
    torch.testing.assert_close(block(x), x + position)


def test_local_block_sees_its_kernel_and_no_further():
    block = LocalBlock(4, kernel=(3, 5, 5), mlp_ratio=2.0, dropout=0.0, drop_path=0.0).eval()
    x = torch.randn(1, 9, 13, 13, 4)
    moved = x.clone()
    moved[0, 4, 6, 6] = torch.randn(4)
    changed = (block(x) != block(moved)).any(-1)[0].nonzero()
    # Position encoding 3x3x3 and then the affinity 3x5x5: reach 1 + 1 in time, 1 + 2 in space.
    assert changed.min(0).values.tolist() == [2, 3, 3]
    assert changed.max(0).values.tolist() == [6, 9, 9]


def test_global_block_sees_everything():
    block = GlobalBlock(8, **GLOBAL).eval()
    x = torch.randn(1, 5, 6, 6, 8)
    moved = x.clone()
    moved[0, 0, 0, 0] = torch.randn(8)
    assert (block(x) != block(moved)).any(-1).all()


def still(block):
    nn.init.zeros_(block.pos_embed.weight)
    return block.eval()


def test_split_block_starts_without_mixing_time():
    block = SplitBlock(8, **GLOBAL)
    block.start_as_identity_in_time()
    still(block)
    x = torch.randn(1, 4, 3, 3, 8)
    assert block.mix_time(x).count_nonzero() == 0
    moved = x.clone()
    moved[0, 1, 2, 2] = torch.randn(8)
    changed = (block(x) != block(moved)).any(-1)[0]
    assert changed[1].all()
    assert not changed[[0, 2, 3]].any()


def test_split_block_at_its_start_is_a_global_block_on_each_frame():
    split, joint = SplitBlock(8, **GLOBAL), GlobalBlock(8, **GLOBAL)
    split.start_as_identity_in_time()
    joint.load_state_dict({k: v for k, v in split.state_dict().items() if "t_" not in k})
    still(split), still(joint)
    x = torch.randn(2, 3, 4, 5, 8)
    frames = x.reshape(6, 1, 4, 5, 8)
    torch.testing.assert_close(split(x), joint(frames).reshape(x.shape))


def test_time_attention_can_learn_from_its_start():
    block = SplitBlock(8, **GLOBAL)
    block.start_as_identity_in_time()
    block(torch.randn(1, 3, 2, 2, 8)).square().sum().backward()
    gradient = block.t_attn.qkv.weight.grad
    assert gradient[16:].abs().sum() > 0, "the values' rows must get a gradient"


def test_split_block_start_without_qkv_bias():
    block = SplitBlock(8, **{**GLOBAL, "qkv_bias": False})
    block.start_as_identity_in_time()
    assert block.t_attn.qkv.bias is None
    assert block.mix_time(torch.randn(1, 3, 2, 2, 8)).count_nonzero() == 0


def test_time_mixing_stays_at_its_place():
    block = SplitBlock(8, **GLOBAL).eval()
    x = torch.randn(1, 4, 3, 3, 8)
    moved = x.clone()
    moved[0, 1, 2, 0] = torch.randn(8)
    changed = (block.mix_time(x) != block.mix_time(moved)).any(-1)[0]
    assert changed[:, 2, 0].all()
    assert changed.sum() == 4
