"""What all measurements of ``benchmark.py`` share: their results, how two sides are timed, how they are declared."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

WARM_UP = 2
"""Rounds that are run first and not counted."""


@dataclass(frozen=True)
class Timing:
    """Medians of one measurement, in seconds, and ``ratio`` = plain / ours (above 1: ours is faster)."""

    name: str
    plain_s: float
    ours_s: float
    ratio: float


@dataclass(frozen=True)
class Subcommand:
    """One kind of measurement: how to read its arguments and how to run it."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Sequence[Any]]
    """Returns results, dataclasses. May set ``exit_code`` of its argument where a bound is broken."""
    takes_settings: bool = True
    """Whether KEY VALUE pairs that override a configuration may follow."""


def time_alternating(
    name: str,
    plain: Callable[[], object],
    ours: Callable[[], object],
    *,
    repeats: int,
    synchronize: Callable[[], None] = lambda: None,
) -> Timing:
    """Time two functions in turn, so that a machine that slows down slows both; the first rounds are thrown away.

    Args:
        name: of the measurement.
        plain: the other side.
        ours: this toolkit's side.
        repeats: rounds that count, >= 1.
        synchronize: waits until the device has done all it was given.
    """
    seconds: dict[str, list[float]] = {"plain": [], "ours": []}
    for turn in range(WARM_UP + repeats):
        for side, call in (("ours", ours), ("plain", plain)):
            synchronize()
            start = time.perf_counter()
            call()
            synchronize()
            if turn >= WARM_UP:
                seconds[side].append(time.perf_counter() - start)
    plain_s, ours_s = statistics.median(seconds["plain"]), statistics.median(seconds["ours"])
    return Timing(name, plain_s, ours_s, plain_s / ours_s)


def relative_difference(got: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference over the norm of ``wanted``; NaN where either has one."""
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).norm() / wanted.norm())
