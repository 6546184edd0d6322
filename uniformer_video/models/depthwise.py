"""The depthwise 3D convolution of a channels-last grid as one operation of torch, and whose kernel does it.

The operation ``uniformer_video::depthwise_conv3d`` has a fake implementation and a formula for its multiply-adds, so
that ``torch.compile``, fake and meta tensors, recomputing and :mod:`.counting` know it like torch's own. On CUDA it is
:mod:`.depthwise_triton`; elsewhere torch's convolution.

Which cards take it is a fixed rule, :func:`use_triton`, and no measurement while a network runs: a rule gives the same
bits in each run. ``tools/benchmark.py gpu`` measures both; ``UNIFORMER_DEPTHWISE=torch`` in the environment leaves all
to cuDNN.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from uniformer_video.models.kernels import compute_dtype

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
"""What the kernels take."""

MOST_TAPS = 25
"""A kernel has at most so many taps in each frame: their sums stand in registers."""

NEEDS_TRITON = (3, 3)
"""The kernels are written with tuples, which Triton has from this release on (torch 2.7)."""

NEEDS_CAPABILITY = (8, 0)
"""The oldest cards with bfloat16."""


def use_triton(x: Tensor, weight: Tensor) -> bool:
    """Return whether the convolution of x (B, T, H, W, C) with weight (C, 1, kt, kh, kw) is for Triton's kernel.

    So it is on CUDA from compute capability 8.0, with Triton 3.3 or newer, an odd kernel of at most 5x5 in each frame
    and a dtype of :data:`DTYPES` (that of autocast counts where it is on).
    """
    if x.device.type != "cuda" or not _has_triton() or not _capable(x.device.index):
        return False
    extents = weight.shape[2:]
    return compute_dtype(x) in DTYPES and all(extent % 2 for extent in extents) and extents[1] * extents[2] <= MOST_TAPS


def depthwise_conv3d(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return the depthwise convolution of a channels-last grid, with zero padding that keeps T, H and W.

    Args:
        x: (B, T, H, W, C), floating; under autocast it is cast first, as for torch's convolutions.
        weight: (C, 1, kt, kh, kw), odd extents.
        bias: (C,), or None.

    Returns:
        (B, T, H, W, C), contiguous, in the dtype of ``x``, or of autocast. Sums are float32 where the kernel is
        Triton's.
    """
    return _convolution(x.to(compute_dtype(x)), weight, bias, False)


def depthwise_gradients(x: Tensor, grad: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight and bias, float32 (that of float64 inputs: float64).

    Args:
        x: the input (B, T, H, W, C).
        grad: the gradient of the output, of the same shape.
        weight: (C, 1, kt, kh, kw); its values do not matter.
    """
    return _weight_gradient(x, grad, weight)


@torch.library.custom_op("uniformer_video::depthwise_conv3d", mutates_args=())
def _convolution(x: Tensor, weight: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
    """Convolve with the kernel as it is, or turned round: the gradient of the input is that of the output so."""
    if x.is_cuda:
        from uniformer_video.models import depthwise_triton

        return depthwise_triton.convolve(x, weight, bias, turned=turned)
    kernel = weight.flip(2, 3, 4) if turned else weight
    padding = [extent // 2 for extent in weight.shape[2:]]
    volume = F.conv3d(
        x.permute(0, 4, 1, 2, 3),
        kernel.to(x.dtype),
        None if bias is None else bias.to(x.dtype),
        padding=padding,
        groups=weight.shape[0],
    )
    return volume.permute(0, 2, 3, 4, 1).contiguous()


@torch.library.custom_op("uniformer_video::depthwise_conv3d_weight", mutates_args=())
def _weight_gradient(x: Tensor, grad: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of weight and bias; of the same form as the convolution: the weight comes third."""
    if x.is_cuda:
        from uniformer_video.models import depthwise_triton

        return depthwise_triton.grad_weight(x, grad, tuple(weight.shape[2:]))
    dtype = torch.promote_types(x.dtype, torch.float32)
    volume, gradient = (tensor.to(dtype).permute(0, 4, 1, 2, 3) for tensor in (x, grad))
    padding = [extent // 2 for extent in weight.shape[2:]]
    of_weight = torch.nn.grad.conv3d_weight(volume, weight.shape, gradient, padding=padding, groups=weight.shape[0])
    return of_weight.contiguous(), gradient.sum((0, 2, 3, 4))


@_convolution.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None, turned: bool) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


@_weight_gradient.register_fake
def _(x: Tensor, grad: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(x.dtype, torch.float32)
    of_weight = torch.empty(weight.shape, dtype=dtype, device=x.device)
    return of_weight, torch.empty(weight.shape[:1], dtype=dtype, device=x.device)


def _keep(ctx: torch.autograd.function.FunctionCtx, inputs: tuple, output: Tensor) -> None:
    x, weight, bias, turned = inputs
    assert not turned, "the turned convolution is a gradient; it has none of its own"
    ctx.save_for_backward(x, weight)
    ctx.bias_dtype = None if bias is None else bias.dtype


def _backward(ctx: torch.autograd.function.FunctionCtx, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    needs_x, needs_weight, needs_bias = ctx.needs_input_grad[:3]
    of_x = _convolution(grad, weight.detach(), None, True) if needs_x else None
    of_weight, of_bias = _weight_gradient(x, grad, weight.detach()) if needs_weight or needs_bias else (None, None)
    return (
        of_x,
        of_weight.to(weight.dtype) if needs_weight else None,
        of_bias.to(ctx.bias_dtype) if needs_bias else None,
        None,
    )


_convolution.register_autograd(_backward, setup_context=_keep)


@register_flop_formula(torch.ops.uniformer_video.depthwise_conv3d)
def _flops(x_shape: torch.Size, weight_shape: torch.Size, *args: object, **kwargs: object) -> int:
    return 2 * x_shape.numel() * weight_shape[1:].numel()


@register_flop_formula(torch.ops.uniformer_video.depthwise_conv3d_weight)
def _gradient_flops(x_shape: torch.Size, grad_shape: torch.Size, weight_shape: torch.Size, **kwargs: object) -> int:
    return 2 * x_shape.numel() * weight_shape[1:].numel()


@torch.compiler.assume_constant_result
@functools.cache
def _has_triton() -> bool:
    """Return whether Triton is installed, new enough, and wanted."""
    if os.environ.get("UNIFORMER_DEPTHWISE") == "torch" or importlib.util.find_spec("triton") is None:
        return False
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:  # a build of another name, such as pytorch-triton
        import triton

        version = triton.__version__
    return tuple(int(part) for part in version.split(".")[:2]) >= NEEDS_TRITON


@torch.compiler.assume_constant_result
@functools.cache
def _capable(index: int | None) -> bool:
    """Return whether that card is new enough; fake tensors may be on one where there is none."""
    return not torch.cuda.is_available() or torch.cuda.get_device_capability(index) >= NEEDS_CAPABILITY
