"""Whether a training waits for its data, said in one plain sentence."""

from __future__ import annotations

from uniformer_video.metrics.meters import RatioMeter
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)

LIMIT = 0.3
"""Share of the time above which waiting for data is worth a warning."""

ENOUGH_STEPS = 20
ENOUGH_SECONDS = 60
"""A few short steps tell nothing. An epoch of fewer than ENOUGH_STEPS steps does where it took this long."""


class Bottleneck:
    """Warns, at most once an epoch, where the network waits for data.

    Args:
        workers: loader processes of this process, for the advice.
    """

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.recent, self.whole = RatioMeter(), RatioMeter()
        self.start_epoch()

    def start_epoch(self) -> None:
        """Forget the steps so far; a warning may come again."""
        self.recent.reset()
        self.whole.reset()
        self._has_warned = False

    def add(self, waiting: float, seconds: float) -> None:
        """Note a step.

        Args:
            waiting: for its batch, seconds.
            seconds: of the step in all, the waiting included.
        """
        self.recent.add(waiting, seconds)
        self.whole.add(waiting, seconds)

    def check(self, ended: int | None = None) -> None:
        """Warn where the steps since the last check, at least 20 of them, or the whole epoch waited too long.

        Args:
            ended: the number, from 0, of an epoch that has ended; None: it goes on.
        """
        if len(self.recent) >= ENOUGH_STEPS:
            self._judge(self.recent, f"the last {len(self.recent)} steps' time")
            self.recent.reset()
        if ended is not None and (len(self.whole) >= ENOUGH_STEPS or self.whole.whole >= ENOUGH_SECONDS):
            self._judge(self.whole, f"the time of epoch {ended + 1}")

    def _judge(self, meter: RatioMeter, of: str) -> None:
        if self._has_warned or not meter.ratio > LIMIT:
            return
        self._has_warned = True
        logger.warning(
            "the network waited for data in %.0f %% of %s: loading is the bottleneck; raise DATA_LOADER.NUM_WORKERS "
            "(now %d), or decode less (docs/DATASETS.md, prepare_dataset.py --transcode)",
            *(100 * meter.ratio, of, self.workers),
        )
