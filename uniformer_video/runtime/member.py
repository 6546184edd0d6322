"""One process of a run of several: it meets the others, works in a process group, and says why it ends."""

from __future__ import annotations

import multiprocessing
import multiprocessing.util
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from time import sleep
from typing import Any, NoReturn

import torch
import torch.distributed as dist

from uniformer_video.runtime.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR, print_error
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.heartbeat import GOES_ON, Heartbeat, LastWords, name_of
from uniformer_video.runtime.meeting import Limits, Member, host_name, linger, meet
from uniformer_video.runtime.meeting_place import (
    LOOPBACK,
    Address,
    Deadline,
    Silent,
    announce,
    connect_again,
    host_store,
    reach_store,
    within,
)
from uniformer_video.runtime.stopping import Stopped

EXIT_DEFECT = 1
_TIDY_SECONDS = 3.0
Tell = Callable[[str, Any], None]
"""Reports to the process that started this one: a kind (:data:`KINDS`) and what belongs to it."""
KINDS = ("listening", "result", "mistake", "defect", "lost", "interrupted")

_EXCHANGE = re.compile(r"gloo|nccl|processgroup|connection (closed|reset|refused)|broken pipe", re.IGNORECASE)
_BROKEN = re.compile(r"connection (closed|reset|refused)|broken pipe|remote process exited", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """What the processes of a run do, and how they come together.

    Attributes:
        function: returns the exit code, the same in every process.
        args: of the function.
        processes: on each machine.
        machines: in the run.
        machine: number of this one.
        meeting: where they meet, as in ``Place.meeting``.
        use_cuda: each process has a GPU.
        backend: ``auto``, ``nccl`` or ``gloo``.
        limits: of waiting.
        agreed: settings that must be the same in every process, by name.
    """

    function: Callable[..., int]
    args: tuple[Any, ...]
    processes: int
    machines: int = 1
    machine: int = 0
    meeting: str = ""
    use_cuda: bool = False
    backend: str = "auto"
    limits: Limits = field(default_factory=Limits)
    agreed: Mapping[str, str] = field(default_factory=dict)

    @property
    def group_backend(self) -> str:
        """The backend of the process group."""
        return ("nccl" if self.use_cuda else "gloo") if self.backend == "auto" else self.backend

    def member(self, local: int) -> Member:
        """Return process ``local`` of this machine."""
        gpu = ""
        if self.use_cuda and self.group_backend == "nccl":
            # Two processes on one GPU would only hear of it from NCCL, after a while and at length.
            gpu = str(getattr(torch.cuda.get_device_properties(own_gpu(local)), "uuid", ""))
        return Member(self.machines, self.machine, self.processes, local, host_name(), gpu)


def own_gpu(local: int) -> int:
    """Return the GPU of process ``local`` of a machine: that of its number, or the only one that it sees."""
    return local if torch.cuda.device_count() > 1 else 0


def run_member(job: Job, local: int, *, hosts: bool, tell: Tell | None = None) -> int:
    """Run process ``local`` of this machine and return the exit code of the function.

    A process that has met the others and fails does not come back: it says why and ends, for the interpreter's own end
    would wait for processes that may never come.

    Args:
        job: what is done.
        local: number of this process on its machine.
        hosts: the store in which the processes meet is in this process.
        tell: reports how this process ends, in place of printing it.

    Raises:
        UserError: the processes cannot meet.
        Stopped: a signal asked to stop before they had.
    """
    os.environ["LOCAL_RANK"] = str(local)
    if job.use_cuda:
        torch.cuda.set_device(own_gpu(local))
    member, deadline = job.member(local), Deadline(job.limits.meeting)
    served = None
    if hosts:
        served, address = host_store(job.meeting)
        announce(job.meeting, address, deadline)
        address = Address(LOOPBACK[0], address.port)
        store = connect_again(address, 10.0)
    else:
        store, address = reach_store(job.meeting, deadline)
    try:
        meet(store, member, job.agreed, deadline)
    except (UserError, Stopped):
        if served is not None:
            linger(served, member)
        raise
    present = Present(job, member, address, tell=tell, hosts=hosts)
    try:
        present.heart.start()
        dist.init_process_group(
            job.group_backend,
            store=dist.PrefixStore("group", store),
            world_size=member.world,
            rank=member.number,
            timeout=timedelta(seconds=job.limits.collective),
        )
        code = job.function(*job.args)
    except BaseException as error:
        present.end_with(error)
    present.heart.goodbye(host=hosts)
    # Not after an error: taking the group apart may wait for the others, which wait in a collective.
    dist.destroy_process_group()
    return code


class Present:
    """A process that has met the others, and how it ends when something goes wrong.

    Args:
        job: what is done.
        member: this process.
        address: of the run's store.
        tell: as in :func:`run_member`.
        hosts: as in :func:`run_member`.
    """

    def __init__(self, job: Job, member: Member, address: Address, *, tell: Tell | None, hosts: bool) -> None:
        self._member, self._address, self._tell, self._hosts = member, address, tell, hosts
        self._ending = threading.Lock()
        self._name = name_of(member.number, member.world, member.host)
        self.heart = Heartbeat(
            lambda: connect_again(address, 5.0), member, timeout=job.limits.heartbeat, end=self._end_for_another
        )

    def end_with(self, error: BaseException) -> NoReturn:
        """End this process, which ``error`` stopped: with a line for what a user or another process did."""
        words = self.heart.verdict() if is_exchange_error(error) else None
        self._begin_to_end()
        if isinstance(error, UserError):
            self.heart.last_words(str(error), EXIT_USER_ERROR)
            self._say("mistake", str(error))
            self._leave(EXIT_USER_ERROR)
        if isinstance(error, KeyboardInterrupt):
            self.heart.last_words(f"{self._name} was interrupted; {GOES_ON}")
            if self._tell is None:
                print("interrupted", file=sys.stderr, flush=True)
            else:
                self._tell("interrupted", None)
            self._leave(EXIT_INTERRUPTED)
        if words is None and is_exchange_error(error) and _BROKEN.search(str(error)) and not self.heart.someone_left():
            line = f"{self._name} lost its connection to another process ({_reason(error)}); {GOES_ON}"
            words = LastWords(self._member.number, self._member.machine, line)
        if words is not None:
            self.heart.last_words(words.line, words.code)
            self._end_with_words(words)
        # A defect of ours.
        text = "".join(traceback.format_exception(error))
        self.heart.last_words(f"{self._name} ended: {type(error).__name__}: {_reason(error)}; {GOES_ON}")
        if self._tell is None:
            print(text, file=sys.stderr, end="", flush=True)
        else:
            self._tell("defect", text)
        self._leave(EXIT_DEFECT)

    def _end_for_another(self, words: LastWords) -> NoReturn:
        """End this process from a thread of the heartbeat, because another process has ended."""
        self._begin_to_end()
        self._end_with_words(words)

    def _begin_to_end(self) -> None:
        """Come back in the first thread that ends this process; another one, whose turn comes too late, waits."""
        if not self._ending.acquire(blocking=False):
            sleep(60.0)

    def _end_with_words(self, words: LastWords) -> NoReturn:
        self._say("mistake" if words.code == EXIT_USER_ERROR else "lost", words.line)
        self._leave(words.code)

    def _say(self, kind: str, line: str) -> None:
        """Report a line, or print it if no other process of this machine has printed one."""
        if self._tell is not None:
            self._tell(kind, line)
        elif self._is_first():
            print_error(UserError(line))

    def _is_first(self) -> bool:
        try:
            store = connect_again(self._address, 1.0)
            return within(1.0, lambda: store.add(f"said/{self._member.machine}", 1)) == 1
        except Silent:
            return True  # twice is better than not at all

    def _leave(self, code: int) -> NoReturn:
        if self._hosts:
            sleep(3 * self.heart.interval + 0.2)  # the others read the last words here
        leave(code)


def leave(code: int) -> NoReturn:
    """End this process, with what it has printed and without its workers, but wait for no other process of the run."""
    # Else the semaphores of its workers' queues are complained of later. It may itself wait for a worker that hangs.
    for worker in multiprocessing.active_children():
        worker.kill()
    tidy = threading.Thread(target=multiprocessing.util._exit_function, daemon=True)
    tidy.start()
    tidy.join(_TIDY_SECONDS)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def is_exchange_error(error: BaseException) -> bool:
    """Return whether an exchange with other processes failed, which is seldom this one's fault."""
    if isinstance(error, dist.DistError):
        return True
    return type(error) is RuntimeError and bool(_EXCHANGE.search(str(error)))


def _reason(error: BaseException) -> str:
    """Return the first line of what an exception says, without the place in torch's sources in front."""
    line = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return re.sub(r"^\[\S*?(\.cc|\.cpp|\.h):\d+\] ", "", line)[:300]
