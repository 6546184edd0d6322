"""Attention on CPUs in bfloat16: matrix products on one clip at a time, with weights that stay in the cache.

Measured (torch 2.13, AVX-512 bf16), torch's fused kernel is the faster one in float32 and the slower one in bfloat16,
where its small products reach a third of the matrix rate. Neither keeps the N x N weights of a batch: here they are
computed again in the backward pass.
"""

from __future__ import annotations

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
        with torch.autocast("cpu", enabled=False):
            for clip in range(batch):
                queries, keys = query[clip] * scale, key[clip].transpose(1, 2).contiguous()
                values = value[clip].contiguous()
                for some, rows in _blocks(heads, count, key.shape[2] * key.element_size()):
                    weights = torch.softmax(torch.bmm(queries[some, rows], keys[some]), -1)
                    mixed[clip, some, rows] = torch.bmm(weights, values[some])
                if isinstance(query, FakeTensor):  # without numbers; the other clips take no more memory than the first
                    break
        ctx.save_for_backward(query, key, value, mixed)
        return mixed

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, mixed = ctx.saved_tensors
        gradient = gradient.to(query.dtype)
        grads = [part.new_empty(part.shape) for part in (query, key, value)]
        with torch.autocast("cpu", enabled=False):
            for clip in range(len(query)):
                parts = [part[clip] for part in (query, key, value, mixed, gradient)]
                _backward_of_clip(*parts, ctx.scale, [grad[clip] for grad in grads])
        return (*grads, None)


def _backward_of_clip(
    query: Tensor, key: Tensor, value: Tensor, mixed: Tensor, gradient: Tensor, scale: float, grads: list[Tensor]
) -> None:
    """Write the gradients of one clip's query, key and value (heads, N, D) to ``grads``."""
    queries, keys, gradient = query * scale, key.contiguous(), gradient.contiguous()
    turned_keys, turned_values = (part.transpose(1, 2).contiguous() for part in (key, value))
    # The sum over a row of weights times their gradients, without the weights.
    sums = (gradient.float() * mixed.float()).sum(-1, keepdim=True).to(query.dtype)
    # (heads, D, M): with M last no product has to turn the weights around. Summed over blocks in float32.
    by_key, by_value = (part.new_zeros(part.shape, dtype=torch.float32) for part in (turned_keys, turned_values))
    for some, rows in _blocks(*query.shape[:2], key.shape[1] * key.element_size()):
        weights = torch.softmax(torch.bmm(queries[some, rows], turned_keys[some]), -1)
        by_value[some] += torch.bmm(gradient[some, rows].transpose(1, 2), weights)
        by_score = torch.bmm(gradient[some, rows], turned_values[some]).sub_(sums[some, rows]).mul_(weights)
        torch.mul(torch.bmm(by_score, keys[some]), scale, out=grads[0][some, rows])
        by_key[some] += torch.bmm(queries[some, rows].transpose(1, 2), by_score)
    grads[1].copy_(by_key.transpose(1, 2))
    grads[2].copy_(by_value.transpose(1, 2))


def _blocks(heads: int, count: int, row_bytes: int) -> list[tuple[slice, slice]]:
    """Cut ``count`` rows of ``heads`` heads into blocks of about :data:`BLOCK_BYTES`: whole heads, or rows of one."""
    together = max(1, BLOCK_BYTES // max(row_bytes * count, 1))
    rows = count if together > 1 else max(32, BLOCK_BYTES // row_bytes)
    return [(some, run) for some in _even_runs(heads, together) for run in _even_runs(count, rows)]


def _even_runs(count: int, most: int) -> list[slice]:
    """Cut ``count`` into as few runs of at most ``most`` as there can be, of nearly equal length."""
    size = -(-count // -(-count // most)) if count else 1
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
