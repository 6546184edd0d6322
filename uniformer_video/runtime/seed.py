"""Random numbers as a function of a position, never of who asks or when.

A generator is made from integers such as (RNG_SEED, epoch, record, repeat). Two processes, a restarted run or another
number of workers that ask for the same position get the same draws; nothing touches the global generators.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What a draw is for. It stands second in a position, so that two uses at one place do not share their numbers."""

    ORDER = 1  # the order of records in an epoch
    SAMPLE = 2  # which frames of a video
    CLIP = 3  # augmentation of one clip, in the worker
    ERASE = 4  # random erasing, on the device
    MIX = 5  # mixup and cutmix of a batch
    REPLACE = 6  # which record stands in for one that cannot be read
    NETWORK = 7  # stochastic depth and dropout of one step
    WEIGHTS = 8  # initial weights
    BALANCE = 9  # the order of classes, and of records in a class, in class-balanced sampling
    SPLIT = 10  # which videos train, validate and test


def _sequence(position: tuple[int, ...]) -> np.random.SeedSequence:
    # SeedSequence pads with zeros, so (3,) and (3, 0) would be one seed; the length tells them apart.
    return np.random.SeedSequence([len(position), *position])


def position_seed(*position: int) -> int:
    """Return a 63-bit seed that depends on every integer of ``position`` and on their order. Each must be >= 0."""
    return int(_sequence(position).generate_state(1, np.uint64)[0] >> np.uint64(1))


def numpy_generator(*position: int) -> np.random.Generator:
    """Return a NumPy generator for ``position``, integers >= 0, for example ``(seed, Stream.CLIP, epoch, record)``."""
    return np.random.default_rng(_sequence(position))


def torch_generator(*position: int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator on ``device`` for ``position``, integers >= 0."""
    return torch.Generator(device=device).manual_seed(position_seed(*position))


def seed_everything(*position: int) -> None:
    """Seed torch's global generators (stochastic depth, dropout, initial weights) for ``position``."""
    torch.manual_seed(position_seed(*position))
