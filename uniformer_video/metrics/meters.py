"""Running figures of a training: recent values, averages, and the time that remains."""

from __future__ import annotations

import math
import statistics
from collections import deque


class WindowMeter:
    """The last ``size`` values of a series. The statistics are NaN before the first value.

    Args:
        size: length of the window, >= 1.
    """

    def __init__(self, size: int) -> None:
        assert size >= 1, size
        self._values: deque[float] = deque(maxlen=size)

    def add(self, value: float) -> None:
        """Append ``value``; the oldest value leaves a full window."""
        self._values.append(float(value))

    def reset(self) -> None:
        """Forget all values."""
        self._values.clear()

    def __len__(self) -> int:
        return len(self._values)

    @property
    def median(self) -> float:
        """The middle value, or the mean of the two middle ones; NaN where the window holds a NaN."""
        if not self._values or any(map(math.isnan, self._values)):
            return math.nan
        return statistics.median(self._values)

    @property
    def mean(self) -> float:
        """The mean of the window."""
        return math.fsum(self._values) / len(self._values) if self._values else math.nan


class AverageMeter:
    """The weighted mean of everything added, for figures of a whole epoch."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all values."""
        self.total = 0.0
        self.weight = 0.0

    def add(self, value: float, weight: float = 1.0) -> None:
        """Add ``value``, for example a batch's mean loss, with ``weight`` >= 0, for example the batch's size."""
        assert weight >= 0, weight
        if weight:  # the mean of an empty batch is NaN; it must not count
            self.total += float(value) * weight
            self.weight += weight

    @property
    def mean(self) -> float:
        """The weighted mean; NaN before the first value of any weight."""
        return self.total / self.weight if self.weight else math.nan


class RatioMeter:
    """One sum over another, of things that are counted step by step: clips over seconds, waiting over all time."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.part = 0.0
        self.whole = 0.0
        self.count = 0

    def add(self, part: float, whole: float) -> None:
        """Note one step: ``part`` goes to the upper sum, ``whole`` to the lower one."""
        self.part += part
        self.whole += whole
        self.count += 1

    def __len__(self) -> int:
        return self.count

    @property
    def ratio(self) -> float:
        """The upper sum over the lower one; NaN where that is 0."""
        return self.part / self.whole if self.whole else math.nan


class EtaMeter:
    """The time that remains, from the mean duration of recent steps.

    Args:
        size: how many recent steps the mean is over, >= 1.
    """

    def __init__(self, size: int = 100) -> None:
        self._steps = WindowMeter(size)

    def add(self, seconds: float) -> None:
        """Note one finished step of this duration."""
        self._steps.add(seconds)

    def remaining_seconds(self, steps: int) -> float:
        """Return the seconds that ``steps`` more steps will take; NaN before the first step is noted."""
        return 0.0 if steps <= 0 else self._steps.mean * steps

    def text(self, steps: int) -> str:
        """Return the time that ``steps`` more steps will take in the form of :func:`format_duration`."""
        return format_duration(self.remaining_seconds(steps))


def format_duration(seconds: float) -> str:
    """Return a duration as ``"02:03:04"``, ``"1 day, 02:03:04"`` or ``"2 days, 00:00:00"``, to the nearest second.

    Args:
        seconds: a negative one counts as 0; infinite or NaN gives ``"unknown"``.
    """
    if not math.isfinite(seconds):
        return "unknown"
    minutes, second = divmod(max(round(seconds), 0), 60)
    hours, minute = divmod(minutes, 60)
    days, hour = divmod(hours, 24)
    clock = f"{hour:02d}:{minute:02d}:{second:02d}"
    return f"{days} day{'s' if days > 1 else ''}, {clock}" if days else clock
