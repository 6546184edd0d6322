"""What a processor can do at most, as measured on it: the limits that times of networks are compared with."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor, nn

from uniformer_video.models.complexity import measure_size
from uniformer_video.models.counting import ATTENTION, LINEAR, PATCH
from uniformer_video.models.cpu_linear import cpu_linear

PRODUCTS = (LINEAR, PATCH, ATTENTION)
"""Kinds of work that are matrix products."""
BACKWARD = 3
"""A training step has each product of the forward pass three times: itself, and one for each factor's gradient."""


@cache
def cpu_matrix_rate(dtype: torch.dtype, *, sides: tuple[int, ...] = (1024, 2048), repeats: int = 7) -> float:
    """Return the most floating-point operations a second that a product of square matrices has reached here.

    Both of torch's ways to a product are tried, the usual one and oneDNN's, and the best run counts: a limit is what
    was possible once.

    Args:
        dtype: of the matrices.
        sides: their extents.
        repeats: runs of each.
    """
    ways: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (lambda a, b: a @ b.t(), cpu_linear)
    best = 0.0
    with torch.inference_mode():
        for side in sides:
            one, other = (torch.randn(side, side).to(dtype) for _ in range(2))
            for way in ways:
                for _ in range(repeats):
                    start = time.perf_counter()
                    way(one, other)
                    best = max(best, 2 * side**3 / (time.perf_counter() - start))
    return best


def product_flops(model: nn.Module, clips: tuple[int, ...]) -> int:
    """Return the floating-point operations of all matrix products in a forward pass of a batch (B, 3, T, H, W)."""
    work = measure_size(model, clips[1:]).multiply_adds
    return 2 * clips[0] * sum(count for (_, kind), count in work.items() if kind in PRODUCTS)


def cpu_limit(flops: int, dtype: torch.dtype) -> float:
    """Return the seconds in which this processor's matrix rate would do ``flops``, and nothing else."""
    return flops / cpu_matrix_rate(dtype)
