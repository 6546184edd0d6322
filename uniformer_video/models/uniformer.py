"""The UniFormer network for video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uniformer_video.models.blocks import GlobalBlock, LocalBlock, SplitBlock
from uniformer_video.models.layers import PatchEmbed, apply_to_volume, to_grid, to_volume

MIN_SIZE = 32
"""Smallest height and width: the four stages divide them by 4, 2, 2 and 2."""


class Uniformer(nn.Module):
    """UniFormer: local blocks in stages 1 and 2, global attention in stages 3 and 4.

    Li et al., "UniFormer: Unified Transformer for Efficient Spatiotemporal Representation Learning", ICLR 2022.
    Parameter names and shapes are the published ones when ``local_kernel`` is (5, 5, 5).

    Args:
        num_classes: width of the head's output.
        depths: blocks of each of the four stages, each >= 0.
        widths: channels of each stage; those of stages 3 and 4 are multiples of ``head_dim``.
        head_dim: width of one attention head.
        mlp_ratio: hidden width of every MLP / its channels.
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
        mlp_ratio: float = 4.0,
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
    ) -> None:
        super().__init__()
        _check_stages(depths, widths, head_dim, checkpoint_blocks)
        _check_numbers(
            num_classes,
            local_kernel,
            {
                "dropout": dropout,
                "attention_dropout": attention_dropout,
                "drop_path_rate": drop_path_rate,
                "head_dropout": head_dropout,
            },
        )
        self.num_classes = num_classes
        self.widths = tuple(widths)
        self.checkpoint_blocks = tuple(checkpoint_blocks)

        channels = (3, *widths)
        kernels = [(3, 4, 4)] + [(3, 2, 2) if std else (1, 2, 2)] * 3
        strides = [(2, 4, 4)] + [(1, 2, 2)] * 3
        for stage in range(4):
            embed = PatchEmbed(channels[stage], channels[stage + 1], kernels[stage], strides[stage])
            setattr(self, f"patch_embed{stage + 1}", embed)

        rates = iter(drop_path_rate * index / max(sum(depths) - 1, 1) for index in range(sum(depths)))
        common = {"mlp_ratio": mlp_ratio, "dropout": dropout}
        local = {"kernel": tuple(local_kernel), **common}
        attention = {"qkv_bias": qkv_bias, "qk_scale": qk_scale, "attention_dropout": attention_dropout, **common}
        global_block = SplitBlock if split else GlobalBlock
        for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
            blocks = nn.ModuleList()
            for _ in range(depth):
                if stage < 2:
                    blocks.append(LocalBlock(width, drop_path=next(rates), **local))
                else:
                    blocks.append(global_block(width, heads=width // head_dim, drop_path=next(rates), **attention))
            setattr(self, f"blocks{stage + 1}", blocks)

        self.stem_dropout = nn.Dropout(dropout)
        self.norm = nn.BatchNorm3d(widths[-1])
        self.head_dropout = nn.Dropout(head_dropout)
        self.head = nn.Linear(widths[-1], num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Start linear layers at truncated normal 0.02 with zero bias; convolutions and norms keep torch's start."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        for module in self.modules():
            if isinstance(module, SplitBlock):
                module.start_as_identity_in_time()

    def forward(self, clips: Tensor) -> Tensor:
        """Score clips.

        Args:
            clips: normalised RGB, floating, (B, 3, T, H, W), T >= 1, H and W >= 32.

        Returns:
            Logits (B, num_classes).

        Raises:
            ValueError: if ``clips`` has another shape or is not floating.
        """
        *_, last = self._stages(clips)
        pooled = apply_to_volume(self.norm, last).mean((1, 2, 3))
        return self.head(self.head_dropout(pooled))

    def forward_features(self, clips: Tensor) -> list[Tensor]:
        """Return the feature map of every stage.

        Args:
            clips: as for :meth:`forward`.

        Returns:
            Four maps (B, C_i, T_i, H_i, W_i) in ``torch.channels_last_3d`` memory, with T_i = ceil(T / 2), H_i and
            W_i the input's divided by 4, 8, 16, 32 (rounded down step by step); the last one after the final norm.

        Raises:
            ValueError: as :meth:`forward`.
        """
        grids = list(self._stages(clips))
        grids[-1] = apply_to_volume(self.norm, grids[-1])
        return [to_volume(grid) for grid in grids]

    def _stages(self, clips: Tensor) -> Iterator[Tensor]:
        """Yield (B, T_i, H_i, W_i, C_i) after each stage."""
        _check_clips(clips)
        x = to_grid(clips)
        for stage in range(4):
            x = getattr(self, f"patch_embed{stage + 1}")(x)
            if stage == 0:
                x = self.stem_dropout(x)
            for index, block in enumerate(getattr(self, f"blocks{stage + 1}")):
                again = index < self.checkpoint_blocks[stage] and torch.is_grad_enabled()
                x = _recompute(block, x) if again else block(x)
            yield x


def uniformer_small(**kwargs: Any) -> Uniformer:
    """Return UniFormer-S (depths 3, 4, 8, 3; 21.4 M parameters); ``kwargs`` as for :class:`Uniformer`."""
    return Uniformer(**{"depths": (3, 4, 8, 3), **kwargs})


def uniformer_base(**kwargs: Any) -> Uniformer:
    """Return UniFormer-B (depths 5, 8, 20, 7; 49.8 M parameters); ``kwargs`` as for :class:`Uniformer`."""
    return Uniformer(**{"depths": (5, 8, 20, 7), **kwargs})


def _recompute(block: nn.Module, x: Tensor) -> Tensor:
    """Run ``block`` without keeping its inner activations; the backward pass computes them again, same draws."""

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _spare_buffers(block)

    return checkpoint(block, x, use_reentrant=False, context_fn=contexts)


@contextmanager
def _spare_buffers(block: nn.Module) -> Iterator[None]:
    """Let a second pass over a block move copies of its batch norms' running statistics, which are thrown away."""
    kept = [(module, dict(module._buffers)) for module in block.modules() if module._buffers]
    for module, buffers in kept:
        module._buffers.update((name, None if own is None else own.clone()) for name, own in buffers.items())
    try:
        yield
    finally:
        for module, buffers in kept:
            module._buffers.update(buffers)


def _check_clips(clips: Tensor) -> None:
    if clips.ndim != 5 or clips.shape[1] != 3:
        raise ValueError(f"clips must be (B, 3, T, H, W), got shape {tuple(clips.shape)}")
    if not clips.is_floating_point():
        raise ValueError(f"clips must be normalised and floating, got {clips.dtype}")
    _, _, time, height, width = clips.shape
    if time < 1 or height < MIN_SIZE or width < MIN_SIZE:
        raise ValueError(
            f"clips of {time} frames of {height}x{width} are too small: "
            f"at least 1 frame and {MIN_SIZE}x{MIN_SIZE} pixels are needed"
        )


def _check_stages(
    depths: Sequence[int], widths: Sequence[int], head_dim: int, checkpoint_blocks: Sequence[int]
) -> None:
    for name, values, least in (
        ("depths", depths, 0),
        ("widths", widths, 1),
        ("checkpoint_blocks", checkpoint_blocks, 0),
    ):
        if len(values) != 4 or any(value < least for value in values):
            raise ValueError(f"{name} must be four integers >= {least}, one for each stage, got {list(values)}")
    if head_dim < 1 or any(width % head_dim for width in widths[2:]):
        raise ValueError(f"widths of stages 3 and 4 must be multiples of head_dim {head_dim}, got {list(widths[2:])}")


def _check_numbers(num_classes: int, local_kernel: Sequence[int], rates: dict[str, float]) -> None:
    if num_classes < 1:
        raise ValueError(f"num_classes must be >= 1, got {num_classes}")
    if len(local_kernel) != 3 or any(extent < 1 or extent % 2 == 0 for extent in local_kernel):
        raise ValueError(f"local_kernel must be three odd extents (T, H, W), got {list(local_kernel)}")
    for name, rate in rates.items():
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"{name} must be in [0, 1), got {rate}")
