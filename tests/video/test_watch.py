from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

import uniformer_video.video.watch as module
from tests.helpers import read_barcodes
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError, ReaderBase
from uniformer_video.video.watch import NotInTimeError, TimedReader, check_wanted, watched


@pytest.fixture(autouse=True)
def nothing_stuck(monkeypatch):
    monkeypatch.setattr(module, "_STUCK", [])


class Slow(ReaderBase):
    """Four grey frames, given out once ``gate`` is set."""

    path, num_frames, fps, size = "slow.mp4", 4, 2.0, (3, 5)

    def __init__(self) -> None:
        self.gate, self.ended = threading.Event(), threading.Event()

    def frames_at(self, indices):
        self.gate.wait()
        self.ended.set()
        return torch.full((len(indices), 3, 5, 3), 7, dtype=torch.uint8)


# The watch


def test_watched_returns_and_raises_what_the_work_does():
    assert watched("x", lambda progress: 42, patience=5, complaint="slow") == 42
    with pytest.raises(KeyError, match="gone"):
        watched("x", lambda progress: {}["gone"], patience=5, complaint="slow")


def test_gives_up_without_progress():
    release, kept = threading.Event(), object()
    with pytest.raises(NotInTimeError, match="^x.mp4: too slow$") as caught:
        watched("x.mp4", lambda _: release.wait(), patience=0.05, complaint="too slow", keep_if_stuck=kept)
    assert isinstance(caught.value, DecodeError)
    assert [kept] == module._STUCK
    release.set()


def test_one_thread_does_one_call_after_another():
    calls = [watched("a.mp4", lambda _: threading.get_ident(), patience=5, complaint="") for _ in range(5)]
    assert len(set(calls)) == 1
    assert calls[0] != threading.get_ident()

    def inner(_):
        return watched("b.mp4", lambda _: threading.get_ident(), patience=5, complaint="")

    before = threading.active_count()
    nested = {watched("a.mp4", inner, patience=5, complaint="") for _ in range(5)}
    assert len(nested) == 1
    assert threading.active_count() <= before + 1


def test_a_stuck_thread_gets_no_more_work_and_ends_when_it_comes_back():
    release, before = threading.Event(), threading.active_count()
    with pytest.raises(NotInTimeError):
        watched("a.mp4", lambda _: release.wait(20), patience=0.05, complaint="")
    assert watched("b.mp4", lambda _: 3, patience=5, complaint="") == 3
    release.set()
    deadline = time.monotonic() + 10
    while threading.active_count() > before + 1 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_starts_threads_of_its_own():
    assert watched("a.mp4", lambda _: 1, patience=5, complaint="") == 1
    process = multiprocessing.get_context("fork").Process(target=_read_in_child)
    process.start()
    process.join(20)
    assert process.exitcode == 7


def _read_in_child():
    os._exit(watched("a.mp4", lambda _: 7, patience=5, complaint="stuck"))


def test_late_work_is_stopped_at_its_next_step():
    release, ended, steps = threading.Event(), threading.Event(), []

    def work(progress):
        try:
            release.wait()
            progress()
            steps.append("went on")
        finally:
            ended.set()

    with pytest.raises(DecodeError, match="too slow"):
        watched("x.mp4", work, patience=0.05, complaint="too slow")
    release.set()
    assert ended.wait(10)
    assert steps == []


def test_work_asks_whether_it_is_wanted():
    check_wanted("x.mp4")  # outside of any watch: always
    release, ended, found = threading.Event(), threading.Event(), []

    def inner(_):
        release.wait(10)
        check_wanted("inner.mp4")

    def outer(_):
        check_wanted("outer.mp4")
        try:
            watched("inner.mp4", inner, patience=10, complaint="never said")
        except DecodeError as error:
            found.append(error)
            raise
        finally:
            ended.set()

    with pytest.raises(NotInTimeError, match="too slow"):
        watched("outer.mp4", outer, patience=0.05, complaint="too slow")
    release.set()
    assert ended.wait(10)
    assert [(type(error), error.path, error.cause) for error in found] == [(NotInTimeError, "inner.mp4", "given up")]
    # The threads' next work is wanted.
    assert watched("next.mp4", lambda _: check_wanted("next.mp4") or 5, patience=5, complaint="") == 5


def test_work_is_no_longer_wanted_after_ctrl_c():
    ended = threading.Event()

    def work(_):
        time.sleep(0.2)  # until the main thread waits: a signal on its way there would be noticed only after the wait
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        try:
            for _ in range(1000):
                check_wanted("x.mp4")
                time.sleep(0.01)
        except NotInTimeError:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        watched("x.mp4", work, patience=20, complaint="never said")
    assert ended.wait(5)


