"""Heads in another class order: row k becomes what row ``rows[k]`` was, and nothing else moves."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.models.head_order import head_size, select_classes

NAMES = ("head.weight", "head.bias", "head_cls.weight", "head_cls.bias", "aux_head.weight", "aux_head.bias")


def weights(classes: int = 5, aux_classes: int | None = None) -> dict[str, torch.Tensor]:
    aux = aux_classes or classes
    return {
        "norm.weight": torch.arange(5.0),
        "head.weight": torch.arange(classes * 3.0).reshape(classes, 3),
        "head.bias": torch.arange(float(classes)),
        "head_cls.weight": 100 + torch.arange(classes * 3.0).reshape(classes, 3),
        "head_cls.bias": 100 + torch.arange(float(classes)),
        "aux_head.weight": 200 + torch.arange(aux * 3.0).reshape(aux, 3),
        "aux_head.bias": 200 + torch.arange(float(aux)),
        "heads_up.weight": torch.arange(5.0),
    }


def test_every_head_is_put_in_order():
    state = weights()
    after = select_classes(state, (3, 0, 4, 1, 2))
    assert list(after) == list(state)
    assert after["head.bias"].tolist() == [3, 0, 4, 1, 2]
    assert after["head_cls.bias"].tolist() == [103, 100, 104, 101, 102]
    assert after["aux_head.bias"].tolist() == [203, 200, 204, 201, 202]
    assert after["head.weight"].tolist() == [[9, 10, 11], [0, 1, 2], [12, 13, 14], [3, 4, 5], [6, 7, 8]]
    assert after["head_cls.weight"][0].tolist() == [109, 110, 111]
    assert after["aux_head.weight"][4].tolist() == [206, 207, 208]


def test_nothing_else_moves_and_the_state_stays():
    state = weights()
    before = {name: tensor.clone() for name, tensor in state.items()}
    after = select_classes(state, (4, 3, 2, 1, 0))
    assert after["norm.weight"] is state["norm.weight"]
    assert after["heads_up.weight"] is state["heads_up.weight"], "five rows, but no head"
    after["head.weight"].zero_()
    assert all(torch.equal(state[name], before[name]) for name in state)


def test_fewer_classes():
    after = select_classes(weights(), (4, 1))
    assert after["head.weight"].tolist() == [[12, 13, 14], [3, 4, 5]]
    assert after["head.bias"].tolist() == [4, 1]


def test_none_at_all_leaves_heads_of_no_class():
    after = select_classes(weights(), ())
    assert [tuple(after[name].shape) for name in NAMES] == [(0, 3), (0,)] * 3


def test_a_second_head_of_other_classes_stays():
    state = weights(5, aux_classes=7)
    after = select_classes(state, (1, 0, 2, 3, 4))
    assert after["aux_head.weight"] is state["aux_head.weight"]
    assert after["head.bias"].tolist() == [1, 0, 2, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_type_and_the_trailing_ones_stay(dtype):
    state = {
        "head.weight": torch.arange(6.0).reshape(3, 2, 1, 1, 1).to(dtype),
        "head.bias": torch.zeros(3, dtype=dtype),
    }
    after = select_classes(state, (2, 0, 1))
    assert after["head.weight"].dtype == dtype
    assert after["head.weight"].shape == (3, 2, 1, 1, 1)
    assert after["head.weight"].flatten().tolist() == [4, 5, 0, 1, 2, 3]


def test_weights_without_a_head():
    state = {"norm.weight": torch.ones(3)}
    assert head_size(state) is None
    assert select_classes(state, (0, 1)) == state


def test_head_size():
    assert head_size(weights(7)) == 7
    assert head_size({"head.weight": torch.tensor(1.0)}) is None


@given(st.permutations(range(6)))
def test_the_inverse_undoes_a_permutation(rows):
    state = weights(6)
    inverse = sorted(range(6), key=rows.__getitem__)
    after = select_classes(select_classes(state, rows), inverse)
    assert all(torch.equal(after[name], state[name]) for name in state)
