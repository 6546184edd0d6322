"""Which validation is the better one, and early stopping: a run ends when its validations get no better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

LOSS = "val_loss"


def is_better(entry: Mapping[str, Any], other: Mapping[str, Any] | None, key: str) -> bool:
    """Return whether a validation is better than another one: a higher figure or, of equal figures, a lower loss.

    The figures of a small validation list are often equal; the loss still tells an early epoch from a trained one.

    Args:
        entry: of a history, with ``key`` and perhaps ``val_loss``.
        other: likewise; None, or one without ``key``: there is none yet.
        key: of the figure, higher is better. NaN is no improvement on anything.
    """
    if not entry[key] > -math.inf:
        return False
    return other is None or key not in other or _rank(entry, key) > _rank(other, key)


def _rank(entry: Mapping[str, Any], key: str) -> tuple[float, float]:
    return tuple(-math.inf if math.isnan(value) else value for value in (entry[key], -entry.get(LOSS, math.inf)))


def validations_since_best(history: Sequence[Mapping[str, Any]], key: str) -> int:
    """Return how many validations there were after the best one by :func:`is_better`, the first of equals.

    All that is known of a run's past is in its history, which checkpoints hold: a resumed run counts on.

    Args:
        history: entries in the order of time; those without ``key`` were not validated.
        key: of the value to watch, higher is better. NaN is no improvement on anything.
    """
    best, since = None, 0
    for entry in (entry for entry in history if key in entry):
        if is_better(entry, best, key):
            best, since = entry, 0
        else:
            since += 1
    return since


def stops_early(history: Sequence[Mapping[str, Any]], key: str, patience: int) -> bool:
    """Return whether the last ``patience`` validations brought nothing better than one before them.

    Args:
        history: as for :func:`validations_since_best`.
        key: likewise.
        patience: validations without improvement that end a run; 0: none do.
    """
    return 0 < patience <= validations_since_best(history, key)
