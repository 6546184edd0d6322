"""Steps left out because their loss or gradient was infinite or NaN: counted, listed, and the end of a run in a row."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from uniformer_video.datasets.loader import Batch
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.engine.failures import csv_rows
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.paths import atomic_write

logger = get_logger(__name__)

HEADER = ("epoch", "step", "loss", "grad_norm", "path", "label")
ADVICE = (
    "lower SOLVER.BASE_LR or lengthen SOLVER.WARMUP_EPOCHS, set SOLVER.CLIP_GRAD_L2NORM, or TRAIN.MIXED_PRECISION bf16 "
    "or False"
)


class NonfiniteLog:
    """Counts steps that were left out and writes their videos to a CSV file (:data:`HEADER`).

    Args:
        path: the file, made at the first such step.
        records: of the training list.
        most: SOLVER.MAX_NONFINITE, so many in a row end the run.
    """

    def __init__(self, path: Path, records: Sequence[VideoRecord], most: int) -> None:
        self.path, self.records, self.most = path, records, most
        self.total = self.in_row = 0

    def state(self) -> dict[str, int]:
        """Return the counts, for a checkpoint."""
        return {"total": self.total, "in_row": self.in_row}

    def load(self, state: dict[str, int]) -> None:
        """Go on counting from what :meth:`state` returned."""
        self.total, self.in_row = int(state.get("total", 0)), int(state.get("in_row", 0))

    def passed(self) -> None:
        """Note a step that was taken: a row of steps left out has ended."""
        self.in_row = 0

    def left_out(self, batch: Batch, *, epoch: int, step: int, loss: float, norm: float) -> None:
        """Note a step that was left out; every process must call it, with its own batch.

        Args:
            batch: of this process.
            epoch: from 0.
            step: of the epoch, from 0.
            loss: of the step.
            norm: of its gradient.

        Raises:
            UserError: :attr:`most` steps in a row were left out, in every process.
        """
        self.total += 1
        self.in_row += 1
        numbers = sorted({n for part in distributed.gather_objects(batch.records.tolist()) for n in part})
        place = f"epoch {epoch + 1} step {step + 1}"
        if distributed.is_main():
            self._write(epoch + 1, step + 1, loss, norm, numbers)
            logger.warning(
                "%s left out: its loss is %g and its gradient norm %g (%d in a row, %d in all); its videos are in %s",
                *(place, loss, norm, self.in_row, self.total, self.path),
            )
        distributed.barrier()  # before an error ends the process that writes
        if self.in_row >= self.most:
            raise UserError(
                f"{self.in_row} steps in a row had an infinite or NaN loss or gradient, the last at {place} (loss "
                f"{loss:g}, gradient norm {norm:g}; SOLVER.MAX_NONFINITE {self.most}); their videos are in "
                f"{self.path}; {ADVICE}; none of these steps has changed a weight, and checkpoints in "
                f"{self.path.parent} are kept: where the loss grew before them, remove the newest"
            )

    def _write(self, epoch: int, step: int, loss: float, norm: float, numbers: list[int]) -> None:
        # A run that went on from before this step meets it again.
        rows = [row for row in csv_rows(self.path)[1:] if row[:2] != [str(epoch), str(step)]]
        for number in numbers:
            record = self.records[number]
            label = " ".join(map(str, record.labels))
            rows.append([str(epoch), str(step), f"{loss:g}", f"{norm:g}", record.path, label])
        with atomic_write(self.path) as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            writer.writerows(rows)
