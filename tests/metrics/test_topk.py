"""Top-k counts against a plain sort."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from uniformer_video.metrics.topk import label_ranks, telling_ks, topk_accuracy, topk_correct

SCORES = torch.tensor(
    [
        [0.1, 0.7, 0.2],  # order 1 2 0
        [0.5, 0.1, 0.4],  # order 0 2 1
        [0.2, 0.3, 0.5],  # order 2 1 0
        [0.9, 0.0, 0.1],  # order 0 2 1
    ]
)


def test_by_hand():
    labels = torch.tensor([1, 2, 0, 1])
    assert label_ranks(SCORES, labels).tolist() == [0, 1, 2, 2]
    assert topk_correct(SCORES, labels, ks=(1, 2, 3)) == {1: 1, 2: 2, 3: 4}
    assert topk_accuracy(SCORES, labels, ks=(1, 2, 3)) == {1: 25.0, 2: 50.0, 3: 100.0}


def test_default_is_top_1_and_top_5():
    scores = torch.arange(10.0).flip(0).repeat(10, 1)  # class k has rank k
    assert topk_correct(scores, torch.arange(10)) == {1: 1, 5: 5}
    assert topk_accuracy(scores, torch.arange(10)) == {1: 10.0, 5: 50.0}


def test_k_above_the_number_of_classes_is_clamped():
    assert topk_correct(SCORES, torch.tensor([0, 1, 2, 1]), ks=(5,)) == {5: 4}


def test_equal_scores_are_ordered_by_class():
    scores = torch.zeros(4, 4)
    assert label_ranks(scores, torch.arange(4)).tolist() == [0, 1, 2, 3]
    assert topk_correct(scores, torch.arange(4), ks=(1, 3)) == {1: 1, 3: 3}


@pytest.mark.parametrize("place", [0, 2])
def test_a_row_with_nan_is_never_correct(place):
    scores = torch.tensor([[0.0, 9.0, 0.0], [0.0, 9.0, 0.0]])
    scores[0, place] = math.nan
    labels = torch.tensor([1, 1])
    assert topk_correct(scores, labels, ks=(1, 3, 7)) == {1: 1, 3: 1, 7: 1}
    all_nan = torch.full((2, 3), math.nan)
    assert topk_correct(all_nan, torch.tensor([0, 2]), ks=(1, 5)) == {1: 0, 5: 0}


def test_infinite_scores_are_ordered():
    scores = torch.tensor([[math.inf, 1.0, -math.inf]] * 3)
    assert label_ranks(scores, torch.arange(3)).tolist() == [0, 1, 2]


def test_no_samples():
    assert topk_correct(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)) == {1: 0, 5: 0}
    assert all(math.isnan(v) for v in topk_accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64)).values())


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_a_defect(label):
    with pytest.raises(AssertionError, match="a label is outside the classes"):
        topk_correct(SCORES, torch.tensor([0, 1, 2, label]))


def test_shapes_and_k_are_checked():
    with pytest.raises(AssertionError, match=r"scores must be \(N, K\), got \(3,\)"):
        topk_correct(torch.zeros(3), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(AssertionError, match=r"labels must be \(4,\), got \(3,\)"):
        topk_correct(SCORES, torch.zeros(3, dtype=torch.int64))
    with pytest.raises(AssertionError):
        topk_correct(SCORES, torch.tensor([0, 0, 0, 0]), ks=(0,))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), shape=st.tuples(st.integers(1, 20), st.integers(1, 12)))
def test_equals_a_stable_sort(data, shape):
    # few distinct values, so that ties are common
    scores = data.draw(hnp.arrays(np.float32, shape, elements=st.sampled_from([-1.5, 0.0, 0.25, 2.0, np.inf])))
    labels = data.draw(hnp.arrays(np.int64, shape[0], elements=st.integers(0, shape[1] - 1)))
    order = np.argsort(-scores, axis=1, kind="stable")
    for k, count in topk_correct(torch.from_numpy(scores), torch.from_numpy(labels), ks=(1, 3, 5)).items():
        assert count == sum(label in row[:k] for row, label in zip(order.tolist(), labels.tolist(), strict=True))


@pytest.mark.parametrize("classes", [1, 2, 4, 5, 6, 400])
def test_what_is_always_100_percent_is_not_reported(classes):
    expected = (1, 5) if classes > 5 else (1,)
    assert telling_ks(classes) == expected
    scores = torch.randn(50, classes, generator=torch.Generator().manual_seed(classes))
    always = topk_accuracy(scores, torch.arange(50) % classes, (5,))[5] == 100.0
    assert always == (5 not in expected)
