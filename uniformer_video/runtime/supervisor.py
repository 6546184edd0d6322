"""The processes that a run starts on its machine: started, watched, told to stop, and never left behind."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import suppress
from dataclasses import replace
from multiprocessing import Pipe
from multiprocessing.connection import wait

import torch.distributed as dist
import torch.multiprocessing as mp

from uniformer_video.runtime import stopping
from uniformer_video.runtime.child import Child, run_new
from uniformer_video.runtime.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR, print_error
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.heartbeat import EXIT_LOST, GOES_ON, LastWords, name_of, post
from uniformer_video.runtime.meeting import beat_key, host_name, linger
from uniformer_video.runtime.meeting_place import (
    BEGINS,
    LOOPBACK,
    Address,
    Deadline,
    Silent,
    host_store,
    reach_store,
    within,
)
from uniformer_video.runtime.member import Job

_GRACES = {"interrupted": 1.0, "lost": 5.0}
"""So long the others have to end by themselves when one has ended in such a way; one that was lost itself cannot."""
_GRACE_SECONDS = 15.0
"""When it has ended in another."""
_TICK_SECONDS = 0.2
_END_SECONDS = 60.0
"""So long a process may take to end once its work is done."""


def supervise(job: Job) -> int:
    """Run ``job.processes`` new processes on this machine and return their exit code.

    A process that ends badly ends the others; why it did is printed once. SIGTERM, SIGINT and SIGUSR1 to this process,
    where it listens, are passed on, SIGINT as SIGUSR1.

    Raises:
        UserError: no store can be opened for them to meet in.
        ProcessRaisedException: one ended with an exception that is a defect of ours.
        KeyboardInterrupt: a second Ctrl-C; the processes have been ended.
    """
    store = None
    place = job.meeting
    if job.machine == 0:
        store, address = host_store(job.meeting)
        place = str(Address(LOOPBACK[0], address.port))
    readers, writers = zip(*(Pipe(duplex=False) for _ in range(job.processes)), strict=True)
    context = mp.start_processes(
        run_new,
        (replace(job, meeting=place), writers),
        nprocs=job.processes,
        join=False,
        start_method="spawn",
    )
    for writer in writers:
        writer.close()
    children = [Child(process, reader) for process, reader in zip(context.processes, readers, strict=True)]
    watch = _Watch(job, children, store)
    try:
        watch.until_all_have_ended()
    finally:
        for child in children:
            child.kill()
    code = watch.outcome()
    if store is not None:
        _keep_open(store, job, well=watch.first_bad is None)
    return code


class _Watch:
    """Waits for the processes of this machine.

    Attributes:
        first_bad: number of the first process that ended without a result.
    """

    def __init__(self, job: Job, children: list[Child], store: dist.Store | None) -> None:
        self._job, self._children, self._store = job, children, store
        self._passed_on = self._ended_early = False
        self._end: float | None = None
        self.first_bad: int | None = None

    def until_all_have_ended(self) -> None:
        """Come back when no process is left."""
        while True:
            alive = [child for child in self._children if child.code is None]
            if not alive:
                return
            wait([child.process.sentinel for child in alive], _TICK_SECONDS)
            for number, child in enumerate(self._children):
                if child.code is None:
                    child.look()
                    if child.is_bad() and self.first_bad is None:
                        self._note(number)
            self._pass_on()
            self._limit()

    def _note(self, number: int) -> None:
        """One process has ended badly: see that the others of the run hear of it, also on other machines."""
        self.first_bad = number
        child = self._children[number]
        if not self._ended_early and not child.end():
            with suppress(Exception):
                self._post(LastWords(self._number(number), self._job.machine, self._line(number)))

    def _post(self, words: LastWords) -> None:
        store = self._store or reach_store(self._job.meeting, Deadline(2.0))[0]
        within(2.0, lambda: post(store, words))

    def _pass_on(self) -> None:
        """Tell the processes that this one was asked to stop. One that cannot note it yet has nothing to keep."""
        if not stopping.requested() or self._passed_on:
            return
        self._passed_on = True
        alive = [child for child in self._children if child.code is None]
        if all("listening" in child.reports or child.code is not None for child in self._children):
            # Ctrl-C reaches every process of a terminal by itself; a second SIGINT would mean: at once.
            number = signal.SIGTERM if stopping.requested() == "SIGTERM" else signal.SIGUSR1
            for child in alive:
                child.send(number)
            return
        self._ended_early = True
        for child in alive:
            child.send(signal.SIGKILL)

    def _limit(self) -> None:
        """End what is left when it has had its time."""
        alive = [child for child in self._children if child.code is None]
        if self._end is None:
            if self.first_bad is not None:
                end = self._children[self.first_bad].end()
                self._end = time.monotonic() + _GRACES.get(end, _GRACE_SECONDS)
            elif alive and all("result" in child.reports for child in alive):
                self._end = time.monotonic() + _END_SECONDS
        elif time.monotonic() > self._end:
            for child in alive:
                child.send(signal.SIGKILL)

    def outcome(self) -> int:
        """Print why the run has ended, where it ended badly, and return the exit code.

        Raises:
            ProcessRaisedException: a process met a defect of ours.
        """
        if self._ended_early:
            line = f"stopped by {stopping.requested()} before the run began; {BEGINS}"
            print(line, file=sys.stderr, flush=True)
            return stopping.EXIT_STOPPED
        if self.first_bad is None:
            return next((child.reports["result"] for child in self._children if child.reports["result"]), 0)
        number = self._telling()
        kind = self._children[number].end()
        child = self._children[number]
        if kind == "defect":
            message = f"\n\n{name_of(self._number(number), self._world, '')} ended:\n{child.reports[kind]}"
            raise mp.ProcessRaisedException(message, number, child.process.pid)
        if kind == "interrupted":
            print("interrupted", file=sys.stderr, flush=True)
            return EXIT_INTERRUPTED
        print_error(UserError(child.reports[kind] if kind else self._line(number)))
        return EXIT_USER_ERROR if kind == "mistake" else EXIT_LOST

    def _telling(self) -> int:
        """Return the process whose end tells why the run ended: the first, unless that one heard of another's."""
        for number in (self.first_bad, *range(len(self._children))):
            end = self._children[number].end()
            if end in ("defect", "mistake", "interrupted") or (not end and number == self.first_bad):
                return number
        return self.first_bad

    def _line(self, number: int) -> str:
        """Return what a user reads of a process that ended without a word."""
        code = self._children[number].code or 0
        name = name_of(self._number(number), self._world, host_name() if self._job.machines > 1 else "")
        if code >= 0:
            return f"{name} ended with exit code {code} before its work was done; {GOES_ON}"
        try:
            told = signal.Signals(-code).name
        except ValueError:
            told = f"signal {-code}"
        why = " (out of memory, or killed by hand)" if told == "SIGKILL" else ""
        return f"{name} was ended by {told}{why}; {GOES_ON}"

    @property
    def _world(self) -> int:
        return self._job.machines * self._job.processes

    def _number(self, local: int) -> int:
        return self._job.machine * self._job.processes + local


def _keep_open(store: dist.Store, job: Job, *, well: bool) -> None:
    """Keep the store until the processes of other machines are done with it, or have read why the run ends."""
    if job.machines == 1:
        return
    if not well:
        linger(store, job.member(0))
        return
    deadline = Deadline(max(30.0, job.limits.heartbeat))
    keys = [beat_key(number) for number in range(job.machines * job.processes)]
    with suppress(Silent):
        while deadline.left() and set(within(5.0, lambda: store.multi_get(keys))) != {b"bye"}:
            time.sleep(_TICK_SECONDS)
