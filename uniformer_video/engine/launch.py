"""A run from its configuration: one process or many, training then testing, an exit code."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch.multiprocessing import ProcessExitedException

import uniformer_video
from uniformer_video.config import changes, dump
from uniformer_video.engine.device import hardware_name, process_device, resolve_gpus
from uniformer_video.engine.tester import Tester
from uniformer_video.engine.trainer import Trainer
from uniformer_video.runtime import distributed
from uniformer_video.runtime.cli import EXIT_USER_ERROR, print_error
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
    if init_method and not re.match(r"(tcp|file|env)://", init_method):
        raise UserError(f"--init_method {init_method!r} is no meeting place; it looks like tcp://10.0.0.1:9999")
    gpus = resolve_gpus(cfg)
    make_output_dir(cfg.OUTPUT_DIR)
    processes = max(gpus, 1)
    if processes * cfg.NUM_SHARDS == 1:
        return work(cfg, gpus)
    try:
        distributed.launch(
            _work_in_group,
            (cfg, gpus),
            processes=processes,
            shards=cfg.NUM_SHARDS,
            shard=cfg.SHARD_ID,
            init_method=init_method,
            use_cuda=gpus > 0,
        )
    except ProcessExitedException as ended:
        # The process said why it ended, or (a negative code) was killed by the system.
        if ended.exit_code in (1, EXIT_USER_ERROR):
            return ended.exit_code
        raise
    return 0


def work(cfg: CfgNode, gpus: int) -> int:
    """Do this process's part of a run and return the exit code."""
    output = Path(cfg.OUTPUT_DIR)
    setup_logging(output, main=distributed.is_main(), rank=distributed.rank())
    device = process_device(gpus)
    if distributed.is_main():
        _log_start(cfg, device)
        with atomic_write(output / CONFIG_FILE) as file:
            file.write(dump(cfg))
    # The test's list is read before days of training, so that a mistake in it shows now.
    tester = Tester(cfg, device) if cfg.TEST.ENABLE else None
    if cfg.TRAIN.ENABLE:
        Trainer(cfg, device).run()
    return tester.run() if tester else 0


def _work_in_group(cfg: CfgNode, gpus: int) -> None:
    try:
        code = work(cfg, gpus)
    except UserError as error:
        if not distributed.is_main():
            # All processes meet most mistakes together. The main one speaks at once and ends the others; only what it
            # did not meet is said here.
            time.sleep(3)
        print_error(error)
        code = EXIT_USER_ERROR
    if code:
        sys.stdout.flush()
        sys.stderr.flush()
        # Not sys.exit(): the group's end would wait for processes that may never come.
        os._exit(code)


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
