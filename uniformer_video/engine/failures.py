"""The record of videos that could not be read: said once each, and kept in a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from uniformer_video.datasets.dataset import Failure
from uniformer_video.runtime import distributed
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.paths import atomic_write

logger = get_logger(__name__)


class FailureLog:
    """Collects failures, warns once for each video and adds it to a CSV file (``split``, ``path``, ``cause``), once.

    Args:
        path: the file, made at the first failure; None: warn only.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, path: Path | None, split: str) -> None:
        self.path = path
        self.split = split
        self.by_record: dict[int, Failure] = {}

    def __len__(self) -> int:
        return len(self.by_record)

    def sync(self) -> None:
        """Give every process the failures of all; every process must call it."""
        for found in distributed.gather_objects(self.by_record):
            self.add(found[record] for record in sorted(found))

    def add(self, failures: Iterable[Failure]) -> None:
        """Take note of ``failures``; those known already are passed over."""
        for failure in failures:
            if failure.record in self.by_record:
                continue
            self.by_record[failure.record] = failure
            if not distributed.is_main():
                continue  # sync() brings it to the process that writes
            logger.warning("unreadable %s video %s", self.split, failure.reason)
            if self.path is not None:
                self._write(self.path, failure)

    def _write(self, path: Path, failure: Failure) -> None:
        # Read anew each time: the file holds what other splits, and the run before it was resumed, have found.
        rows = []
        if path.exists():
            with open(path, encoding="utf-8", newline="") as file:
                rows = list(csv.reader(file))
        # The cause may name another frame each time a video is met.
        if [self.split, failure.path] in [row[:2] for row in rows]:
            return
        with atomic_write(path) as file:
            written = csv.writer(file, lineterminator="\n")
            written.writerows(rows or [["split", "path", "cause"]])
            written.writerow([self.split, failure.path, failure.cause])
