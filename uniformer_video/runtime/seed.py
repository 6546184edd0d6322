"""Random numbers as a function of a position, never of who asks or when.

A generator is made from integers such as (RNG_SEED, epoch, record, repeat). Two processes, a restarted run or another
number of workers that ask for the same position get the same draws; nothing touches the global generators.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import Any

import numpy as np
import torch

from uniformer_video.runtime.errors import WeightError


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
    PRECISE = 11  # stochastic depth and dropout where batch-norm statistics are computed anew


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


@contextmanager
def generators_kept() -> Iterator[None]:
    """Put every global generator back where it was, whatever the ``with`` block draws and however it ends."""
    states = generator_states()
    try:
        yield
    finally:
        _restore(states)


def generator_states() -> dict[str, Any]:
    """Return where every global generator of this process stands: Python's, NumPy's, torch's, and one for each GPU.

    Python's and NumPy's are lists of numbers and words, torch's are uint8 tensors on the CPU, so that a file of them
    can be read with ``torch.load(weights_only=True)``. No generator is moved, and a GPU that this process has not used
    is not started.
    """
    version, numbers, gauss = random.getstate()
    name, words, position, has_gauss, cached = np.random.get_state()
    used = torch.cuda.is_available() and torch.cuda.is_initialized()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": [name, words.tolist(), int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if used else [],
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Put every global generator where :func:`generator_states` found it.

    All that a run of this toolkit draws is a function of its position (see above), so these states matter to what a
    user adds to it. A machine may therefore have other GPUs than the one before: those that both have are restored, in
    their order. Nothing is changed where a part cannot be read.

    Raises:
        WeightError: the state is not one of :func:`generator_states`, as in a checkpoint of another program.
    """
    before = generator_states()
    try:
        _restore(state)
    # A file of another program can hold anything under these names.
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        _restore(before)
        raise WeightError(
            f"the saved states of the random generators cannot be used ({type(error).__name__}: {error}); they are of "
            "another program or another version of one; set OUTPUT_DIR to a new folder"
        ) from None


def _restore(state: dict[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, words, position, has_gauss, cached = state["numpy"]
    if not 0 <= position <= len(words):  # NumPy would read memory beyond the state
        raise ValueError(f"NumPy's position is {position}")
    np.random.set_state((name, np.array(words, dtype=np.uint32), position, has_gauss, cached))
    torch.set_rng_state(state["torch"])
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    for number, own in enumerate(state["cuda"][:there]):
        torch.cuda.set_rng_state(own, number)
