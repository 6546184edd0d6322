"""A run from its configuration: one process or many, training then testing, an exit code."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

import uniformer_video
from uniformer_video.config import KEYS, changes, dump, get_value, with_values
from uniformer_video.engine import checkpoint, results, setup
from uniformer_video.engine.class_folders import Classes, names_to_compare
from uniformer_video.engine.class_order import TEST
from uniformer_video.engine.data_settings import resolve_data_settings
from uniformer_video.engine.device import hardware_name, process_device, resolve_gpus
from uniformer_video.engine.tester import Tester
from uniformer_video.engine.trainer import Trainer
from uniformer_video.runtime import distributed, stopping
from uniformer_video.runtime.cli import EXIT_USER_ERROR
from uniformer_video.runtime.errors import ConfigError, UserError
from uniformer_video.runtime.logging import get_logger, setup_logging
from uniformer_video.runtime.parent import with_parent
from uniformer_video.runtime.paths import atomic_write, make_output_dir
from uniformer_video.runtime.places import AGENT, Place, find_place
from uniformer_video.runtime.stopping import beginning, listening

logger = get_logger(__name__)

CONFIG_FILE = "config.yaml"


_FIRST_SPEAKS_SECONDS = 3.0
_OWN = ("SHARD_ID", "NUM_SHARDS", "NUM_GPUS")
"""Keys that may differ between the machines of a run; how many processes each has is compared in their place."""


def run(cfg: CfgNode, init_method: str = "") -> int:
    """Train and test as ``cfg`` says, on all its processes.

    Args:
        cfg: from ``load_config``.
        init_method: where the processes of several machines meet, ``tcp://host:port``; ``env://``: where the variables
            of the environment say. Where torchrun or srun has started the processes, it is empty.

    Returns:
        The exit code: 0; 1 where test videos are missing; 75 where a signal stopped the run; of several processes also
        2 and 74, as ``distributed.launch`` says.

    Raises:
        UserError: a mistake in configuration, data or weights.
    """
    place = find_place(os.environ, init_method=init_method, machines=cfg.NUM_SHARDS, machine=cfg.SHARD_ID)
    _check_meeting(place)
    if place.launcher:
        cfg = with_values(cfg, {"NUM_SHARDS": place.machines, "SHARD_ID": place.machine}, place.launcher)
    # Others may well start a run and leave it to itself (nohup); torchrun's agent stays as long as its processes do.
    with listening(), with_parent("torchrun") if place.launcher == "torchrun" else nullcontext():
        try:
            return _launch(cfg, place)
        except UserError:
            if place.local and _is_ended_within(_FIRST_SPEAKS_SECONDS):
                return EXIT_USER_ERROR
            raise
        except stopping.Stopped as stopped:  # while the processes met
            print(stopped, file=sys.stderr, flush=True)
            return stopping.EXIT_STOPPED


def _launch(cfg: CfgNode, place: Place) -> int:
    cfg = resolve_data_settings(cfg)
    gpus = resolve_gpus(cfg, place)
    if cfg.DISTRIBUTED.BACKEND == "nccl" and not gpus:
        raise ConfigError("DISTRIBUTED.BACKEND nccl needs GPUs; set DISTRIBUTED.BACKEND auto or gloo")
    output = make_output_dir(cfg.OUTPUT_DIR)
    for folder, wanted in ((checkpoint.FOLDER, cfg.TRAIN.ENABLE), (results.FOLDER, cfg.TEST.ENABLE)):
        if wanted:
            make_output_dir(output / folder)
    return distributed.launch(
        work,
        (cfg, gpus),
        processes=place.processes or max(gpus, 1),
        shards=place.machines,
        shard=place.machine,
        local=place.local if place.processes else None,
        init_method=place.meeting,
        use_cuda=gpus > 0,
        backend=cfg.DISTRIBUTED.BACKEND,
        limits=_limits(cfg),
        agreed={name: repr(get_value(cfg, name)) for name in KEYS if name not in _OWN},
    )


def _is_ended_within(seconds: float) -> bool:
    """Return whether this process is told to end soon: its launcher does so when the first of a machine has ended.

    All processes meet most mistakes together, and one of a machine says enough.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end and not stopping.requested():
        time.sleep(0.05)
    return bool(stopping.requested())


def _check_meeting(place: Place) -> None:
    """Refuse a run of several machines that could not meet."""
    if place.machines > 1 and not place.meeting:
        raise UserError(
            f"NUM_SHARDS is {place.machines}, but --init_method does not say where they meet; "
            "give every machine the same tcp://HOST_OF_SHARD_0:PORT"
        )
    if place.meeting and not re.fullmatch(rf"(tcp|{AGENT[:-3]})://[^/]+:\d+|file:///.+", place.meeting):
        raise UserError(f"--init_method {place.meeting!r} is no meeting place; it looks like tcp://10.0.0.1:9999")


def _limits(cfg: CfgNode) -> distributed.Limits:
    limits = cfg.DISTRIBUTED
    return distributed.Limits(limits.RENDEZVOUS_TIMEOUT, limits.COLLECTIVE_TIMEOUT, limits.HEARTBEAT_TIMEOUT)


def work(cfg: CfgNode, gpus: int) -> int:
    """Do this process's part of a run and return the exit code."""
    with listening():
        try:
            return _work(cfg, gpus)
        except stopping.Stopped as stopped:
            logger.info("%s", stopped)
            return stopping.EXIT_STOPPED


def _work(cfg: CfgNode, gpus: int) -> int:
    output = Path(cfg.OUTPUT_DIR)
    setup_logging(output, main=distributed.is_main(), rank=distributed.rank())
    device = process_device(gpus)
    setup.fit_threads(max(1, distributed.world_size() // cfg.NUM_SHARDS), device)
    if distributed.is_main():
        _log_start(cfg, device)
    # The test's list and weights are read before days of training, so that a mistake in them shows now.
    with beginning(alone=distributed.world_size() == 1):
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
