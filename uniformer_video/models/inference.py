"""What a network may do when nothing is learned: batch norms folded into their neighbours, branches added in place.

Folding is done at every call, from the parameters as they are: it costs as much as one position of a feature map, and
there is no second set of weights that could be out of date. The result is that of the unfolded layers up to rounding.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniformer_video.models.cpu_mlp import add_cpu_mlp_
from uniformer_video.models.kernels import compute_dtype, own_cpu_kernels, own_kernels
from uniformer_video.models.layers import CPU_DTYPES, Mlp, linear


def is_scoring(module: nn.Module) -> bool:
    """Return whether ``module`` is in eval mode, without gradients, on kernels of this room, and unobserved."""
    if module.training or torch.is_grad_enabled() or not own_kernels():
        return False
    # Someone who looks at a layer wants it called as it stands.
    return not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())


def batch_norm_factors(norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in eval mode multiplies each channel by and adds to it, each (C,)."""
    factor = torch.rsqrt(norm.running_var + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight
    offset = -norm.running_mean * factor
    return factor, offset if norm.bias is None else offset + norm.bias


def folds(norm: nn.Module) -> bool:
    """Return whether ``norm`` is a batch norm that only scales and shifts each channel."""
    return isinstance(norm, nn.BatchNorm3d) and not norm.training and norm.running_var is not None


def fold_into_next(norm: nn.BatchNorm3d, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return weight (K, C) and bias (K,) of the linear map that does a batch norm and then the given map."""
    factor, offset = batch_norm_factors(norm)
    # Sums of products, not a matrix product: autocast would round those.
    moved = (weight * offset).sum(1)
    return weight * factor, moved if bias is None else bias + moved


def fold_into_previous(convolution: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that does the given one and then a batch norm."""
    factor, offset = batch_norm_factors(norm)
    bias = offset if convolution.bias is None else convolution.bias * factor + offset
    return convolution.weight * factor.view(-1, 1, 1, 1, 1), bias


def normed_linear(norm: nn.BatchNorm3d, pointwise: nn.Conv3d, x: Tensor) -> Tensor:
    """Return a batch norm and then a pointwise convolution of x (..., C), as one matrix product."""
    weight, bias = fold_into_next(norm, pointwise.weight.flatten(1), pointwise.bias)
    return linear(x, weight, bias)


def add_mlp_(x: Tensor, norm: nn.BatchNorm3d | nn.LayerNorm, mlp: Mlp, gamma: Tensor | None) -> Tensor:
    """Add ``gamma * mlp(norm(x))`` to x (..., C), contiguous, in place, and return it.

    Args:
        x: changed.
        norm: one that :func:`folds`, or a LayerNorm.
        mlp: in eval mode.
        gamma: factor of each channel of the branch, any shape; None: 1.
    """
    weight1, bias1 = mlp.fc1.weight.flatten(1), mlp.fc1.bias
    weight2, bias2 = mlp.fc2.weight.flatten(1), mlp.fc2.bias
    if gamma is not None:
        weight2, bias2 = weight2 * gamma.flatten()[:, None], bias2 * gamma.flatten()
    before = None
    if isinstance(norm, nn.LayerNorm):
        before = (norm.weight, norm.bias, norm.eps)
    else:
        weight1, bias1 = fold_into_next(norm, weight1, bias1)
    dtype = compute_dtype(x)
    if dtype in CPU_DTYPES and own_cpu_kernels(x):
        parameters = (weight1, bias1, weight2, bias2)
        return add_cpu_mlp_(x, before, *(parameter.to(dtype) for parameter in parameters), dtype)
    inner = x if before is None else norm(x)
    return x.add_(F.linear(F.gelu(F.linear(inner, weight1, bias1)), weight2, bias2))
