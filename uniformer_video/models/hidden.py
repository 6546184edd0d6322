"""Settings that no name and no shape of a tensor shows; a file's own configuration tells them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import yaml

from uniformer_video.models.hourglass import published_shares
from uniformer_video.models.published import NETWORKS

HEAD_DIM, QKV_SCALE = "UNIFORMER.HEAD_DIM", "UNIFORMER.QKV_SCALE"
_SECTIONS = ("UNIFORMER", "MODEL", "DATA")
MERGING = ("UNIFORMER.PRUNE_RATIO", "UNIFORMER.TRADE_OFF")
"""Keys that only an Hourglass has a use for."""


def configuration_tree(text: str) -> dict[str, Any]:
    """Return a configuration's YAML as nested dicts; empty where it is none."""
    try:
        tree = yaml.safe_load(text)
    # Numbers and dates that do not exist, and brackets nested a thousand deep.
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return tree if isinstance(tree, dict) else {}


def hidden_settings(config_yaml: str, kind: str | None) -> dict[str, Any]:
    """Return what a file's configuration says of the settings that its tensors do not show.

    Args:
        config_yaml: the configuration; empty: none.
        kind: of the network, a key of ``published.KINDS``; None: of another program, of which nothing is said.

    Returns:
        Values by configuration key; what is not set (null) is not among them.
    """
    section = configuration_tree(config_yaml).get("UNIFORMER") if kind else None
    if not isinstance(section, dict):
        return {}
    keys = (HEAD_DIM, QKV_SCALE, *(MERGING if kind == "Hourglass" else ()))
    found = {key: section.get(key.split(".")[1]) for key in keys}
    return {key: value for key, value in found.items() if value is not None}


def effective_settings(config_yaml: str) -> dict[str, Any]:
    """Return what a configuration means for a network's scores and no tensor shows, defaults written out.

    Args:
        config_yaml: of a run of this toolkit; of anything else, whatever has no such form is left out.

    Returns:
        Values by configuration key: the width of attention heads, the scale of attention, DATA.MEAN and DATA.STD, and
        of an hourglass network the token shares of each block.
    """
    tree = configuration_tree(config_yaml)
    section, model, data = (tree.get(name) if isinstance(tree.get(name), dict) else {} for name in _SECTIONS)
    width, depths = section.get("HEAD_DIM"), section.get("DEPTH")
    settings: dict[str, Any] = {}
    if type(width) is int and width > 0:
        scale = section.get("QKV_SCALE")
        settings[HEAD_DIM] = width
        settings[QKV_SCALE] = float(f"{scale if isinstance(scale, int | float) else width**-0.5:.4g}")
    light = str(model.get("MODEL_NAME", "")).lower().startswith("uniformer_light")
    if light and isinstance(depths, list) and len(depths) == 4 and all(type(depth) is int for depth in depths):
        for key in MERGING:
            value = section.get(key.split(".")[1])
            settings[key] = published_shares(depths) if value is None else value
    settings |= {f"DATA.{name}": data[name] for name in ("MEAN", "STD") if name in data}
    return settings


def contradictions(name: str, hidden: Mapping[str, Any]) -> list[str]:
    """Return in which settings a file is not the published network that its tensors have the names and shapes of.

    Args:
        name: a key of ``NETWORKS``.
        hidden: as :func:`hidden_settings` gives it; what is not there is taken to be as published.

    Returns:
        For each ``KEY value, published value``.
    """
    head, depths = NETWORKS[name].kwargs["head_dim"], NETWORKS[name].kwargs["depths"]
    published = {HEAD_DIM: head, QKV_SCALE: head**-0.5, **dict.fromkeys(MERGING, published_shares(depths))}
    return [
        f"{key} {value}, published {published[key]}"
        for key, value in hidden.items()
        if not _same(value, published[key], key)
    ]


def _same(value: object, published: Any, key: str) -> bool:
    if key == QKV_SCALE:
        # Written out with more or fewer digits.
        return isinstance(value, int | float) and math.isclose(value, published, rel_tol=1e-4)
    if key == MERGING[1] and isinstance(value, list) and value[2:3] and isinstance(value[2], list):
        # Nothing depends on the first block's: there are no earlier scores yet.
        value = [*value[:2], published[2][:1] + value[2][1:], *value[3:]]
    return value == published
