"""Layer numbers of the real networks by name, and the factors that follow."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.layer_decay import layer_numbers, layer_scales


def names_of(network, **options):
    with torch.device("meta"):
        return [name for name, _ in network(**options).named_parameters()]


def by_part(numbers):
    """Return the layers of each part of a network: its name up to a block's number."""
    parts = {}
    for name, number in numbers.items():
        first, second = [*name.split("."), ""][:2]
        parts.setdefault(f"{first}.{second}" if first.startswith("blocks") else first, set()).add(number)
    return {part: found.pop() if len(found) == 1 else found for part, found in parts.items()}


@pytest.mark.parametrize("conv_stem", [False, True])
def test_uniformer(conv_stem):
    numbers = layer_numbers(names_of(Uniformer, depths=(2, 1, 2, 1), conv_stem=conv_stem, aux_head=True))
    assert by_part(numbers) == {
        "patch_embed1": 0,
        "blocks1.0": 1,
        "blocks1.1": 2,
        "patch_embed2": 3,
        "blocks2.0": 3,
        "patch_embed3": 4,
        "blocks3.0": 4,
        "blocks3.1": 5,
        "patch_embed4": 6,
        "blocks4.0": 6,
        "norm": 7,
        "head": 7,
        "aux_head": 7,
    }


def test_hourglass():
    numbers = layer_numbers(names_of(Hourglass, depths=(1, 1, 2, 1)))
    assert by_part(numbers) == {
        "patch_embed1": 0,
        "blocks1.0": 1,
        "patch_embed2": 2,
        "blocks2.0": 2,
        "cls_token": 3,
        "patch_embed3": 3,
        "blocks3.0": 3,
        "blocks3.1": 4,
        "cls_upsample": 5,
        "patch_embed4": 5,
        "blocks4.0": 5,
        "norm": 6,
        "norm_cls": 6,
        "head": 6,
        "head_cls": 6,
    }


def test_blocks_are_counted_as_numbers_not_as_words():
    numbers = layer_numbers(f"blocks3.{n}.pos_embed.weight" for n in range(12))
    assert list(numbers.values()) == list(range(1, 13))


def test_a_stage_without_blocks_begins_with_those_behind_it():
    numbers = layer_numbers(names_of(Uniformer, depths=(1, 0, 1, 0)))
    assert by_part(numbers) == {
        "patch_embed1": 0,
        "blocks1.0": 1,
        "patch_embed2": 2,
        "patch_embed3": 2,
        "blocks3.0": 2,
        "patch_embed4": 3,
        "norm": 3,
        "head": 3,
    }


def test_the_order_of_names_does_not_matter():
    names = names_of(Hourglass, depths=(1, 1, 2, 1))
    assert layer_numbers(reversed(names)) == layer_numbers(names)


@given(st.floats(0.01, 1))
def test_each_layer_has_the_decay_of_the_next_and_the_head_its_own_rate(decay):
    names = names_of(Uniformer, depths=(1, 1, 1, 1))
    scales, numbers = layer_scales(names, decay), layer_numbers(names)
    assert scales["head.weight"] == scales["norm.bias"] == 1.0
    assert scales["blocks4.0.attn.qkv.weight"] == decay
    assert scales["patch_embed1.proj.weight"] == pytest.approx(decay**5)
    assert all(scales[name] == pytest.approx(decay ** (5 - numbers[name])) for name in names)


def test_a_network_without_blocks():
    with pytest.raises(ConfigError) as raised:
        layer_numbers(["0.weight", "head.bias"])
    assert str(raised.value) == (
        "SOLVER.LAYER_DECAY counts the blocks of a network by the names of its parameters (blocks1.0 and so on), but "
        "this network has none; set SOLVER.LAYER_DECAY 1"
    )


def test_a_parameter_of_no_known_part():
    with pytest.raises(ConfigError) as raised:
        layer_numbers(["blocks1.0.mlp.weight", "neck.weight"])
    assert str(raised.value) == (
        "SOLVER.LAYER_DECAY finds no layer for the parameter 'neck.weight' of this network; set SOLVER.LAYER_DECAY 1"
    )
