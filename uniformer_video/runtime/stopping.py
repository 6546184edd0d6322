"""A run that is asked to stop: signals are noted, the step in hand is finished, and what is done is kept.

A scheduler that takes a machine away sends a signal some time before. While :func:`listening` is in force, SIGTERM,
SIGINT (Ctrl-C) and SIGUSR1 are only noted; the run looks at :func:`requested` where it can stop, keeps what it has done
and raises :class:`Stopped`. A second Ctrl-C interrupts at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

EXIT_STOPPED = 75
"""Exit code of a run that a signal stopped and that the same command goes on with: EX_TEMPFAIL of sysexits.h."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

_listens = False
_requested = ""
_waiting = False


class Stopped(Exception):
    """A run stops because it was asked to; the message says what is kept and how it goes on."""


class StopWaiting(BaseException):
    """Raised out of :func:`interruptible` by a signal; no ``except Exception`` on the way may take it for a failure."""


def requested() -> str:
    """Return the name of the first signal that asked this process to stop, such as ``SIGTERM``; empty: none has."""
    return _requested


@contextmanager
def listening() -> Iterator[None]:
    """Note the signals of :data:`SIGNALS` inside the ``with`` block; afterwards they do what they did before.

    Inside another such block this changes nothing, so that a command listens from its first moment to its last wherever
    its parts begin to. Only the main thread of a process can listen; elsewhere it does nothing.
    """
    global _requested, _listens
    if _listens or threading.current_thread() is not threading.main_thread():
        yield
        return
    _requested, _listens = "", True
    before = {number: signal.signal(number, _note) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        _requested, _listens = "", False


@contextmanager
def interruptible() -> Iterator[None]:
    """Let a signal end a wait inside the ``with`` block at once, where nothing is in hand that must be finished.

    Raises:
        StopWaiting: a signal came, now or before the block.
    """
    global _waiting
    _waiting = True
    try:
        if _requested:
            raise StopWaiting(_requested)
        yield
    finally:
        _waiting = False


@contextmanager
def beginning(*, alone: bool) -> Iterator[None]:
    """Let a signal end at once what a run does before it has anything to keep: reading lists, fetching weights.

    Args:
        alone: no other process waits for this one; else signals are noted for later, as ever.

    Raises:
        Stopped: a signal came.
    """
    try:
        with interruptible() if alone else nullcontext():
            yield
    except StopWaiting as stop:
        raise Stopped(f"stopped by {stop} before the run began; the same command begins it") from None


def heed_no_more() -> None:
    """Let no SIGTERM or SIGUSR1 end this process any more: all is done, and what is left is to end with its exit code.

    A launcher sends SIGTERM as soon as one process of a run has ended with another code than 0, and would then see the
    signal in place of the code of one that takes a moment longer. Ctrl-C still ends it.
    """
    for number in SIGNALS:
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)


def waited_for(items: Iterable[T], *, alone: bool) -> Iterator[T]:
    """Yield ``items``, none of which is None.

    Args:
        items: to be waited for.
        alone: no other process waits for this one: a signal ends the wait for an item at once.

    Raises:
        StopWaiting: it did.
    """
    iterator = iter(items)
    while True:
        with interruptible() if alone else nullcontext():
            item = next(iterator, None)
        if item is None:
            return
        yield item


def _note(number: int, frame: FrameType | None) -> None:
    global _requested, _waiting
    if _requested and number == signal.SIGINT:
        raise KeyboardInterrupt
    _requested = _requested or signal.Signals(number).name
    if _waiting:
        _waiting = False  # once: what follows is on its way out already
        raise StopWaiting(_requested)
