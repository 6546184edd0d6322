"""Giving memory back that nobody uses any more."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


@cache
def _trim() -> Callable[[int], int] | None:
    try:
        return ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # only the C library of GNU has it
        return None


def trim_heap() -> bool:
    """Return freed memory to the system, where the C library keeps it otherwise; tell whether there was any.

    Decoders allocate and free buffers of many sizes. The GNU C library keeps the gaps between them, and over thousands
    of videos these add up. A call takes about a millisecond.
    """
    trim = _trim()
    return bool(trim is not None and trim(0))