def test_waits_as_long_as_there_is_progress():
    def work(progress):
        for _ in range(12):
            threading.Event().wait(0.1)
            progress()
        return "done"

    assert watched("x", work, patience=0.5, complaint="too slow") == "done"


# The limit


def test_a_limited_reader_is_the_reader_it_holds(video):
    path = video("variable.mkv")
    with TimedReader(path, lambda: open_video(path), 30) as timed, open_video(path) as plain:
        assert type(timed.inner) is type(plain)
        assert (timed.path, timed.num_frames, timed.fps, timed.size) == (
            path,
            plain.num_frames,
            plain.fps,
            plain.size,
        )
        assert np.array_equal(timed.seconds, plain.seconds)
        assert timed.frames_at([7, 2, 7]).equal(plain.frames_at([7, 2, 7]))
        with pytest.raises(IndexError, match="^frame 12 of "):
            timed.frames_at([12])
        assert read_barcodes(timed.frames_at([5])) == [5]
    timed.close()
    with pytest.raises(AssertionError, match="closed reader"):
        timed.frames_at([0])


def test_frames_that_do_not_come_in_time():
    slow = Slow()
    timed = TimedReader("slow.mp4", lambda: slow, 0.15)
    start = time.monotonic()
    with pytest.raises(NotInTimeError, match=r"^slow.mp4: not read within 0.15 s \(DATA.DECODE_TIMEOUT\)$"):
        timed.frames_at([1])
    assert 0.1 < time.monotonic() - start < 5
    start = time.monotonic()
    with pytest.raises(NotInTimeError):  # at once: it is of no more use
        timed.frames_at([1])
    assert time.monotonic() - start < 0.1
    timed.close()
    assert timed.closed
    assert not slow.closed, "what a stuck thread works on must not be touched"
    slow.gate.set()
    assert slow.ended.wait(10)


def test_a_reader_whose_thread_came_back_late_can_be_closed():
    slow = Slow()
    timed = TimedReader("slow.mp4", lambda: slow, 0.1)
    with pytest.raises(NotInTimeError):
        timed.frames_at([1])
    slow.gate.set()
    assert slow.ended.wait(10)
    while timed._busy:
        time.sleep(0.005)
    with pytest.raises(NotInTimeError):
        timed.frames_at([1])
    timed.close()
    assert slow.closed


def test_opening_counts_towards_the_limit_of_every_call(monkeypatch):
    slow, now, waited = Slow(), [100.0], []
    # A clock of its own: a busy machine changes nothing.
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    def open_slowly():
        now[0] += 59.75
        return slow

    timed = TimedReader("slow.mp4", open_slowly, 60)
    real = module.watched
    monkeypatch.setattr(
        module, "watched", lambda *a, **options: waited.append(options["patience"]) or real(*a, **options)
    )
    with pytest.raises(NotInTimeError, match="within 60 s"):
        timed.frames_at([0])
    assert waited == [0.25]
    slow.gate.set()


def test_calls_are_limited_one_by_one(monkeypatch):
    """A long video that is read in many windows is not given up for its length."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])

    class Steady(Slow):
        def frames_at(self, indices):
            now[0] += 20
            return torch.zeros((len(indices), 3, 5, 3), dtype=torch.uint8)

    with TimedReader("x", Steady, 60) as timed:
        for _ in range(5):
            assert timed.frames_at([0]).shape == (1, 3, 5, 3)


def test_opening_that_never_ends():
    release = threading.Event()
    with pytest.raises(NotInTimeError, match="^x.mp4: not read within 0.1 s"):
        TimedReader("x.mp4", release.wait, 0.1)
    release.set()


def test_an_interrupted_wait_leaves_the_busy_reader_alone(monkeypatch):
    """Ctrl-C while a thread decodes: closing under it would free what it works on."""
    slow = Slow()
    timed = TimedReader("slow.mp4", lambda: slow, 30)
    real = module.watched

    def interrupted(path, work, **options):
        threading.Thread(target=work, args=(None,), daemon=True).start()
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "watched", interrupted)
    with pytest.raises(KeyboardInterrupt), timed:
        timed.frames_at([0])
    assert not slow.closed
    monkeypatch.setattr(module, "watched", real)
    slow.gate.set()


def test_a_close_that_hangs_is_left_behind():
    class Sticky(Slow):
        def close(self):
            self.gate.wait()

    sticky = Sticky()
    timed = TimedReader("slow.mp4", lambda: sticky, 0.1)
    timed.close()
    assert timed.closed
    sticky.gate.set()
