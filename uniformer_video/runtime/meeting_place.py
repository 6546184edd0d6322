"""The store through which the processes of a run find each other: opened by one of them, reached by the others.

torch's own ways to it wait for minutes in silence and end in a page of C++; here each cause has its line, and its time.
"""

from __future__ import annotations

import errno
import json
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch.distributed as dist

from uniformer_video.runtime import stopping
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.places import AGENT

T = TypeVar("T")

LOOPBACK = ("127.0.0.1", "::1", "localhost")
BEGINS = "the same command begins it"
POLL_SECONDS = 0.1
_TRY_SECONDS = 5.0
"""Longest single try to connect."""
_NAME_SECONDS = 15.0
"""So long a host's name may stay unknown: in some clusters it becomes known with the machine's start."""
_NOTICE = "uniformer_video/meeting"


class Silent(Exception):
    """The store does not answer in time, or not at all any more."""


@dataclass(frozen=True)
class Address:
    """Where a store is served."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


class Deadline:
    """A limit of time for the whole meeting.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Return the seconds that are left, not below 0."""
        return max(0.0, self._end - time.monotonic())

    def pause(self) -> None:
        """Wait a moment before another look.

        Raises:
            Stopped: a signal asks for it.
        """
        if stopping.requested():
            raise stopping.Stopped(f"stopped by {stopping.requested()} before the run began; {BEGINS}")
        time.sleep(min(POLL_SECONDS, self.left()))


def within(seconds: float, ask: Callable[[], T]) -> T:
    """Return ``ask()``, a question to a store: torch waits for its answer for ever.

    Raises:
        Silent: no answer in ``seconds``, or the connection is broken.
    """
    answers: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

    def wait() -> None:
        try:
            answers.put((ask(), None))
        except Exception as error:
            answers.put((None, error))

    threading.Thread(target=wait, daemon=True).start()
    try:
        answer, error = answers.get(timeout=max(seconds, 0.01))
    except queue.Empty:
        raise Silent(f"no answer for {seconds:.3g} s") from None
    if isinstance(error, RuntimeError):
        raise Silent(str(error).split("\n")[0])
    if error is not None:
        raise error
    return answer


def parse_tcp(place: str) -> Address:
    """Return the address in ``tcp://host:port`` or ``agent://host:port``."""
    host, _, port = place.split("://", 1)[1].rpartition(":")
    return Address(host.strip("[]"), int(port))


def host_store(place: str) -> tuple[dist.TCPStore, Address]:
    """Open the store of a run that meets at ``place``, and let those who look there know; empty: on this machine.

    Raises:
        UserError: the port is taken or not allowed, or the file cannot be written.
    """
    if place.startswith("tcp://"):
        address = parse_tcp(place)
        listener = _listen(address.host, address.port, place)
    else:
        host = parse_tcp(place).host if place.startswith(AGENT) else socket.gethostname() if place else LOOPBACK[0]
        listener = _listen(host, 0, place)
        address = Address(host, listener.getsockname()[1])
    # The server itself connects here, whatever name the others know the machine by.
    store = dist.TCPStore(
        *(LOOPBACK[0], address.port),
        is_master=True,
        wait_for_workers=False,
        timeout=timedelta(seconds=60),
        master_listen_fd=listener.detach(),
    )
    if place.startswith("file://"):
        _write_notice(Path(place.removeprefix("file://")), address)
    return store, address


def announce(place: str, address: Address, deadline: Deadline) -> None:
    """Tell those who meet through torchrun's agent where the store is."""
    if place.startswith(AGENT):
        notices = _connect(parse_tcp(place), deadline, place)
        notices.set(_NOTICE, json.dumps([address.host, address.port]))


