"""Reading a video within a time limit: calls that may never return run in a thread that is watched, and left behind.

A decoder that loops and a disk that hangs cannot be stopped from outside. The thread that waits for them is abandoned:
nothing of it is touched again, and as a daemon it does not keep the process from ending. Work that is only slow asks
step by step whether it is still wanted (``check_wanted``), so that it does not go on for nobody and slow down the rest.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from uniformer_video.video.reader import DecodeError, ReaderBase, VideoReader

T = TypeVar("T")


class _Hand:
    """A thread that does one thing after another. A new thread for each would cost time, and memory that stays."""

    def __init__(self) -> None:
        self._work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.is_dismissed = False
        threading.Thread(target=self._serve, name="reading videos", daemon=True).start()

    def do(self, work: Callable[[], None]) -> None:
        """Have ``work`` done, which raises nothing."""
        self._work.put(work)

    def _serve(self) -> None:
        while not self.is_dismissed:
            work = self._work.get()
            work()
            del work  # not kept until the next one comes


# Threads that have nothing to do. Several where watched work has watched work in it, as with decord.
_IDLE: list[_Hand] = []
# A forked process has this list, but none of the threads.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_IDLE.clear)

# Of a thread that does watched work: what tells that the work, and the watched work that it is part of, was given up.
_WORK = threading.local()

# What calls that never came back work on. It is kept, since freeing it could wait for its stuck thread.
_STUCK: list[Any] = []


class NotInTimeError(DecodeError):
    """The work on a video was given up, since it took too long."""


def check_wanted(path: str) -> None:
    """Raise where the watched work that this thread does, if any, has been given up. To be called between steps.

    Args:
        path: the file, for the error, which nobody waits for.

    Raises:
        NotInTimeError: nobody waits for the work any more.
    """
    if any(given_up.is_set() for given_up in getattr(_WORK, "given_up", ())):
        raise NotInTimeError(path, "given up")


def watched(
    path: str,
    work: Callable[[Callable[[], None]], T],
    *,
    patience: float,
    complaint: str,
    keep_if_stuck: Any = None,
) -> T:
    """Run ``work(progress)`` in a thread and give up when it calls ``progress()`` no more.

    Args:
        path: the file, for the error.
        work: what to do; may call its argument after every step, which raises once the work has been given up.
        patience: how long it may take to the next step or the end, seconds.
        complaint: what to say when it takes longer.
        keep_if_stuck: an object that must not be freed if the work never ends.

    Raises:
        NotInTimeError: no progress for ``patience`` seconds. The thread is left behind (it cannot be stopped).
        BaseException: whatever ``work`` raises.
    """
    beat = threading.Event()
    done = threading.Event()
    given_up = threading.Event()
    outcome: dict[str, Any] = {}
    around = getattr(_WORK, "given_up", ())

    def progress() -> None:
        check_wanted(path)  # A thread that comes back late must not touch what has been opened since.
        beat.set()

    def run() -> None:
        _WORK.given_up = (*around, given_up)
        try:
            outcome["value"] = work(progress)
        except BaseException as error:  # handed over to the caller's thread below, whatever it is
            outcome["error"] = error
        _WORK.given_up = ()
        done.set()
        beat.set()

    try:
        hand = _IDLE.pop()
    except IndexError:
        hand = _Hand()
    try:
        hand.do(run)
        while not done.is_set():
            if not beat.wait(patience):
                given_up.set()
                _STUCK.append(keep_if_stuck)
                raise NotInTimeError(path, complaint)
            beat.clear()
    finally:
        # One that is still at work, or was when the wait was interrupted, ends when it comes back, if ever.
        if done.is_set():
            _IDLE.append(hand)
        else:
            given_up.set()
            hand.is_dismissed = True
            hand.do(lambda: None)  # it may wait for work already
    if "error" in outcome:
        raise outcome.pop("error")
    return outcome["value"]


class TimedReader(ReaderBase):
    """A reader whose opening and every ``frames_at`` together end within a limit, whatever the file, disk or decoder.

    After a call that was given up the reader is of no more use: further calls raise at once, and closing it touches
    nothing that the stuck thread may still work on.

    Args:
        path: the file or folder, for errors.
        open_reader: opens it.
        timeout_seconds: above 0. How long the opening and any one ``frames_at`` may take together.

    Raises:
        NotInTimeError: the opening took longer.
        BaseException: whatever ``open_reader`` raises.
    """

    def __init__(self, path: str, open_reader: Callable[[], VideoReader], timeout_seconds: float) -> None:
        assert timeout_seconds > 0, timeout_seconds
        self.path = str(path)
        self._limit = timeout_seconds
        self._given_up = False
        # Set while a thread works on the reader, also one that has been given up.
        self._busy = False
        start = time.monotonic()
        self._reader = self._within(open_reader, timeout_seconds)
        self._left = max(timeout_seconds - (time.monotonic() - start), 0.001)
        self.num_frames, self.fps, self.size = self._reader.num_frames, self._reader.fps, self._reader.size

    @property
    def seconds(self) -> np.ndarray:
        """See :attr:`uniformer_video.video.reader.VideoReader.seconds`."""
        return self._reader.seconds

    @property
    def inner(self) -> VideoReader:
        """The reader that does the work."""
        return self._reader

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`.

        Raises:
            NotInTimeError: the limit has passed.
        """
        assert not self.closed, f"{self.path}: frames_at on a closed reader"
        return self._within(lambda: self._reader.frames_at(indices), self._left)

    def close(self) -> None:
        """Release the file. May be called twice. While a thread is stuck in the reader it is left as it is."""
        if not (self.closed or self._busy):
            with contextlib.suppress(NotInTimeError):
                self._within(self._reader.close, self._limit, last=True)
        super().close()

    def _within(self, call: Callable[[], T], patience: float, last: bool = False) -> T:
        complaint = f"not read within {self._limit:g} s (DATA.DECODE_TIMEOUT)"
        if self._given_up and not last:
            raise NotInTimeError(self.path, complaint)

        def work(_: Callable[[], None]) -> T:
            try:
                return call()
            finally:
                self._busy = False

        self._busy = True
        try:
            return watched(self.path, work, patience=patience, complaint=complaint)
        except BaseException:
            # Out of patience, or Ctrl-C while waiting.
            self._given_up = self._given_up or self._busy
            raise
