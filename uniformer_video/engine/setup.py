"""What training and testing have in common when they begin: the network, its weights, its loaders."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn
from torch.utils.data import DataLoader

from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.loader import InOrderBatches, TrainBatches, make_loader
from uniformer_video.engine.checkpoint import newest_checkpoint
from uniformer_video.models.build import build_model
from uniformer_video.models.weights import load_weights
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.seed import Stream, seed_everything

logger = get_logger(__name__)

MOST_WORKERS = 16


def global_batch(cfg: CfgNode) -> int:
    """Return the videos of one training step on all machines together."""
    return cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS


def process_share(cfg: CfgNode, size: int) -> int:
    """Return this process's share, at least 1, of ``size`` items that one machine takes at a time."""
    return max(1, size // max(1, distributed.world_size() // cfg.NUM_SHARDS))


def new_model(cfg: CfgNode, device: torch.device) -> nn.Module:
    """Return the network with initial weights that depend on RNG_SEED alone, on ``device``."""
    seed_everything(cfg.RNG_SEED, Stream.WEIGHTS)
    model = build_model(cfg).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    logger.info("network %s: %.3f M parameters", cfg.MODEL.MODEL_NAME, parameters / 1e6)
    return model


def load_start_weights(cfg: CfgNode, model: nn.Module) -> None:
    """Load TRAIN.CHECKPOINT_FILE_PATH for training, or say that the weights are random."""
    path = cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path:
        logger.warning("training starts from random weights (TRAIN.CHECKPOINT_FILE_PATH is not set)")
        return
    report = load_weights(model, path, inflate=cfg.TRAIN.CHECKPOINT_INFLATE, allow_new_head=True)
    logger.info("start weights: %s", report.summary())


def newest_of_all(output_dir: Path) -> Path | None:
    """Return the newest checkpoint of ``output_dir``, or None; every process must call it.

    Raises:
        UserError: the processes find different ones, because the machines of a run do not share the folder.
    """
    newest = newest_checkpoint(output_dir)
    names = distributed.gather_objects(newest.name if newest else "none")
    if len(set(names)) > 1:
        raise UserError(
            f"the processes of this run find different checkpoints in OUTPUT_DIR {str(output_dir)!r} "
            f"({', '.join(names)}); set OUTPUT_DIR to a folder on a disk that all machines share"
        )
    return newest


def load_test_weights(cfg: CfgNode, model: nn.Module) -> str:
    """Load the weights to test and return their path, empty for random ones.

    The first there is of: TEST.CHECKPOINT_FILE_PATH, the newest checkpoint in OUTPUT_DIR, TRAIN.CHECKPOINT_FILE_PATH.
    A head of another size is refused: its scores would mean nothing.
    """
    path = cfg.TEST.CHECKPOINT_FILE_PATH
    if not path:
        newest = newest_of_all(Path(cfg.OUTPUT_DIR))
        path = str(newest) if newest else cfg.TRAIN.CHECKPOINT_FILE_PATH
    if not path:
        logger.warning("testing random weights: no TEST.CHECKPOINT_FILE_PATH and no checkpoint in OUTPUT_DIR")
        return ""
    report = load_weights(model, path, inflate=cfg.TRAIN.CHECKPOINT_INFLATE)
    logger.info("test weights: %s", report.summary())
    return path


def train_loader(cfg: CfgNode, dataset: VideoDataset, device: torch.device) -> DataLoader:
    """Return shuffled training batches of this process's share of TRAIN.BATCH_SIZE.

    Raises:
        DataError: the list is shorter than a batch.
    """
    size = global_batch(cfg)
    if len(dataset) < size:
        on = f" on each of {cfg.NUM_SHARDS} machines" if cfg.NUM_SHARDS > 1 else ""
        raise DataError(
            f"the training list has {len(dataset)} videos, fewer than a step takes (TRAIN.BATCH_SIZE "
            f"{cfg.TRAIN.BATCH_SIZE}{on}); set TRAIN.BATCH_SIZE {max(1, len(dataset) // cfg.NUM_SHARDS)} or less (and "
            "SOLVER.BASE_LR in proportion)"
        )
    batches = TrainBatches(
        len(dataset),
        size,
        seed=cfg.RNG_SEED,
        rank=distributed.rank(),
        world=distributed.world_size(),
    )
    return _loader(cfg, dataset, batches, device)


def ordered_loader(cfg: CfgNode, dataset: VideoDataset, videos: int, device: torch.device) -> DataLoader:
    """Return batches of ``videos`` videos in the list's order, this process's share of them."""
    batches = InOrderBatches(len(dataset), videos, rank=distributed.rank(), world=distributed.world_size())
    return _loader(cfg, dataset, batches, device)


def _loader(
    cfg: CfgNode, dataset: VideoDataset, batches: TrainBatches | InOrderBatches, device: torch.device
) -> DataLoader:
    return make_loader(
        dataset,
        batches,
        num_workers=_num_workers(cfg),
        pin_memory=cfg.DATA_LOADER.PIN_MEMORY and device.type == "cuda",
        prefetch_factor=cfg.DATA_LOADER.PREFETCH_FACTOR,
    )


def _num_workers(cfg: CfgNode) -> int:
    if cfg.DATA_LOADER.NUM_WORKERS != "auto":
        return cfg.DATA_LOADER.NUM_WORKERS
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = max(1, distributed.world_size() // cfg.NUM_SHARDS)
    return min(MOST_WORKERS, max(1, cores // processes))
