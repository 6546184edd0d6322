"""Layers that keep a feature map channels last, (B, T, H, W, C), under the published parameter names and shapes.

Legend of shapes, here and in the whole room: B clips, T frames, H rows, W columns, C channels, N tokens of a clip.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniformer_video.models.cpu_depthwise import cpu_depthwise_conv3d
from uniformer_video.models.cpu_linear import cpu_linear
from uniformer_video.models.cpu_mlp import cpu_mlp
from uniformer_video.models.depthwise import depthwise_conv3d, use_triton
from uniformer_video.models.kernels import compute_dtype, differentiates, kernels_are_own, observed, own_cpu_kernels
from uniformer_video.models.rows import mask_of_rows, rows_in_hand, uniform_of_samples

CPU_DTYPES = (torch.float32, torch.bfloat16)
"""Those that the kernels for CPUs are made for."""


def to_volume(x: Tensor) -> Tensor:
    """Return (B, T, H, W, C) seen as (B, C, T, H, W): a view in ``torch.channels_last_3d`` order, nothing is copied."""
    return x.permute(0, 4, 1, 2, 3)


def to_grid(volume: Tensor) -> Tensor:
    """Return (B, C, T, H, W) as contiguous (B, T, H, W, C): a view where the memory is already channels last."""
    return volume.permute(0, 2, 3, 4, 1).contiguous()


def apply_to_volume(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """Run a layer that expects (B, C, T, H, W), such as ``nn.Conv3d`` or ``nn.BatchNorm3d``, on (B, T, H, W, C).

    The layers stay torch's own classes, so that tools which look for them (synchronised or precise batch norm,
    parameter groups, counters) find what they know.
    """
    return to_grid(layer(to_volume(x)))


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return ``x weight^T + bias`` for x (..., C), weight (K, C) and bias (K,), on the fastest kernel there is."""
    dtype = compute_dtype(x)
    if dtype not in CPU_DTYPES or not own_cpu_kernels(x) or differentiates(x, weight, bias):
        return F.linear(x, weight, bias)
    return cpu_linear(x.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype))


class Linear(nn.Linear):
    """Torch's linear layer on (..., C), through :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        return linear(x, self.weight, self.bias)


class Pointwise(nn.Conv3d):
    """A 1x1x1 convolution on (..., C), done as one matrix product.

    The parameter keeps a convolution's shape (out, in, 1, 1, 1), as published weights have it.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_channels) to (..., out_channels)."""
        return linear(x, self.weight.flatten(1), self.bias)


def is_linear(layer: nn.Module) -> bool:
    """Return whether a call of ``layer`` is :func:`linear` with its weight and bias, and nothing else.

    It is not for what stands in for one, such as an adapter that adds to it, nor for one that is observed.
    """
    return type(layer).forward in (Linear.forward, Pointwise.forward) and not observed(layer)


