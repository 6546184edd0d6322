"""What a configuration leaves to its data: how many classes there are, and whether a video has several."""

from __future__ import annotations

from pathlib import Path

import simplejson
from fvcore.common.config import CfgNode

from uniformer_video.config import with_values
from uniformer_video.datasets.build import count_classes_from_config
from uniformer_video.runtime.errors import ConfigError, DataError

AUTO = "auto"
DATASET_FILE = "dataset.json"


def resolve_data_settings(cfg: CfgNode) -> CfgNode:
    """Return ``cfg`` with a value in place of each ``auto`` that the data decide.

    These are ``DATA.MULTI_LABEL`` (from ``dataset.json`` in ``DATA.PATH_TO_DATA_DIR``), ``MODEL.NUM_CLASSES`` (from the
    class names, else the labels of the lists) and ``MODEL.LOSS_FUNC``.

    Raises:
        ConfigError: values that then contradict each other.
        DataError: a file of the data that cannot be used.
    """
    several = cfg.DATA.MULTI_LABEL
    if several == AUTO:
        several = _has_several_labels(Path(cfg.DATA.PATH_TO_DATA_DIR))
        cfg = with_values(cfg, {"DATA.MULTI_LABEL": several}, "told by the data")
    if cfg.MODEL.LOSS_FUNC == AUTO:
        loss = "bce_logit" if several else "soft_cross_entropy"
        cfg = with_values(cfg, {"MODEL.LOSS_FUNC": loss}, "follows from DATA.MULTI_LABEL")
    if cfg.MODEL.NUM_CLASSES == AUTO:
        count, source = count_classes_from_config(cfg)
        if count < 2 and not several:
            raise ConfigError(f"{source} has a single class: there is nothing to tell apart; give it a second one")
        cfg = with_values(cfg, {"MODEL.NUM_CLASSES": count}, source)
    return cfg


def _has_several_labels(folder: Path) -> bool:
    path = folder / DATASET_FILE
    try:
        content = simplejson.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        return False
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path}: not the JSON that tools/prepare_dataset.py writes ({error}); write it anew, or remove it and set "
            "DATA.MULTI_LABEL"
        ) from None
    several = content.get("multi_label", False) if isinstance(content, dict) else None
    if not isinstance(several, bool):
        raise DataError(f"{path}: multi_label must be true or false; correct it or set DATA.MULTI_LABEL")
    return several
