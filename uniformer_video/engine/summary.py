"""What a training tells at its end: curves, the best validation, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from uniformer_video.drawing.curves import draw_curves
from uniformer_video.engine.checkpoint import best_path
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.nonfinite import NonfiniteLog
from uniformer_video.engine.report import FIGURES
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)


def tell_summary(
    output: Path,
    *,
    history: Sequence[dict[str, Any]],
    best: Mapping[str, Any] | None,
    watched: str,
    epochs: int,
    patience: int,
    failures: Mapping[str, FailureLog],
    nonfinite: NonfiniteLog,
) -> None:
    """Draw the curves and log how the training went; for the main process.

    Args:
        output: of the run.
        history: an entry for each epoch.
        best: the one with the best validation, or None.
        watched: key of the figure that tells which is the best.
        epochs: SOLVER.MAX_EPOCH; fewer were trained where it stopped early.
        patience: TRAIN.EARLY_STOP_PATIENCE.
        failures: videos that could not be read, by split.
        nonfinite: steps that were left out.
    """
    name = FIGURES[watched]
    if len(history) < epochs:
        since = f"epoch {best['epoch']}" if best else "the start"
        logger.info(
            "stopped after epoch %d of %d: no better %s since %s (TRAIN.EARLY_STOP_PATIENCE %d)",
            *(len(history), epochs, name, since, patience),
        )
    draw_curves(history, output / "curves.png")
    logger.info("curves: %s", output / "curves.png")
    if best and watched in best:
        logger.info(
            "best validation: %s %.2f %% after epoch %d, kept in %s",
            *(name, best[watched], best["epoch"], best_path(output)),
        )
    unreadable = {split: len(log) for split, log in failures.items() if len(log)}
    if unreadable:
        counts = ", ".join(f"{count} {split}" for split, count in unreadable.items())
        logger.warning("videos that could not be read: %s; see %s", counts, output / "unreadable.csv")
    if nonfinite.total:
        logger.warning("%d steps were left out as not finite; see %s", nonfinite.total, nonfinite.path)