class VolumeConv(nn.Conv3d):
    """A convolution on (B, C, T, H, W) that is right in half precision too; use it with :func:`apply_to_volume`.

    On CPUs, oneDNN's weight gradient of 3D convolutions in bfloat16 reads memory that nobody wrote (torch 2.13, seen on
    depthwise channels-last ones and on kernel (3, 2, 2): NaN now and then). A training step takes these layers in
    float32 there.
    """

    def forward(self, volume: Tensor) -> Tensor:
        """Map (B, in, T, H, W) to (B, out, T', H', W')."""
        return self.convolve(volume, self.weight, self.bias)

    def convolve(self, volume: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """Do this convolution with another weight and bias of the same shapes."""
        if not self.takes_float32(volume):
            return self._conv_forward(volume, weight, bias)
        dtype = compute_dtype(volume)
        with torch.autocast("cpu", enabled=False):
            return self._conv_forward(volume.float(), weight.float(), None if bias is None else bias.float()).to(dtype)

    def takes_float32(self, x: Tensor) -> bool:
        """Return whether the convolution of ``x`` is computed in float32 although half precision was asked for."""
        if x.device.type != "cpu" or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return False
        return compute_dtype(x) in (torch.bfloat16, torch.float16)


class Depthwise(VolumeConv):
    """A depthwise convolution that keeps T, H and W (zero padding).

    Args:
        channels: C.
        kernel: odd extents along T, H, W.
    """

    def __init__(self, channels: int, kernel: tuple[int, int, int]) -> None:
        assert all(extent % 2 == 1 for extent in kernel), f"an even kernel {kernel} has no centre"
        padding = tuple(extent // 2 for extent in kernel)
        super().__init__(channels, channels, kernel, padding=padding, groups=channels)

    def forward(self, volume: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to the same shape."""
        dtype = compute_dtype(volume)
        if dtype in CPU_DTYPES and own_cpu_kernels(volume):
            return to_volume(cpu_depthwise_conv3d(to_grid(volume).to(dtype), self.weight, self.bias))
        if volume.device.type == "cuda" and use_triton(to_grid(volume), self.weight) and kernels_are_own():
            return to_volume(depthwise_conv3d(to_grid(volume), self.weight, self.bias))
        return super().forward(volume)


class DropPath(nn.Module):
    """Stochastic depth: in training each sample's branch is dropped with ``rate``, else scaled by 1 / (1 - rate).

    Huang et al., "Deep Networks with Stochastic Depth", 2016. Draws come from torch's global generator of the device;
    inside :func:`~uniformer_video.models.rows.batch_rows` a sample's is that of its row.

    Args:
        rate: probability in [0, 1).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = float(rate)

    def forward(self, branch: Tensor) -> Tensor:
        """Return the branch (B, ...), whole samples zeroed or scaled; unchanged in eval mode or at rate 0."""
        if not self.training or self.rate == 0.0:
            return branch
        keep = 1.0 - self.rate
        mask = uniform_of_samples(branch) < keep
        return branch * (mask.to(branch.dtype) / keep)

    def extra_repr(self) -> str:
        """Show the rate in the module's printed form."""
        return f"rate={self.rate:.4g}"


class Dropout(nn.Dropout):
    """Torch's dropout; inside :func:`~uniformer_video.models.rows.batch_rows` a sample's draws are those of its row.

    Args:
        p: probability in [0, 1] that a number is zeroed in training; the others are divided by ``1 - p``.
    """

    def __init__(self, p: float) -> None:
        super().__init__(p)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, ...), or (B * k, ...) of B samples of k lines each, with numbers zeroed in training."""
        rows = rows_in_hand() if self.training and 0 < self.p < 1 else None
        if rows is None:
            return super().forward(x)
        return (x * mask_of_rows(rows, x, 1.0 - self.p)).mul_(1.0 / (1.0 - self.p))


def layer_scale_parameter(shape: tuple[int, ...], start: float | None) -> nn.Parameter | None:
    """Return a factor for each channel of a residual branch, all at ``start``; None where ``start`` is None.

    Touvron et al., "Going deeper with Image Transformers", 2021.
    """
    return None if start is None else nn.Parameter(torch.full(shape, float(start)))


def scale_channels(branch: Tensor, gamma: Tensor | None) -> Tensor:
    """Return ``branch`` (..., C) times ``gamma`` (C elements, any shape); unchanged where ``gamma`` is None.

    Under autocast the product is float32: a factor of 1e-6 has few bits left in float16.
    """
    return branch if gamma is None else branch * gamma.flatten()


class Mlp(nn.Module):
    """Two linear maps around exact GELU, on (..., C).

    Args:
        channels: C.
        hidden: width between the two maps.
        dropout: dropout after each map, in [0, 1).
        linear: class of the maps, :class:`Linear` or :class:`Pointwise` (parameters of a convolution's shape).
    """

    def __init__(self, channels: int, hidden: int, dropout: float, linear: type[nn.Module]) -> None:
        super().__init__()
        self.fc1 = linear(channels, hidden)
        self.fc2 = linear(hidden, channels)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        dtype, first, second = compute_dtype(x), self.fc1, self.fc2
        own = dtype in CPU_DTYPES and own_cpu_kernels(x) and differentiates(x, first.weight)
        if not own or not self.is_two_maps():
            return self.dropout(second(self.dropout(F.gelu(first(x)))))
        return cpu_mlp(x.to(dtype), first.weight.flatten(1), first.bias, second.weight.flatten(1), second.bias)

    def is_two_maps(self) -> bool:
        """Return whether a call is two linear maps around GELU as they stand: no dropout, no layer :func:`observed`."""
        dropping = self.dropout.training and self.dropout.p > 0
        return not dropping and not observed(self.dropout) and is_linear(self.fc1) and is_linear(self.fc2)
