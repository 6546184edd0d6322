from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from uniformer_video.runtime import memory
from uniformer_video.runtime.memory import trim_heap


@pytest.fixture(autouse=True)
def asked_anew():
    memory._trim.cache_clear()
    memory._option.cache_clear()
    yield
    memory._trim.cache_clear()
    memory._option.cache_clear()


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


FAULTS = """
import resource, sys
import torch
from uniformer_video.runtime import memory

def faults(times=20):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(16 * 2**20)  # 64 MiB, more than any threshold of the C library
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

usual = faults()
assert memory.keep_heap()
faults(2)
kept, held = faults(), resident()
assert memory.release_heap()
print(usual, kept, held - resident(), faults())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux") or memory._option() is None, reason="needs the GNU C library")
def test_a_kept_heap_serves_the_same_memory_again_and_is_given_back():
    done = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    usual, kept, given_back, after = (float(word) for word in done.stdout.split())
    # Pages may be large; there are at least a few for each tensor where the system hands them out anew.
    assert usual >= 100
    assert kept < usual / 20
    assert given_back > 50
    assert after > usual / 2


def test_keeping_needs_the_gnu_library(monkeypatch):
    class Other:
        def __init__(self, name):
            pass

    monkeypatch.setattr(ctypes, "CDLL", Other)
    assert memory.keep_heap() is False
    assert memory.release_heap() is False
