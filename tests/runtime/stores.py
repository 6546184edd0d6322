"""Stores of a run in a test: opened on the loopback interface, in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from uniformer_video.runtime.meeting import Member
from uniformer_video.runtime.meeting_place import Address, connect_again, host_store


@pytest.fixture
def address() -> Iterator[Address]:
    """Return where a new store is served until the test ends."""
    store, address = host_store("")
    yield address
    del store


def connect(address: Address):
    """Return a connection of one's own."""
    return connect_again(address, 5.0)


def member(machines: int, processes: int, number: int, **more: str) -> Member:
    """Return the process of that number."""
    return Member(machines, number // processes, processes, number % processes, **{"host": f"host{number}", **more})
