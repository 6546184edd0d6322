from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

from uniformer_video.runtime import memory
from uniformer_video.runtime.memory import trim_heap


@pytest.fixture(autouse=True)
def asked_anew():
    memory._trim.cache_clear()
    yield
    memory._trim.cache_clear()


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


@pytest.mark.skipif(not sys.platform.startswith("linux") or memory._trim() is None, reason="needs the GNU C library")
def test_gaps_between_what_is_used_are_given_back():
    # Small enough for the heap proper; every second block is freed, so that no end of the heap can shrink.
    blocks = [np.ones(100_000, np.uint8) for _ in range(1000)]
    full = resident_mib()
    del blocks[::2]
    trim_heap()
    assert full - resident_mib() > 30
    assert all(block[0] == 1 for block in blocks)


def test_another_c_library_is_no_error(monkeypatch):
    class Other:
        def __init__(self, name):
            pass

    monkeypatch.setattr(ctypes, "CDLL", Other)
    assert trim_heap() is False


def test_no_library_at_all_is_no_error(monkeypatch):
    def none(name):
        raise OSError("no library")

    monkeypatch.setattr(ctypes, "CDLL", none)
    assert trim_heap() is False
