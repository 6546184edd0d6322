"""Triton kernels of the depthwise 3D convolution on channels-last grids: the map and the gradients of its weight.

(The gradient of the input is the map itself with the kernel turned round.) Shapes: x and y (B, T, H, W, C), contiguous;
weight (C, 1, kt, kh, kw) with odd extents; zero padding that keeps T, H and W. Numbers come and go in float32, float16
or bfloat16 and are added up in float32.

How they are made: a program owns ``ROWS`` output rows by ``BLOCK_W`` columns by ``BLOCK_C`` channels of one frame. An
input row that it loads serves up to kh output rows, which takes the kernels from bound by loads to bound by
multiply-adds. ``ROWS`` and ``BLOCK_W`` follow from the shape alone, and sums have a fixed order (the weight's gradient
is added in two steps instead of atomically): the same input gives the same bits in every run on a card.

This file imports ``triton``, which torch for CUDA brings along; see :mod:`.depthwise` for what chooses.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from uniformer_video.runtime.errors import UserError

try:
    import triton
    import triton.language as tl
except ImportError:
    raise UserError("the kernels of depthwise convolutions need Triton: pip install triton (Linux)") from None

MOST_ROWS = 8
"""Output rows of a program at most: one more costs registers."""

PARTS = 1024
"""About so many programs share the work of a weight gradient; a number of its own, so that cards agree."""

WEIGHT_ROWS, WEIGHT_COLUMNS = 7, 8
"""Output rows of a tile of the weight's gradient at most, and its columns: it holds kh * kw sums besides."""

OPTIONS = {"num_stages": 1, "enable_fp_fusion": True}
"""For the compiler: nothing to pipeline through shared memory; a multiply-add is one instruction."""

REGISTERS = 168
"""A thread of the map has at most so many: with them 12 warps fit on a multiprocessor, and nothing is spilled."""


