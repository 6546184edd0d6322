"""How many processors there are to use."""

from __future__ import annotations

import os


def available_cores() -> int:
    """Return how many processors this process may use, at least 1: a container or a scheduler may give it a part."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, len(os.sched_getaffinity(0)))
    return os.cpu_count() or 1
