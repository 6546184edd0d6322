"""Two linear maps around GELU on CPUs, a run of rows at a time, so that the wide part between them stays in the cache.

Without gradients the wide part never exists as a whole. With them, what GELU gets is kept, but not what it gives: that
is computed again in the backward pass, a run at a time: memory that is neither held nor moved.

Shape letters: M rows (positions of all clips), C channels, K hidden width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from uniformer_video.models.cpu_linear import cpu_linear

RUN_BYTES = 4 * 2**20
"""About how many bytes of the wide part are at work at a time: more than a GEMM needs to be fast, less than a cache."""


def cpu_mlp(x: Tensor, weight1: Tensor, bias1: Tensor, weight2: Tensor, bias2: Tensor) -> Tensor:
    """Return ``gelu(x weight1^T + bias1) weight2^T + bias2``, differentiable.

    Args:
        x: (..., C) in the type to compute in, float32 or bfloat16, on the CPU.
        weight1: (K, C), any floating dtype; used in that of ``x``.
        bias1: (K,).
        weight2: (C', K).
        bias2: (C',).

    Returns:
        (..., C') of x's dtype. Gradients of weights are summed over runs in float32.
    """
    return _Mlp.apply(x.reshape(-1, x.shape[-1]), weight1, bias1, weight2, bias2).view(*x.shape[:-1], len(weight2))


def add_cpu_mlp_(
    x: Tensor,
    norm: Callable[[Tensor], Tensor] | None,
    weight1: Tensor,
    bias1: Tensor,
    weight2: Tensor,
    bias2: Tensor,
    dtype: torch.dtype,
) -> Tensor:
    """Add what the two maps make of ``x`` to ``x`` itself, without gradients.

    Args:
        x: contiguous (..., C), changed in place.
        norm: what is done to rows (M, C) before the maps, each row for itself; None: nothing.
        weight1: (K, C) in ``dtype``.
        bias1: (K,) in ``dtype``.
        weight2: (C, K) in ``dtype``.
        bias2: (C,) in ``dtype``.
        dtype: to compute in.

    Returns:
        ``x``.
    """
    rows = x.view(-1, x.shape[-1])
    with torch.autocast("cpu", enabled=False):
        for run in _runs(len(rows), len(weight1), dtype):
            part = rows[run]
            inner = part if norm is None else norm(part)
            wide = cpu_linear(inner.to(dtype), weight1, bias1, gelu=True)
            part += cpu_linear(wide, weight2, bias2)
            if isinstance(x, FakeTensor):  # without numbers; the other runs take no more memory than the first
                break
    return x


class _Mlp(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight1: Tensor,
        bias1: Tensor,
        weight2: Tensor,
        bias2: Tensor,
    ) -> Tensor:
        dtype = x.dtype
        before = x.new_empty((len(x), len(weight1)))
        result = x.new_empty((len(x), len(weight2)))
        with torch.autocast("cpu", enabled=False):
            first, second = (weight.to(dtype).t() for weight in (weight1, weight2))
            offset1, offset2 = bias1.to(dtype), bias2.to(dtype)
            # Without numbers there is nothing to keep in a cache, and what is kept is the same.
            whole = isinstance(x, FakeTensor)
            for run in [slice(None)] if whole else _runs(len(x), len(weight1), dtype):
                torch.addmm(offset1, x[run], first, out=before[run])
                torch.addmm(offset2, F.gelu(before[run]), second, out=result[run])
        ctx.save_for_backward(x, before, weight1, weight2)
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, before, weight1, weight2 = ctx.saved_tensors
        dtype = x.dtype
        gradient = gradient.to(dtype)
        by_x = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        sums = [x.new_zeros(shape, dtype=torch.float32) for shape in (weight1.shape, len(weight1), weight2.shape)]
        with torch.autocast("cpu", enabled=False):
            first, second = weight1.to(dtype), weight2.to(dtype)
            for run in _runs(len(x), len(weight1), dtype):
                wide = torch.mm(gradient[run], second)
                _accumulate(sums[2], gradient[run], F.gelu(before[run]))
                torch.ops.aten.gelu_backward.grad_input(wide, before[run], approximate="none", grad_input=wide)
                _accumulate(sums[0], wide, x[run])
                sums[1] += wide.sum(0)  # summed in float32, handed over in the type of `wide`
                if by_x is not None:
                    torch.mm(wide, first, out=by_x[run])
        by_bias2 = gradient.sum(0)
        return (by_x, *(total.to(weight1.dtype) for total in (*sums, by_bias2)))


def _accumulate(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add left^T right to ``total``, a float32 matrix."""
    if left.dtype is torch.float32:
        total.addmm_(left.t(), right)
    else:
        total += torch.mm(left.t(), right)


def _runs(rows: int, hidden: int, dtype: torch.dtype) -> Iterator[slice]:
    """Cut ``rows`` into equal runs of about :data:`RUN_BYTES` of ``hidden`` numbers a row."""
    most = max(64, RUN_BYTES // (hidden * dtype.itemsize))
    size = -(-rows // -(-rows // most)) if rows else 1
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))
