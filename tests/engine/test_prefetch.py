"""Batches made ahead in a thread: all of them, in order, and nothing left over."""

from __future__ import annotations

import signal
import threading
import time

import pytest
import torch
from torch.utils.data import DataLoader

from uniformer_video.datasets.loader import Batch
from uniformer_video.engine.prefetch import in_thread, prefetched
from uniformer_video.runtime.stopping import StopWaiting

CPU = torch.device("cpu")


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "prefetch"]


def test_on_a_cpu_it_is_the_loader():
    loader = DataLoader([1, 2, 3])
    assert prefetched(loader, CPU) is loader


def test_results_come_in_order_from_one_thread():
    names = set()

    def work(item):
        names.add(threading.current_thread().name)
        return item * item

    assert list(in_thread(iter(range(50)), work)) == [n * n for n in range(50)]
    assert names == {"prefetch"} and threads() == []
    assert list(in_thread(iter([]), work)) == []


def test_it_works_ahead_but_not_far():
    made = []
    results = in_thread(iter(range(10)), made.append, ahead=2)
    next(results)
    limit = time.monotonic() + 20
    while len(made) < 4 and time.monotonic() < limit:  # one taken, two waiting, one that finds no place
        time.sleep(0.01)
    assert made == [0, 1, 2, 3]
    results.close()
    assert threads() == []


@pytest.mark.parametrize("in_source", [True, False])
def test_errors_come_where_they_belong(in_source):
    def source():
        yield 1
        if in_source:
            raise ValueError("bad")
        yield 0
        yield 2

    results = in_thread(source(), lambda item: 1 // item)
    assert next(results) == 1
    with pytest.raises(ValueError if in_source else ZeroDivisionError):
        next(results)
    assert threads() == []


def test_a_signal_ends_the_wait_for_an_item_that_never_comes():
    release = threading.Event()

    def source():
        yield 1
        release.wait()

    def stop(*_):
        raise StopWaiting("SIGTERM")

    results = in_thread(source(), lambda item: item)
    assert next(results) == 1
    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(StopWaiting):
            next(results)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert threads() == ["prefetch"]  # it was left behind
    release.set()
    limit = time.monotonic() + 20
    while threads() and time.monotonic() < limit:
        time.sleep(0.01)
    assert threads() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_clips_are_there():
    device = torch.device("cuda", 0)
    numbers = [torch.tensor([n]) for n in range(20)]
    batches = [Batch(torch.full((2, 3, 4, 64, 64), n, dtype=torch.uint8), *[numbers[n]] * 3) for n in range(20)]
    batches[7].clips = None
    loader = DataLoader(batches, batch_size=None, pin_memory=True)
    for _ in range(2):
        for n, batch in enumerate(prefetched(loader, device)):
            assert batch.labels.item() == n and batch.labels.device.type == "cpu"
            if n == 7:
                assert batch.clips is None
            else:
                assert batch.clips.device == device and bool((batch.clips == n).all())
