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
    """Collects failures, warns once for each video and appends it to a CSV file (``split``, ``reason``), each row once.

    Args:
        path: the file, made at the first failure; None: warn only.
        split: ``train``, ``val`` or ``test``.
    """

    def __init__(self, path: Path | None, split: str) -> None:
        self.path = path
        self.split = split
        self.reasons: dict[int, str] = {}
        self._written: set[tuple[str, ...]] | None = None

    def __len__(self) -> int:
        return len(self.reasons)

    def sync(self) -> None:
        """Give every process the failures of all; every process must call it."""
        for reasons in distributed.gather_objects(self.reasons):
            self.add(Failure(record, reason) for record, reason in sorted(reasons.items()))

    def add(self, failures: Iterable[Failure]) -> None:
        """Take note of ``failures``; those known already are passed over."""
        for failure in failures:
            if failure.record in self.reasons:
                continue
            self.reasons[failure.record] = failure.reason
            if not distributed.is_main():
                continue  # sync() brings it to the process that writes
            logger.warning("unreadable %s video %s", self.split, failure.reason)
            if self.path is not None:
                self._write(self.path, (self.split, failure.reason))

    def _write(self, path: Path, row: tuple[str, str]) -> None:
        new = not path.exists()
        if self._written is None:
            # What the run wrote before it was stopped and resumed.
            with open(path, "a+", encoding="utf-8", newline="") as file:
                file.seek(0)
                self._written = set(map(tuple, csv.reader(file)))
        if row in self._written:
            return
        self._written.add(row)
        with open(path, "a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([("split", "reason"), row] if new else [row])
