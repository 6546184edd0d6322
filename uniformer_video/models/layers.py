"""Layers that keep a feature map channels last, (B, T, H, W, C), under the published parameter names and shapes.

Legend of shapes, here and in the whole room: B clips, T frames, H rows, W columns, C channels, N tokens of a clip.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


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


class Pointwise(nn.Conv3d):
    """A 1x1x1 convolution on (..., C), done as one matrix product.

    The parameter keeps a convolution's shape (out, in, 1, 1, 1), as published weights have it.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_channels) to (..., out_channels)."""
        return F.linear(x, self.weight.flatten(1), self.bias)


class VolumeConv(nn.Conv3d):
    """A convolution on (B, C, T, H, W) that is right in half precision too; use it with :func:`apply_to_volume`.

    On CPUs, oneDNN's weight gradient of 3D convolutions in bfloat16 reads memory that nobody wrote (torch 2.13, seen on
    depthwise channels-last ones and on kernel (3, 2, 2): NaN now and then). A training step takes these layers in
    float32 there.
    """

    def forward(self, volume: Tensor) -> Tensor:
        """Map (B, in, T, H, W) to (B, out, T', H', W')."""
        if volume.device.type != "cpu" or not (torch.is_grad_enabled() and self.weight.requires_grad):
            return super().forward(volume)
        dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else volume.dtype
        if dtype not in (torch.bfloat16, torch.float16):
            return super().forward(volume)
        bias = None if self.bias is None else self.bias.float()
        with torch.autocast("cpu", enabled=False):
            return self._conv_forward(volume.float(), self.weight.float(), bias).to(dtype)


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


class PatchEmbed(nn.Module):
    """The strided convolution and LayerNorm (eps 1e-5) at the head of a stage.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        kernel: extents along T, H, W.
        stride: strides along T, H, W; an extent the strides do not divide loses its remainder.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(out_channels, eps=1e-5)
        # Only time is padded: the spatial kernels tile the frame.
        self.proj = VolumeConv(in_channels, out_channels, kernel, stride, padding=(kernel[0] // 2, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, in) to (B, T', H', W', out)."""
        return self.norm(apply_to_volume(self.proj, x))


class ConvEmbed(nn.Module):
    """A strided, overlapping 3x3 convolution and a BatchNorm: what heads stages 2 to 4 of a network with a conv stem.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out.
        time_kernel: odd extent along T, which is padded and not strided.
    """

    def __init__(self, in_channels: int, out_channels: int, *, time_kernel: int = 1) -> None:
        super().__init__()
        self.proj = nn.Sequential(*_halving(in_channels, out_channels, time_kernel, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, in) to (B, T, ceil(H / 2), ceil(W / 2), out)."""
        return apply_to_volume(self.proj, x)


class ConvStem(nn.Module):
    """Two strided, overlapping 3x3 convolutions in place of the one 4x4 that cuts a frame into patches.

    Xiao et al., "Early Convolutions Help Transformers See Better", 2021. Convolution, BatchNorm, exact GELU,
    convolution, BatchNorm; the first convolution has half the channels that go out, the second one alone strides in
    time.

    Args:
        in_channels: channels that come in.
        out_channels: channels that go out, >= 2.
        time_kernel: odd extent of both convolutions along T; 1 in an image network.
        time_stride: stride along T; 1 in an image network.
    """

    def __init__(self, in_channels: int, out_channels: int, *, time_kernel: int = 3, time_stride: int = 2) -> None:
        super().__init__()
        assert out_channels >= 2, f"half of {out_channels} channels is no channel"
        half = out_channels // 2
        self.proj = nn.Sequential(
            *_halving(in_channels, half, time_kernel, 1),
            nn.GELU(),
            *_halving(half, out_channels, time_kernel, time_stride),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, in) to (B, ceil(T / time_stride), ceil(ceil(H / 2) / 2), ceil(ceil(W / 2) / 2), out)."""
        return apply_to_volume(self.proj, x)


def _halving(
    in_channels: int, out_channels: int, time_kernel: int, time_stride: int
) -> tuple[VolumeConv, nn.BatchNorm3d]:
    """Return a 3x3 convolution that halves H and W, rounding up, and its BatchNorm."""
    assert time_kernel % 2 == 1, f"an even temporal kernel {time_kernel} has no centre"
    kernel, stride = (time_kernel, 3, 3), (time_stride, 2, 2)
    convolution = VolumeConv(in_channels, out_channels, kernel, stride, padding=(time_kernel // 2, 1, 1))
    return convolution, nn.BatchNorm3d(out_channels)


class DropPath(nn.Module):
    """Stochastic depth: in training each sample's branch is dropped with ``rate``, else scaled by 1 / (1 - rate).

    Huang et al., "Deep Networks with Stochastic Depth", 2016. Draws come from torch's global generator of the device.

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
        mask = torch.rand((branch.shape[0],) + (1,) * (branch.ndim - 1), device=branch.device) < keep
        return branch * (mask.to(branch.dtype) / keep)

    def extra_repr(self) -> str:
        """Show the rate in the module's printed form."""
        return f"rate={self.rate:.4g}"


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
        linear: class of the maps, ``nn.Linear`` or :class:`Pointwise` (parameters of a convolution's shape).
    """

    def __init__(self, channels: int, hidden: int, dropout: float, linear: type[nn.Module]) -> None:
        super().__init__()
        self.fc1 = linear(channels, hidden)
        self.fc2 = linear(hidden, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.dropout(self.fc2(self.dropout(F.gelu(self.fc1(x)))))
