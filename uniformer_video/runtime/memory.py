"""How the C library keeps freed memory: given back where it adds up, kept where the next step wants the same."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


# Of <malloc.h>.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -2, -3, -4
_KEEPING = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: -1, _M_TOP_PAD: 2**26}
# What a process has after a while: the thresholds begin lower and rise with what is freed, up to these.
_USUAL = {_M_MMAP_MAX: 2**16, _M_MMAP_THRESHOLD: 2**25, _M_TRIM_THRESHOLD: 2**26, _M_TOP_PAD: 2**17}


@cache
def _trim() -> Callable[[int], int] | None:
    return _function("malloc_trim")


@cache
def _option() -> Callable[[int, int], int] | None:
    return _function("mallopt")


def _function(name: str) -> Callable[..., int] | None:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # only the C library of GNU has it
        return None


def keep_heap() -> bool:
    """Let freed memory stay with this process, for its next step; return whether the C library can.

    The GNU C library gives large blocks back to the system at once and asks for them anew. A training step on a CPU
    frees and wants the same gigabytes hundreds of times, and every page of them is cleared by the system each time,
    which takes longer than the arithmetic of many layers. Not for processes that open videos: see :func:`trim_heap`.
    """
    option = _option()
    # All of them are asked for, also after one that fails.
    return option is not None and all([option(name, value) == 1 for name, value in _KEEPING.items()])


def release_heap() -> bool:
    """Undo :func:`keep_heap` and give back what is unused; return whether the C library can."""
    option = _option()
    undone = option is not None and all([option(name, value) == 1 for name, value in _USUAL.items()])
    trim_heap()
    return undone


def trim_heap() -> bool:
    """Return freed memory to the system, where the C library keeps it otherwise; tell whether there was any.

    Decoders allocate and free buffers of many sizes. The GNU C library keeps the gaps between them, and over thousands
    of videos these add up. A call takes about a millisecond.
    """
    trim = _trim()
    return bool(trim is not None and trim(0))
