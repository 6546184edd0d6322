"""Attention on CPUs in bfloat16: matrix products on one clip at a time, with weights that stay in the cache.

Measured (torch 2.13, AVX-512 bf16), torch's fused kernel is the faster one in float32 and the slower one in bfloat16,
where its small products reach a third of the matrix rate. Neither keeps the N x N weights of a batch: here they are
computed again in the backward pass.

In bfloat16 a logit of 50 may be off by an eighth, and a weight of the softmax with it. Logits and softmax are therefore
float32. The backward pass, which knows the largest logit of each row, lets its products take it off while they add up
in float32: what is rounded then is the distance from the largest, small wherever a weight is not.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

BLOCK_BYTES = 8 * 2**20
"""About how many bytes of attention weights are held at a time: what a processor's cache can keep."""


def cpu_attend(query: Tensor, key: Tensor, value: Tensor, scale: float) -> Tensor:
    """Return softmax(query key^T * scale) value.

    Args:
        query: (B, heads, N, D), bfloat16 on the CPU, any strides.
        key: as ``query``, (B, heads, M, D).
        value: as ``key``.
        scale: factor on the products.

    Returns:
        (B, heads, N, D), in memory (B, N, heads, D), so that joining the heads copies nothing.
    """
    return _Attend.apply(query, key, value, scale)


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx, query: Tensor, key: Tensor, value: Tensor, scale: float
    ) -> Tensor:
        ctx.scale = scale
        batch, heads, count, width = query.shape
        mixed = query.new_empty((batch, count, heads, width)).transpose(1, 2)
        # Of each row the largest logit, and the softmax's weight there: one over the sum of exp(logit - largest).
        largest, weight = (query.new_empty((batch, heads, count, 1), dtype=torch.float32) for _ in range(2))
        learns = any(ctx.needs_input_grad)
        with torch.autocast("cpu", enabled=False):
            for clip in range(batch):
                queries, keys = query[clip].float() * scale, key[clip].transpose(1, 2).float().contiguous()
                values = value[clip].contiguous()
                for some, rows in _blocks(heads, count, key.shape[2] * keys.element_size()):
                    logits = torch.bmm(queries[some, rows], keys[some])
                    weights = torch.softmax(logits, -1)
                    if learns:
                        largest[clip, some, rows] = logits.amax(-1, keepdim=True)
                        weight[clip, some, rows] = weights.amax(-1, keepdim=True)
                    mixed[clip, some, rows] = torch.bmm(weights.to(query.dtype), values[some])
                if isinstance(query, FakeTensor):  # without numbers; the other clips take no more memory than the first
                    break
        ctx.save_for_backward(query, key, value, mixed, largest, weight)
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mixed, largest, weight = ctx.saved_tensors
        gradient = gradient.to(query.dtype)
        grads = [part.new_empty(part.shape) for part in (query, key, value)]
        with torch.autocast("cpu", enabled=False):
            for clip in range(len(query)):
                parts = [part[clip] for part in (query, key, value, mixed, gradient, largest, weight)]
                _backward_of_clip(*parts, ctx.scale, [grad[clip] for grad in grads])
        return (*grads, None)


def _backward_of_clip(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mixed: Tensor,
    gradient: Tensor,
    largest: Tensor,
    weight: Tensor,
    scale: float,
    grads: list[Tensor],
) -> None:
    """Write the gradients of one clip's query, key and value (heads, N, D) to ``grads``.

    With e = exp(logit - largest) the weights are e * weight. The second factor, of a row, goes into the gradient.
    """
    power, rest = _power_of_two(scale)
    queries, keys = query * power, key.contiguous()
    by_weight = gradient.float() * weight
    # The sum over a row of weights times their gradients, without the weights.
    sums = (by_weight * mixed.float()).sum(-1, keepdim=True)
    by_weight = by_weight.to(query.dtype)
    shifted_queries, turned_keys = _with_shift(queries, largest / rest, keys)
    shifted_gradient, turned_values = _with_shift(by_weight, sums, value)
    # (heads, D, M): with M last no product has to turn the weights around. Summed over blocks in float32.
    by_key, by_value = (part.new_zeros(part.mT.shape, dtype=torch.float32) for part in (key, value))
    for some, rows in _blocks(*query.shape[:2], key.shape[1] * key.element_size()):
        exponentials = torch.bmm(shifted_queries[some, rows], turned_keys[some])
        exponentials = (exponentials if rest == 1 else exponentials.mul_(rest)).exp_()
        by_value[some] += torch.bmm(by_weight[some, rows].mT, exponentials)
        by_score = torch.bmm(shifted_gradient[some, rows], turned_values[some]).mul_(exponentials)
        torch.mul(torch.bmm(by_score, keys[some]), scale, out=grads[0][some, rows])
        by_key[some] += torch.bmm(queries[some, rows].mT, by_score)
    grads[1].copy_(by_key.mul_(rest).mT)
    grads[2].copy_(by_value.mT)


def _with_shift(rows: Tensor, shift: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return two factors whose product is ``rows columns^T - shift``, rounded only after the shift is taken off.

    Args:
        rows: (heads, N, D).
        shift: float32 (heads, N, 1), of each row.
        columns: (heads, M, D), of the type of ``rows``.

    Returns:
        (heads, N, D + 3) and (heads, D + 3, M), of that type: three numbers of 8 bits add up to the shift.
    """
    parts, left = [rows], -shift
    for _ in range(3):
        parts.append(left.to(rows.dtype))
        left = left - parts[-1]
    ones = columns.new_ones((*columns.shape[:2], 3))
    return torch.cat(parts, -1), torch.cat([columns, ones], -1).mT.contiguous()


def _power_of_two(scale: float) -> tuple[float, float]:
    """Return the factors of ``scale``: a power of two, which rounds nothing, and the rest, between 0.7 and 1.5."""
    power = 2.0 ** round(math.log2(abs(scale))) if scale else 0.0
    return power, scale / power if scale else 1.0


def _blocks(heads: int, count: int, row_bytes: int) -> list[tuple[slice, slice]]:
    """Cut ``count`` rows of ``heads`` heads into blocks of about :data:`BLOCK_BYTES`: whole heads, or rows of one."""
    together = max(1, BLOCK_BYTES // max(row_bytes * count, 1))
    rows = count if together > 1 else max(32, BLOCK_BYTES // row_bytes)
    return [(some, run) for some in _even_runs(heads, together) for run in _even_runs(count, rows)]


def _even_runs(count: int, most: int) -> list[slice]:
    """Cut ``count`` into as few runs of at most ``most`` as there can be, of nearly equal length."""
    size = -(-count // -(-count // most)) if count else 1
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
