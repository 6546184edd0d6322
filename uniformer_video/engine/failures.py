"""The record of videos that could not be read: said once each, and kept in a file."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from uniformer_video.datasets.dataset import Failure
from uniformer_video.runtime import distributed
from uniformer_video.runtime.logging import get_logger

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
        self._written: set[tuple[str, ...]] | None = None

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
        new = not path.exists()
        if self._written is None:
            # What the run wrote before it was stopped and resumed. The cause may name another frame each time.
            with open(path, "a+", encoding="utf-8", newline="") as file:
                file.seek(0)
                self._written = {tuple(row[:2]) for row in csv.reader(file)}
        if (self.split, failure.path) in self._written:
            return
        self._written.add((self.split, failure.path))
        row = (self.split, failure.path, failure.cause)
        with open(path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("split", "path", "cause"), row] if new else [row])
