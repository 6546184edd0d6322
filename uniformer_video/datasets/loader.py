"""Batches from any number of worker processes, which may die: the loader starts others and loses nothing."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from uniformer_video.datasets.batches import (
    BalancedBatches,
    Batch,
    InOrderBatches,
    TrainBatches,
    collate,
    join_clips,
)
from uniformer_video.datasets.board import ReadingBoard
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.workers import Crew, Death, start_worker
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import OF_THIS_PROCESS, get_logger
from uniformer_video.runtime.stopping import StopWaiting

__all__ = [
    "BalancedBatches",
    "Batch",
    "BatchLoader",
    "InOrderBatches",
    "TrainBatches",
    "collate",
    "join_clips",
    "make_loader",
]

logger = get_logger(__name__)

MOST_DEATHS = 10
"""How often in a row, without a batch in between, the workers of a loader may be replaced."""

MOST_DEATHS_WITHOUT_VIDEO = 3
"""At so many in a row where no worker that ended was reading a video it is given up: other videos would not help."""

DEATHS_AT_A_VIDEO = 2
"""At so many workers that ended while reading it a video counts as unreadable. One may have been an accident."""

SEEN_SECONDS = 1.0
"""How long to wait for the end of a process whose connection has broken."""

# What torch says, in the process that met it or in the one that waits for it.
_NO_SHARED_MEMORY = re.compile(r"shared memory|/dev/shm|</torch_\d+|Bus error", re.IGNORECASE)
_NO_FILE_HANDLES = re.compile(r"Too many open files|items of ancdata")


class BatchLoader:
    """Batches of a dataset, read in worker processes or in this one. Passes follow each other; one at a time.

    A worker that ends by itself (a decoder's segfault, no memory) is reported with the video that it was reading, new
    workers are started and the batch that was due comes next: none is lost, none comes twice, all have the same bits.
    A video at which a second worker ends counts as unreadable from then on.

    Args:
        dataset: what is read.
        batch_sampler: yields lists of the dataset's indices, and has their number as its length.
        num_workers: processes; 0: this one reads. No number changes any sample.
        pin_memory: page-locked batches.
        prefetch_factor: batches that each worker makes in advance.
        collate: makes a batch, which must not be None, of what the dataset gives for a list of indices.
    """

    def __init__(
        self,
        dataset: VideoDataset,
        batch_sampler: Collection[list[Any]] | Sampler,
        *,
        num_workers: int,
        pin_memory: bool,
        prefetch_factor: int = 2,
        collate: Callable[[list[Any]], Any] = collate,
    ) -> None:
        self.dataset, self.batch_sampler, self.collate = dataset, batch_sampler, collate
        self.num_workers, self.pin_memory, self.prefetch_factor = num_workers, pin_memory, prefetch_factor
        self._plan = _Plan()
        self._crew: Crew | None = None
        self._pass = 0
        self._ended_at: Counter[str] = Counter()
        self._deaths = self._deaths_without_video = 0

    def __len__(self) -> int:
        """Return the batches of a whole pass, of which a sampler that begins later yields fewer."""
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Batch]:
        """Begin a pass now, and return its batches.

        Raises:
            DataError: workers cannot be started, end again and again, or have no shared memory; while it runs, too.
            Exception: what the dataset raised.
        """
        if not self.num_workers:
            return iter(self._torch_loader(self.batch_sampler))
        self._pass += 1
        self._plan.begin(self.batch_sampler)
        if self._crew is None:
            self._crew = self._new_crew()
        else:
            self._begin_pass(self._crew)
        return self._batches(self._pass)

    @property
    def worker_pids(self) -> list[int]:
        """The process ids of the workers; none before the first pass."""
        return [process.pid for process in self._crew.workers] if self._crew else []

    def close(self) -> None:
        """End the workers, within seconds. May be called twice; another pass starts new ones."""
        crew, self._crew = self._crew, None
        if crew is not None:
            crew.end()

    def __del__(self) -> None:
        """End the workers of a loader that nobody needs any more."""
        if getattr(self, "_crew", None) is not None:
            self.close()

    def _batches(self, number: int) -> Iterator[Batch]:
        while (batch := self._next(number)) is not None:
            yield batch

    def _next(self, number: int) -> Batch | None:
        """Return the batch that is due in pass ``number``; None: there is none."""
        while True:
            assert number == self._pass and self._crew is not None, "the loader was closed, or began another pass"
            try:
                # Asked first: torch takes seconds to see it, and only once it waits for a dead worker's batch.
                deaths = self._crew.deaths()
                if not deaths:
                    batch = next(self._crew.batches, None)
                    if batch is not None:
                        self._plan.arrived()
                        self._deaths = self._deaths_without_video = 0
                    return batch
            except Exception as error:
                deaths = self._deaths_behind(error)
            self._replace(deaths)

    def _begin_pass(self, crew: Crew) -> None:
        try:
            deaths = crew.deaths()
            if not deaths:
                crew.begin_pass()
        except Exception as error:
            deaths = self._deaths_behind(error)
        if deaths:
            self._replace(deaths)

    def _deaths_behind(self, error: Exception) -> list[Death]:
        """Return the deaths that made torch raise ``error``, or raise it where nobody died."""
        assert self._crew is not None
        for stop in (error, error.__cause__):
            if isinstance(stop, StopWaiting):
                raise stop
        # The end of a process is seen a moment after that of its connections.
        could_be = isinstance(error, RuntimeError | OSError | EOFError)
        deaths = self._crew.deaths(wait_seconds=SEEN_SECONDS if could_be else 0.0)
        if deaths:
            return deaths
        limit = self._explained(error)
        if limit is None:
            raise error
        raise limit from None

    def _replace(self, deaths: list[Death]) -> None:
        """Report workers that have ended, and go on with new ones at the batch that is due.

        Raises:
            DataError: it has happened too often.
        """
        assert self._crew is not None
        texts, videos = [], 0
        for death in deaths:
            path = None if death.record is None else self.dataset.records[death.record].path
            text = death.text(path)
            if path is not None:
                videos += 1
                self._ended_at[path] += 1
                if self._ended_at[path] == DEATHS_AT_A_VIDEO:
                    self.dataset.give_up(path, f"ended two workers ({death.how})")
                    text += ", the second to end there: the video counts as unreadable from now on"
            texts.append(text)
        self._crew.end(grace_seconds=0.5)
        self._crew = None
        self._deaths += 1
        self._deaths_without_video = 0 if videos else self._deaths_without_video + 1
        if self._deaths > MOST_DEATHS or self._deaths_without_video >= MOST_DEATHS_WITHOUT_VIDEO:
            raise DataError(
                f"loader processes ended {self._deaths} times in a row before a batch was ready, at last: "
                f"{'; '.join(texts)}; {self._advice('give the job more memory')}"
            )
        logger.warning("%s; the loader starts anew at this step", "; ".join(texts), extra=OF_THIS_PROCESS)
        self._plan.again()
        self._crew = self._new_crew()

    def _new_crew(self) -> Crew:
        try:
            board = ReadingBoard(self.num_workers)
            return Crew(self._torch_loader(self._plan, partial(start_worker, board, os.getpid())), board)
        except OSError as error:
            raise DataError(
                f"{self.num_workers} loader processes cannot be started ({error}); "
                f"{self._advice('give the job more memory and processes (ulimit -u)')}"
            ) from None

    def _torch_loader(self, batches: Any, start: Callable[[int], None] | None = None) -> DataLoader:
        return DataLoader(
            self.dataset,
            batch_sampler=batches,
            collate_fn=self.collate,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            prefetch_factor=self.prefetch_factor if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            worker_init_fn=start,
            # Without one of its own the loader would draw from, and so move, torch's global generator.
            generator=torch.Generator().manual_seed(0),
        )

    def _explained(self, error: Exception) -> DataError | None:
        """Return the one line for ``error`` where it is the machine's limit that was met, not a defect."""
        text = str(error).strip()
        if not isinstance(error, RuntimeError | OSError):
            return None
        reason = text.splitlines()[-1] if text else ""
        if _NO_SHARED_MEMORY.search(text):
            return DataError(f"the loader processes have no shared memory left ({reason}); {self._advice()}")
        if _NO_FILE_HANDLES.search(text):
            return DataError(
                f"the loader has too many files open ({reason}); raise the limit (ulimit -n), or lower "
                f"DATA_LOADER.NUM_WORKERS (now {self.num_workers})"
            )
        return None

    def _advice(self, first: str = "") -> str:
        return (
            f"{first}{', ' if first else ''}make /dev/shm larger (docker run --shm-size), or lower "
            f"DATA_LOADER.NUM_WORKERS (now {self.num_workers}) or DATA_LOADER.PREFETCH_FACTOR"
        )


class _Plan(Sampler):
    """What torch's loader draws from: the batches of a pass, which can be drawn again until they have arrived."""

    def __init__(self) -> None:
        self._due: Iterator[Any] = iter(())
        self._drawn: deque[Any] = deque()

    def begin(self, batches: Collection[list[Any]] | Sampler) -> None:
        """Draw from a pass over ``batches`` from now on."""
        self._due = iter(batches)
        self._drawn.clear()

    def again(self) -> None:
        """Begin with those that were drawn and have not arrived."""
        self._due = chain(list(self._drawn), self._due)
        self._drawn.clear()

    def arrived(self) -> None:
        """Note that the first of those that were drawn is here."""
        self._drawn.popleft()

    def __iter__(self) -> Iterator[Any]:
        for batch in self._due:
            self._drawn.append(batch)
            yield batch


make_loader = BatchLoader
"""The function that loaders were made by before they had a class."""
