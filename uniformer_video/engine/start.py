"""Which weights a run starts from or tests: found by name, path or URL, and their classes put in the data's order."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.config import dump
from uniformer_video.datasets.class_names import find_class_names
from uniformer_video.datasets.label_sets import PUBLISHED, recognise
from uniformer_video.engine.class_folders import Classes, class_folders_in, names_to_compare
from uniformer_video.engine.class_order import TEST, TRAIN, apply_class_order, class_names_of
from uniformer_video.engine.own_checkpoints import OwnCheckpoint, find_own_checkpoint
from uniformer_video.engine.own_checkpoints import own_checkpoint as own_checkpoint
from uniformer_video.models.head_order import head_size
from uniformer_video.models.hidden import HEAD_DIM, effective_settings
from uniformer_video.models.inspect import configuration_in
from uniformer_video.models.published import NETWORKS
from uniformer_video.models.weight_files import described
from uniformer_video.models.weights import LoadReport, load_weights, named_tensors, read_content
from uniformer_video.models.zoo import ZOO, Resolved, ZooEntry, resolve
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)


def load_start_weights(
    cfg: CfgNode,
    model: nn.Module,
    class_names: Sequence[str] | None = None,
    class_folders: Mapping[int, str] | None = None,
) -> None:
    """Load what training starts from, or say that the weights are random.

    The first there is of: TRAIN.CHECKPOINT_FILE_PATH, UNIFORMER.PRETRAIN_NAME. A head of other classes starts anew.

    Args:
        cfg: the configuration.
        model: takes the weights.
        class_names: of the data, in label order, where known.
        class_folders: of the data, the folder of each label, where every class has its own.
    """
    source, name = cfg.TRAIN.CHECKPOINT_FILE_PATH, cfg.UNIFORMER.PRETRAIN_NAME
    if source and name:
        logger.info("UNIFORMER.PRETRAIN_NAME %s is not used: TRAIN.CHECKPOINT_FILE_PATH is set", name)
    source = source or name
    if not source:
        keys = "UNIFORMER.PRETRAIN_NAME and TRAIN.CHECKPOINT_FILE_PATH"
        logger.warning("training starts from random weights (%s are not set)", keys)
        return
    data = class_names, class_folders
    report = _load(cfg, model, find_source(cfg, source), *data, inflate=_start_inflation(cfg), purpose=TRAIN)
    logger.info("start weights: %s", report.summary())


def try_start_weights(cfg: CfgNode, model: nn.Module, found: Resolved) -> LoadReport:
    """Load weights as training would that starts from them in place of those that ``cfg`` names, and report.

    The lists of videos are not read: classes are compared where a setting or a file of names tells the data's.

    Raises:
        UserError: what would stop the training.
    """
    folder, label_set = Path(cfg.DATA.PATH_TO_DATA_DIR), cfg.DATA.LABEL_SET
    names = find_class_names(folder, (), cfg.MODEL.NUM_CLASSES, label_set_name=label_set)
    return _load(cfg, model, found, names, None, inflate=_start_inflation(cfg), purpose=TRAIN, trial=True)


def _start_inflation(cfg: CfgNode) -> str | bool:
    """Return how start weights are inflated: published recipes name 2D ones and say nothing; theirs is by average."""
    inflate = cfg.TRAIN.CHECKPOINT_INFLATE
    return "average" if inflate == "" and not cfg.TRAIN.CHECKPOINT_FILE_PATH else inflate


def load_test_weights(
    cfg: CfgNode,
    model: nn.Module,
    class_names: Sequence[str] | None = None,
    class_folders: Mapping[int, str] | None = None,
) -> str:
    """Load the weights to test and return their path, empty for random ones.

    The first there is of: TEST.CHECKPOINT_FILE_PATH, the newest sound checkpoint in OUTPUT_DIR (with TEST.TEST_BEST the
    one with the best validation), TRAIN.CHECKPOINT_FILE_PATH. A head of other classes is refused: its scores would mean
    nothing.

    Args:
        cfg: the configuration.
        model: takes the weights.
        class_names: of the data, in label order, where known.
        class_folders: of the data, the folder of each label, where every class has its own.
    """
    source, own = cfg.TEST.CHECKPOINT_FILE_PATH, None
    if not source:
        own = find_own_checkpoint(Path(cfg.OUTPUT_DIR), best=cfg.TEST.TEST_BEST)
        source = str(own.path) if own else cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not source:
        logger.warning("testing random weights: no TEST.CHECKPOINT_FILE_PATH and no checkpoint in OUTPUT_DIR")
        return ""
    inflate = cfg.TRAIN.CHECKPOINT_INFLATE
    data = class_names, class_folders
    found = find_source(cfg, source)
    report = _load(cfg, model, found, *data, inflate=inflate, purpose=TEST, own=own)
    logger.info("test weights: %s", report.summary())
    return report.path


def find_source(cfg: CfgNode, source: str) -> Resolved:
    """Return where weights lie that a configuration names, after a download by the main process where it takes one.

    Raises:
        WeightError: nothing of that name, path or address; or published weights for attention heads of another width.
    """
    if source in ZOO:
        _check_head_width(cfg, ZOO[source])  # before a download
    try:
        return distributed.main_first(lambda: resolve(source, folder=cfg.UNIFORMER.WEIGHTS_DIR))
    except WeightError as error:
        if source != cfg.UNIFORMER.PRETRAIN_NAME:
            raise
        # A recipe asked for these weights, perhaps not the user.
        raise WeightError(f"{error}; UNIFORMER.PRETRAIN_NAME '' starts from random weights") from None


def _check_head_width(cfg: CfgNode, entry: ZooEntry) -> None:
    """Refuse published weights for heads of another width: no tensor shows it, and the scores would be wrong."""
    width = NETWORKS[entry.network].kwargs["head_dim"]
    if width != cfg.UNIFORMER.HEAD_DIM:
        raise WeightError(
            f"the published {entry.name} have attention heads of {width} channels, but UNIFORMER.HEAD_DIM is "
            f"{cfg.UNIFORMER.HEAD_DIM}; set UNIFORMER.HEAD_DIM {width}"
        )


def compare_settings(cfg: CfgNode, config_yaml: str, where: str) -> list[str]:
    """Compare what no tensor shows with the configuration that a checkpoint of this toolkit carries.

    Args:
        cfg: the configuration of this run.
        config_yaml: the checkpoint's; anything else is passed over.
        where: subject of the message.

    Returns:
        For each other setting ``KEY: theirs -> ours``.

    Raises:
        WeightError: its attention heads have another width, which makes every score wrong.
    """
    theirs, ours = effective_settings(config_yaml), effective_settings(dump(cfg))
    changed = {key: f"{key}: {value} -> {ours[key]}" for key, value in theirs.items() if ours.get(key, value) != value}
    if HEAD_DIM in changed:
        raise WeightError(
            f"{where} was trained with other attention heads ({changed[HEAD_DIM]}), which no "
            "tensor shows; set UNIFORMER.HEAD_DIM to the first of the two"
        )
    return list(changed.values())


def _load(
    cfg: CfgNode,
    model: nn.Module,
    found: Resolved,
    class_names: Sequence[str] | None,
    class_folders: Mapping[int, str] | None,
    *,
    inflate: str | bool,
    purpose: str,
    own: OwnCheckpoint | None = None,
    trial: bool = False,
) -> LoadReport:
    if found.entry:
        _check_head_width(cfg, found.entry)
    content = read_content(found.path) if own is None or own.content is None else own.content
    where = described(found.path)
    unlike = compare_settings(cfg, configuration_in(content), where)
    if unlike:
        logger.warning("the weights were trained with other settings that no tensor shows: %s", "; ".join(unlike))
    tensors = named_tensors(content, where)
    known_names = class_names_of(content, found.entry.label_set if found.entry else None)
    names, class_names = names_to_compare(
        Classes(head_size(tensors) or 0, known_names, class_folders_in(content)),
        Classes(cfg.MODEL.NUM_CLASSES, class_names, class_folders),
        purpose=purpose,
        where=f"the training of {found.path}",
        data_where=f"{purpose}.csv",
    )
    state, line = apply_class_order(tensors, names, class_names, purpose, where, num_classes=cfg.MODEL.NUM_CLASSES)
    # Of a run's own checkpoint there is nothing to say where its data never had names, of a trial where none are told.
    if line and not (class_names is None and (trial or (own and names is None))):
        known = recognise(class_names) if names is None and class_names is not None else None
        # Unnamed weights are most often published ones, whose order is another one then.
        doubtful = known is not None and known.order != PUBLISHED
        logger.log(logging.WARNING if doubtful else logging.INFO, "%s", line)
    return load_weights(model, state, inflate=inflate, allow_new_head=purpose == TRAIN, origin=found.path)
