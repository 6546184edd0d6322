"""What all networks of this family share: the blocks of their four stages, and the start of their linear layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import nn

from uniformer_video.models.arguments import check_mlp_ratios, for_each_stage
from uniformer_video.models.blocks import POSITION_KERNEL, LocalBlock


def make_stages(
    global_block: Callable[..., nn.Module],
    *,
    depths: Sequence[int],
    widths: Sequence[int],
    head_dim: int,
    mlp_ratio: float | Sequence[float],
    local_kernel: Sequence[int],
    dropout: float,
    drop_path_rate: float,
    layer_scale: bool | Sequence[bool],
    layer_scale_init: float,
    image: bool,
    **attention: Any,
) -> Iterator[nn.ModuleList]:
    """Yield the blocks of each stage: local ones in stages 1 and 2, global ones in stages 3 and 4.

    Args:
        global_block: ``(channels, *, heads, drop_path, mlp_ratio, dropout, position_kernel, layer_scale, **attention)``
            to a block.
        attention: what only global blocks take: ``qkv_bias``, ``qk_scale``, ``attention_dropout``.

    The others are arguments of the networks.

    Raises:
        ValueError: a ratio or layer scale that is not one value or four, or a ratio that leaves no hidden channel.
    """
    ratios = for_each_stage("mlp_ratio", mlp_ratio)
    check_mlp_ratios(ratios, widths)
    scales = [layer_scale_init if on else None for on in for_each_stage("layer_scale", layer_scale)]
    kernel, position = tuple(local_kernel), POSITION_KERNEL
    if image:
        kernel, position = (1, *kernel[1:]), (1, *position[1:])
    rates = iter(drop_path_rate * index / max(sum(depths) - 1, 1) for index in range(sum(depths)))
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        common = {
            "mlp_ratio": ratios[stage],
            "dropout": dropout,
            "position_kernel": position,
            "layer_scale": scales[stage],
        }
        blocks = nn.ModuleList()
        for _ in range(depth):
            if stage < 2:
                blocks.append(LocalBlock(width, kernel=kernel, drop_path=next(rates), **common))
            else:
                options = {"heads": width // head_dim, **attention, **common}
                blocks.append(global_block(width, drop_path=next(rates), **options))
        yield blocks


def start_linear_layers(network: nn.Module) -> None:
    """Start linear layers at truncated normal 0.02 with zero bias; convolutions and norms keep torch's start."""
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
