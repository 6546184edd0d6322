"""From a configuration to a network: the only file of this room that sees a ``cfg``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.registry import Registry

MODELS: Registry[Callable[[Any], nn.Module]] = Registry("model")
"""Functions from a configuration to a network, by ``MODEL.MODEL_NAME``."""


def build_model(cfg: Any) -> nn.Module:
    """Return a new network on the CPU, with its start weights (drawn from torch's global generator).

    Args:
        cfg: a configuration; ``MODEL.MODEL_NAME`` chooses among :data:`MODELS`.

    Raises:
        UserError: for an unknown name (the message lists the known ones) or settings that make no network.
    """
    return MODELS.get(cfg.MODEL.MODEL_NAME, "MODEL.MODEL_NAME")(cfg)


def uniformer_arguments_from_config(cfg: Any) -> dict[str, Any]:
    """Return the keyword arguments of :class:`Uniformer` that the sections MODEL and UNIFORMER name."""
    section = cfg.UNIFORMER
    return {
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "depths": section.DEPTH,
        "widths": section.EMBED_DIM,
        "head_dim": section.HEAD_DIM,
        "mlp_ratio": section.MLP_RATIO,
        "local_kernel": section.LOCAL_KERNEL,
        "split": section.SPLIT,
        "std": section.STD,
        "qkv_bias": section.QKV_BIAS,
        "qk_scale": section.QKV_SCALE,
        "dropout": section.DROPOUT_RATE,
        "attention_dropout": section.ATTENTION_DROPOUT_RATE,
        "drop_path_rate": section.DROP_DEPTH_RATE,
        "head_dropout": cfg.MODEL.DROPOUT_RATE,
        "checkpoint_blocks": cfg.MODEL.CHECKPOINT_NUM if cfg.MODEL.USE_CHECKPOINT else (0, 0, 0, 0),
    }


@MODELS.register("Uniformer")
def uniformer_from_config(cfg: Any) -> Uniformer:
    """Return a :class:`Uniformer` from the sections MODEL and UNIFORMER.

    Raises:
        ConfigError: for settings that make no network.
    """
    try:
        return Uniformer(**uniformer_arguments_from_config(cfg))
    except ValueError as error:
        raise ConfigError(f"sections MODEL and UNIFORMER make no network: {error}") from None
