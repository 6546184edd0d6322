"""A process that stops when the one that started it is gone."""

from __future__ import annotations

import os
import threading
import time

import pytest

from uniformer_video.runtime import parent, stopping

WAITED = 30.0


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(parent, "LOOK_SECONDS", 0.01)


def wait_until_asked():
    end = time.monotonic() + WAITED
    while not stopping.requested() and time.monotonic() < end:
        time.sleep(0.01)


def test_the_end_of_the_parent_is_a_sigterm(monkeypatch, log):
    number = os.getppid()
    with stopping.listening(), parent.with_parent("torchrun"):
        monkeypatch.setattr(os, "getppid", lambda: 1)
        wait_until_asked()
        assert stopping.requested() == "SIGTERM"
    assert log == [f"WARNING: torchrun (process {number}) is gone; this process stops too"]


def test_nothing_happens_while_it_is_there_nor_afterwards(monkeypatch, log):
    looked = threading.Event()
    asked = []

    def getppid():
        asked.append(1)
        if len(asked) > 3:
            looked.set()
        return 7

    monkeypatch.setattr(os, "getppid", getppid)
    with stopping.listening():
        with parent.with_parent("torchrun"):
            assert looked.wait(WAITED)
        count = len(asked)
        monkeypatch.setattr(os, "getppid", lambda: 1)
        assert not any(thread.name == "parent" for thread in threading.enumerate())
        assert stopping.requested() == "" and len(asked) == count
    assert log == []
