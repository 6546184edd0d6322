"""The worker processes of a loader: how they start, how it is seen that one has died, how they end surely."""

from __future__ import annotations

import atexit
import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.util import Finalize
from types import TracebackType
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data._utils import signal_handling

from uniformer_video.datasets.board import ReadingBoard

GRACE_SECONDS = 2.0
"""How long workers may finish what they have in hand when they are to end."""

KILL_SECONDS = 5.0
"""How long to wait for a process that was killed; only one in the kernel's hands, on a dead disk, takes longer."""

WATCH_SECONDS = 1.0
"""How often a worker looks whether its main process is still there."""

# A scheduler and a terminal signal every process of a job. The main process decides what is finished first.
IGNORED = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGUSR1") if hasattr(signal, name))

# Those that have not been ended, with all they hold: where a cycle of garbage takes torch's objects apart in any order,
# the workers would never hear that they are to end.
_CREWS: set[Crew] = set()


def start_worker(board: ReadingBoard, parent: int, worker: int) -> None:
    """Prepare a worker process, in it; torch's loader calls it first of all.

    Args:
        board: where it notes what it reads.
        parent: process id of the main process.
        worker: its number.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _held_back())
    # Workers are many; more threads in each would fight over the cores.
    torch.set_num_threads(1)
    # What was there before the fork stays: a collection that looks at it would get this process copies of its pages.
    gc.freeze()
    board.sign_in(worker)
    sys.excepthook = _complain
    threading.Thread(target=_leave_with, args=(parent,), name="main process", daemon=True).start()


def _complain(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print what a thread of a worker failed with, but for a main process that has gone while it fetched a batch.

    multiprocessing hands over open files in a thread of its own, which knows no other way to say so.
    """
    if not issubclass(kind, (ConnectionError, EOFError)):
        sys.__excepthook__(kind, error, trace)


def _leave_with(parent: int) -> None:
    """End this process when its parent has: a killed one cannot, and torch looks only between two batches."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)


@dataclass(frozen=True)
class Death:
    """A worker process that ended by itself.

    Args:
        worker: its number.
        pid: its process id.
        how: ``SIGSEGV``, or ``exit code 3``.
        record: what it was reading, by number; None: no video.
    """

    worker: int
    pid: int
    how: str
    record: int | None

    def text(self, path: str | None) -> str:
        """Return the death in words; ``path`` is that of the record."""
        return f"worker {self.worker} (process {self.pid}) was ended by {self.how} while reading {path or 'no video'}"


class Crew:
    """The running worker processes of one of torch's loaders, whose first pass begins with them.

    torch would raise in the middle of whatever the main process does, by a handler of SIGCHLD, when a worker ends. Here
    a death is only seen where somebody looks.

    Args:
        loader: with persistent workers that :func:`start_worker` starts.
        board: that of its workers.

    Raises:
        OSError: the system has no room for so many processes.
    """

    def __init__(self, loader: DataLoader, board: ReadingBoard) -> None:
        self._owner = os.getpid()
        self._loader, self._board = loader, board
        before = set(multiprocessing.active_children())
        with _signals_held_back():
            try:
                self.batches: Iterator[Any] = iter(loader)
                signal_handling._remove_worker_pids(id(self.batches))
                self.batches._worker_pids_set = False
            except BaseException as error:
                _kill(list(set(multiprocessing.active_children()) - before))
                _leave_alone(error)
                raise
        self.workers = list(self.batches._workers)
        _CREWS.add(self)
        _end_all_at_exit()

    def begin_pass(self) -> None:
        """Begin another pass over the loader; what is left of the one before is dropped.

        Raises:
            Exception: whatever torch raises where a worker is gone; see :meth:`deaths`.
        """
        self.batches = iter(self._loader)

    def deaths(self, wait_seconds: float = 0.0) -> list[Death]:
        """Return the workers that have ended, after waiting for the first one for at most ``wait_seconds``."""
        ended = wait([process.sentinel for process in self.workers], timeout=wait_seconds)
        found = []
        for number, process in enumerate(self.workers):
            # Its files are closed a moment before it is known what it ended with; or never, where it has left children.
            if process.sentinel in ended or process.exitcode is not None:
                process.join()
                found.append(Death(number, process.pid, _end_of(process.exitcode), self._board.record_of(number)))
        return found

    def end(self, grace_seconds: float = GRACE_SECONDS) -> None:
        """End all workers: they may finish what they have in hand, but not for long. May be called twice."""
        if self._owner != os.getpid() or self not in _CREWS:
            return
        # In a thread: for each worker that does not answer torch waits seconds, and forever for the lock that a killed
        # one held.
        asking = threading.Thread(target=self._ask, name="ending workers", daemon=True)
        with contextlib.suppress(RuntimeError):  # no thread starts any more where the interpreter ends
            asking.start()
            asking.join(grace_seconds)
        _kill(self.workers)
        if asking.ident is not None:
            asking.join(KILL_SECONDS)
        _CREWS.discard(self)

    def _ask(self) -> None:
        with contextlib.suppress(Exception):
            self.batches._shutdown_workers()


def _leave_alone(error: BaseException) -> None:
    """Keep torch from ending what it had begun to make when ``error`` came: it would fail, with a traceback."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        half_made = frame.f_locals.get("self")
        if hasattr(half_made, "_shutdown_workers"):
            half_made._shutdown = True


def _kill(processes: list[Any]) -> None:
    alive = [process for process in processes if process.exitcode is None]
    for process in alive:
        process.kill()
    for process in alive:
        process.join(KILL_SECONDS)


def _end_of(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def _held_back() -> set[signal.Signals]:
    return {*IGNORED, signal.SIGCHLD}


@contextlib.contextmanager
def _signals_held_back() -> Iterator[None]:
    """Keep signals from this thread, and from processes started in it until they say otherwise.

    A new process has the handlers of the main one until it has its own.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _held_back())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_all_at_exit() -> None:
    """Have :func:`_end_all` called before anything else that a process does at its end.

    multiprocessing and torch would ask the workers with SIGTERM, which they ignore, and wait. What is registered last
    is done first; torch may just have registered its own.
    """
    global _finalizer
    atexit.unregister(_end_all)
    atexit.register(_end_all)
    if _finalizer is None or _finalizer[0] != os.getpid():
        # A process that multiprocessing has started ends without atexit.
        _finalizer = os.getpid(), Finalize(None, _end_all, exitpriority=100)


_finalizer: tuple[int, Finalize] | None = None


def _end_all() -> None:
    if _finalizer is None or _finalizer[0] != os.getpid():
        return  # a copy of the process that they belong to
    for crew in list(_CREWS):
        crew.end(grace_seconds=0.5)
    # Those of a loader that was interrupted while it started them. They are to end anyway: multiprocessing says so.
    _kill([child for child in multiprocessing.active_children() if child.daemon])
