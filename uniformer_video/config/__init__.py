"""Configuration: every key with meaning, unit and allowed values; files, command lines and checks across keys."""

from uniformer_video.config.defaults import KEYS, get_cfg, get_value, set_value
from uniformer_video.config.load import Change, changes, differences, dump, load_config, with_values
from uniformer_video.config.validate import validate

__all__ = [
    "KEYS",
    "Change",
    "changes",
    "differences",
    "dump",
    "get_cfg",
    "get_value",
    "load_config",
    "set_value",
    "validate",
    "with_values",
]
