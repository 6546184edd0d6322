"""What training and testing have in common when they begin: the network and the loaders."""

from __future__ import annotations

import torch
from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.loader import BalancedBatches, BatchLoader, InOrderBatches, TrainBatches, make_loader
from uniformer_video.models.build import build_model
from uniformer_video.runtime import distributed
from uniformer_video.runtime.cores import cores_per_process
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.seed import Stream, seed_everything

logger = get_logger(__name__)

MOST_WORKERS = 16
GPU_THREADS = 4
"""torch's threads of a process whose network is on a GPU: what it computes itself is small."""


def global_batch(cfg: CfgNode) -> int:
    """Return the videos of one training step on all machines together."""
    return cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS


def process_share(cfg: CfgNode, size: int) -> int:
    """Return this process's share, at least 1, of ``size`` items that one machine takes at a time."""
    return max(1, size // _processes(cfg))


def new_model(cfg: CfgNode, device: torch.device) -> nn.Module:
    """Return the network with initial weights that depend on RNG_SEED alone, on ``device``."""
    fit_threads(_processes(cfg), device)
    seed_everything(cfg.RNG_SEED, Stream.WEIGHTS)
    model = build_model(cfg).to(device)
    parameters = sum(p.numel() for p in model.parameters())
    logger.info("network %s: %.3f M parameters", cfg.MODEL.MODEL_NAME, parameters / 1e6)
    return model


def train_loader(cfg: CfgNode, dataset: VideoDataset, device: torch.device) -> BatchLoader:
    """Return shuffled training batches of this process's share of TRAIN.BATCH_SIZE.

    Raises:
        DataError: the list is shorter than a batch.
    """
    size = global_batch(cfg)
    if len(dataset) < size:
        on = f" on each of {cfg.NUM_SHARDS} machines" if cfg.NUM_SHARDS > 1 else ""
        rate = "" if cfg.SOLVER.BASE_LR_BATCH else " (and SOLVER.BASE_LR in proportion)"
        raise DataError(
            f"the training list has {len(dataset)} videos, fewer than a step takes (TRAIN.BATCH_SIZE "
            f"{cfg.TRAIN.BATCH_SIZE}{on}); set TRAIN.BATCH_SIZE {max(1, len(dataset) // cfg.NUM_SHARDS)} or less{rate}"
        )
    place = {"seed": cfg.RNG_SEED, "rank": distributed.rank(), "world": distributed.world_size()}
    if cfg.DATA.CLASS_BALANCED_SAMPLING:
        batches: TrainBatches = BalancedBatches(dataset.records, size, **place)
    else:
        batches = TrainBatches(len(dataset), size, **place)
    return _loader(cfg, dataset, batches, device)


def ordered_loader(cfg: CfgNode, dataset: VideoDataset, videos: int, device: torch.device) -> BatchLoader:
    """Return batches of ``videos`` videos in the list's order, this process's share of them."""
    batches = InOrderBatches(len(dataset), videos, rank=distributed.rank(), world=distributed.world_size())
    return _loader(cfg, dataset, batches, device)


def _loader(
    cfg: CfgNode, dataset: VideoDataset, batches: TrainBatches | InOrderBatches, device: torch.device
) -> BatchLoader:
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
    return min(MOST_WORKERS, cores_per_process(_processes(cfg)))


def _processes(cfg: CfgNode) -> int:
    """Return how many processes of this run share this machine."""
    return max(1, distributed.world_size() // cfg.NUM_SHARDS)


def fit_threads(processes: int, device: torch.device) -> None:
    """Let torch use no more threads than this process has processors for itself; fewer stay as they are.

    torch asks how many processors the machine has, not how many processes or containers share them. More threads than
    processors wait for each other at every operation. The number is no function of DATA_LOADER.NUM_WORKERS, so that no
    number of workers changes the bits of a sum.

    Args:
        processes: training processes on this machine.
        device: where the network is.
    """
    share = cores_per_process(processes)
    if device.type == "cuda":
        share = min(share, GPU_THREADS)
    if torch.get_num_threads() > share:
        torch.set_num_threads(share)
