"""The blocks that all networks of the family share, as their arguments say, and the start of linear layers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from uniformer_video.models.blocks import GlobalBlock, LocalBlock, SplitBlock
from uniformer_video.models.stages import make_stages, start_linear_layers

ARGUMENTS = {
    "depths": (1, 2, 2, 1),
    "widths": (8, 16, 24, 32),
    "head_dim": 8,
    "mlp_ratio": (1, 2, 3, 4),
    "local_kernel": (3, 5, 7),
    "dropout": 0.1,
    "drop_path_rate": 0.5,
    "layer_scale": (False, True, False, True),
    "layer_scale_init": 0.25,
    "image": False,
    "qkv_bias": False,
    "qk_scale": 0.3,
    "attention_dropout": 0.2,
}


def stages(block=GlobalBlock, **changes):
    return list(make_stages(block, **{**ARGUMENTS, **changes}))


@pytest.mark.parametrize("block", [GlobalBlock, SplitBlock])
def test_local_then_global_blocks(block):
    made = stages(block)
    assert [[type(b) for b in blocks] for blocks in made] == [
        [LocalBlock],
        [LocalBlock] * 2,
        [block] * 2,
        [block],
    ]
    assert [blocks[0].norm1.weight.numel() for blocks in made] == [8, 16, 24, 32]
    assert [blocks[0].mlp.fc1.weight.shape[0] for blocks in made] == [8, 32, 72, 128]
    assert [b.attn.heads for blocks in made[2:] for b in blocks] == [3, 3, 4]


def test_stochastic_depth_rises_linearly_over_all_blocks():
    rates = [b.drop_path.rate for blocks in stages() for b in blocks]
    assert rates == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_each_argument_reaches_its_blocks():
    made = stages()
    assert [None if b.gamma_1 is None else b.gamma_1.flatten()[0].item() for blocks in made for b in blocks] == [
        *(None, 0.25, 0.25, None, None, 0.25)
    ]
    assert made[0][0].attn.kernel_size == (3, 5, 7)
    assert all(b.pos_embed.kernel_size == (3, 3, 3) for blocks in made for b in blocks)
    attention = made[2][0].attn
    assert (attention.qkv.bias, attention.scale, attention.attention_dropout) == (None, 0.3, 0.2)
    assert made[3][0].mlp.dropout.p == 0.1


def test_an_image_network_has_no_extent_in_time():
    made = stages(image=True)
    assert made[0][0].attn.kernel_size == (1, 5, 7)
    assert all(b.pos_embed.kernel_size == (1, 3, 3) for blocks in made for b in blocks)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mlp_ratio": (1, 2)}, "mlp_ratio"),
        ({"layer_scale": [True]}, "layer_scale"),
        ({"mlp_ratio": 0.01}, "mlp_ratio"),
    ],
)
def test_what_makes_no_stages(changes, message):
    with pytest.raises(ValueError, match=message):
        stages(**changes)


def test_linear_layers_start_small_and_others_as_they_are():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(200, 200), nn.Conv3d(1, 1, 3), nn.Linear(4, 4, bias=False))
    kernel = network[1].weight.detach().clone()
    start_linear_layers(network)
    assert network[0].weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert not network[0].bias.any()
    assert torch.equal(network[1].weight, kernel)
