"""The three blocks of the network: local (stages 1, 2), global (stages 3, 4), and global with split attention.

Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", ICLR 2022.
Every block maps (B, T, H, W, C) to the same shape. Attribute names are those of the published parameters.
"""

from __future__ import annotations

from torch import Tensor, nn

from uniformer_video.models.attention import Attention
from uniformer_video.models.inference import add_mlp_, can_add_mlp, folds, is_scoring, normed_linear
from uniformer_video.models.layers import (
    Depthwise,
    DropPath,
    Linear,
    Mlp,
    Pointwise,
    apply_to_volume,
    is_linear,
    layer_scale_parameter,
    scale_channels,
)

POSITION_KERNEL = (3, 3, 3)
"""Extents of the dynamic position encoding, a depthwise convolution at the head of every block of a video network."""

LAYER_NORM_EPS = 1e-6
"""Epsilon of the blocks' LayerNorms (those after a strided convolution have 1e-5)."""


class LocalBlock(nn.Module):
    """Position encoding, local affinity (pointwise, depthwise, pointwise) and MLP, each after a BatchNorm.

    Args:
        channels: C.
        kernel: odd extents of the local affinity along T, H, W.
        mlp_ratio: hidden width of the MLP / C.
        dropout: dropout in the MLP.
        drop_path: stochastic depth rate of this block.
        position_kernel: odd extents of the position encoding along T, H, W.
        layer_scale: start of the factors ``gamma_1`` and ``gamma_2`` on the two branches; None: no such factors.
    """

    def __init__(
        self,
        channels: int,
        *,
        kernel: tuple[int, int, int],
        mlp_ratio: float,
        dropout: float,
        drop_path: float,
        position_kernel: tuple[int, int, int] = POSITION_KERNEL,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        # The published shape, that of a factor on (B, C, T, H, W).
        self.gamma_1 = layer_scale_parameter((1, channels, 1, 1, 1), layer_scale)
        self.gamma_2 = layer_scale_parameter((1, channels, 1, 1, 1), layer_scale)
        self.pos_embed = Depthwise(channels, position_kernel)
        self.norm1 = nn.BatchNorm3d(channels)
        self.conv1 = Pointwise(channels, channels)
        self.conv2 = Pointwise(channels, channels)
        self.attn = Depthwise(channels, kernel)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.BatchNorm3d(channels)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout, Pointwise)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, C) to (B, T, H, W, C)."""
        x = x + apply_to_volume(self.pos_embed, x)
        if is_scoring(self) and folds(self.norm1) and is_linear(self.conv1) and can_add_mlp(self.norm2, self.mlp):
            local = normed_linear(self.norm1, self.conv1, x)
            x += scale_channels(self.conv2(apply_to_volume(self.attn, local)), self.gamma_1)
            return add_mlp_(x, self.norm2, self.mlp, self.gamma_2)
        local = self.conv1(apply_to_volume(self.norm1, x))
        mixed = self.conv2(apply_to_volume(self.attn, local))
        x = x + self.drop_path(scale_channels(mixed, self.gamma_1))
        return x + self.drop_path(scale_channels(self.mlp(apply_to_volume(self.norm2, x)), self.gamma_2))


class GlobalBlock(nn.Module):
    """Position encoding, attention over all T*H*W tokens jointly and MLP, each after a LayerNorm.

    Args:
        channels: C, a multiple of ``heads``.
        heads: number of attention heads.
        mlp_ratio: hidden width of the MLP / C.
        qkv_bias: whether the fused projection has a bias.
        qk_scale: factor on the attention products; None gives head width ** -0.5.
        dropout: dropout in the MLP and after the attention's output projection.
        attention_dropout: dropout on the attention weights.
        drop_path: stochastic depth rate of this block.
        position_kernel: odd extents of the position encoding along T, H, W.
        layer_scale: start of the factors ``gamma_1`` and ``gamma_2`` on the two branches; None: no such factors.
    """

    def __init__(
        self,
        channels: int,
        *,
        heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        qk_scale: float | None,
        dropout: float,
        attention_dropout: float,
        drop_path: float,
        position_kernel: tuple[int, int, int] = POSITION_KERNEL,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        self.gamma_1 = layer_scale_parameter((channels,), layer_scale)
        self.gamma_2 = layer_scale_parameter((channels,), layer_scale)
        attention = {
            "qkv_bias": qkv_bias,
            "scale": qk_scale,
            "attention_dropout": attention_dropout,
            "dropout": dropout,
        }
        self.pos_embed = Depthwise(channels, position_kernel)
        self.add_time_attention(channels, heads, attention)
        self.norm1 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.attn = Attention(channels, heads, **attention)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(channels, int(channels * mlp_ratio), dropout, Linear)

    def add_time_attention(self, channels: int, heads: int, attention: dict[str, bool | float | None]) -> None:
        """Create the parameters that only :class:`SplitBlock` has, in the published order."""

    def mix(self, x: Tensor) -> Tensor:
        """Return the attention branch of (B, T, H, W, C)."""
        return self.attn(self.norm1(x).flatten(1, 3)).view(x.shape)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, T, H, W, C) to (B, T, H, W, C)."""
        x = x + apply_to_volume(self.pos_embed, x)
        if is_scoring(self) and can_add_mlp(self.norm2, self.mlp):
            x += scale_channels(self.mix(x), self.gamma_1)
            return add_mlp_(x, self.norm2, self.mlp, self.gamma_2)
        x = x + self.drop_path(scale_channels(self.mix(x), self.gamma_1))
        return x + self.drop_path(scale_channels(self.mlp(self.norm2(x)), self.gamma_2))


class SplitBlock(GlobalBlock):
    """A global block whose attention runs over time first, then over space.

    The temporal result feeds the spatial attention but is not itself added to the block's trunk (that is how the
    published network is wired; Bertasius et al., "Is Space-Time Attention All You Need", 2021, has the same order):
    ``x += space(LN(x + time(LN(x))))``. Temporal attention whose qkv is zero is therefore no change at all.
    """

    def add_time_attention(self, channels: int, heads: int, attention: dict[str, bool | float | None]) -> None:
        """Create the temporal LayerNorm and attention."""
        self.t_norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.t_attn = Attention(channels, heads, **attention)

    def start_as_identity_in_time(self) -> None:
        """Zero the temporal qkv: attention then returns zeros. The projection's ones let gradients reach qkv."""
        if self.t_attn.qkv.bias is not None:
            nn.init.zeros_(self.t_attn.qkv.bias)
        nn.init.zeros_(self.t_attn.qkv.weight)
        nn.init.ones_(self.t_attn.proj.weight)
        nn.init.zeros_(self.t_attn.proj.bias)

    def mix(self, x: Tensor) -> Tensor:
        """Return the attention branch of (B, T, H, W, C): each frame attends within itself, after time was mixed."""
        frames = self.norm1(x + self.drop_path(self.mix_time(x)))
        return self.attn(frames.flatten(2, 3).flatten(0, 1)).view(x.shape)

    def mix_time(self, x: Tensor) -> Tensor:
        """Return what each place of (B, T, H, W, C) gathers from the same place of all frames."""
        batch, time, height, width, channels = x.shape
        places = self.t_norm(x).permute(0, 2, 3, 1, 4).reshape(batch * height * width, time, channels)
        mixed = self.t_attn(places).view(batch, height, width, time, channels)
        return mixed.permute(0, 3, 1, 2, 4)
