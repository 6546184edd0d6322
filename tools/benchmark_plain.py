"""The network as existing toolkits write it: the other side of ``benchmark.py model``.

Contiguous (B, C, T, H, W) all the way, every convolution an ``nn.Conv3d`` (pointwise ones too), ``nn.BatchNorm3d``,
attention as two matrix products around a softmax. (The published code leaves what attention gives in the order it
comes in, channels last, so that some of its position encodings run in that layout; docs/PERFORMANCE.md says what that
is worth.) Parameter names and shapes are those of the package's network, so that both sides can hold the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class _DropPath(nn.Module):
    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        mask = torch.rand((x.shape[0],) + (1,) * (x.ndim - 1), device=x.device) < keep
        return x * (mask.to(x.dtype) / keep)


class _PatchEmbed(nn.Module):
    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(outputs)
        self.proj = nn.Conv3d(inputs, outputs, tuple(kernel), tuple(stride), (kernel[0] // 2, 0, 0))

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(x)
        batch, channels, *grid = x.shape
        x = self.norm(x.flatten(2).transpose(1, 2))
        return x.transpose(1, 2).reshape(batch, channels, *grid).contiguous()


class _Mlp(nn.Module):
    def __init__(self, fc1: nn.Module, fc2: nn.Module) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = fc1, nn.GELU(), fc2

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


class _Local(nn.Module):
    def __init__(self, width: int, kernel: Sequence[int], mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        hidden, kernel = int(width * mlp_ratio), tuple(kernel)
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        self.norm1 = nn.BatchNorm3d(width)
        self.conv1 = nn.Conv3d(width, width, 1)
        self.conv2 = nn.Conv3d(width, width, 1)
        self.attn = nn.Conv3d(width, width, kernel, padding=tuple(k // 2 for k in kernel), groups=width)
        self.drop_path = _DropPath(drop_path)
        self.norm2 = nn.BatchNorm3d(width)
        self.mlp = _Mlp(nn.Conv3d(width, hidden, 1), nn.Conv3d(hidden, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.drop_path(self.conv2(self.attn(self.conv1(self.norm1(x)))))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, qkv_bias: bool, scale: float | None) -> None:
        super().__init__()
        self.heads = heads
        self.scale = (width // heads) ** -0.5 if scale is None else scale
        self.qkv = nn.Linear(width, 3 * width, bias=qkv_bias)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, width = x.shape
        query, key, value = self.qkv(x).reshape(batch, count, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) * self.scale).softmax(dim=-1)
        return self.proj((weights @ value).transpose(1, 2).reshape(batch, count, width))


class _Global(nn.Module):
    def __init__(
        self,
        width: int,
        *,
        heads: int,
        mlp_ratio: float,
        qkv_bias: bool,
        scale: float | None,
        drop_path: float,
        split: bool,
    ) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.split = split
        self.pos_embed = nn.Conv3d(width, width, 3, padding=1, groups=width)
        if split:
            self.t_norm = nn.LayerNorm(width, eps=1e-6)
            self.t_attn = _Attention(width, heads, qkv_bias, scale)
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads, qkv_bias, scale)
        self.drop_path = _DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _Mlp(nn.Linear(width, hidden), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, T, H, W) to the same shape, transposed to tokens and back as the existing toolkits do."""
        x = x + self.pos_embed(x)
        batch, width, time, height, columns = x.shape
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.drop_path(self._mix(tokens, time))
        tokens = tokens + self.drop_path(self.mlp(self.norm2(tokens)))
        return tokens.transpose(1, 2).reshape(batch, width, time, height, columns).contiguous()

    def _mix(self, tokens: Tensor, time: int) -> Tensor:
        if not self.split:
            return self.attn(self.norm1(tokens))
        batch, count, width = tokens.shape
        places = tokens.reshape(batch, time, -1, width).transpose(1, 2).reshape(-1, time, width)
        timed = self.t_attn(self.t_norm(places)).reshape(batch, -1, time, width).transpose(1, 2)
        mixed = tokens + self.drop_path(timed.reshape(batch, count, width))
        return self.attn(self.norm1(mixed.reshape(batch * time, -1, width))).reshape(batch, count, width)


class PlainUniformer(nn.Module):
    """The plain network; arguments as for the package's ``Uniformer``, without dropouts.

    Args:
        num_classes: width of the head's output.
        depths: blocks of each stage.
        widths: channels of each stage.
        head_dim: width of one attention head.
        mlp_ratio: hidden width of every MLP / its channels.
        local_kernel: extents of the local affinity.
        split: attention over time first, then over space.
        std: strided convolutions of stages 2 to 4 look at three frames.
        qkv_bias: whether the fused projection has a bias.
        qk_scale: factor on attention products; None gives ``head_dim ** -0.5``.
        drop_path_rate: stochastic depth of the last block.
        checkpoint_blocks: how many first blocks of each stage are computed again in the backward pass.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        depths: Sequence[int],
        widths: Sequence[int],
        head_dim: int,
        mlp_ratio: float,
        local_kernel: Sequence[int],
        split: bool,
        std: bool,
        qkv_bias: bool,
        qk_scale: float | None,
        drop_path_rate: float,
        checkpoint_blocks: Sequence[int],
    ) -> None:
        super().__init__()
        self.checkpoint_blocks = tuple(checkpoint_blocks)
        rates = iter(drop_path_rate * i / max(sum(depths) - 1, 1) for i in range(sum(depths)))
        before = 3
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True), start=1):
            kernel, stride = ((3 if std else 1, 2, 2), (1, 2, 2)) if stage > 1 else ((3, 4, 4), (2, 4, 4))
            setattr(self, f"patch_embed{stage}", _PatchEmbed(before, width, kernel, stride))
            blocks = [
                _Local(width, local_kernel, mlp_ratio, next(rates))
                if stage <= 2
                else _Global(
                    width,
                    heads=width // head_dim,
                    mlp_ratio=mlp_ratio,
                    qkv_bias=qkv_bias,
                    scale=qk_scale,
                    drop_path=next(rates),
                    split=split,
                )
                for _ in range(depth)
            ]
            setattr(self, f"blocks{stage}", nn.ModuleList(blocks))
            before = width
        self.norm = nn.BatchNorm3d(before)
        self.head = nn.Linear(before, num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips (B, 3, T, H, W) to logits (B, num_classes)."""
        x = clips
        for stage, count in enumerate(self.checkpoint_blocks, start=1):
            x = getattr(self, f"patch_embed{stage}")(x)
            for index, block in enumerate(getattr(self, f"blocks{stage}")):
                again = index < count and torch.is_grad_enabled()
                x = checkpoint(block, x, use_reentrant=False) if again else block(x)
        return self.head(self.norm(x).flatten(2).mean(-1))
