"""When a training is told that it waits for its data."""

from __future__ import annotations

import pytest

from uniformer_video.engine.bottleneck import Bottleneck


def noted(steps, waiting, seconds=1.0, workers=2):
    bottleneck = Bottleneck(workers)
    for _ in range(steps):
        bottleneck.add(waiting, seconds)
    return bottleneck


def test_the_sentence(log):
    noted(200, 0.63).check()
    assert log == [
        "WARNING: the network waited for data in 63 % of the last 200 steps' time: loading is the bottleneck; raise "
        "DATA_LOADER.NUM_WORKERS (now 2), or decode less (docs/DATASETS.md, prepare_dataset.py --transcode)"
    ]


@pytest.mark.parametrize(("steps", "waiting", "told"), [(20, 0.31, 1), (20, 0.30, 0), (19, 1.0, 0), (500, 0.0, 0)])
def test_a_window_of_twenty_steps_and_thirty_percent(log, steps, waiting, told):
    noted(steps, waiting, seconds=1.0).check()
    assert len(log) == told


def test_it_is_a_share_of_the_time_and_not_of_the_steps(log):
    bottleneck = noted(30, 0.0, seconds=1.0)
    bottleneck.add(20.0, 21.0)  # one step that hung
    bottleneck.check()
    assert "in 39 % of the last 31 steps' time" in log[0]


def test_once_an_epoch(log):
    bottleneck = noted(40, 0.5)
    bottleneck.check()
    for _ in range(40):
        bottleneck.add(0.9, 1.0)
    bottleneck.check(ended=0)
    assert len(log) == 1
    bottleneck.start_epoch()
    bottleneck.check(ended=1)
    assert len(log) == 1  # the steps of the epoch before are forgotten
    for _ in range(20):
        bottleneck.add(0.9, 1.0)
    bottleneck.check()
    assert len(log) == 2 and "in 90 % of the last 20 steps' time" in log[1]


def test_windows_follow_each_other(log):
    bottleneck = noted(25, 0.1)
    bottleneck.check()
    for _ in range(15):
        bottleneck.add(0.8, 1.0)
    bottleneck.check()  # too few since the last look
    assert log == []
    for _ in range(5):
        bottleneck.add(0.8, 1.0)
    bottleneck.check()
    assert "in 80 % of the last 20 steps' time" in log[0]


def test_a_whole_epoch(log):
    bottleneck = noted(25, 0.2)
    bottleneck.check()
    for _ in range(15):
        bottleneck.add(0.6, 1.0)
    bottleneck.check(ended=4)
    assert len(log) == 1 and "waited for data in 35 % of the time of epoch 5: loading" in log[0]


@pytest.mark.parametrize(("steps", "seconds", "told"), [(3, 1.0, 0), (3, 19.9, 0), (3, 20.0, 1), (20, 0.001, 1)])
def test_an_epoch_of_few_steps_tells_something_where_it_is_long(log, steps, seconds, told):
    bottleneck = Bottleneck(0)
    for _ in range(steps):
        bottleneck.add(0.5 * seconds, seconds)
    bottleneck.check()
    assert len(log) == (1 if steps >= 20 else 0)
    bottleneck.check(ended=0)
    assert len(log) == told


def test_nothing_noted_is_nothing_told(log):
    Bottleneck(0).check(ended=0)
    noted(20, 0.0, seconds=0.0).check(ended=0)
    assert log == []
