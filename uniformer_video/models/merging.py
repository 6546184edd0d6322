"""Tokens that are merged and come back, and the running scores that choose them: pure functions on values.

An hourglass block runs on the class token, the patch tokens with the highest scores and one representative of all
others; afterwards every token is in its place again. Li et al., "UniFormer: Unifying Convolution and Self-attention for
Visual Recognition", 2022; the slow and fast update of tokens is that of Xu et al., "Evo-ViT: Slow-Fast Token Evolution
for Dynamic Vision Transformer", AAAI 2022.

Nothing here depends on another clip of the batch. Scores are float32 at least, under autocast too. Shapes: B clips,
N patch tokens of a clip, K kept ones, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def kept_count(tokens: int, ratio: float) -> int:
    """Return how many of ``tokens`` a block of prune ratio ``ratio`` in (0, 1] keeps: int(tokens * ratio).

    This may be 0, and then every token is merged; it is ``tokens`` at ratio 1, and then nothing is.
    """
    return int(tokens * ratio)


def class_token_weights(query: Tensor, key: Tensor, *, scale: float) -> Tensor:
    """Return how much the class token attends to each token, averaged over heads.

    Only this one row of the attention weights is computed, so that attention itself is free to never hold them.

    Args:
        query: (B, heads, M, head width), the class token first.
        key: as ``query``.
        scale: factor on the products before the softmax.

    Returns:
        (B, M), rows that sum to 1, the class token's weight on itself first; float32 or, from float64, float64.
    """
    row, key = _full(query[:, :, :1]), _full(key)
    with torch.autocast(row.device.type, enabled=False):
        products = (row @ key.transpose(-2, -1)).squeeze(2) * scale
        return products.softmax(-1).mean(1)


def highest_scores(scores: Tensor, count: int) -> Tensor:
    """Return the places (B, count) of the highest of scores (B, N), falling; equal ones in the order of places."""
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def merge_weights(scores: Tensor, kept: Tensor) -> Tensor:
    """Return each token's share in the representative of all tokens that are not kept.

    Args:
        scores: (B, N), each >= 0.
        kept: places (B, K) of the kept tokens, K < N, no place twice.

    Returns:
        (B, N): 0 for kept tokens, for the others their score over the sum of these scores. Where that sum is 0, as
        when a softmax has underflown, all others share alike.
    """
    assert kept.shape[1] < scores.shape[1], f"all {scores.shape[1]} tokens are kept: there is nothing to merge"
    others = torch.ones_like(scores).scatter(1, kept, 0.0)
    shares = scores * others
    # A sum that is not even a normal number divides to nothing sensible, and its gradient overflows.
    shares = torch.where(shares.sum(1, keepdim=True) > torch.finfo(scores.dtype).tiny, shares, others)
    return shares / shares.sum(1, keepdim=True)


def merge(tokens: Tensor, weights: Tensor) -> Tensor:
    """Return the weighted sum (B, 1, C) of tokens (B, N, C), in their dtype; ``weights`` (B, N)."""
    weights = _full(weights)
    with torch.autocast(tokens.device.type, enabled=False):
        return torch.bmm(weights.unsqueeze(1), tokens.to(weights.dtype)).to(tokens.dtype)


def keep(tokens: Tensor, kept: Tensor) -> Tensor:
    """Return the tokens (B, K, C) of (B, N, C) at the places ``kept`` (B, K), in that order."""
    batch, count, channels = tokens.shape
    return tokens.flatten(0, 1).index_select(0, _rows(kept, count)).view(batch, kept.shape[1], channels)


def unmerge(tokens: Tensor, kept: Tensor, kept_tokens: Tensor, update: Tensor) -> Tensor:
    """Put every token back in its place: kept ones as the block made them, the others with the representative's update.

    Args:
        tokens: (B, N, C), as they were before the block.
        kept: places (B, K) of the kept tokens, no place twice.
        kept_tokens: (B, K, C), the kept tokens after the block.
        update: (B, 1, C), what the block added to the representative.

    Returns:
        (B, N, C) in the dtype of ``tokens``.
    """
    restored = (tokens + update).to(tokens.dtype)
    rows, values = _rows(kept, tokens.shape[1]), kept_tokens.to(tokens.dtype).flatten(0, 1)
    return restored.flatten(0, 1).index_copy(0, rows, values).view(tokens.shape)


def update_scores(scores: Tensor | None, fresh: Tensor, trade_off: float, kept: Tensor | None = None) -> Tensor:
    """Move running scores towards fresh ones: ``(1 - trade_off) * scores + trade_off * fresh``.

    Args:
        scores: (B, N); None before the first attention, whose fresh scores are then taken as they are.
        fresh: (B, N), or (B, K) for the tokens at ``kept``.
        trade_off: weight of the fresh scores, in [0, 1].
        kept: places (B, K) of the tokens that took part; None: all. The others' scores stay.

    Returns:
        (B, N).
    """
    if scores is None:
        assert kept is None, "tokens cannot be chosen before there are scores"
        return fresh
    if kept is None:
        return (1.0 - trade_off) * scores + trade_off * fresh
    return scores.scatter(1, kept, (1.0 - trade_off) * scores.gather(1, kept) + trade_off * fresh)


def pool_scores(scores: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """Average scores over windows of 2x2 pixels and rescale them so that each clip keeps its sum.

    Args:
        scores: (B, T*H*W), each >= 0.
        grid: T, H, W; an odd last row or column is left out, as a stage's strided convolution leaves it out.

    Returns:
        (B, T * (H // 2) * (W // 2)); zeros where all that is left has score 0.
    """
    pooled = F.avg_pool2d(scores.unflatten(1, grid), 2).flatten(1)
    left = pooled.sum(1, keepdim=True)
    left = torch.where(left > torch.finfo(scores.dtype).tiny, left, 1.0)
    return pooled * (scores.sum(1, keepdim=True) / left)


def _full(tensor: Tensor) -> Tensor:
    """Return the tensor in float32, or as it is in float64."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _rows(places: Tensor, count: int) -> Tensor:
    """Return places (B, K) of clips of ``count`` tokens as rows (B * K,) of the batch's tokens (B * count, C).

    Whole rows are copied several times faster than ``torch.gather`` and ``scatter`` move single numbers on a CPU.
    """
    starts = torch.arange(places.shape[0], device=places.device) * count
    return (places + starts.unsqueeze(1)).flatten()
