"""The block of the hourglass networks: global attention on few tokens, the others merged into one and brought back."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from uniformer_video.models.blocks import GlobalBlock
from uniformer_video.models.layers import apply_to_volume, scale_channels
from uniformer_video.models.merging import (
    class_token_weights,
    highest_scores,
    keep,
    kept_count,
    merge,
    merge_weights,
    unmerge,
    update_scores,
)


class HourglassBlock(GlobalBlock):
    """A global block with a class token that runs on the tokens of highest score and one representative of the others.

    Scores travel as values, in and out; the block keeps none.

    Args:
        channels: C, a multiple of ``heads``.
        prune_ratio: share of the patch tokens, in (0, 1], that is kept; at 1 the block is an ordinary one on all of
            them. A share that rounds down to none leaves the class token and the representative.
        trade_off: weight of this block's scores in the running ones, in [0, 1].
        scores_needed: whether a later block sorts by the scores; where none does they are not computed.
        options: the arguments of :class:`GlobalBlock`.
    """

    def __init__(
        self, channels: int, *, prune_ratio: float, trade_off: float, scores_needed: bool = True, **options: Any
    ) -> None:
        super().__init__(channels, **options)
        self.prune_ratio = float(prune_ratio)
        self.trade_off = float(trade_off)
        self.scores_needed = scores_needed

    def forward(self, x: Tensor, class_token: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Run the block.

        Args:
            x: (B, T, H, W, C).
            class_token: (B, 1, C).
            scores: running scores (B, T*H*W), each >= 0; None before the first attention.

        Returns:
            The three after the block, of the same shapes; scores are None where none are needed any more.
        """
        x = x + apply_to_volume(self.pos_embed, x)
        patches = x.flatten(1, 3)
        total = patches.shape[1]
        count = kept_count(total, self.prune_ratio)
        class_token = class_token.to(patches.dtype)
        if count == total:
            tokens, fresh, _ = self.run(torch.cat((class_token, patches), 1))
            kept, patches = None, tokens[:, 1:]
        else:
            assert scores is not None, "a block without scores keeps all its tokens"
            kept = highest_scores(scores, count)
            representative = merge(patches, merge_weights(scores, kept))
            tokens, fresh, update = self.run(torch.cat((class_token, keep(patches, kept), representative), 1))
            patches = unmerge(patches, kept, tokens[:, 1:-1], update)
        if fresh is not None:
            scores = update_scores(scores, fresh[:, 1 : count + 1], self.trade_off, kept)
        return patches.reshape(x.shape), tokens[:, :1], scores if self.scores_needed else None

    def run(self, tokens: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return what attention and MLP make of tokens, the class token's attention, and the last token's update.

        Args:
            tokens: (B, M, C), the class token first.

        Returns:
            Tokens (B, M, C); the class token's attention weights (B, M), float32 at least, None where no scores are
            needed; what attention and MLP add to the last token, (B, 1, C), without stochastic depth.
        """
        query, key, value = self.attn.project(self.norm1(tokens))
        fresh = class_token_weights(query, key, scale=self.attn.scale) if self.scores_needed else None
        mixed = scale_channels(self.attn.mix(query, key, value), self.gamma_1)
        tokens = tokens + self.drop_path(mixed)
        changed = scale_channels(self.mlp(self.norm2(tokens)), self.gamma_2)
        return tokens + self.drop_path(changed), fresh, mixed[:, -1:] + changed[:, -1:]

    def extra_repr(self) -> str:
        """Show the ratio and the trade-off in the module's printed form."""
        return f"prune_ratio={self.prune_ratio:.4g}, trade_off={self.trade_off:.4g}"
