"""The record of videos that could not be read: said once each, kept in a file, and the end of a run at too many."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import torch

from uniformer_video.datasets.dataset import Failure
from uniformer_video.datasets.loader import Batch
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import DataError, write_error
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.paths import atomic_write

logger = get_logger(__name__)

PRINTED = 10
"""Videos named in the log, or at the end of a test; the others are in the files alone."""

EXAMPLES = 3
LISTS = {"train": "training", "val": "validation", "test": "test"}


def csv_rows(path: Path) -> list[list[str]]:
    """Return the rows of a CSV file, header and all; none where it is missing, and of a damaged one what can be read.

    It is a report that a run adds to: what somebody's table program has made of it must not end the run.

    Raises:
        WriteError: what lies there cannot be read, and so not be added to.
    """
    rows: list[list[str]] = []
    try:
        with suppress(FileNotFoundError, csv.Error), open(path, encoding="utf-8", errors="replace", newline="") as file:
            rows.extend(csv.reader(file))
    except OSError as error:
        raise write_error(path, error) from None
    return rows


class Admission(NamedTuple):
    """What clips the processes of a run have for a step.

    Args:
        clips: of all processes; 0 where any has none and the step is left out.
        whole: every process has as many as it should.
    """

    clips: int
    whole: bool


class FailureLog:
    """Collects failures, warns of each of the first and adds every one to a CSV file (``split``, ``path``, ``cause``).

    Args:
        path: the file, made at the first failure; None: warn only.
        split: ``train``, ``val`` or ``test``.
        records: length of the list, for :meth:`check`.
        max_fraction: DATA.MAX_BAD_FRACTION, the share of the list that may fail.
    """

    def __init__(self, path: Path | None, split: str, *, records: int = 0, max_fraction: float = 1.0) -> None:
        self.path = path
        self.split = split
        self.records = records
        self.max_fraction = max_fraction
        self.by_record: dict[int, Failure] = {}

    def __len__(self) -> int:
        return len(self.by_record)

    def sync(self) -> None:
        """Give every process the failures of all; every process must call it."""
        for found in distributed.gather_objects(self.by_record):
            self.add(found[record] for record in sorted(found))

    def add(self, failures: Iterable[Failure]) -> int:
        """Take note of ``failures``; those known already are passed over. Return how many are new."""
        new = []
        for failure in failures:
            if failure.record not in self.by_record:
                self.by_record[failure.record] = failure
                new.append(failure)
        if new and distributed.is_main():  # sync() brings those of other processes to the one that writes
            self._warn(new)
            if self.path is not None:
                self._write(self.path, new)
        return len(new)

    def admits(self, batch: Batch, device: torch.device, expected: int = 0) -> Admission:
        """Note the failures of a step's batch, and return what clips the processes have for the step.

        Every process must call it for every step: all of them go on, leave the step out or stop together.

        Args:
            batch: of this process.
            device: of this process.
            expected: clips of this process in a step.

        Raises:
            DataError: as :meth:`check`, in every process.
        """
        clips = 0 if batch.clips is None else len(batch.clips)
        own = [float(self.add(batch.failures)), float(clips == 0), float(clips), float(clips < expected)]
        new, empty, total, short = distributed.sum_floats(own, device)
        if new:
            self.sync()
            self.check()
        return Admission(0 if empty else int(total), whole=not short)

    def check(self) -> None:
        """Stop the run where more of the list has failed than may; every process must have the same failures.

        Raises:
            DataError: more than ``max_fraction`` of the records, or all of them, cannot be read.
        """
        count, total = len(self), self.records
        if count and count >= total:
            raise self.error(f"none of the {total} videos of the {LISTS[self.split]} list can be read")
        if count and count / total > self.max_fraction:
            raise self.error(
                f"{count} of the {total} videos of the {LISTS[self.split]} list cannot be read, more than "
                f"DATA.MAX_BAD_FRACTION {self.max_fraction:g} allows"
            )

    def error(self, what: str) -> DataError:
        """Return the error that ends a run for ``what``, with examples, where the others are and the way out."""
        examples = "; ".join(failure.reason for _, failure in sorted(self.by_record.items())[:EXAMPLES])
        listed = f" (all in {self.path})" if self.path is not None else ""
        key = ", or raise DATA.MAX_BAD_FRACTION" if len(self) < self.records else ""
        return DataError(
            f"{what}, for example {examples}{listed}; mend the videos, correct the list or DATA.PATH_PREFIX{key}"
        )

    def _warn(self, new: list[Failure]) -> None:
        before = len(self) - len(new)
        for failure in new[: max(PRINTED - before, 0)]:
            logger.warning("unreadable %s video %s", self.split, failure.reason)
        if before <= PRINTED < len(self):
            where = f"are listed in {self.path} alone" if self.path is not None else "are counted at the end"
            logger.warning("further unreadable %s videos %s", self.split, where)

    def _write(self, path: Path, new: list[Failure]) -> None:
        # Read anew each time: the file holds what other splits, and the run before it was resumed, have found.
        rows = csv_rows(path)
        known = {tuple(row[:2]) for row in rows}
        # The cause may name another frame each time a video is met.
        added = {(self.split, f.path): f.cause for f in reversed(new) if (self.split, f.path) not in known}
        if not added:
            return
        with atomic_write(path) as file:
            written = csv.writer(file, lineterminator="\n")
            written.writerows(rows or [["split", "path", "cause"]])
            written.writerows([*place, cause] for place, cause in reversed(added.items()))
