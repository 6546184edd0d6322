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
MAKERS = [lambda: LocalBlock(8, **LOCAL), lambda: GlobalBlock(8, **GLOBAL), lambda: SplitBlock(8, **GLOBAL)]


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
