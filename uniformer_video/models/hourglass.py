"""The hourglass networks: UniFormer whose global blocks run on few tokens; the others are merged and brought back."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.models.arguments import as_clips, check_numbers, check_stages
from uniformer_video.models.embeds import ConvStem, PatchEmbed
from uniformer_video.models.hourglass_block import HourglassBlock
from uniformer_video.models.layers import Dropout, apply_to_volume, to_grid, to_volume
from uniformer_video.models.merging import pool_scores
from uniformer_video.models.recompute import recompute
from uniformer_video.models.stages import make_stages, start_linear_layers

PerBlock = Sequence[Sequence[float]]
"""One list for each of the four stages, one number for each of its blocks; those of stages 1 and 2 are empty."""


class Hourglass(nn.Module):
    """UniFormer with a convolutional stem and, in stages 3 and 4, a class token and blocks that merge tokens.

    The published light networks, XXS and XS; parameter names and shapes are the published ones when ``local_kernel`` is
    (5, 5, 5). Li et al., "UniFormer: Unifying Convolution and Self-attention for Visual Recognition", 2022.

    Args:
        num_classes: width of both heads' output.
        depths: blocks of each of the four stages, each >= 0.
        widths: channels of each stage; those of stages 3 and 4 are multiples of ``head_dim``.
        head_dim: width of one attention head.
        mlp_ratio: hidden width of an MLP / its channels, one number or one for each stage.
        local_kernel: odd extents of the local affinity along T, H, W.
        prune_ratio: share of the patch tokens that each block keeps, in (0, 1]: four lists, one for each stage, with
            one number for each block; those of stages 1 and 2 are empty. The first block of stage 3 keeps all (1), as
            there is no score yet. None gives the published 1 for that block and 0.5 for all others.
        trade_off: weight of each block's scores in the running ones, in [0, 1]; lists as in ``prune_ratio``. The first
            block's has no effect. None gives the published 1 for that block and 0.5 for all others.
        std: strided convolutions of stages 2 to 4 look at three frames (kernel (3, 2, 2)) instead of one.
        qkv_bias: whether attention's fused projection has a bias.
        qk_scale: factor on attention products; None gives ``head_dim ** -0.5``.
        dropout: dropout after the stem, in the MLPs and after attention's output projection.
        attention_dropout: dropout on attention weights, not on scores.
        drop_path_rate: stochastic depth of the last block; it rises linearly from 0 at the first, over all blocks.
        head_dropout: dropout before both heads.
        checkpoint_blocks: how many first blocks of each stage are computed again in the backward pass instead of kept
            in memory; more than a stage has means all.
        layer_scale: whether both branches of a block have a learned factor for each channel, one word or one for each
            stage.
        layer_scale_init: start of these factors.
        image: every temporal extent is 1, also that of ``local_kernel``; single images (B, 3, H, W) are taken too.

    Raises:
        ValueError: for arguments that make no network; the message names the argument.
    """

    def __init__(
        self,
        *,
        num_classes: int = 400,
        depths: Sequence[int] = (2, 5, 8, 2),
        widths: Sequence[int] = (56, 112, 224, 448),
        head_dim: int = 28,
        mlp_ratio: float | Sequence[float] = 3.0,
        local_kernel: Sequence[int] = (3, 5, 5),
        prune_ratio: PerBlock | None = None,
        trade_off: PerBlock | None = None,
        std: bool = False,
        qkv_bias: bool = True,
        qk_scale: float | None = None,
        dropout: float = 0.0,
        attention_dropout: float = 0.0,
        drop_path_rate: float = 0.0,
        head_dropout: float = 0.0,
        checkpoint_blocks: Sequence[int] = (0, 0, 0, 0),
        layer_scale: bool | Sequence[bool] = False,
        layer_scale_init: float = 1.0,
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
        if widths[0] < 2:
            raise ValueError(f"widths must begin with at least 2 for the two convolutions of the stem, got {widths[0]}")
        if image and std:
            raise ValueError("image is True, which leaves no time for std: set std False")
        merging = _merging_options(prune_ratio, trade_off, depths)
        self.num_classes = num_classes
        self.widths = tuple(widths)
        self.checkpoint_blocks = tuple(checkpoint_blocks)
        self.image = image

        self.cls_token = nn.Parameter(torch.zeros(1, 1, widths[2]))
        for stage, embed in enumerate(_embeds(widths, std=std, image=image), start=1):
            setattr(self, f"patch_embed{stage}", embed)
        self.cls_upsample = nn.Linear(widths[2], widths[3])

        stages = make_stages(
            lambda width, **options: HourglassBlock(width, **options, **next(merging)),
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
        self.norm_cls = nn.LayerNorm(widths[-1], eps=1e-5)
        self.head_dropout = Dropout(head_dropout)
        self.head = nn.Linear(widths[-1], num_classes)
        self.head_cls = nn.Linear(widths[-1], num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start linear layers at truncated normal 0.02 with zero bias; convolutions and norms keep torch's start."""
        start_linear_layers(self)
        nn.init.zeros_(self.cls_token)

    def forward(self, clips: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """Score clips.

        Args:
            clips: normalised RGB, floating, (B, 3, T, H, W), T >= 1, H and W >= 32; where ``image`` is set also
                (B, 3, H, W).

        Returns:
            Logits (B, num_classes) from the mean of the patch tokens; in training mode a tuple of these and the class
            token's logits (B, num_classes). The published loss is the mean of the two losses.

        Raises:
            ValueError: if ``clips`` has another shape or is not floating.
        """
        return self.forward_pooled(clips)[1]

    def forward_pooled(self, clips: Tensor) -> tuple[Tensor, Tensor | tuple[Tensor, Tensor]]:
        """Return the features that the head takes, (B, C): the patch tokens' mean after the final norm; and logits.

        Args:
            clips: as for :meth:`forward`, whose result is the second of the two.

        Raises:
            ValueError: as :meth:`forward`.
        """
        *_, (last, class_token) = self._stages(clips)
        pooled = apply_to_volume(self.norm, last).mean((1, 2, 3))
        logits = self.head(self.head_dropout(pooled))
        if not self.training:
            return pooled, logits
        return pooled, (logits, self.head_cls(self.head_dropout(self.norm_cls(class_token.squeeze(1)))))

    def forward_features(self, clips: Tensor) -> list[Tensor]:
        """Return the feature map of every stage.

        Args:
            clips: as for :meth:`forward`.

        Returns:
            Four maps (B, C_i, T_i, H_i, W_i) in ``torch.channels_last_3d`` memory, with T_i = ceil(T / 2), or T where
            ``image`` is set; H_1 and W_1 are the input's halved twice, rounded up, the others those of the map before
            halved, rounded down. The last one is after the final norm.

        Raises:
            ValueError: as :meth:`forward`.
        """
        grids = [grid for grid, _ in self._stages(clips)]
        grids[-1] = apply_to_volume(self.norm, grids[-1])
        return [to_volume(grid) for grid in grids]

    def _stages(self, clips: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """Yield (B, T_i, H_i, W_i, C_i) after each stage, and the class token (B, 1, C_i) from stage 3 on."""
        x = self.stem_dropout(self.patch_embed1(to_grid(as_clips(clips, image=self.image))))
        (x,) = self._run(1, x)
        yield x, None
        (x,) = self._run(2, self.patch_embed2(x))
        yield x, None
        x = self.patch_embed3(x)
        class_token = self.cls_token.expand(x.shape[0], -1, -1)
        x, class_token, scores = self._run(3, x, class_token, None)
        yield x, class_token
        if scores is not None:
            scores = pool_scores(scores, x.shape[1:4])
        x, class_token, _ = self._run(4, self.patch_embed4(x), self.cls_upsample(class_token), scores)
        yield x, class_token

    def _run(self, stage: int, *state: Tensor | None) -> tuple[Tensor | None, ...]:
        """Pass what travels between blocks through those of a stage, counted from 1."""
        for index, block in enumerate(getattr(self, f"blocks{stage}")):
            again = index < self.checkpoint_blocks[stage - 1] and torch.is_grad_enabled()
            after = recompute(block, *state) if again else block(*state)
            state = after if isinstance(after, tuple) else (after,)
        return state


def hourglass_xxs(**kwargs: Any) -> Hourglass:
    """Return UniFormer-XXS (depths 2, 5, 8, 2; 9.8 M parameters); ``kwargs`` as for :class:`Hourglass`."""
    return Hourglass(**kwargs)


def hourglass_xs(**kwargs: Any) -> Hourglass:
    """Return UniFormer-XS (depths 3, 5, 9, 3; 16.1 M parameters); ``kwargs`` as for :class:`Hourglass`."""
    return Hourglass(**{"depths": (3, 5, 9, 3), "widths": (64, 128, 256, 512), "head_dim": 32, **kwargs})


def _embeds(widths: Sequence[int], *, std: bool, image: bool) -> Iterator[nn.Module]:
    """Yield what heads the four stages."""
    time_kernel, time_stride = (1, 1) if image else (3, 2)
    yield ConvStem(3, widths[0], time_kernel=time_kernel, time_stride=time_stride)
    for stage in (1, 2, 3):
        yield PatchEmbed(widths[stage - 1], widths[stage], (3 if std else 1, 2, 2), (1, 2, 2))


def published_shares(depths: Sequence[int]) -> list[list[float]]:
    """Return the published ``prune_ratio``, and ``trade_off`` too: 1 for the first block, 0.5 for the others."""
    shares = ([1.0] + [0.5] * (depths[2] + depths[3]))[: depths[2] + depths[3]]
    return [[], [], shares[: depths[2]], shares[depths[2] :]]


def _merging_options(
    prune_ratio: PerBlock | None, trade_off: PerBlock | None, depths: Sequence[int]
) -> Iterator[dict[str, float | bool]]:
    """Return for each block of stages 3 and 4, in turn, the arguments that only a :class:`HourglassBlock` has."""
    ratios = _for_each_block("prune_ratio", prune_ratio, depths, "(0, 1]")
    trade_offs = _for_each_block("trade_off", trade_off, depths, "[0, 1]")
    if ratios and ratios[0] != 1.0:
        raise ValueError(
            f"prune_ratio of stage {3 if depths[2] else 4} must begin with 1, as its first block has no scores yet to "
            f"choose tokens by, got {ratios[0]}"
        )
    return iter(
        {
            "prune_ratio": ratio,
            "trade_off": trade_offs[index],
            "scores_needed": any(later < 1.0 for later in ratios[index + 1 :]),
        }
        for index, ratio in enumerate(ratios)
    )


def _for_each_block(name: str, values: PerBlock | None, depths: Sequence[int], allowed: str) -> list[float]:
    """Return a number for each block of stages 3 and 4; of None the published ones, 1 and then 0.5.

    ``allowed`` is "(0, 1]" or "[0, 1]".
    """
    values = published_shares(depths) if values is None else values
    if len(values) != 4:
        raise ValueError(f"{name} must be four lists, one for each stage, got {list(values)}")
    least = math.ulp(0.0) if allowed.startswith("(") else 0.0
    for stage, (numbers, depth) in enumerate(zip(values, (0, 0, *depths[2:]), strict=True), start=1):
        if len(numbers) != depth:
            wanted = "empty, as its blocks are local" if stage < 3 else f"{depth} numbers, one for each of its blocks"
            raise ValueError(f"{name} of stage {stage} must be {wanted}, got {list(numbers)}")
        if not all(least <= number <= 1.0 for number in numbers):
            raise ValueError(f"{name} of stage {stage} must be numbers in {allowed}, got {list(numbers)}")
    return [float(number) for numbers in values for number in numbers]
