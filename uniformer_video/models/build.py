"""From a configuration to a network: the only file of this room that sees a ``cfg``."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from operator import attrgetter
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


KEYS = {
    "num_classes": "MODEL.NUM_CLASSES",
    "depths": "UNIFORMER.DEPTH",
    "widths": "UNIFORMER.EMBED_DIM",
    "head_dim": "UNIFORMER.HEAD_DIM",
    "mlp_ratio": "UNIFORMER.MLP_RATIO",
    "local_kernel": "UNIFORMER.LOCAL_KERNEL",
    "std": "UNIFORMER.STD",
    "qkv_bias": "UNIFORMER.QKV_BIAS",
    "qk_scale": "UNIFORMER.QKV_SCALE",
    "dropout": "UNIFORMER.DROPOUT_RATE",
    "attention_dropout": "UNIFORMER.ATTENTION_DROPOUT_RATE",
    "drop_path_rate": "UNIFORMER.DROP_DEPTH_RATE",
    "head_dropout": "UNIFORMER.HEAD_DROPOUT_RATE",
    "checkpoint_blocks": "MODEL.CHECKPOINT_NUM",
    "layer_scale": "UNIFORMER.LAYER_SCALE",
    "layer_scale_init": "UNIFORMER.INIT_VALUE",
    "image": "UNIFORMER.IMAGE",
}
"""The configuration key of each argument that all networks have."""

UNIFORMER_KEYS = {"split": "UNIFORMER.SPLIT", "conv_stem": "UNIFORMER.CONV_STEM", "aux_head": "UNIFORMER.AUX_HEAD"}
"""Those that only :class:`Uniformer` has."""

HOURGLASS_KEYS = {"prune_ratio": "UNIFORMER.PRUNE_RATIO", "trade_off": "UNIFORMER.TRADE_OFF"}
"""Those that only :class:`Hourglass` has."""


def uniformer_arguments_from_config(cfg: Any) -> dict[str, Any]:
    """Return the keyword arguments of :class:`Uniformer` that the sections MODEL and UNIFORMER name."""
    return arguments_from_config(cfg, {**KEYS, **UNIFORMER_KEYS})


def hourglass_arguments_from_config(cfg: Any) -> dict[str, Any]:
    """Return the keyword arguments of :class:`Hourglass` that the sections MODEL and UNIFORMER name."""
    return arguments_from_config(cfg, {**KEYS, **HOURGLASS_KEYS})


def arguments_from_config(cfg: Any, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return the keyword arguments in ``keys``, each with the value of its configuration key."""
    arguments = {argument: attrgetter(key)(cfg) for argument, key in keys.items()}
    if arguments.get("num_classes") == "auto":  # a run has it from its data; this is another command
        raise ConfigError("MODEL.NUM_CLASSES is auto, and no data set tells it here; set MODEL.NUM_CLASSES to a number")
    return arguments if cfg.MODEL.USE_CHECKPOINT else {**arguments, "checkpoint_blocks": (0, 0, 0, 0)}


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
        raise ConfigError(f"sections MODEL and UNIFORMER make no network: {_in_keys(str(error))}") from None


def _in_keys(message: str) -> str:
    """Return a message about arguments with their configuration keys in place of their names."""
    keys = {**KEYS, **UNIFORMER_KEYS, **HOURGLASS_KEYS}
    return re.sub(r"\w+", lambda word: keys.get(word[0], word[0]), message)
