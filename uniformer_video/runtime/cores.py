"""How many processors there are to use, and how many threads a process may keep busy."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def available_cores() -> int:
    """Return how many processors this process may use, at least 1: a container or a scheduler may give it a part.

    A part is a set of processors (taskset, Slurm) or a share of their time (``docker run --cpus 2``), then rounded up.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = min(_quotas(), default=math.inf)
    return max(1, cores if quota == math.inf else min(cores, math.ceil(quota)))


def cores_per_process(processes: int) -> int:
    """Return how many processors each of ``processes`` equal ones on this machine has for itself, at least 1."""
    return max(1, available_cores() // max(1, processes))


def _quotas() -> Iterator[float]:
    """Yield the limits of time, in processors, of the control groups that this process is in."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        # A group has no more than the groups it is in; a container may not see them, and has its own as the root.
        own = Path(path.lstrip("/"))
        for folder in {root, *(root / part for part in (own, *own.parents))}:
            yield _quota(folder)


def _quota(folder: Path) -> float:
    """Return the limit of one group in processors: of version 2 ``200000 100000``, of version 1 in two files."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text().split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text()
            period = (folder / "cpu.cfs_period_us").read_text()
        found = float(quota) / float(period) if quota.strip() != "max" else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
    return found if found > 0 else math.inf
