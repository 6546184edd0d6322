"""Signals are noted, end waits, and leave the process as it was."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from uniformer_video.runtime import stopping


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.fixture(autouse=True)
def handlers_restored():
    before = [signal.getsignal(number) for number in stopping.SIGNALS]
    yield
    assert [signal.getsignal(number) for number in stopping.SIGNALS] == before
    assert stopping.requested() == ""


def test_the_code_is_the_documented_one():
    assert stopping.EXIT_STOPPED == os.EX_TEMPFAIL == 75
    assert {s.name for s in stopping.SIGNALS} == {"SIGTERM", "SIGINT", "SIGUSR1"}


@pytest.mark.parametrize("number", stopping.SIGNALS, ids=lambda n: n.name)
def test_a_signal_is_noted_and_nothing_else_happens(number):
    with stopping.listening():
        assert stopping.requested() == ""
        send(number)
        assert stopping.requested() == number.name


def test_the_first_signal_is_the_one_that_is_told():
    with stopping.listening():
        send(signal.SIGUSR1)
        send(signal.SIGTERM)
        send(signal.SIGTERM)
        assert stopping.requested() == "SIGUSR1"


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_any_signal_interrupts_at_once(first):
    with pytest.raises(KeyboardInterrupt), stopping.listening():
        send(first)
        assert stopping.requested()
        send(signal.SIGINT)
        pytest.fail("went on")


def test_each_listening_begins_without_a_request():
    with stopping.listening():
        send(signal.SIGTERM)
    with stopping.listening():
        assert stopping.requested() == ""


def test_another_thread_cannot_listen_and_says_nothing():
    seen = []

    def work() -> None:
        with stopping.listening():
            seen.append(signal.getsignal(signal.SIGTERM))

    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def test_who_catches_a_decoders_errors_does_not_catch_a_signal():
    with stopping.listening(), pytest.raises(stopping.StopWaiting), stopping.interruptible():
        try:
            send(signal.SIGTERM)
        except Exception:
            pytest.fail("the video would count as unreadable")


def test_a_signal_ends_a_wait():
    with stopping.listening():
        with pytest.raises(stopping.StopWaiting, match="SIGUSR1"), stopping.interruptible():
            send(signal.SIGUSR1)
            pytest.fail("waited on")
        assert stopping.requested() == "SIGUSR1"


def test_a_wait_after_a_signal_does_not_begin():
    with stopping.listening():
        send(signal.SIGTERM)
        with pytest.raises(stopping.StopWaiting), stopping.interruptible():
            pytest.fail("waited")


def test_outside_a_wait_a_signal_is_noted_alone():
    with stopping.listening():
        with stopping.interruptible():
            pass
        send(signal.SIGTERM)
        assert stopping.requested() == "SIGTERM"


def test_further_signals_do_not_disturb_the_way_out_of_a_wait():
    with stopping.listening(), pytest.raises(stopping.StopWaiting), stopping.interruptible():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)  # a StopWaiting out of here would hide what is being raised


class TestWaitedFor:
    def test_items_come_in_order(self):
        with stopping.listening():
            assert list(stopping.waited_for([1, 2, 3], alone=True)) == [1, 2, 3]

    def test_alone_the_next_item_is_not_waited_for(self):
        taken = []

        def source():
            for item in (1, 2, 3):
                taken.append(item)
                yield item

        seen = []
        with stopping.listening(), pytest.raises(stopping.StopWaiting):
            for item in stopping.waited_for(source(), alone=True):
                seen.append(item)
                if item == 2:
                    send(signal.SIGTERM)
        assert (seen, taken) == ([1, 2], [1, 2])

    def test_with_others_every_item_is_taken(self):
        seen = []
        with stopping.listening():
            for item in stopping.waited_for([1, 2, 3], alone=False):
                seen.append(item)
                send(signal.SIGTERM)
        assert seen == [1, 2, 3]

    def test_a_signal_between_items_is_no_wait_of_the_consumer(self):
        with stopping.listening():
            items = stopping.waited_for([1, 2], alone=True)
            assert next(items) == 1
            send(signal.SIGTERM)  # in the hands of the consumer: noted, nothing raised
            assert stopping.requested() == "SIGTERM"
            with pytest.raises(stopping.StopWaiting):
                next(items)


def test_an_inner_block_keeps_what_the_outer_one_heard():
    before = signal.getsignal(signal.SIGTERM)
    with stopping.listening():
        signal.raise_signal(signal.SIGTERM)
        with stopping.listening():
            assert stopping.requested() == "SIGTERM"
        assert stopping.requested() == "SIGTERM"
        assert signal.getsignal(signal.SIGTERM) is not before
    assert stopping.requested() == "" and signal.getsignal(signal.SIGTERM) is before


def test_it_listens_again_after_an_error():
    with pytest.raises(ValueError), stopping.listening():
        raise ValueError
    with stopping.listening():
        signal.raise_signal(signal.SIGUSR1)
        assert stopping.requested() == "SIGUSR1"


def test_a_beginning_alone_is_cut_short():
    with stopping.listening():
        with pytest.raises(stopping.Stopped) as caught, stopping.beginning(alone=True):
            signal.raise_signal(signal.SIGTERM)
            pytest.fail("went on")
        assert str(caught.value) == "stopped by SIGTERM before the run began; the same command begins it"
        with pytest.raises(stopping.Stopped), stopping.beginning(alone=True):
            pytest.fail("began")


def test_a_beginning_that_others_wait_for_is_not():
    with stopping.listening(), stopping.beginning(alone=False):
        signal.raise_signal(signal.SIGTERM)
        assert stopping.requested() == "SIGTERM"


def test_at_the_very_end_only_ctrl_c_is_heard():
    before = {number: signal.getsignal(number) for number in stopping.SIGNALS}
    try:
        stopping.heed_no_more()
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGUSR1)
        assert signal.getsignal(signal.SIGINT) is before[signal.SIGINT]
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
