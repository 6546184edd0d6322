"""Batches on their way to the GPU while the step before still runs."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any, TypeVar

import torch

from uniformer_video.datasets.batches import Batch
from uniformer_video.datasets.loader import BatchLoader
from uniformer_video.runtime.stopping import StopWaiting

T = TypeVar("T")

AHEAD = 1
"""Batches that wait on the device besides the one in use and the one on its way."""


STOP_SECONDS = 1.0
"""How long a run that a signal ends waits for an item that is being made. What is left behind ends with the process."""


def prefetched(loader: BatchLoader, device: torch.device) -> Iterable[Batch]:
    """Return the batches of ``loader``, with their clips already on the device where it is a GPU.

    A thread takes batches from the loader and starts their copies in a stream of its own: from page-locked memory
    (DATA_LOADER.PIN_MEMORY) they run beside the step. On a CPU it is the loader itself. Each pass over the result is
    one over the loader; draws are the same, as the pass begins in the calling thread.
    """
    return _Prefetched(loader, device) if device.type == "cuda" else loader


class _Prefetched:
    def __init__(self, loader: BatchLoader, device: torch.device) -> None:
        self.loader, self.device = loader, device

    def __iter__(self) -> Iterator[Batch]:
        courier = _Courier(self.device)
        for parcel in in_thread(iter(self.loader), courier.send):
            yield courier.receive(*parcel)


class _Courier:
    """Copies clips to a GPU in a stream of its own."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)

    def send(self, batch: Batch) -> tuple[Batch, torch.cuda.Event | None]:
        """Start the copy and return the batch with the clips to be, and what tells that they are there."""
        if batch.clips is None:
            return batch, None
        with torch.cuda.device(self.device), torch.cuda.stream(self.stream):
            clips = batch.clips.to(self.device, non_blocking=True)
            return replace(batch, clips=clips), self.stream.record_event()

    def receive(self, batch: Batch, there: torch.cuda.Event | None) -> Batch:
        """Let the current stream wait for the copy, not this process."""
        if there is not None:
            current = torch.cuda.current_stream(self.device)
            current.wait_event(there)
            batch.clips.record_stream(current)  # their memory is not the copying stream's until this one is done
        return batch


def in_thread(source: Iterator[Any], work: Callable[[Any], T], ahead: int = AHEAD) -> Iterator[T]:
    """Yield ``work(item)`` of every item in order, made in a thread that runs ahead.

    Args:
        source: is advanced in the thread alone.
        work: is done in the thread.
        ahead: results that may wait.

    Raises:
        BaseException: whatever ``source`` or ``work`` raised, in its place in the order.
        StopWaiting: a signal ended the wait; the thread may still be at the item that was not there.
    """
    ready: queue.Queue[tuple[bool, Any]] = queue.Queue(maxsize=ahead)
    stop = threading.Event()

    def put(done: bool, value: Any) -> bool:
        while not stop.is_set():
            try:
                ready.put((done, value), timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def run() -> None:
        try:
            for item in source:
                if not put(False, work(item)):
                    return
            put(True, None)
        except BaseException as error:  # it is raised where the results are taken
            put(True, error)

    thread = threading.Thread(target=run, name="prefetch", daemon=True)
    thread.start()
    patience = None
    try:
        while True:
            done, value = ready.get()
            if not done:
                yield value
            elif value is None:
                return
            else:
                raise value
    except StopWaiting:
        patience = STOP_SECONDS
        raise
    finally:
        stop.set()
        thread.join(patience)
