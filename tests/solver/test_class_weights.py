"""Class weights from counts, against the definition."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.class_weights import class_counts, class_weights


def test_counts():
    assert class_counts([(0,), (2,), (0,), (0,)], 4) == [3, 0, 1, 0]
    assert class_counts([(0, 3), (), (3,), (1, 2, 3)], 4) == [1, 1, 1, 3]
    assert class_counts([], 2) == [0, 0]


def test_no_weights():
    assert class_weights("", [3, 1]) is None


def test_balanced_weights_worked_by_hand():
    weights = class_weights("balanced", [6, 3, 1])
    assert weights.dtype == torch.float32
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3])
    assert class_weights("balanced", [5, 5]).tolist() == [1.0, 1.0]


def test_a_class_without_samples_has_weight_1_and_changes_no_other():
    assert class_weights("balanced", [6, 0, 3, 1]).tolist() == pytest.approx([10 / 18, 1, 10 / 9, 10 / 3])
    assert class_weights("balanced", [0, 0]).tolist() == [1.0, 1.0]


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20).filter(any))
def test_balanced_weights_have_mean_1_over_samples_and_give_each_class_one_share(counts):
    weights = class_weights("balanced", counts).double().tolist()
    shares = [weight * count for weight, count in zip(weights, counts, strict=True) if count]
    assert math.fsum(shares) / sum(counts) == pytest.approx(1, rel=1e-5)
    assert shares == pytest.approx([sum(counts) / len(shares)] * len(shares), rel=1e-5)


def test_given_weights_are_taken_as_they_are():
    assert class_weights([0.25, 0, 4], [1, 1, 1]).tolist() == [0.25, 0.0, 4.0]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("even", "MODEL.CLASS_WEIGHTS is 'even'; allowed: balanced, a list of numbers, or empty"),
        (
            [1.0, 2.0],
            "MODEL.CLASS_WEIGHTS has 2 weights, but there are 3 classes (MODEL.NUM_CLASSES); give one for each, in "
            "label order",
        ),
        ([0, 0, 0], "MODEL.CLASS_WEIGHTS [0, 0, 0] must be finite numbers >= 0, not all of them 0"),
        ([1, -1, 1], "MODEL.CLASS_WEIGHTS [1, -1, 1] must be finite numbers >= 0, not all of them 0"),
        ([1, math.inf, 1], "MODEL.CLASS_WEIGHTS [1, inf, 1] must be finite numbers >= 0, not all of them 0"),
    ],
)
def test_mistakes(setting, message):
    with pytest.raises(ConfigError) as raised:
        class_weights(setting, [1, 2, 3])
    assert str(raised.value) == message
