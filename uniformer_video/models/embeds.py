"""What heads the stages of a network: strided convolutions from (B, T, H, W, C) to fewer and wider positions."""

from __future__ import annotations

from torch import Tensor, nn

from uniformer_video.models.inference import fold_into_previous, folds, is_scoring
from uniformer_video.models.kernels import kernels_are_own
from uniformer_video.models.layers import VolumeConv, apply_to_volume, linear, to_grid, to_volume


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
        patches = self._as_patches(x)
        return self.norm(apply_to_volume(self.proj, x) if patches is None else patches)

    def _as_patches(self, x: Tensor) -> Tensor | None:
        """Return the convolution of x as one matrix product, where it is one and that is the faster way; else None.

        It is on GPUs, and on CPUs for a training step in bfloat16 (see :class:`VolumeConv`); elsewhere oneDNN's
        convolution is at least as fast and copies nothing.
        """
        if self.proj.kernel_size != self.proj.stride or not kernels_are_own():
            return None
        if x.device.type != "cuda" and not (x.device.type == "cpu" and self.proj.takes_float32(x)):
            return None
        return patch_linear(x, self.proj.weight, self.proj.bias)


def patch_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return the convolution whose stride is its kernel, as one matrix product.

    Args:
        x: (B, T, H, W, C); what is left over at the end of an extent is not looked at.
        weight: (K, C, kT, kH, kW).
        bias: (K,), or None.

    Returns:
        (B, T // kT, H // kH, W // kW, K).
    """
    time, height, width = weight.shape[2:]
    batch, frames, rows, columns, channels = x.shape
    grid = (frames // time, rows // height, columns // width)
    whole = x[:, : grid[0] * time, : grid[1] * height, : grid[2] * width]
    cut = whole.reshape(batch, grid[0], time, grid[1], height, grid[2], width, channels)
    patches = cut.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, *grid, -1)
    return linear(patches, weight.permute(0, 2, 3, 4, 1).flatten(1), bias)


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
        return to_grid(_in_turn(self.proj, to_volume(x)))


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
        return to_grid(_in_turn(self.proj, to_volume(x)))


def _in_turn(layers: nn.Sequential, volume: Tensor) -> Tensor:
    """Run layers, a batch norm that follows a convolution folded into it where nothing is learned."""
    if not is_scoring(layers):
        return layers(volume)
    parts = list(layers)
    while parts:
        layer = parts.pop(0)
        if isinstance(layer, VolumeConv) and parts and folds(parts[0]):
            volume = layer.convolve(volume, *fold_into_previous(layer, parts.pop(0)))
        else:
            volume = layer(volume)
    return volume


def _halving(
    in_channels: int, out_channels: int, time_kernel: int, time_stride: int
) -> tuple[VolumeConv, nn.BatchNorm3d]:
    """Return a 3x3 convolution that halves H and W, rounding up, and its BatchNorm."""
    assert time_kernel % 2 == 1, f"an even temporal kernel {time_kernel} has no centre"
    kernel, stride = (time_kernel, 3, 3), (time_stride, 2, 2)
    convolution = VolumeConv(in_channels, out_channels, kernel, stride, padding=(time_kernel // 2, 1, 1))
    return convolution, nn.BatchNorm3d(out_channels)
