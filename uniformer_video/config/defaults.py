"""All keys in one table, and the default configuration made from it."""

from __future__ import annotations

import copy

from fvcore.common.config import CfgNode

from uniformer_video.config.defaults_data import AUG_KEYS, DATA_KEYS, LOADER_KEYS, MIXUP_KEYS
from uniformer_video.config.defaults_model import BN_KEYS, MODEL_KEYS, UNIFORMER_KEYS
from uniformer_video.config.defaults_run import DISTRIBUTED_KEYS, TENSORBOARD_KEYS, TEST_KEYS, TOP_KEYS, TRAIN_KEYS
from uniformer_video.config.defaults_solver import SOLVER_KEYS
from uniformer_video.config.kinds import Key

KEYS: dict[str, Key] = {
    key.name: key
    for key in (
        *TOP_KEYS,
        *DATA_KEYS,
        *LOADER_KEYS,
        *AUG_KEYS,
        *MIXUP_KEYS,
        *MODEL_KEYS,
        *UNIFORMER_KEYS,
        *BN_KEYS,
        *SOLVER_KEYS,
        *TRAIN_KEYS,
        *TEST_KEYS,
        *DISTRIBUTED_KEYS,
        *TENSORBOARD_KEYS,
    )
}
"""Every key by its full name, in the order of docs/CONFIG.md."""


def get_cfg() -> CfgNode:
    """Return a new, unfrozen configuration with every default."""
    cfg = CfgNode()
    for name, key in KEYS.items():
        set_value(cfg, name, copy.deepcopy(key.default))
    return cfg


def get_value(cfg: CfgNode, name: str) -> object:
    """Return the value of the key with the full name ``name``, for example ``TRAIN.BATCH_SIZE``."""
    for part in name.split("."):
        cfg = cfg[part]
    return cfg


def set_value(cfg: CfgNode, name: str, value: object) -> None:
    """Set the key with the full name ``name``; its section is made when it is not there."""
    *sections, last = name.split(".")
    for section in sections:
        if section not in cfg:
            cfg[section] = CfgNode()
        cfg = cfg[section]
    cfg[last] = value
