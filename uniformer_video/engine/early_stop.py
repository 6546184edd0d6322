"""Early stopping: a run ends when its validations have stopped getting better."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any


def validations_since_best(history: Sequence[Mapping[str, Any]], key: str) -> int:
    """Return how many validations there were after the best one, the first of equals.

    All that is known of a run's past is in its history, which checkpoints hold: a resumed run counts on.

    Args:
        history: entries in the order of time; those without ``key`` were not validated.
        key: of the value to watch, higher is better. NaN is no improvement on anything.
    """
    best, since = -math.inf, 0
    for value in (entry[key] for entry in history if key in entry):
        if value > best:
            best, since = value, 0
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
