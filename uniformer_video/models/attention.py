"""Multi-head self-attention over the tokens of a clip, and the one place where its kernel is chosen."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from uniformer_video.models.cpu_attention import cpu_attend
from uniformer_video.models.kernels import own_cpu_kernels
from uniformer_video.models.layers import Dropout, Linear
from uniformer_video.models.rows import by_rows, rows_in_hand

LEAST_TOKENS = 64
"""Fewer tokens than these are for torch's fused kernel: such clips are many, and :func:`cpu_attend` goes one by one."""


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float, dropout: float = 0.0) -> Tensor:
    """Return softmax(query key^T * scale) value, without ever holding the N x N weights where a kernel can avoid it.

    On a CPU in bfloat16 matrix products on one clip at a time are faster than torch's fused kernel, but for few tokens
    and in float32 slower. Logits and softmax are float32 at least on every path, half precision or not: torch's fused
    kernels add up in it, and its plain path (for dropout on a CPU) is computed in it.

    Args:
        query: (B, heads, N, head width), any floating dtype.
        key: as ``query``.
        value: as ``query``.
        scale: factor on the products before the softmax.
        dropout: probability in [0, 1) of dropping an attention weight. Inside
            :func:`~uniformer_video.models.rows.batch_rows` the samples then go one by one, each with its row's draws.

    Returns:
        (B, heads, N, head width).
    """
    if query.dtype is torch.bfloat16 and not dropout and query.shape[2] >= LEAST_TOKENS and own_cpu_kernels(query):
        return cpu_attend(query, key, value, scale)
    fused = partial(F.scaled_dot_product_attention, dropout_p=dropout, scale=scale)
    rows = rows_in_hand() if dropout else None
    return fused(query, key, value) if rows is None else by_rows(rows, fused, query, key, value)


class Attention(nn.Module):
    """Self-attention with one fused qkv projection.

    Args:
        channels: C, a multiple of ``heads``.
        heads: number of heads.
        qkv_bias: whether the fused projection has a bias.
        scale: factor on the products before the softmax; None gives (C / heads) ** -0.5.
        attention_dropout: dropout on the attention weights.
        dropout: dropout after the output projection.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        *,
        qkv_bias: bool = True,
        scale: float | None = None,
        attention_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        assert channels % heads == 0, f"{channels} channels cannot be shared by {heads} heads"
        self.heads = heads
        self.scale = float(scale) if scale is not None else (channels // heads) ** -0.5
        self.attention_dropout = attention_dropout
        self.qkv = Linear(channels, 3 * channels, bias=qkv_bias)
        self.proj = Linear(channels, channels)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Map tokens (B, N, C) to (B, N, C); every token attends to all N."""
        return self.mix(*self.project(tokens))

    def project(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return query, key and value, each (B, heads, N, C / heads), of tokens (B, N, C)."""
        batch, count, channels = tokens.shape
        # (B, N, 3, heads, width) -> three views (B, heads, N, width): no copy before the kernel.
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)
        return query, key, value

    def mix(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return the mixed tokens (B, N, C) from what :meth:`project` returned."""
        dropout = self.attention_dropout if self.training else 0.0
        mixed = attend(query, key, value, scale=self.scale, dropout=dropout)
        return self.dropout(self.proj(mixed.transpose(1, 2).flatten(2)))
