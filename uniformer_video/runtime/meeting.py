"""Before a run of several processes begins: who is there, who is missing, and whether all want the same.

Everything is told through a store (``runtime/meeting_place.py``): each process signs in under its number, compares
what it was asked to do with what the first one was, and waits for the rest. Whoever finds a mistake leaves it in the
store as a line, which all of them end with.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import torch.distributed as dist

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.meeting_place import Deadline, Silent, within

_MOST_KEYS = 4
"""Differences between two configurations that a line names."""


@dataclass(frozen=True)
class Limits:
    """How long the processes of a run wait for each other, in seconds.

    Attributes:
        meeting: until all are there.
        collective: in any one exchange.
        heartbeat: for a sign of life; 0: as long as it takes.
    """

    meeting: float = 300.0
    collective: float = 1800.0
    heartbeat: float = 45.0


@dataclass(frozen=True)
class Member:
    """One process of a run.

    Attributes:
        machines: in the run.
        machine: number of its machine, from 0.
        processes: on each machine.
        local: its number on its machine.
        host: name of its machine.
        gpu: its GPU, where no other process may have the same one; empty: there is no such rule.
    """

    machines: int
    machine: int
    processes: int
    local: int
    host: str = ""
    gpu: str = ""

    @property
    def world(self) -> int:
        """Processes in the run."""
        return self.machines * self.processes

    @property
    def number(self) -> int:
        """Its number in the run, from 0: its rank."""
        return self.machine * self.processes + self.local


def host_name() -> str:
    """Return this machine's name."""
    return socket.gethostname()


def beat_key(number: int) -> str:
    """Return the key of a process's signs of life."""
    return f"beat/{number}"


def host_key(number: int) -> str:
    """Return the key of the name of a process's machine."""
    return f"host/{number}"


def meet(store: dist.Store, member: Member, agreed: Mapping[str, str], deadline: Deadline) -> None:
    """Wait until all processes of the run are there and agree.

    Args:
        store: a connection of this process's own.
        member: this process.
        agreed: what must be the same in all of them, by name.
        deadline: of the meeting.

    Raises:
        UserError: the line that every process ends with: some are missing, two have one number or one GPU, or they were
            started with different settings.
        Stopped: a signal asks to stop.
    """
    meeting = _Meeting(store, member, deadline)
    try:
        meeting.sign_in(agreed)
        meeting.wait_for_all()
    except Silent as error:
        raise UserError(
            f"process {member.number} of {member.world} lost the others while they met ({error}); see what process 0 "
            "says, and start the run anew"
        ) from None


class _Meeting:
    def __init__(self, store: dist.Store, member: Member, deadline: Deadline) -> None:
        self._store, self._member, self._deadline = store, member, deadline

    def sign_in(self, agreed: Mapping[str, str]) -> None:
        member = self._member
        if member.number == 0 and not self._ask(self._store.check, ["first"]):
            shape = {"machines": member.machines, "processes": member.processes}
            self._ask(self._store.set, "first", json.dumps({**shape, "host": member.host, "agreed": dict(agreed)}))
        else:
            self._compare(agreed)
        other = self._ask(self._store.compare_set, host_key(member.number), "", member.host).decode()
        if self._ask(self._store.add, f"came/{member.number}", 1) > 1:
            self._leave(
                f"two processes say that they are number {member.number} of {member.world}, on {other} and on "
                f"{member.host}; give every machine another --shard_id, from 0 to {member.machines - 1}"
            )
        if member.gpu and self._ask(self._store.add, f"gpu/{member.gpu}", 1) > 1:
            self._leave(
                f"process {member.number} of {member.world} on {member.host} was given a GPU that another process has "
                "already; start one process for each GPU, or set DISTRIBUTED.BACKEND gloo"
            )
        self._ask(self._store.set, beat_key(member.number), "0")
        self._ask(self._store.add, "arrived", 1)

    def wait_for_all(self) -> None:
        member, arrived = self._member, 0
        while arrived < member.world:
            if self._ask(self._store.check, ["trouble"]):
                self._end_with_trouble()
            arrived = self._ask(self._store.add, "arrived", 0)
            if arrived >= member.world:
                return
            if not self._deadline.left():
                self._leave(self._who_is_missing(arrived))
            self._deadline.pause()

    def _compare(self, agreed: Mapping[str, str]) -> None:
        while not self._ask(self._store.check, ["first"]):
            if not self._deadline.left():
                self._leave(
                    f"process 0 did not come within {self._deadline.seconds:g} s; start machine 0 (--shard_id 0) too"
                )
            self._deadline.pause()
        member, first = self._member, json.loads(self._ask(self._store.get, "first"))
        if (member.machines, member.processes) != (first["machines"], first["processes"]):
            self._leave(
                f"machine {member.machine} ({member.host}) was started for "
                f"{_shape(member.machines, member.processes)}, machine 0 ({first['host']}) for "
                f"{_shape(first['machines'], first['processes'])}; give every machine the same --num_shards, and as "
                "many GPUs (NUM_GPUS) or processes"
            )
        names = [name for name in {**first["agreed"], **agreed} if agreed.get(name) != first["agreed"].get(name)]
        if names:
            values = [(name, _value(agreed, name), _value(first["agreed"], name)) for name in names[:_MOST_KEYS]]
            told = [f"{name} is {here} and {there}" for name, here, there in values]
            more = f" and {len(names) - _MOST_KEYS} more" if len(names) > _MOST_KEYS else ""
            self._leave(
                f"machine {member.machine} ({member.host}) and machine 0 ({first['host']}) were started with different "
                f"settings: {'; '.join(told)}{more}; give every machine the same"
            )

    def _who_is_missing(self, arrived: int) -> str:
        member = self._member
        away = [n for n in range(member.world) if not self._ask(self._store.check, [f"came/{n}"])]
        machines = sorted({n // member.processes for n in away})
        names = ", ".join(map(str, machines[:8])) + (", ..." if len(machines) > 8 else "")
        return (
            f"{arrived} of {member.world} processes came within {self._deadline.seconds:g} s; those of machine {names} "
            "are missing: start it with its own --shard_id and the same --init_method, or wait longer for it "
            "(DISTRIBUTED.RENDEZVOUS_TIMEOUT)"
        )

    def _ask(self, function: object, *args: object) -> object:
        return within(max(5.0, min(30.0, self._deadline.left())), lambda: function(*args))

    def _leave(self, line: str) -> None:
        """Leave a mistake for the others too, the first that was found, and end with it."""
        self._ask(self._store.compare_set, "trouble", "", line)
        self._end_with_trouble()

    def _end_with_trouble(self) -> None:
        line = self._ask(self._store.get, "trouble").decode()
        self._ask(self._store.add, "heard", 1)
        raise UserError(line)


def linger(store: dist.Store, member: Member, seconds: float = 3.0) -> None:
    """Keep a store open until the processes that have come have read why the run ends, or ``seconds``."""
    end = time.monotonic() + seconds
    with suppress(Silent):
        while time.monotonic() < end:
            came = sum(within(1.0, lambda n=n: store.check([f"came/{n}"])) for n in range(member.world))
            if within(1.0, lambda: store.add("heard", 0)) >= came:
                return
            time.sleep(0.05)


def _shape(machines: int, processes: int) -> str:
    return f"{machines} machines with {processes} process{'es' * (processes != 1)} each"


def _value(settings: Mapping[str, str], name: str) -> str:
    return str(settings.get(name, "unknown there"))
