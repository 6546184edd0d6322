"""Work shared by processes of which any may crash or hang: that is the fault of its item, never the end of the run."""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

from uniformer_video.runtime.errors import UserError

# A forked child of a process that has used threads can hang; a spawned one cannot.
_CONTEXT = multiprocessing.get_context("spawn")

_GRACE_SECONDS = 5.0  # for a process that is told to end, to tidy up behind itself


class Outcome(NamedTuple):
    """What became of an item.

    Args:
        number: its place in the items given.
        value: what the function returned; None where it did not.
        failure: empty, or why there is no value: the process crashed, was killed, or took too long.
    """

    number: int
    value: Any
    failure: str = ""


def run_crew(
    function: Callable[[Any], Any], items: Sequence[Any], *, workers: int, limit_seconds: float = 0.0
) -> Iterator[Outcome]:
    """Yield the outcome of ``function(item)`` for each item, in the order in which they end.

    Args:
        function: can be pickled, as can the items and what it returns.
        items: what to work on.
        workers: processes, started afresh (spawned); 0: this process does the work itself, with no shelter from crashes
            and no limit.
        limit_seconds: a process that works longer on one item is killed; 0: never.

    Raises:
        UserError: the function raised one.
        RuntimeError: the function raised anything else, a defect of it (the text has the traceback), or no process
            starts.
    """
    if workers <= 0:
        for number, item in enumerate(items):
            yield Outcome(number, function(item))
        return
    limit = limit_seconds if limit_seconds > 0 else math.inf
    waiting = deque(range(len(items)))
    crew: list[_Worker] = []
    try:
        for _ in range(min(workers, len(items))):
            crew.append(_Worker(function))
        while waiting or any(worker.number is not None for worker in crew):
            for worker in crew:
                if worker.ready and worker.number is None and waiting and worker.give(waiting[0], items, limit):
                    waiting.popleft()
            nearest = min((worker.deadline for worker in crew), default=math.inf)
            patience = None if nearest == math.inf else max(nearest - time.monotonic(), 0.0)
            heard = wait([worker.pipe for worker in crew], patience)
            for place, worker in enumerate(crew):
                if worker.pipe in heard:
                    outcome, alive = worker.listen()
                elif worker.deadline <= time.monotonic():
                    outcome, alive = Outcome(worker.number, None, f"took longer than {limit:g} seconds"), False
                else:
                    continue
                if not alive:
                    worker.end(at_once=True)
                    crew[place] = _Worker(function)
                if outcome is not None:
                    yield outcome
    finally:
        for worker in crew:
            worker.tell_to_end()
        for worker in crew:
            worker.end()


class _Worker:
    """A process of the crew, seen from the one that leads it."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        self.pipe, far_end = _CONTEXT.Pipe()
        self.process = _CONTEXT.Process(target=_serve, args=(far_end, function), daemon=True)
        with _interrupts_held():
            self.process.start()
        far_end.close()
        self.ready = False
        self.number: int | None = None
        self.deadline = math.inf

    def give(self, number: int, items: Sequence[Any], limit: float) -> bool:
        """Hand over an item; False where the process is gone, which the next ``listen`` tells."""
        try:
            self.pipe.send(items[number])
        except OSError:
            return False
        self.number, self.deadline = number, time.monotonic() + limit
        return True

    def listen(self) -> tuple[Outcome | None, bool]:
        """Return the outcome that arrived, if any, and whether the process lives on."""
        try:
            kind, value = self.pipe.recv()
        except (EOFError, OSError):
            return self._fall(), False
        if kind == "mistake":
            raise UserError(value)
        if kind == "error":
            raise RuntimeError(f"a defect in a worker process:\n{value}")
        if kind == "ready":
            self.ready = True
            return None, True
        outcome = Outcome(self.number, value)
        self.number, self.deadline = None, math.inf
        return outcome, True

    def _fall(self) -> Outcome | None:
        self.process.join(_GRACE_SECONDS)
        code = self.process.exitcode
        if self.number is not None:
            return Outcome(self.number, None, f"the process that read it {_end_text(code)}")
        if not self.ready:
            raise RuntimeError(f"a worker process could not start: it {_end_text(code)}")
        return None

    def tell_to_end(self) -> None:
        """Ask the process to end."""
        with suppress(OSError):
            self.process.terminate()

    def end(self, *, at_once: bool = False) -> None:
        """Have the process gone and its pipe closed."""
        if not at_once:
            self.process.join(_GRACE_SECONDS)
        if self.process.is_alive():
            self.process.kill()
        self.process.join()
        self.process.close()
        self.pipe.close()


def _end_text(code: int | None) -> str:
    if code is not None and code < 0:
        with suppress(ValueError):
            name = signal.Signals(-code).name
            return f"was killed ({name}; out of memory?)" if name == "SIGKILL" else f"crashed ({name})"
    return f"ended (exit code {code})"


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold back Ctrl-C: a process started meanwhile never hears it, and is ended by the one that leads."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection, function: Callable[[Any], Any]) -> None:
    """Work on what comes through ``pipe`` until it closes: the leader is done, or gone."""
    with suppress(ValueError, AttributeError):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # An exception rather than death on the spot, so that half-written files are removed.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        pipe.send(("ready", None))
        while True:
            item = pipe.recv()
            try:
                answer = ("value", function(item))
            except UserError as error:
                answer = ("mistake", str(error))
            except Exception:
                answer = ("error", f"{item!r}\n{traceback.format_exc()}")
            pipe.send(answer)
    except (EOFError, OSError):
        with suppress(OSError):
            pipe.close()
        os._exit(0)  # nobody listens any more, nor waits for threads of a library
