"""Depthwise 3D convolution on CPUs, channels last, with gradients about ten times as fast as torch's own.

oneDNN has a fast forward pass for these convolutions and slow gradients (torch 2.13: 43 and 47 ms for 3.2 million
numbers and a 5x5x5 kernel, where the forward pass takes 4). Both are put down to what it does fast:

* the gradient of the input is a forward pass with the kernel turned around;
* the gradient of the kernel is one of 2D convolutions, a temporal tap at a time, for which oneDNN has a compiled kernel
  that takes any height of kernel, and widths up to 3 (wider ones are cut into windows of 3).

Shape letters as in ``layers``: x is (B, T, H, W, C).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def cpu_depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Convolve every channel with its own kernel, zeros around, T, H and W kept.

    Args:
        x: (B, T, H, W, C), float32 or bfloat16, on the CPU; best contiguous.
        weight: (C, 1, kT, kH, kW), extents odd, any floating dtype; used in that of ``x``.
        bias: (C,) as ``weight``, or None.

    Returns:
        (B, T, H, W, C) of x's dtype. The gradient of the weight is summed in float32 whatever that is.
    """
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        return _Depthwise.apply(x, weight, bias)
    return _forward(x, weight, bias)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _forward(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        gradient = gradient.to(x.dtype).contiguous()
        by_x = _forward(gradient, weight.flip(2, 3, 4), None) if ctx.needs_input_grad[0] else None
        by_weight = by_bias = None
        if ctx.needs_input_grad[1]:
            # In the weight's own layout, which buckets of gradients of several processes have.
            by_weight = torch.empty_like(weight).copy_(kernel_gradient(x, gradient, weight.shape[2:]))
        if ctx.needs_input_grad[2]:
            by_bias = gradient.sum((0, 1, 2, 3)).to(weight.dtype)
        return by_x, by_weight, by_bias


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    padding = tuple(extent // 2 for extent in weight.shape[2:])
    with torch.autocast("cpu", enabled=False):
        volume = F.conv3d(
            x.permute(0, 4, 1, 2, 3),
            weight.to(x.dtype),
            None if bias is None else bias.to(x.dtype),
            padding=padding,
            groups=weight.shape[0],
        )
    return volume.permute(0, 2, 3, 4, 1).contiguous()


def kernel_gradient(x: Tensor, gradient: Tensor, kernel: Sequence[int]) -> Tensor:
    """Return the gradient of a depthwise kernel.

    Args:
        x: what was convolved, (B, T, H, W, C).
        gradient: of the result, as ``x``.
        kernel: odd extents (kT, kH, kW).

    Returns:
        float32 (C, 1, kT, kH, kW).
    """
    frames, channels = x.shape[1], x.shape[-1]
    reach, half_width = kernel[0] // 2, kernel[2] // 2
    # Two frames that a tap brings together are pairs of runs of frames if time comes first.
    width = x.shape[3] + 2 * (half_width - 1) if half_width > 1 else x.shape[3]
    inputs, outputs = (_by_time(tensor, half_width) for tensor in (x, gradient))
    result = x.new_zeros((channels, 1, *kernel), dtype=torch.float32)
    shape = (frames, x.shape[0], x.shape[2], width, channels)
    middle = _view(outputs, shape, 0, half_width)
    for shift in _windows(half_width):
        shifted = _view(inputs, shape, shift, half_width)
        columns = slice(half_width + shift - (half_width > 0), half_width + shift + (half_width > 0) + 1)
        for tap in range(max(-reach, 1 - frames), min(reach, frames - 1) + 1):
            run = slice(max(0, -tap), frames - max(0, tap))
            behind = slice(run.start + tap, run.stop + tap)
            part = _image_gradient(shifted[behind], middle[run], (kernel[1], 3 if half_width else 1))
            result[:, :, reach + tap, :, columns] = part
    return result


def _windows(half_width: int) -> list[int]:
    """Return the middles of windows of three taps (of one where ``half_width`` is 0) that cover a row of a kernel."""
    if half_width <= 1:
        return [0]
    return [*range(1 - half_width, half_width - 1, 3), half_width - 1]


def _by_time(x: Tensor, half_width: int) -> Tensor:
    """Return (B, T, H, W, C) as flat float32 memory in the order T, B, H, W, C, zeros between rows.

    There are ``half_width - 1`` columns of zeros on both sides of a row: memory that is shifted by as many pixels then
    shows the image shifted, without a pixel of the next row. As many pixels are left at both ends.
    """
    batch, time, height, width, channels = x.shape
    side = max(half_width - 1, 0)
    ordered = x.transpose(0, 1)
    if not side:
        return ordered.to(torch.float32).contiguous().view(-1)
    count = time * batch * height * (width + 2 * side)
    flat = x.new_zeros((count + 2 * side) * channels, dtype=torch.float32)
    inner = flat[side * channels : (side + count) * channels].view(time, batch, height, width + 2 * side, channels)
    inner[:, :, :, side : side + width].copy_(ordered)
    return flat


def _view(flat: Tensor, shape: tuple[int, ...], shift: int, half_width: int) -> Tensor:
    """Return what :func:`_by_time` made as ``shape``, every pixel replaced by that ``shift`` columns to its right."""
    start = (max(half_width - 1, 0) + shift) * shape[-1]
    count = shape[0] * shape[1] * shape[2] * shape[3] * shape[4]
    return flat[start : start + count].view(shape)


def _image_gradient(x: Tensor, gradient: Tensor, kernel: tuple[int, int]) -> Tensor:
    """Return the gradient (C, 1, kH, kW) of a depthwise 2D kernel; both tensors are float32 (T, B, H, W, C)."""
    channels = x.shape[-1]
    images, changes = (tensor.flatten(0, 1).permute(0, 3, 1, 2) for tensor in (x, gradient))
    return torch.ops.aten.convolution_backward(
        changes,
        images,
        x.new_zeros((channels, 1, *kernel)),
        None,
        (1, 1),
        (kernel[0] // 2, kernel[1] // 2),
        (1, 1),
        False,
        (0, 0),
        channels,
        (False, True, False),
    )[1]
