"""Average precision against a plain loop over thresholds, and values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.metrics.average_precision import average_precision, mean_average_precision


def plain(scores: list[float], positive: list[bool]) -> float:
    """Return sum over distinct thresholds, high to low, of (R_n - R_{n-1}) P_n, by counting anew at each."""
    if not any(positive):
        return math.nan
    total, recall_before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        chosen = [p for s, p in zip(scores, positive, strict=True) if s >= threshold]
        precision, recall = sum(chosen) / len(chosen), sum(chosen) / sum(positive)
        total += (recall - recall_before) * precision
        recall_before = recall
    return total


def one(scores, positive) -> float:
    result = average_precision(torch.tensor([scores]).T, torch.tensor([positive]).T)
    assert (result.dtype, result.shape) == (torch.float64, (1,))
    return result.item()


@pytest.mark.parametrize(
    ("scores", "positive", "expected"),
    [
        # The example of scikit-learn's documentation of average_precision_score.
        ([0.1, 0.4, 0.35, 0.8], [0, 0, 1, 1], 0.5 * 1 + 0.5 * 2 / 3),
        ([0.9, 0.8, 0.7], [1, 1, 0], 1.0),
        ([0.9, 0.8, 0.7], [0, 0, 1], 1 / 3),
        ([0.9, 0.8, 0.7, 0.6], [1, 0, 1, 0], 0.5 * 1 + 0.5 * 2 / 3),
        # Equal scores are one threshold, in whatever order they stand.
        ([0.5, 0.5, 0.5, 0.5], [1, 0, 0, 0], 0.25),
        ([0.5, 0.5, 0.5, 0.5], [0, 0, 0, 1], 0.25),
        ([0.9, 0.5, 0.5, 0.1], [1, 0, 1, 1], 1 / 3 + 1 / 3 * 2 / 3 + 1 / 3 * 3 / 4),
        ([3.0], [1], 1.0),
        ([-5.0, -6.0], [1, 1], 1.0),
        ([math.inf, -math.inf, 0.0], [0, 1, 1], 0.5 * 1 / 2 + 0.5 * 2 / 3),
    ],
)
def test_worked_values(scores, positive, expected):
    assert one(scores, positive) == pytest.approx(expected, rel=1e-12)
    assert plain(scores, [bool(p) for p in positive]) == pytest.approx(expected, rel=1e-12)


# Few distinct scores, so that equal ones are common.
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30))
def test_against_a_plain_loop(samples):
    scores, positive = [float(s) for s, _ in samples], [p for _, p in samples]
    assert one(scores, positive) == pytest.approx(plain(scores, positive), rel=1e-12, nan_ok=True)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=12), st.randoms())
def test_the_order_of_samples_changes_no_bit(samples, random):
    shuffled = list(samples)
    random.shuffle(shuffled)
    results = [one([float(s) for s, _ in order], [p for _, p in order]) for order in (samples, shuffled)]
    assert results[0] == results[1] or all(map(math.isnan, results))


def test_classes_are_apart_and_one_without_samples_is_nan():
    scores = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.8, 0.5], [0.4, 0.3, 0.5]])
    labels = torch.tensor([[1, 0, 0], [0, 1, 0], [1, 1, 0]])
    result = average_precision(scores, labels)
    assert result[:2].tolist() == [1.0, 1.0] and math.isnan(result[2])
    assert mean_average_precision(result) == 100.0


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_targets_of_any_type(dtype):
    labels = torch.tensor([[1, 0], [0, 1], [1, 0]]).to(dtype)
    scores = torch.tensor([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0]]).half()
    assert average_precision(scores, labels).tolist() == pytest.approx([0.5 + 0.5 * 2 / 3, 1 / 3])


def test_scores_that_are_no_numbers():
    nan = math.nan
    # A positive one is never found; a negative one is behind every number.
    assert one([nan, 0.5, 0.1], [1, 1, 0]) == 0.5
    assert one([0.5, nan, 0.1], [1, 0, 1]) == 1.0
    assert one([nan, nan], [1, 0]) == 0.0
    assert average_precision(torch.full((3, 2), nan), torch.ones(3, 2)).tolist() == [0.0, 0.0]


def test_mean_over_the_classes_with_samples():
    assert mean_average_precision(torch.tensor([0.5, math.nan, 0.25])) == pytest.approx(37.5)
    assert math.isnan(mean_average_precision(torch.tensor([math.nan, math.nan])))
    assert math.isnan(mean_average_precision(torch.zeros(0)))


def test_no_sample_at_all():
    result = average_precision(torch.zeros(0, 3), torch.zeros(0, 3))
    assert result.shape == (3,) and bool(result.isnan().all())


def test_chance_is_the_share_of_positives():
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(20000, 1, generator=generator)
    labels = torch.rand(20000, 1, generator=generator) < 0.3
    assert average_precision(scores, labels).item() == pytest.approx(0.3, abs=0.02)


def test_inputs_are_left_alone():
    scores, labels = torch.tensor([[math.nan], [2.0]]), torch.tensor([[1], [0]])
    average_precision(scores, labels)
    assert math.isnan(scores[0, 0]) and labels.tolist() == [[1], [0]]


def test_shapes_that_differ():
    with pytest.raises(AssertionError):
        average_precision(torch.zeros(2, 3), torch.zeros(2, 2))
