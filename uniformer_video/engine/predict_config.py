"""What a user predicts with, as a configuration, weights and class names: a run, a file or a name of the zoo."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config import KEYS, load_config, with_values
from uniformer_video.datasets.label_sets import label_set
from uniformer_video.engine.checkpoint import best_path, newest_checkpoint
from uniformer_video.engine.class_order import class_names_of
from uniformer_video.engine.start import compare_settings
from uniformer_video.models.build import HOURGLASS_KEYS, UNIFORMER_KEYS
from uniformer_video.models.build import KEYS as NETWORK_KEYS
from uniformer_video.models.head_order import head_size
from uniformer_video.models.hidden import configuration_tree
from uniformer_video.models.inspect import configuration_in
from uniformer_video.models.published import NETWORKS
from uniformer_video.models.weight_files import described
from uniformer_video.models.weights import named_tensors, read_content
from uniformer_video.models.zoo import ZOO, ZooEntry, resolve
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)

MODEL_NAMES = {"Uniformer": "Uniformer", "Hourglass": "Uniformer_light"}
"""``MODEL.MODEL_NAME`` of the kinds of published networks."""

DATASETS_OF = {"ssv1": "ssv1", "ssv2": "ssv2"}
"""``TEST.DATASET`` of published weights by label set; for all others, Kinetics and its way of sampling."""


@dataclass(frozen=True)
class Source:
    """What to predict with.

    Attributes:
        path: the weight file.
        cfg: the configuration of the network and its test.
        state: tensors by parameter name.
        class_names: of the outputs, in their order; None: not known.
        said: what was found, in one line.
    """

    path: str
    cfg: CfgNode
    state: dict[str, torch.Tensor]
    class_names: tuple[str, ...] | None
    said: str


def find_network(weights: str | os.PathLike[str], cfg_file: str | os.PathLike[str] | None = None) -> Source:
    """Return what ``weights`` name, read onto the CPU.

    Args:
        weights: a run's folder (its checkpoint with the best validation where there is one, else the newest), a
            checkpoint, an exported weight file, a name of the zoo (found or downloaded as ``zoo.resolve`` says) or an
            address.
        cfg_file: a recipe in place of the configuration that the file carries or the zoo knows.

    Raises:
        UserError: one line: nothing of that name, a file that is no weight file, or one whose configuration nothing
            tells.
    """
    text = os.fspath(weights)
    folder = Path(os.path.expanduser(text))
    entry = None
    if folder.is_dir() and text not in ZOO:
        path, which = _checkpoint_of(folder)
    else:
        found = resolve(text)
        path, entry, which = found.path, found.entry, ""
    content, where = read_content(path), described(path)
    state = named_tensors(content, where)
    classes = head_size(state)
    if classes is None:
        raise WeightError(f"{where} has no head, so it scores no classes; give weights that were trained on classes")
    own = configuration_in(content)
    if cfg_file:
        cfg, origin = load_config(cfg_file), f"configuration {os.fspath(cfg_file)}"
        unlike = compare_settings(cfg, own, where)
        if unlike:
            logger.warning("the weights were trained with other settings that no tensor shows: %s", "; ".join(unlike))
    elif own:
        cfg, origin = config_from_text(own, where), ""
    elif entry:
        cfg, origin = config_of_entry(entry), f"published {entry.name}"
    else:
        raise WeightError(f"{where} carries no configuration of this toolkit; give its recipe with --cfg FILE")
    if cfg.UNIFORMER.IMAGE:
        raise WeightError(
            f"{where} is an image network, and this command is for videos; give a video network's weights"
        )
    cfg = _settled(cfg, classes, where)
    names = class_names_of(content, entry.label_set if entry else None)
    if names is None and cfg.DATA.LABEL_SET:
        names = list(label_set(cfg.DATA.LABEL_SET))
    if names is not None and len(names) != classes:
        raise WeightError(
            f"{where}: {len(names)} class names for a head of {classes} classes; they do not belong together"
        )
    epoch = content.get("epoch") if isinstance(content, Mapping) else None
    after = f"after epoch {epoch}" if isinstance(epoch, int) else ""
    said = ", ".join(part for part in (which, after, origin) if part)
    return Source(path, cfg, state, tuple(names) if names else None, f"{path} ({said})" if said else path)


def _checkpoint_of(folder: Path) -> tuple[str, str]:
    """Return the checkpoint of a run to predict with, and which one it is in words."""
    best = best_path(folder)
    if best.is_file():
        return str(best), "best validation"
    newest = newest_checkpoint(folder)
    if newest is None:
        raise UserError(
            f"{str(folder)!r} is no run with a checkpoint: it has no checkpoints/*.pyth; give the OUTPUT_DIR of a "
            "training, a weight file, or a name that python tools/zoo.py list shows"
        )
    return str(newest), "newest checkpoint"


def config_from_text(text: str, where: str) -> CfgNode:
    """Return the configuration that a weight file carries; keys that this version does not know are passed over.

    Args:
        text: YAML, as ``config.dump`` writes it.
        where: the file, as a message's subject.

    Raises:
        ConfigError: a value that is not allowed.
    """
    return with_values(load_config(), dict(_flat(configuration_tree(text))), f"the configuration in {where}")


def _flat(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found = []
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if name in KEYS:
            found.append((name, value))
        elif isinstance(value, Mapping):
            found += _flat(value, f"{name}.")
    return found


def config_of_entry(entry: ZooEntry) -> CfgNode:
    """Return the configuration of published weights: their network, clip, views and label set.

    Raises:
        WeightError: weights of an image network.
    """
    if entry.sampling == "image":
        raise WeightError(f"{entry.name} is an image network; give the weights of a video network")
    network = NETWORKS[entry.network]
    keys = {**NETWORK_KEYS, **UNIFORMER_KEYS, **HOURGLASS_KEYS}
    values = {keys[name]: list(v) if isinstance(v, tuple) else v for name, v in network.kwargs.items()}
    dense = entry.sampling == "dense"
    values |= {
        "MODEL.MODEL_NAME": MODEL_NAMES[network.kind],
        "MODEL.NUM_CLASSES": entry.classes,
        "DATA.NUM_FRAMES": entry.frames,
        "DATA.SAMPLING_RATE": entry.stride or 1,
        "DATA.TEST_CROP_SIZE": entry.crop_size,
        "DATA.LABEL_SET": entry.label_set or "",
        "TEST.DATASET": DATASETS_OF.get(entry.label_set or "", "kinetics" if dense else "kinetics_sparse"),
        "TEST.NUM_ENSEMBLE_VIEWS": entry.clips,
        "TEST.NUM_SPATIAL_CROPS": entry.crops,
        "TEST.BATCH_SIZE": 64,
    }
    return with_values(load_config(), values, f"published {entry.name}")


def _settled(cfg: CfgNode, classes: int, where: str) -> CfgNode:
    """Return ``cfg`` with what a training's data would have told: number of classes, one label or several."""
    several = cfg.DATA.MULTI_LABEL if cfg.DATA.MULTI_LABEL != "auto" else cfg.MODEL.LOSS_FUNC == "bce_logit"
    loss = cfg.MODEL.LOSS_FUNC
    values = {
        "MODEL.NUM_CLASSES": classes,
        "MODEL.CLASS_WEIGHTS": "",  # of no account here, and perhaps for another number of classes
        "DATA.DECODING_BACKEND": "auto",  # the training's may not be installed here; none changes any frame
        "DATA.MULTI_LABEL": several,
        "MODEL.LOSS_FUNC": loss if loss != "auto" else ("bce_logit" if several else "soft_cross_entropy"),
    }
    return with_values(cfg, values, where)
