"""What all measurements of ``benchmark.py`` share: their results, how sides are timed, how they are declared."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

WARM_UP = 2
"""Rounds that are run first and not counted."""


@dataclass(frozen=True)
class Timing:
    """One measurement of both sides.

    Args:
        name: what was done, such as ``base 8x224x224 x4 inference bf16``.
        plain_s: median seconds of the plain side.
        ours_s: median seconds of this toolkit's side.
        ratio: ``plain_s / ours_s``; above 1: ours is faster.
        limit_s: seconds below which this machine cannot do it, as measured on it; None where there is no such bound.
    """

    name: str
    plain_s: float
    ours_s: float
    ratio: float
    limit_s: float | None = None

    @property
    def share(self) -> float | None:
        """What part of the time is the physical limit, in (0, 1]; None where there is none."""
        return None if self.limit_s is None else self.limit_s / self.ours_s


@dataclass(frozen=True)
class Subcommand:
    """One kind of measurement: how to read its arguments and how to run it."""

    help: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], Sequence[Any]]
    """Returns results, dataclasses. May set ``exit_code`` of its argument where a bound is broken."""
    takes_settings: bool = True
    """Whether KEY VALUE pairs that override a configuration may follow."""
    repeats: int = 5
    """Rounds that count where --repeats does not say."""


def compare(name: str, plain_s: float, ours_s: float, limit_s: float | None = None) -> Timing:
    """Return a timing with its ratio."""
    return Timing(name, plain_s, ours_s, plain_s / ours_s, limit_s)


def time_sides(
    sides: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warm_up: int = WARM_UP,
    synchronize: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Time functions in turn, so that a machine that slows down slows all; the first rounds are thrown away.

    Args:
        sides: what is timed, by name, in the order of a round.
        repeats: rounds that count, >= 1.
        warm_up: rounds before them.
        synchronize: waits until the device has done all it was given.

    Returns:
        The median seconds of each side.
    """
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(warm_up + repeats):
        for name, call in sides.items():
            synchronize()
            start = time.perf_counter()
            call()
            synchronize()
            if turn >= warm_up:
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def time_alternating(
    name: str,
    plain: Callable[[], object],
    ours: Callable[[], object],
    *,
    repeats: int,
    warm_up: int = WARM_UP,
    synchronize: Callable[[], None] = lambda: None,
    limit_s: float | None = None,
) -> Timing:
    """Time this toolkit's side and the plain one in turn; see :func:`time_sides` and :class:`Timing`."""
    seconds = time_sides({"ours": ours, "plain": plain}, repeats=repeats, warm_up=warm_up, synchronize=synchronize)
    return compare(name, seconds["plain"], seconds["ours"], limit_s)


HEADING = f"{'':46} {'plain':>11} {'ours':>11} {'ratio':>7} {'limit':>11} {'share':>6}"
"""Over lines of :func:`table_line`."""


def table_line(timing: Timing) -> str:
    """Return one line of the table: medians of both sides, their ratio, the limit and its share of our time."""
    line = f"{timing.name:46} {duration(timing.plain_s):>11} {duration(timing.ours_s):>11} {timing.ratio:6.2f}x"
    if timing.limit_s is None:
        return f"{line} {'-':>11} {'-':>6}"
    return f"{line} {duration(timing.limit_s):>11} {timing.share:6.0%}"


def duration(seconds: float) -> str:
    """Return seconds as text with four digits: ``2.219 s``, ``35.10 ms``."""
    if seconds >= 1:
        return f"{seconds:.4g} s"
    return f"{seconds * 1e3:.4g} ms"


def relative_difference(got: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference over the norm of ``wanted``; NaN where either has one."""
    got, wanted = got.detach().double(), wanted.detach().double()
    return float((got - wanted).norm() / wanted.norm())
