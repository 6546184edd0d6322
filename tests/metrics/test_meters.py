"""Meters against plain statistics."""

from __future__ import annotations

import math
import statistics
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.metrics.meters import AverageMeter, EtaMeter, RatioMeter, WindowMeter, format_duration

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30)


@given(series=values, size=st.integers(1, 12))
def test_window_holds_the_last_values(series, size):
    meter = WindowMeter(size)
    for value in series:
        meter.add(value)
    window = series[-size:]
    assert len(meter) == len(window)
    assert meter.median == statistics.median(window)
    assert meter.mean == pytest.approx(sum(window) / len(window), rel=1e-9, abs=1e-6)


def test_window_before_the_first_value_and_after_a_reset():
    meter = WindowMeter(3)
    for _ in range(2):
        assert len(meter) == 0
        assert all(math.isnan(value) for value in (meter.median, meter.mean))
        meter.add(4.0)
        assert (meter.median, meter.mean) == (4.0, 4.0)
        meter.reset()


def test_window_does_not_hide_nan():
    meter = WindowMeter(3)
    for value in (1.0, math.nan, 2.0):
        meter.add(value)
    assert math.isnan(meter.median)
    assert math.isnan(meter.mean)


def test_window_needs_a_size():
    with pytest.raises(AssertionError):
        WindowMeter(0)


@given(pairs=st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(1, 64)), min_size=1, max_size=20))
def test_average_is_weighted(pairs):
    meter = AverageMeter()
    for value, weight in pairs:
        meter.add(value, weight)
    expected = sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs)
    assert meter.mean == pytest.approx(expected, rel=1e-9, abs=1e-9)


def test_average_by_hand_and_reset():
    meter = AverageMeter()
    assert math.isnan(meter.mean)
    meter.add(1.0, 3)
    meter.add(5.0)
    assert (meter.total, meter.weight, meter.mean) == (8.0, 4.0, 2.0)
    meter.reset()
    assert math.isnan(meter.mean)


def test_an_empty_batch_does_not_spoil_the_average():
    meter = AverageMeter()
    meter.add(2.0, 4)
    meter.add(math.nan, 0)
    assert meter.mean == 2.0
    with pytest.raises(AssertionError):
        meter.add(1.0, -1)


@given(pairs=st.lists(st.tuples(st.floats(0, 1e3), st.floats(0.1, 1e3)), min_size=1, max_size=20))
def test_ratio_is_one_sum_over_another(pairs):
    meter = RatioMeter()
    for part, whole in pairs:
        meter.add(part, whole)
    assert len(meter) == len(pairs)
    assert meter.ratio == pytest.approx(sum(p for p, _ in pairs) / sum(w for _, w in pairs), rel=1e-9)


def test_ratio_of_nothing_and_reset():
    meter = RatioMeter()
    for _ in range(2):
        assert len(meter) == 0 and math.isnan(meter.ratio)
        meter.add(1.0, 0.0)
        assert len(meter) == 1 and math.isnan(meter.ratio)
        meter.add(2.0, 4.0)
        assert (meter.part, meter.whole, meter.ratio) == (3.0, 4.0, 0.75)
        meter.reset()


def test_eta_is_the_recent_mean_times_the_steps():
    meter = EtaMeter(size=2)
    assert math.isnan(meter.remaining_seconds(3))
    assert meter.text(3) == "unknown"
    for seconds in (100.0, 1.0, 3.0):
        meter.add(seconds)
    assert meter.remaining_seconds(10) == 20.0
    assert meter.text(3600) == "02:00:00"


@pytest.mark.parametrize("steps", [0, -1])
def test_eta_of_nothing_left_is_zero(steps):
    assert EtaMeter().text(steps) == "00:00:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "00:00:00"),
        (59.4, "00:00:59"),
        (59.6, "00:01:00"),
        (3661, "01:01:01"),
        (86399.7, "1 day, 00:00:00"),
        (86400 + 7384, "1 day, 02:03:04"),
        (2 * 86400, "2 days, 00:00:00"),
        (-5, "00:00:00"),
        (math.nan, "unknown"),
        (math.inf, "unknown"),
    ],
)
def test_format_duration(seconds, text):
    assert format_duration(seconds) == text


@given(seconds=st.integers(0, 10**8))
def test_format_duration_like_timedelta(seconds):
    head, _, clock = format_duration(seconds).rpartition(", ")
    reference_head, _, reference_clock = str(timedelta(seconds=seconds)).rpartition(", ")
    assert (head, clock) == (reference_head, reference_clock.zfill(8))
