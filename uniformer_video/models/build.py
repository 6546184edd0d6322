"""From a configuration to a network: the only file of this room that sees a ``cfg``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from torch import nn

from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.registry import Registry

MODELS: Registry[Callable[[Any], nn.Module]] = Registry("model")
"""Functions from a configuration to a network, by ``MODEL.MODEL_NAME``."""

Network = TypeVar("Network", bound=nn.Module)


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
    own = {"split": section.SPLIT, "conv_stem": section.CONV_STEM, "aux_head": section.AUX_HEAD}
    return {**common_arguments_from_config(cfg), **own}


def hourglass_arguments_from_config(cfg: Any) -> dict[str, Any]:
    """Return the keyword arguments of :class:`Hourglass` that the sections MODEL and UNIFORMER name."""
    own = {"prune_ratio": cfg.UNIFORMER.PRUNE_RATIO, "trade_off": cfg.UNIFORMER.TRADE_OFF}
    return {**common_arguments_from_config(cfg), **own}


def common_arguments_from_config(cfg: Any) -> dict[str, Any]:
    """Return the keyword arguments that all networks have."""
    section = cfg.UNIFORMER
    return {
        "num_classes": cfg.MODEL.NUM_CLASSES,
        "depths": section.DEPTH,
        "widths": section.EMBED_DIM,
        "head_dim": section.HEAD_DIM,
        "mlp_ratio": section.MLP_RATIO,
        "local_kernel": section.LOCAL_KERNEL,
        "std": section.STD,
        "qkv_bias": section.QKV_BIAS,
        "qk_scale": section.QKV_SCALE,
        "dropout": section.DROPOUT_RATE,
        "attention_dropout": section.ATTENTION_DROPOUT_RATE,
        "drop_path_rate": section.DROP_DEPTH_RATE,
        "head_dropout": section.HEAD_DROPOUT_RATE,
        "checkpoint_blocks": cfg.MODEL.CHECKPOINT_NUM if cfg.MODEL.USE_CHECKPOINT else (0, 0, 0, 0),
        "layer_scale": section.LAYER_SCALE,
        "layer_scale_init": section.INIT_VALUE,
        "image": section.IMAGE,
    }


@MODELS.register("Uniformer")
def uniformer_from_config(cfg: Any) -> Uniformer:
    """Return a :class:`Uniformer` from the sections MODEL and UNIFORMER.

    Raises:
        ConfigError: for settings that make no network, or that this one has no use for.
    """
    _refuse(cfg.MODEL.MODEL_NAME, cfg.UNIFORMER, {"PRUNE_RATIO": None, "TRADE_OFF": None})
    return _build(Uniformer, uniformer_arguments_from_config(cfg))


@MODELS.register("Uniformer_light")
@MODELS.register("Uniformer_light_fp32")
def hourglass_from_config(cfg: Any) -> Hourglass:
    """Return an :class:`Hourglass` from the sections MODEL and UNIFORMER.

    The second name is the published one of a variant that computes attention in float32 under mixed precision; the
    network is the same.

    Raises:
        ConfigError: for settings that make no network, or that this one has no use for.
    """
    _refuse(cfg.MODEL.MODEL_NAME, cfg.UNIFORMER, _NOT_HOURGLASS)
    return _build(Hourglass, hourglass_arguments_from_config(cfg))


@MODELS.register("Uniformer_light_ls_fp32")
def hourglass_with_layer_scale_from_config(cfg: Any) -> Hourglass:
    """Return an :class:`Hourglass` with layer scale in all stages, whether ``UNIFORMER.LAYER_SCALE`` is set or not.

    Raises:
        ConfigError: for settings that make no network, or that this one has no use for.
    """
    _refuse(cfg.MODEL.MODEL_NAME, cfg.UNIFORMER, _NOT_HOURGLASS)
    stages = cfg.UNIFORMER.LAYER_SCALE
    if not isinstance(stages, bool) and len(set(stages)) > 1:
        raise ConfigError(
            f"UNIFORMER.LAYER_SCALE is {stages}, but MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME} has layer scale in all "
            "stages; set MODEL.MODEL_NAME Uniformer_light for some of them"
        )
    return _build(Hourglass, {**hourglass_arguments_from_config(cfg), "layer_scale": True})


_NOT_HOURGLASS = {"SPLIT": False, "CONV_STEM": False, "AUX_HEAD": False}


def _refuse(name: str, section: Any, unused: Mapping[str, object]) -> None:
    """Raise ``ConfigError`` for a key of UNIFORMER that network ``name`` has no use for, unless it has its value."""
    for key, value in unused.items():
        got = getattr(section, key)
        if got != value:
            off = "null" if value is None else value
            raise ConfigError(
                f"UNIFORMER.{key} is {got}, but MODEL.MODEL_NAME {name} has no use for it; set UNIFORMER.{key} {off}"
            )


def _build(network: type[Network], arguments: Mapping[str, Any]) -> Network:
    try:
        return network(**arguments)
    except ValueError as error:
        raise ConfigError(f"sections MODEL and UNIFORMER make no network: {error}") from None
