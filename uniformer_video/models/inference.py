"""What a network may do when nothing is learned: batch norms folded into their neighbours, branches added in place.

Folding is done at every call, from the parameters as they are: it costs as much as one position of a feature map, and
there is no second set of weights that could be out of date. The result is that of the unfolded layers up to rounding.
In half precision a norm is not folded into what follows: rounded before its mean is taken off, a channel that is far
from zero would lose most of what the norm keeps.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniformer_video.models.cpu_mlp import add_cpu_mlp_
from uniformer_video.models.kernels import compute_dtype, observed, own_cpu_kernels, own_kernels
from uniformer_video.models.layers import CPU_DTYPES, Mlp, linear, scale_channels


def is_scoring(module: nn.Module) -> bool:
    """Return whether ``module`` is all in eval mode, without gradients, on kernels of this room, and unobserved."""
    if module.training or torch.is_grad_enabled() or not own_kernels():
        return False
    parts = list(module.modules())
    # Dropout alone may be at work, for several draws of one score.
    return not any(part.training for part in parts) and not observed(*parts)


def batch_norm_factors(norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Return what a batch norm in eval mode multiplies each channel by and adds to it, each (C,), float32 at least."""
    dtype = torch.promote_types(norm.running_var.dtype, torch.float32)
    factor = torch.rsqrt(norm.running_var.to(dtype) + norm.eps)
    if norm.weight is not None:
        factor = factor * norm.weight
    offset = -norm.running_mean * factor
    return factor, offset if norm.bias is None else offset + norm.bias


def folds(norm: nn.Module) -> bool:
    """Return whether ``norm`` is a batch norm that only scales and shifts each channel."""
    return isinstance(norm, nn.BatchNorm3d | nn.SyncBatchNorm) and not norm.training and norm.running_var is not None


def can_add_mlp(norm: nn.Module, mlp: nn.Module) -> bool:
    """Return whether :func:`add_mlp_` does what calls of these two do: no other layers stand in their place."""
    return (isinstance(norm, nn.LayerNorm) or folds(norm)) and isinstance(mlp, Mlp) and mlp.is_two_maps()


def fold_into_next(norm: nn.BatchNorm3d, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return weight (K, C) and bias (K,) of the linear map that does a batch norm and then the given map."""
    factor, offset = batch_norm_factors(norm)
    # Sums of products, not a matrix product: autocast would round those.
    moved = (weight * offset).sum(1)
    # The norm may be of another type than the map: half networks often keep theirs in float32.
    return (weight * factor).to(weight.dtype), (moved if bias is None else bias + moved).to(weight.dtype)


def fold_into_previous(convolution: nn.Conv3d, norm: nn.BatchNorm3d) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the convolution that does the given one and then a batch norm."""
    factor, offset = batch_norm_factors(norm)
    bias = offset if convolution.bias is None else convolution.bias * factor + offset
    dtype = convolution.weight.dtype
    return (convolution.weight * factor.view(-1, 1, 1, 1, 1)).to(dtype), bias.to(dtype)


def normed_linear(norm: nn.BatchNorm3d, pointwise: nn.Conv3d, x: Tensor) -> Tensor:
    """Return a batch norm and then a pointwise convolution of x (..., C), as one matrix product."""
    weight, bias, before = _joined(norm, pointwise.weight.flatten(1), pointwise.bias, compute_dtype(x))
    return linear(x if before is None else before(x), weight, bias)


def _joined(
    norm: nn.BatchNorm3d | nn.LayerNorm, weight: Tensor, bias: Tensor | None, dtype: torch.dtype
) -> tuple[Tensor, Tensor | None, Callable[[Tensor], Tensor] | None]:
    """Return weight and bias of a map that follows a norm, and what is left to do before it; None: nothing.

    The map is computed in ``dtype``, which is also what the part that is left gives.
    """
    if isinstance(norm, nn.LayerNorm):
        return weight, bias, lambda x: norm(x).to(dtype)
    if dtype.itemsize >= 4:
        return *fold_into_next(norm, weight, bias), None
    factor, offset = batch_norm_factors(norm)
    return weight, bias, lambda x: torch.addcmul(offset, x, factor).to(dtype)


def add_mlp_(x: Tensor, norm: nn.BatchNorm3d | nn.LayerNorm, mlp: Mlp, gamma: Tensor | None) -> Tensor:
    """Return ``x + gamma * mlp(norm(x))`` of x (..., C), which is added to in place where it is contiguous.

    Args:
        x: is not to be used any more.
        norm: one that :func:`folds`, or a LayerNorm.
        mlp: of layers as they were made, see :meth:`Mlp.is_two_maps`.
        gamma: factor of each channel of the branch, any shape; None: 1.
    """
    x = x.contiguous()
    dtype = compute_dtype(x)
    weight1, bias1, before = _joined(norm, mlp.fc1.weight.flatten(1), mlp.fc1.bias, dtype)
    weight2, bias2 = mlp.fc2.weight.flatten(1), mlp.fc2.bias
    if dtype in CPU_DTYPES and own_cpu_kernels(x):
        if gamma is not None:
            weight2, bias2 = weight2 * gamma.flatten()[:, None], bias2 * gamma.flatten()
        parameters = (weight1, bias1, weight2, bias2)
        return add_cpu_mlp_(x, before, *(parameter.to(dtype) for parameter in parameters), dtype)
    inner = x if before is None else before(x)
    branch = F.linear(F.gelu(F.linear(inner, weight1, bias1)), weight2, bias2)
    # Not folded into the weight, which may be rounded to float16 and has few bits left there.
    return x.add_(scale_channels(branch, gamma))
