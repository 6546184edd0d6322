"""The UniFormer network for video, and for images: the same with temporal extents of 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.models.arguments import as_clips, check_numbers, check_stages
from uniformer_video.models.blocks import GlobalBlock, SplitBlock
from uniformer_video.models.embeds import ConvEmbed, ConvStem, PatchEmbed
from uniformer_video.models.inference import batch_norm_factors, folds, is_scoring
from uniformer_video.models.layers import Dropout, apply_to_volume, to_grid, to_volume
from uniformer_video.models.recompute import recompute
from uniformer_video.models.stages import make_stages, start_linear_layers


class Uniformer(nn.Module):
    """UniFormer: local blocks in stages 1 and 2, global attention in stages 3 and 4.

    Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", ICLR 2022.
    Parameter names and shapes are the published ones when ``local_kernel`` is (5, 5, 5).

    Args:
        num_classes: width of the head's output.
        depths: blocks of each of the four stages, each >= 0.
        widths: channels of each stage; those of stages 3 and 4 are multiples of ``head_dim``.
        head_dim: width of one attention head.
        mlp_ratio: hidden width of an MLP / its channels, one number or one for each stage.
        local_kernel: odd extents of the local affinity along T, H, W.
        split: attention over time first, then over space, instead of jointly.
        std: strided convolutions of stages 2 to 4 look at three frames (kernel (3, 2, 2)) instead of one.
        qkv_bias: whether attention's fused projection has a bias.
        qk_scale: factor on attention products; None gives ``head_dim ** -0.5``.
        dropout: dropout after the stem, in the MLPs and after attention's output projection.
        attention_dropout: dropout on attention weights.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first, over all blocks.
        head_dropout: dropout before the head.
        checkpoint_blocks: how many first blocks of each stage are computed again in the backward pass instead of kept
            in memory; more than a stage has means all.
        layer_scale: whether both branches of a block have a learned factor for each channel, one word or one for each
            stage.
        layer_scale_init: start of these factors.
        conv_stem: overlapping 3x3 convolutions with BatchNorm at the head of the stages, two at the first, instead of
            patches with LayerNorm. In a video network those of the first stage see three frames.
        aux_head: a second head for token labelling (Jiang et al., "All Tokens Matter", 2021). In eval mode half of its
            largest score over all tokens is added to the logits of each class; in training mode it is not used.
        image: every temporal extent is 1, also that of ``local_kernel``; single images (B, 3, H, W) are taken too.

    Raises:
        ValueError: for arguments that make no network; the message names the argument.
    """

    def __init__(
        self,
        *,
        num_classes: int = 400,
        depths: Sequence[int] = (3, 4, 8, 3),
        widths: Sequence[int] = (64, 128, 320, 512),
        head_dim: int = 64,
        mlp_ratio: float | Sequence[float] = 4.0,
        local_kernel: Sequence[int] = (3, 5, 5),
        split: bool = False,
        std: bool = False,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        head_dropout: float = 0.0,
        checkpoint_blocks: Sequence[int] = (0, 0, 0, 0),
        layer_scale: bool | Sequence[bool] = False,
        layer_scale_init: float = 1e-6,
        conv_stem: bool = False,
        aux_head: bool = False,
        image: bool = False,
    ) -> None:
        super().__init__()
        check_stages(depths, widths, head_dim, checkpoint_blocks)
        check_numbers(
            num_classes=num_classes,
            local_kernel=local_kernel,
            dropout=dropout,
            attention_dropout=attention_dropout,
            drop_path_rate=drop_path_rate,
            head_dropout=head_dropout,
        )
        if conv_stem and widths[0] < 2:
            raise ValueError("widths must begin with at least 2 where conv_stem is True: it begins with half of it")
        if image and (split or std):
            timed = "split" if split else "std"
            raise ValueError(f"image is True, which leaves no time for {timed}: set {timed} False")
        self.num_classes = num_classes
        self.widths = tuple(widths)
        self.checkpoint_blocks = tuple(checkpoint_blocks)
        self.image = image

        for stage, embed in enumerate(_embeds((3, *widths), std=std, conv_stem=conv_stem, image=image), start=1):
            setattr(self, f"patch_embed{stage}", embed)

        stages = make_stages(
            SplitBlock if split else GlobalBlock,
            depths=depths,
            widths=widths,
            head_dim=head_dim,
            mlp_ratio=mlp_ratio,
            local_kernel=local_kernel,
            dropout=dropout,
            drop_path_rate=drop_path_rate,
            layer_scale=layer_scale,
            layer_scale_init=layer_scale_init,
            image=image,
            qkv_bias=qkv_bias,
            qk_scale=qk_scale,
            attention_dropout=attention_dropout,
        )
        for stage, blocks in enumerate(stages, start=1):
            setattr(self, f"blocks{stage}", blocks)

        self.stem_dropout = Dropout(dropout)
        self.norm = nn.BatchNorm3d(widths[-1])
        self.head_dropout = Dropout(head_dropout)
        self.head = nn.Linear(widths[-1], num_classes)
        self.aux_head = nn.Linear(widths[-1], num_classes) if aux_head else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start linear layers at truncated normal 0.02 with zero bias; convolutions and norms keep torch's start."""
        start_linear_layers(self)
        for module in self.modules():
            if isinstance(module, SplitBlock):
                module.start_as_identity_in_time()

    def forward(self, clips: Tensor) -> Tensor:
        """Score clips.

        Args:
            clips: normalised RGB, floating, (B, 3, T, H, W), T >= 1, H and W >= 32; where ``image`` is set also
                (B, 3, H, W).

        Returns:
            Logits (B, num_classes).

        Raises:
            ValueError: if ``clips`` has another shape or is not floating.
        """
        return self.forward_pooled(clips)[1]

    def forward_pooled(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features that the head takes, (B, C): the mean over T, H and W after the final norm; and logits.

        Args:
            clips: as for :meth:`forward`.

        Raises:
            ValueError: as :meth:`forward`.
        """
        *_, last = self._stages(clips)
        if is_scoring(self.norm) and folds(self.norm) and self.aux_head is None:
            # A norm that scales and shifts channels gives the same before and after their mean.
            factor, offset = batch_norm_factors(self.norm)
            pooled = (last.mean((1, 2, 3)) * factor + offset).to(last.dtype)
            return pooled, self.head(self.head_dropout(pooled))
        normed = apply_to_volume(self.norm, last)
        pooled = normed.mean((1, 2, 3))
        logits = self.head(self.head_dropout(pooled))
        if self.aux_head is None or self.training:
            return pooled, logits
        return pooled, logits + 0.5 * self.aux_head(normed).amax((1, 2, 3))

    def forward_features(self, clips: Tensor) -> list[Tensor]:
        """Return the feature map of every stage.

        Args:
            clips: as for :meth:`forward`.

        Returns:
            Four maps (B, C_i, T_i, H_i, W_i) in ``torch.channels_last_3d`` memory, with T_i = ceil(T / 2), or T where
            ``image`` is set, H_i and W_i the input's divided by 4, 8, 16, 32 (rounded down step by step, with
            ``conv_stem`` up at each halving); the last one after the final norm.

        Raises:
            ValueError: as :meth:`forward`.
        """
        grids = list(self._stages(clips))
        grids[-1] = apply_to_volume(self.norm, grids[-1])
        return [to_volume(grid) for grid in grids]

    def _stages(self, clips: Tensor) -> Iterator[Tensor]:
        """Yield (B, T_i, H_i, W_i, C_i) after each stage."""
        x = to_grid(as_clips(clips, image=self.image))
        for stage in range(4):
            x = getattr(self, f"patch_embed{stage + 1}")(x)
            if stage == 0:
                x = self.stem_dropout(x)
            for index, block in enumerate(getattr(self, f"blocks{stage + 1}")):
                again = index < self.checkpoint_blocks[stage] and torch.is_grad_enabled()
                x = recompute(block, x) if again else block(x)
            yield x


def uniformer_small(**kwargs: Any) -> Uniformer:
    """Return UniFormer-S (depths 3, 4, 8, 3; 21.4 M parameters); ``kwargs`` as for :class:`Uniformer`."""
    return Uniformer(**{"depths": (3, 4, 8, 3), **kwargs})


def uniformer_base(**kwargs: Any) -> Uniformer:
    """Return UniFormer-B (depths 5, 8, 20, 7; 49.8 M parameters); ``kwargs`` as for :class:`Uniformer`."""
    return Uniformer(**{"depths": (5, 8, 20, 7), **kwargs})


def _embeds(channels: Sequence[int], *, std: bool, conv_stem: bool, image: bool) -> Iterator[nn.Module]:
    """Yield what heads the four stages, from ``channels[stage]`` to ``channels[stage + 1]``."""
    time_kernel, time_stride = (1, 1) if image else (3, 2)
    if conv_stem:
        yield ConvStem(*channels[:2], time_kernel=time_kernel, time_stride=time_stride)
    else:
        yield PatchEmbed(*channels[:2], (time_kernel, 4, 4), (time_stride, 4, 4))
    time_kernel = 3 if std else 1
    for stage in (1, 2, 3):
        if conv_stem:
            yield ConvEmbed(*channels[stage : stage + 2], time_kernel=time_kernel)
        else:
            yield PatchEmbed(*channels[stage : stage + 2], (time_kernel, 2, 2), (1, 2, 2))