def reach_store(place: str, deadline: Deadline) -> tuple[dist.TCPStore, Address]:
    """Connect to the store that another process opens at ``place``, as soon as it does.

    Raises:
        UserError: it cannot be reached in time.
        Stopped: a signal asks to stop.
    """
    if place.startswith("tcp://"):
        address = parse_tcp(place)
        return _connect(address, deadline, place), address
    notices = _connect(parse_tcp(place), deadline, place) if place.startswith(AGENT) else None
    reason = "process 0 has not said where"
    while deadline.left():
        # A notice may be an old one, of a run that was restarted: it is read again until somebody answers there.
        notice = _agent_notice(notices) if notices else _read_notice(Path(place.removeprefix("file://")))
        if notice is not None:
            try:
                return _connect(notice, Deadline(min(2.0, deadline.left())), place), notice
            except UserError as error:
                reason = str(error)
        deadline.pause()
    raise UserError(f"the processes cannot meet at {place} within {deadline.seconds:g} s: {reason}")


def connect_again(address: Address, seconds: float) -> dist.TCPStore:
    """Return another connection to a store.

    Raises:
        Silent: none in ``seconds``.
    """
    try:
        return _connect(address, Deadline(seconds), str(address))
    except UserError as error:
        raise Silent(str(error)) from None


def _listen(host: str, port: int, place: str) -> socket.socket:
    """Return a listening socket: on this machine's loopback interface where ``host`` is one of its names."""
    try:
        if host in LOOPBACK:
            return socket.create_server((LOOPBACK[0], port), backlog=1024)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024)
        return socket.create_server(("", port), backlog=1024)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            reason = (
                f"port {port} of this machine is taken, perhaps by another run, or by a process of this one that was "
                "given --shard_id 0 too"
            )
        else:
            reason = f"port {port} of this machine cannot be opened ({os.strerror(error.errno or 0)})"
        raise UserError(
            f"process 0 cannot meet the others at {place}: {reason}; choose another port for --init_method and give "
            "every machine another --shard_id"
        ) from None


def _connect(address: Address, deadline: Deadline, place: str) -> dist.TCPStore:
    names = Deadline(min(_NAME_SECONDS, deadline.left()))
    while True:
        try:
            socket.create_connection((address.host, address.port), max(0.1, min(_TRY_SECONDS, deadline.left()))).close()
            return within(
                max(0.5, min(_TRY_SECONDS, deadline.left())),
                lambda: dist.TCPStore(
                    *(address.host, address.port),
                    is_master=False,
                    wait_for_workers=False,
                    timeout=timedelta(seconds=60),
                ),
            )
        except socket.gaierror as error:
            if not names.left():
                raise UserError(
                    f"the host name {address.host!r} of the meeting place {place} is not known here "
                    f"({error.strerror}); give the address of the first machine as numbers, such as tcp://10.0.0.1:9999"
                ) from None
            reason = str(error.strerror)
        except Silent as error:
            reason = f"something listens there that is no run of this toolkit: {error}"
        except OSError as error:
            reason = "it does not answer" if isinstance(error, TimeoutError) else error.strerror or str(error)
        if not deadline.left():
            raise UserError(
                f"nobody could be met at {place} within {deadline.seconds:g} s ({reason}); start machine 0 "
                "(--shard_id 0) too, and check that this is its address and that no firewall closes the port"
            )
        deadline.pause()


def _agent_notice(store: dist.Store) -> Address | None:
    try:
        if not within(_TRY_SECONDS, lambda: store.check([_NOTICE])):
            return None
        host, port = json.loads(within(_TRY_SECONDS, lambda: store.get(_NOTICE)))
    except Silent:
        return None
    return Address(host, port)


def _write_notice(path: Path, address: Address) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(f"{address.host} {address.port}\n", encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"the processes cannot meet at file://{path}: it cannot be written ({error.strerror}); name a file in a "
            "folder that every machine sees"
        ) from None


def _read_notice(path: Path) -> Address | None:
    with suppress(OSError, UnicodeDecodeError):
        found = re.fullmatch(r"(\S+) (\d{1,5})\s*", path.read_text(encoding="utf-8"))
        if found:
            return Address(found[1], int(found[2]))
    return None
