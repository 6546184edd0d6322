"""Listening in parts, and beginnings that a signal may cut short."""

from __future__ import annotations

import signal

import pytest

from uniformer_video.runtime import alert, stopping


def test_an_inner_block_keeps_what_the_outer_one_heard():
    before = signal.getsignal(signal.SIGTERM)
    with alert.listening():
        signal.raise_signal(signal.SIGTERM)
        with alert.listening():
            assert stopping.requested() == "SIGTERM"
        assert stopping.requested() == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) is not before
    assert stopping.requested() == "" and signal.getsignal(signal.SIGTERM) is before


def test_it_listens_again_after_an_error():
    with pytest.raises(ValueError), alert.listening():
        raise ValueError
    with alert.listening():
        signal.raise_signal(signal.SIGUSR1)
        assert stopping.requested() == "SIGUSR1"


def test_a_beginning_alone_is_cut_short():
    with alert.listening():
        with pytest.raises(stopping.Stopped) as caught, alert.beginning(alone=True):
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("went on")
        assert str(caught.value) == "stopped by SIGTERM before the run began; the same command begins it"
        with pytest.raises(stopping.Stopped), alert.beginning(alone=True):
            pytest.fail("began")


def test_a_beginning_that_others_wait_for_is_not():
    with alert.listening(), alert.beginning(alone=False):
        signal.raise_signal(signal.SIGTERM)
        assert stopping.requested() == "SIGTERM"


def test_at_the_very_end_only_ctrl_c_is_heard():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    try:
        alert.heed_no_more()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
