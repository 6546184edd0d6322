"""When a training is saved, and how: one process writes, all of them know that it is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from uniformer_video.engine.checkpoint import (
    Checkpoint,
    best_path,
    checkpoint_path,
    prune,
    save_checkpoint,
)
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)


class Saver:
    """Writes the checkpoints of a run and removes old ones; every process calls it for every checkpoint.

    Args:
        output: of the run.
        keep: TRAIN.KEEP_CHECKPOINTS.
        steps: TRAIN.CHECKPOINT_STEPS.
        minutes: TRAIN.CHECKPOINT_MINUTES.
        clock: seconds, for the minutes.
    """

    def __init__(
        self, output: Path, *, keep: int, steps: int, minutes: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.output, self.keep, self.steps, self.minutes = output, keep, steps, minutes
        self.clock = clock
        self.place: tuple[int, int] | None = None
        self._since = clock()
        self._of_other_length: list[Path] = []

    def begin(self, place: tuple[int, int], path: Path | None = None) -> None:
        """Begin to count time at ``place``, (epochs, steps of the next), of the checkpoint at ``path``.

        Where the name of that one tells another place, the epoch had another number of steps then. Those of inside of
        it would be taken for newer ones some day: they are removed once the next one is on the disk.
        """
        self.place, self._since = place, self.clock()
        if path is not None and path != checkpoint_path(self.output, *place):
            self.place = None
        if self.place is None and path != best_path(self.output):
            whole = checkpoint_path(self.output, place[0])
            self._of_other_length = sorted(whole.parent.glob(f"{whole.stem}_step_*{whole.suffix}"))

    def is_due(self, step: int) -> bool:
        """Return whether this process wants a checkpoint after ``step`` steps of an epoch; one of them is enough.

        Only the main process looks at the time: clocks differ.
        """
        by_steps = self.steps > 0 and step % self.steps == 0
        late = self.minutes > 0 and self.clock() - self._since >= 60 * self.minutes
        return by_steps or (late and distributed.is_main())

    def save(self, checkpoint: Checkpoint, *, newest: bool = True, best: bool = False) -> Path | None:
        """Write ``checkpoint``, wait until it is on the disk, and remove old ones.

        Args:
            checkpoint: of this run; read on the main process alone.
            newest: as the one to go on from.
            best: as the one with the best validation.

        Returns:
            Where the one to go on from lies, if it was written.

        Raises:
            UserError: it cannot be written, in every process; those before are as they were.
        """
        path, mistake = checkpoint_path(self.output, checkpoint.epoch, checkpoint.step), None
        if distributed.is_main():
            try:
                # The best first: a run that is killed in between does the epoch again, and writes both.
                if best:
                    save_checkpoint(checkpoint, best_path(self.output))
                if newest:
                    save_checkpoint(checkpoint, path)
                    self._remove_of_other_length(path)
                    prune(self.output, self.keep, path)
            except UserError as error:
                mistake = error
        mistake = distributed.gather_objects(mistake)[0]
        if mistake is not None:
            raise mistake
        if newest:
            self.begin((checkpoint.epoch, checkpoint.step))
        return path if newest else None

    def _remove_of_other_length(self, new: Path) -> None:
        for path in self._of_other_length:
            if path != new:
                with suppress(OSError):  # another time; it is not worth a run
                    path.unlink()
        self._of_other_length = []
