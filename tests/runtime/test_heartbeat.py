"""Signs of life and last words, between threads that stand for processes, on a real store."""

from __future__ import annotations

import threading
import time

import pytest

from tests.runtime.stores import address, connect, member
from uniformer_video.runtime import stopping
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.heartbeat import EXIT_LOST, GOES_ON, Heartbeat, LastWords, name_of, post
from uniformer_video.runtime.meeting import Member, beat_key, host_key

__all__ = ["address"]


class Run:
    """Processes of a run, each a heartbeat; ``ends`` has what ended each."""

    def __init__(self, address, world=2, timeout=1.0, machines=1):
        self.ends, self.hearts, self.address = {}, [], address
        store = connect(address)
        for number in range(world):
            store.set(beat_key(number), "0")
            store.set(host_key(number), f"host{number}")
        for number in range(world):
            who = member(machines, world // machines, number)
            self.hearts.append(self.heart(who, timeout))

    def heart(self, who, timeout):
        def end(words):
            self.ends.setdefault(who.number, words)

        return Heartbeat(lambda: connect(self.address), who, timeout=timeout, end=end)

    def start(self, *numbers):
        for number in numbers or range(len(self.hearts)):
            self.hearts[number].start()
        return self

    def wait(self, *numbers, seconds=20.0):
        end = time.monotonic() + seconds
        while not set(numbers) <= set(self.ends):
            assert time.monotonic() < end, self.ends
            time.sleep(0.02)

    def stop(self):
        for heart in self.hearts:
            heart.silence()


@pytest.fixture
def run(address):
    runs = []

    def make(**options):
        runs.append(Run(address, **options))
        return runs[-1]

    yield make
    for made in runs:
        made.stop()


def test_those_who_live_end_nobody(run):
    alive = run(world=3, timeout=1.5).start()
    time.sleep(2.5)
    assert alive.ends == {}


def test_a_silent_process_is_lost_to_all(run):
    made = run(world=3).start(0, 1)
    made.wait(0, 1)
    words = LastWords(2, 0, f"process 2 of 3 (host2) was not heard of for 1 s; {GOES_ON}", EXIT_LOST)
    assert made.ends == {0: words, 1: words}  # process 0 has told the other


def test_a_silent_process_0_is_lost_to_all(run):
    made = run(world=3).start(1, 2)
    made.wait(1, 2)
    line = f"process 0 of 3 (host0) was not heard of for 1 s; {GOES_ON}"
    assert {words.line for words in made.ends.values()} == {line}


def test_last_words_end_the_others_and_not_oneself(run):
    made = run(timeout=30.0).start()
    made.hearts[1].last_words("what it said", 2)
    made.wait(0)
    assert made.ends == {0: LastWords(1, 0, "what it said", 2)}


def test_the_first_words_are_the_last(run, address):
    made = run(world=3, timeout=30.0)
    post(connect(address), LastWords(2, 0, "first"))
    post(connect(address), LastWords(1, 0, "second"))
    made.start(0, 1)
    made.wait(0, 1)
    assert {words.line for words in made.ends.values()} == {"first"}


def test_words_are_heard_without_a_limit(run):
    made = run(timeout=0.0).start()
    time.sleep(1.0)
    assert made.ends == {}
    made.hearts[0].last_words("the end")
    made.wait(1)
    assert made.ends[1] == LastWords(0, 0, "the end", EXIT_LOST)


def test_without_a_limit_silence_is_no_end(run):
    made = run(timeout=0.0).start(0)
    time.sleep(1.5)
    assert made.ends == {}


def test_goodbye_is_not_silence_and_the_host_waits_for_it(run):
    made = run(world=2, timeout=1.0).start()
    done = []
    host = threading.Thread(target=lambda: (made.hearts[0].goodbye(host=True), done.append(0)))
    host.start()
    time.sleep(1.8)
    assert not done  # the store is needed
    made.hearts[1].goodbye(host=False)
    host.join(20)
    assert done == [0] and made.ends == {}


def test_after_goodbye_no_thread_is_left_for_the_interpreter_to_stop(run):
    """One that is stopped inside the store's C++ takes the process with it: SIGABRT after all is done."""
    made = run(world=2).start()
    made.hearts[1].goodbye(host=False)
    made.hearts[0].goodbye(host=True)
    assert not [thread for heart in made.hearts for thread in heart._threads if thread.is_alive()]


def test_a_process_that_is_done_is_not_missed(run):
    made = run(world=3, timeout=1.5).start()
    made.hearts[2].goodbye(host=False)
    time.sleep(2.5)
    assert made.ends == {}
    assert made.hearts[0].someone_left()


def test_a_host_that_waits_still_finds_the_lost(run):
    made = run(world=3, timeout=1.0).start(0, 1)
    threading.Thread(target=made.hearts[0].goodbye, kwargs={"host": True}, daemon=True).start()
    made.wait(0, 1)
    assert made.ends[1].number == 2


class TestVerdict:
    """After a failed exchange: who is lost, long before the limit."""

    def test_somebody_is_gone(self, run):
        made = run(world=3, timeout=4.0).start(1, 2)
        time.sleep(0.3)
        assert made.hearts[1].verdict() == LastWords(0, 0, f"process 0 of 3 (host0) is gone; {GOES_ON}")

    def test_somebody_else_than_process_0(self, run):
        made = run(world=3, timeout=4.0).start()
        time.sleep(0.3)
        made.hearts[2].silence()
        assert made.hearts[1].verdict().line == f"process 2 of 3 (host2) is gone; {GOES_ON}"

    def test_nobody_is(self, run):
        made = run(world=2, timeout=2.0).start()
        assert made.hearts[1].verdict() is None

    def test_who_has_said_goodbye_is_not_gone(self, run):
        made = run(world=2, timeout=2.0).start()
        made.hearts[1].goodbye(host=False)
        assert made.hearts[0].verdict() is None
        assert made.hearts[0].someone_left() and not made.hearts[1].someone_left()

    def test_last_words_come_first(self, run, address):
        made = run(world=2, timeout=10.0).start(0)
        post(connect(address), LastWords(1, 0, "killed"))
        assert made.hearts[0].verdict().line == "killed"


class TestJudgement:
    """What a process makes of what it has heard, at a given time."""

    @pytest.fixture
    def heart(self, run):
        return lambda number=0, timeout=45.0: run(world=2, timeout=timeout).hearts[number]

    def test_its_own_pause_is_nobodys_fault(self, heart):
        # A suspended job: nothing was heard for an hour, in which this process did not look either.
        one = heart()
        now = time.monotonic()
        assert one._judge(now + 3600) is None
        for tick in range(1, 90):
            assert one._judge(now + 3600 + tick / 2) is None
        assert one._judge(now + 3600 + 45.5) is not None

    @pytest.mark.parametrize(("asked", "patience"), [("", 10), ("SIGTERM", 45)])
    def test_a_store_that_is_gone_is_waited_for_a_little(self, heart, monkeypatch, asked, patience):
        monkeypatch.setattr(stopping, "_requested", asked)
        one = heart(1)
        one._broken, now = True, time.monotonic()
        ticks = [now + tick / 4 for tick in range(4 * 50)]
        (first, words) = next((tick, words) for tick in ticks if (words := one._judge(tick)))
        assert first - now == pytest.approx(patience, abs=0.3)
        assert words.line == f"process 0 of 2 (host0) was not heard of for {patience} s; {GOES_ON}"

    def test_process_0_without_the_store_of_the_one_that_started_it(self, heart):
        one = heart(0)
        one._broken, now = True, time.monotonic()
        words = next(words for tick in range(100) if (words := one._judge(now + tick / 4)))
        assert words.line == f"process 0 of 2 (host0) lost the process that started it; {GOES_ON}"

    def test_beats_are_as_often_as_the_limit_needs(self, heart):
        assert heart(timeout=45.0).interval == 0.5
        assert heart(timeout=1.0).interval == 0.1
        assert heart(timeout=0.0).interval == 0.5


def test_a_lost_connection_is_made_anew(run, address):
    made = run(timeout=2.0)

    class Broken:
        def set(self, *_):
            raise RuntimeError("Connection reset by peer")

    made.hearts[1]._store = Broken()
    made.start()
    time.sleep(3.0)
    assert made.ends == {}


def test_names():
    assert name_of(1, 4, "a") == "process 1 of 4 (a)"
    assert name_of(1, 4, "") == "process 1 of 4"
    assert Member(2, 1, 4, 3).number == 7
    assert "\n" not in str(UserError(f"x; {GOES_ON}"))
