"""A run from its configuration: one process or many, training then testing, an exit code."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

import uniformer_video
from uniformer_video.config import changes, dump
from uniformer_video.engine import checkpoint, results, setup
from uniformer_video.engine.class_folders import Classes, names_to_compare
from uniformer_video.engine.class_order import TEST
from uniformer_video.engine.data_settings import resolve_data_settings
from uniformer_video.engine.device import hardware_name, process_device, resolve_gpus
from uniformer_video.engine.tester import Tester
from uniformer_video.engine.trainer import Trainer
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger, setup_logging
from uniformer_video.runtime.paths import atomic_write, make_output_dir

logger = get_logger(__name__)

CONFIG_FILE = "config.yaml"


def run(cfg: CfgNode, init_method: str = "") -> int:
    """Train and test as ``cfg`` says, on all its processes.

    Args:
        cfg: from ``load_config``.
        init_method: where the processes of several machines meet, ``tcp://host:port``.

    Returns:
        The exit code: 0; 1 where test videos are missing.

    Raises:
        UserError: a mistake in configuration, data or weights.
    """
    if cfg.NUM_SHARDS > 1 and not init_method:
        raise UserError(
            f"NUM_SHARDS is {cfg.NUM_SHARDS}, but --init_method does not say where they meet; "
            "give every machine the same tcp://HOST_OF_SHARD_0:PORT"
        )
    if init_method and not re.fullmatch(r"tcp://[^/]+:\d+|file:///.+|env://", init_method):
        raise UserError(f"--init_method {init_method!r} is no meeting place; it looks like tcp://10.0.0.1:9999")
    cfg = resolve_data_settings(cfg)
    gpus = resolve_gpus(cfg)
    output = make_output_dir(cfg.OUTPUT_DIR)
    for folder, wanted in ((checkpoint.FOLDER, cfg.TRAIN.ENABLE), (results.FOLDER, cfg.TEST.ENABLE)):
        if wanted:
            make_output_dir(output / folder)
    return distributed.launch(
        work,
        (cfg, gpus),
        processes=max(gpus, 1),
        shards=cfg.NUM_SHARDS,
        shard=cfg.SHARD_ID,
        init_method=init_method,
        use_cuda=gpus > 0,
    )


def work(cfg: CfgNode, gpus: int) -> int:
    """Do this process's part of a run and return the exit code."""
    output = Path(cfg.OUTPUT_DIR)
    setup_logging(output, main=distributed.is_main(), rank=distributed.rank())
    device = process_device(gpus)
    setup.fit_threads(max(gpus, 1), device)
    if distributed.is_main():
        _log_start(cfg, device)
    # The test's list and weights are read before days of training, so that a mistake in them shows now.
    tester = Tester(cfg, device) if cfg.TEST.ENABLE else None
    trainer = Trainer(cfg, device) if cfg.TRAIN.ENABLE else None
    if trainer and tester:
        _check_classes(cfg, trainer, tester)
    if distributed.is_main():
        # Only now: a command with a mistake must not replace the configuration of the run that lies here.
        with atomic_write(output / CONFIG_FILE) as file:
            file.write(dump(cfg))
    if trainer:
        trainer.run()
    return tester.run() if tester else 0


def _check_classes(cfg: CfgNode, trainer: Trainer, tester: Tester) -> None:
    """Refuse a test list that numbers its classes otherwise than the training list, before days of training."""
    trained, tested = (
        Classes(cfg.MODEL.NUM_CLASSES, part.class_names, part.class_folders) for part in (trainer, tester.dataset)
    )
    names_to_compare(trained, tested, purpose=TEST, where="train.csv", data_where="test.csv")


def _log_start(cfg: CfgNode, device: torch.device) -> None:
    logger.info(
        "uniformer_video %s, torch %s, %d process(es), %s, output in %s",
        *(uniformer_video.__version__, torch.__version__, distributed.world_size(), hardware_name(device)),
        cfg.OUTPUT_DIR,
    )
    changed = changes(cfg)
    logger.info("%d keys differ from the defaults:", len(changed))
    for change in changed:
        logger.info("  %s: %s  (default %s; %s)", change.key, change.value, change.default, change.source)