@triton.jit
def _map_kernel(
    x_ptr,  # noqa: ANN001
    weight_ptr,  # noqa: ANN001
    bias_ptr,  # noqa: ANN001
    y_ptr,  # noqa: ANN001
    T,  # noqa: ANN001
    H,  # noqa: ANN001
    W,  # noqa: ANN001
    C,  # noqa: ANN001
    KT: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write ``ROWS`` rows of y: y[t, h, w] = bias + sum over taps of weight[i, j, k] x[t + i, h + j, w + k]."""
    tile = tl.program_id(0)
    wide = tl.cdiv(W, BLOCK_W)
    high = tl.cdiv(H, ROWS)
    columns = (tile % wide) * BLOCK_W + tl.arange(0, BLOCK_W)[:, None]
    # The row stands beside every column: the interpreter takes no mask made of a vector and a single number.
    top = ((tile // wide) % high) * ROWS + tl.zeros((BLOCK_W, 1), tl.int32)
    frame = tile // (wide * high)  # of all clips
    time = frame % T
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    there = channels < C
    zeros = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    if HAS_BIAS:
        zeros += tl.load(bias_ptr + channels, mask=there, other=0.0).to(tl.float32)
    sums = (zeros,) * ROWS
    # The weight is loaded for every column, so that its layout over threads is that of x and nothing is exchanged.
    taps = weight_ptr + channels + tl.zeros((BLOCK_W, 1), tl.int32)
    for i in range(tl.maximum(0, KT // 2 - time), tl.minimum(KT, T + KT // 2 - time)):
        plane = x_ptr + (frame + i - KT // 2).to(tl.int64) * H * W * C
        for k in range(KW):  # not unrolled: the taps of all columns at once would not fit into registers
            column = columns + k - KW // 2
            inside = (column >= 0) & (column < W) & there
            points = plane + column * C + channels
            for r in tl.static_range(ROWS + KH - 1):
                row = top + r - KH // 2
                x = tl.load(points + row * W * C, mask=inside & (row >= 0) & (row < H), other=0.0).to(tl.float32)
                for o in tl.static_range(ROWS):
                    if r >= o and r < o + KH:
                        at = ((i * KH + r - o) * KW + k) * C
                        tap = tl.load(taps + at, mask=there, other=0.0).to(tl.float32)
                        sums = sums[:o] + (sums[o] + x * tap,) + sums[o + 1 :]
    inside = (columns < W) & there
    points = y_ptr + frame.to(tl.int64) * H * W * C + columns * C + channels
    for o in tl.static_range(ROWS):
        row = top + o
        tl.store(points + row * W * C, sums[o].to(y_ptr.dtype.element_ty), mask=inside & (row < H))


@triton.jit
def _weight_kernel(
    x_ptr,  # noqa: ANN001
    grad_ptr,  # noqa: ANN001
    part_ptr,  # noqa: ANN001
    B,  # noqa: ANN001
    T,  # noqa: ANN001
    H,  # noqa: ANN001
    W,  # noqa: ANN001
    C,  # noqa: ANN001
    KT: tl.constexpr,
    KH: tl.constexpr,
    KW: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK_W: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Write one part of the gradient of a plane of taps, and in the middle plane of the bias: see :func:`grad_weight`.

    part[p, (i, j, k), c] = sum over the tiles of part p of grad[t, h, w, c] x[t + i, h + j, w + k, c].
    """
    part = tl.program_id(0)
    channels = tl.program_id(1) * BLOCK_C + tl.arange(0, BLOCK_C)[None, :]
    there = channels < C
    i = tl.program_id(2)
    wide = tl.cdiv(W, BLOCK_W)
    high = tl.cdiv(H, ROWS)
    first = tl.maximum(0, KT // 2 - i)  # the frames whose i-th neighbour is in the clip
    times = tl.maximum(0, tl.minimum(T, T + KT // 2 - i) - first)
    tiles = B * times * high * wide
    share = tl.cdiv(tiles, tl.num_programs(0))
    zeros = tl.zeros((BLOCK_W, BLOCK_C), tl.float32)
    sums = (zeros,) * (KH * KW)
    bias = zeros
    for tile in range(part * share, tl.minimum(tiles, part * share + share)):
        columns = (tile % wide) * BLOCK_W + tl.arange(0, BLOCK_W)[:, None]
        top = ((tile // wide) % high) * ROWS + tl.zeros((BLOCK_W, 1), tl.int32)
        frame = tile // (wide * high)
        frame = (frame // times) * T + first + frame % times
        inside = (columns < W) & there
        points = grad_ptr + frame.to(tl.int64) * H * W * C + columns * C + channels
        grads = ()
        for o in tl.static_range(ROWS):
            row = top + o
            g = tl.load(points + row * W * C, mask=inside & (row < H), other=0.0).to(tl.float32)
            grads = grads + (g,)
            bias += g
        points = x_ptr + (frame + i - KT // 2).to(tl.int64) * H * W * C + channels
        for r in tl.static_range(ROWS + KH - 1):
            row = top + r - KH // 2
            for k in tl.static_range(KW):
                column = columns + k - KW // 2
                inside = (column >= 0) & (column < W) & (row >= 0) & (row < H) & there
                x = tl.load(points + (row * W + column) * C, mask=inside, other=0.0).to(tl.float32)
                for o in tl.static_range(ROWS):
                    if r >= o and r < o + KH:
                        # Without a name for the tap's number: a variable would not be a constant of the compiler.
                        product = sums[(r - o) * KW + k] + x * grads[o]
                        sums = sums[: (r - o) * KW + k] + (product,) + sums[(r - o) * KW + k + 1 :]
    taps = KT * KH * KW
    one = tl.arange(0, BLOCK_C) + tl.program_id(1) * BLOCK_C
    points = part_ptr + part * (taps + 1) * C + one
    for n in tl.static_range(KH * KW):
        tl.store(points + (i * KH * KW + n) * C, tl.sum(sums[n], axis=0), mask=one < C)
    if i == KT // 2:  # the one plane of taps whose programs see every frame
        tl.store(points + taps * C, tl.sum(bias, axis=0), mask=one < C)


def convolve(x: Tensor, weight: Tensor, bias: Tensor | None, *, turned: bool = False) -> Tensor:
    """Return the depthwise convolution (B, T, H, W, C) of ``x``, in its dtype.

    Args:
        x: (B, T, H, W, C).
        weight: (C, 1, kt, kh, kw); it is rounded to the dtype of ``x`` first, as autocast does.
        bias: (C,), or None.
        turned: take the kernel from its end to its beginning; with the gradient of an output for ``x`` that is the
            gradient of its input.
    """
    x = x.contiguous()
    y = torch.empty_like(x)
    if not x.numel():
        return y
    clips, frames, height, width, channels = x.shape
    taps = weight.detach().flatten(1).t()
    taps = (taps.flip(0) if turned else taps).to(x.dtype).contiguous()
    rows, block_w = fewest_outside(height, range(4, MOST_ROWS + 1)), fewest_outside(width, (8, 16))
    block_c = _block_of_channels(channels)
    grid = (clips * frames * triton.cdiv(height, rows) * triton.cdiv(width, block_w), triton.cdiv(channels, block_c))
    with _on(x.device):
        _map_kernel[grid](
            *(x, taps, taps if bias is None else bias.detach().contiguous(), y, frames, height, width, channels),
            *(*weight.shape[2:], bias is not None, rows, block_w, block_c),
            num_warps=max(1, block_w * block_c // 256),
            maxnreg=REGISTERS,
            **OPTIONS,
        )
    return y


def grad_weight(x: Tensor, grad: Tensor, kernel: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight (C, 1, kt, kh, kw) and bias (C,), both float32.

    Every program writes the sum of its own part of the positions; the parts are added in a second step.

    Args:
        x: the input, (B, T, H, W, C).
        grad: the gradient of the output, of the same shape.
        kernel: (kt, kh, kw).
    """
    x, grad = x.contiguous(), grad.contiguous()
    clips, frames, height, width, channels = x.shape
    rows, block_w = fewest_outside(height, range(4, WEIGHT_ROWS + 1)), WEIGHT_COLUMNS
    block_c = _block_of_channels(channels)
    blocks = triton.cdiv(channels, block_c)
    tiles = clips * frames * triton.cdiv(height, rows) * triton.cdiv(width, block_w)
    count = max(1, min(tiles, PARTS // (blocks * kernel[0])))
    taps = kernel[0] * kernel[1] * kernel[2]
    parts = torch.empty((count, taps + 1, channels), dtype=torch.float32, device=x.device)
    with _on(x.device):
        _weight_kernel[(count, blocks, kernel[0])](
            *(x, grad, parts, clips, frames, height, width, channels),
            *(*kernel, rows, block_w, block_c),
            num_warps=max(1, block_w * block_c // 128),
            **OPTIONS,
        )
    sums = parts.sum(0)
    return sums[:taps].t().reshape(channels, 1, *kernel), sums[taps].clone()


def fewest_outside(extent: int, sizes: Iterable[int]) -> int:
    """Return the size whose blocks reach least beyond ``extent``; of several the largest."""
    return min(sizes, key=lambda size: (triton.cdiv(extent, size) * size, -size))


def _block_of_channels(channels: int) -> int:
    return max(16, min(64, triton.next_power_of_2(channels)))


def _on(device: torch.device) -> AbstractContextManager:
    """Return the context in which a launch goes to ``device``; the interpreter takes tensors of the CPU."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()
