"""What each worker process is reading, noted where the main process sees it even after the worker's end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.sharedctypes import RawArray

NOTHING = -1

# The board that this process writes on, and its number there; only a worker has one.
_place: tuple[ReadingBoard, int] | None = None


class ReadingBoard:
    """One number of a record for each worker, in memory that main process and workers share.

    Args:
        workers: how many there are.
    """

    def __init__(self, workers: int) -> None:
        # Made before the workers, which then have it however they are started. int64, written in one piece.
        self._records = RawArray("q", [NOTHING] * workers)

    def sign_in(self, worker: int) -> None:
        """Make this process worker number ``worker`` of the board."""
        global _place
        _place = self, worker

    def note(self, worker: int, record: int) -> None:
        """Write down what a worker reads; ``NOTHING``: no video."""
        self._records[worker] = record

    def record_of(self, worker: int) -> int | None:
        """Return the number of the record that a worker reads, or read when it ended; None: it read no video."""
        record = self._records[worker]
        return None if record == NOTHING else record


@contextmanager
def reading(record: int) -> Iterator[None]:
    """Note, inside the ``with`` block, that this process reads ``record``; nothing happens where it is no worker."""
    if _place is None:
        yield
        return
    board, worker = _place
    board.note(worker, record)
    try:
        yield
    finally:
        board.note(worker, NOTHING)
