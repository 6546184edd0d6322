"""Listening for signals from the first moment of a command to its last, wherever its parts begin to."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from uniformer_video.runtime import stopping

_listens = False


@contextmanager
def listening() -> Iterator[None]:
    """Note signals as ``stopping.listening`` does; inside another such block it changes nothing."""
    global _listens
    if _listens:
        yield
        return
    _listens = True
    try:
        with stopping.listening():
            yield
    finally:
        _listens = False


def heed_no_more() -> None:
    """Let no SIGTERM or SIGUSR1 end this process any more: all is done, and what is left is to end with its exit code.

    A launcher sends SIGTERM as soon as one process of a run has ended with another code than 0, and would then see the
    signal in place of the code of one that takes a moment longer. Ctrl-C still ends it.
    """
    for number in stopping.SIGNALS:
        if number != signal.SIGINT:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def beginning(*, alone: bool) -> Iterator[None]:
    """Let a signal end at once what a run does before it has anything to keep: reading lists, fetching weights.

    Args:
        alone: no other process waits for this one; else signals are noted for later, as ever.

    Raises:
        Stopped: a signal came.
    """
    try:
        with stopping.interruptible() if alone else nullcontext():
            yield
    except stopping.StopWaiting as signal:
        raise stopping.Stopped(f"stopped by {signal} before the run began; the same command begins it") from None
