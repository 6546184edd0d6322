"""When a run stops early: a function of its history alone."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.engine.early_stop import is_better, stops_early, validations_since_best

NAN = math.nan


def history(*values):
    """Return entries of epochs; None: no validation."""
    return [{"epoch": n, **({} if v is None else {"val_top1": v})} for n, v in enumerate(values, start=1)]


@pytest.mark.parametrize(
    ("values", "since"),
    [
        ((), 0),
        ((None, None), 0),
        ((50.0,), 0),
        ((50.0, 60.0), 0),
        ((50.0, 50.0), 1),  # no better is no improvement
        ((60.0, 50.0, 55.0), 2),
        ((60.0, None, 50.0, None, 70.0, None), 0),
        ((60.0, None, 50.0, None, None), 1),  # epochs without validation do not count
        ((NAN, NAN), 2),
        ((NAN, 0.0, NAN), 1),
        ((10.0, NAN, 11.0), 0),
    ],
)
def test_validations_since_the_best(values, since):
    assert validations_since_best(history(*values), "val_top1") == since


@pytest.mark.parametrize(
    ("entry", "other", "better"),
    [
        ((60.0, 1.0), (50.0, 0.5), True),  # the figure comes first
        ((50.0, 0.5), (60.0, 1.0), False),
        ((60.0, 0.9), (60.0, 1.0), True),  # of equal figures the lower loss
        ((60.0, 1.0), (60.0, 1.0), False),
        ((60.0, 1.1), (60.0, 1.0), False),
        ((60.0, 1.0), (60.0, NAN), True),
        ((60.0, NAN), (60.0, 1.0), False),
        ((NAN, 0.1), (50.0, 1.0), False),
        ((0.0, 2.0), (NAN, NAN), True),
        ((NAN, NAN), (NAN, NAN), False),
        ((NAN, 0.1), (NAN, NAN), False),
    ],
)
def test_the_better_of_two(entry, other, better):
    one, two = ({"val_top1": top1, "val_loss": loss} for top1, loss in (entry, other))
    assert is_better(one, two, "val_top1") is better


def test_better_than_nothing():
    assert is_better({"val_top1": 0.0}, None, "val_top1")
    assert is_better({"val_top1": 0.0}, {"val_map": 90.0}, "val_top1")
    assert not is_better({"val_top1": NAN}, None, "val_top1")


def test_a_falling_loss_is_an_improvement_where_the_figure_stays():
    entries = [{"val_top1": 100.0, "val_loss": loss} for loss in (0.9, 0.7, 0.8, 0.6, 0.6, NAN)]
    assert [validations_since_best(entries[:n], "val_top1") for n in range(1, 7)] == [0, 0, 1, 0, 1, 2]


def test_the_key_chooses_the_value():
    entries = [{"val_map": 3.0, "val_top1": 1.0}, {"val_map": 2.0, "val_top1": 2.0}]
    assert validations_since_best(entries, "val_map") == 1
    assert validations_since_best(entries, "val_top1") == 0
    assert validations_since_best(entries, "val_top5") == 0


def test_patience():
    worse = history(60.0, 50.0, 40.0)
    assert [stops_early(worse, "val_top1", patience) for patience in range(5)] == [False, True, True, False, False]
    assert not stops_early([], "val_top1", 1)


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(1, 5))
def test_a_run_stops_at_the_first_place_where_it_may(values, patience):
    stops = [n for n in range(len(values) + 1) if stops_early(history(*values[:n]), "val_top1", patience)]
    expected = [
        n
        for n in range(len(values) + 1)
        if n > patience and max(values[n - patience : n]) <= max(values[: n - patience])
    ]
    assert stops == expected
