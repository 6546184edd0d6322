"""Batches: clips of several records, and which records come in which order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.utils.data import Sampler, get_worker_info

from uniformer_video.datasets.balance import balanced_order, class_groups
from uniformer_video.datasets.dataset import Failure, Sample
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.seed import Stream, numpy_generator


@dataclass
class Batch:
    """Clips of several records, flattened record by record.

    Args:
        clips: uint8 ``(N, 3, T, H, W)``; None where no record could be read.
        labels: int64 ``(N,)`` class numbers, or in a multi-label set float32 ``(N, K)``, 1 for each class that a clip
            has, else 0.
        records: int64 ``(N,)``, the record number of each clip.
        parts: int64 ``(N,)``, which repeat or view of its record each clip is.
        epoch: the epoch the batch belongs to.
        lost: records without any clip, because neither they nor a replacement could be read.
        failures: every record that could not be read.
        turns: int64 ``(N,)``, how often the epoch had the record of each clip before; None: never.
    """

    clips: torch.Tensor | None
    labels: torch.Tensor
    records: torch.Tensor
    parts: torch.Tensor
    epoch: int = 0
    lost: list[int] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    turns: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.turns is None:
            self.turns = torch.zeros_like(self.records)

    def places(self) -> list[tuple[int, ...]]:
        """Return the place of each clip in the epoch, for draws: ``(record, part)``, and the turn where it is not 0."""
        numbers = zip(self.records.tolist(), self.parts.tolist(), self.turns.tolist(), strict=True)
        return [(record, part, turn) if turn else (record, part) for record, part, turn in numbers]

    def select(self, numbers: torch.Tensor) -> Batch:
        """Return a batch of some of the clips, of which there must be any.

        Args:
            numbers: int64 ``(M,)``, their numbers in this batch, in any order.
        """
        assert self.clips is not None
        names = ("clips", "labels", "records", "parts", "turns")
        return replace(self, **{name: getattr(self, name)[numbers] for name in names})

    def pin_memory(self) -> Batch:
        """Move the clips and labels to page-locked memory; the loader calls it."""
        if self.clips is not None:
            self.clips = self.clips.pin_memory()
            self.labels = self.labels.pin_memory()
        return self


def collate(samples: Sequence[Sample]) -> Batch:
    """Return the batch of ``samples``; those without clips are listed in ``lost``."""
    good = [s for s in samples if s.clips is not None]
    sizes = [s.clips.shape[0] for s in good]
    repeats = torch.tensor(sizes, dtype=torch.int64)

    def each(numbers: list[int]) -> torch.Tensor:
        return torch.tensor(numbers, dtype=torch.int64).repeat_interleave(repeats)

    return Batch(
        clips=join_clips([s.clips for s in good]) if good else None,
        labels=torch.cat([s.labels for s in samples]),
        records=each([s.record for s in good]),
        parts=torch.cat([torch.arange(n) for n in sizes]) if good else torch.empty(0, dtype=torch.int64),
        epoch=samples[0].epoch,
        lost=[s.record for s in samples if s.clips is None],
        failures=[f for s in samples for f in s.failures],
        turns=each([s.turn for s in good]),
    )


def join_clips(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return ``parts`` in a row; a worker process makes it in shared memory, so that handing over copies nothing.

    Args:
        parts: tensors of one type, and of one shape but for the first dimension.
    """
    rows = sum(len(part) for part in parts)
    if get_worker_info() is None or not rows or not all(part.is_contiguous() for part in parts):
        return torch.cat(list(parts))
    first = parts[0]
    # As torch's own collation does it. There is no public way to memory that is shared from the beginning.
    storage = torch.UntypedStorage._new_shared(rows * first[0].numel() * first.element_size())
    joined = torch.empty(0, dtype=first.dtype).set_(storage, 0, (rows, *first.shape[1:]))
    return torch.cat(list(parts), out=joined)


class TrainBatches(Sampler):
    """Shuffled batches of ``(epoch, record)``; the order is a function of seed and epoch alone.

    Every process walks the same global batches and takes each ``world``-th record of one, so that the records of a step
    do not depend on the number of processes. A last incomplete batch is left out.

    Args:
        num_records: length of the dataset.
        batch_size: records in a global batch, a multiple of ``world``, at most ``num_records``.
        seed: RNG_SEED.
        rank: this process's number.
        world: number of processes.

    Attributes:
        epoch: of the passes that begin from now on.
        start: the first step of those passes, from 0: a run that was stopped inside an epoch goes on with it.
    """

    def __init__(self, num_records: int, batch_size: int, *, seed: int, rank: int = 0, world: int = 1) -> None:
        assert 0 < batch_size <= num_records and batch_size % world == 0
        self.num_records = num_records
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world = world
        self.epoch = 0
        self.start = 0

    def __len__(self) -> int:
        """Return the steps of a whole epoch."""
        return self.num_records // self.batch_size

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        """Yield this process's share of each batch of the epoch, from step ``start`` on."""
        epoch, items = self.epoch, self._items()
        for step in range(self.start, len(self)):
            whole = items[step * self.batch_size : (step + 1) * self.batch_size]
            # Numbers are made a step at a time: a million tuples would be a hundred megabytes.
            yield [(epoch, *item) for item in whole[self.rank :: self.world].tolist()]

    def _items(self) -> np.ndarray:
        """Return what the dataset is asked for in this epoch after its number, in order: int64 ``(N, 1 or 2)``."""
        return numpy_generator(self.seed, Stream.ORDER, self.epoch).permutation(self.num_records)[:, None]


class BalancedBatches(TrainBatches):
    """Batches of ``(epoch, record, turn)`` in which every class comes equally often; otherwise as `TrainBatches`.

    An epoch has as many draws as the list has records. A class with many videos shows part of them, one with few shows
    them again, each time with draws of their own; see :func:`balanced_order`. A video of several labels comes in the
    turn of each.

    Args:
        records: the dataset's.
        batch_size: records in a global batch, a multiple of ``world``, at most ``len(records)``.
        seed: RNG_SEED.
        rank: this process's number.
        world: number of processes.
    """

    def __init__(
        self, records: Sequence[VideoRecord], batch_size: int, *, seed: int, rank: int = 0, world: int = 1
    ) -> None:
        super().__init__(len(records), batch_size, seed=seed, rank=rank, world=world)
        self.groups = class_groups(records)

    def _items(self) -> np.ndarray:
        return balanced_order(self.groups, self.num_records, seed=self.seed, epoch=self.epoch)


class InOrderBatches(Sampler):
    """Batches of ``(0, record)`` in the list's order, each record on exactly one process.

    Args:
        num_records: length of the dataset.
        batch_size: records in a batch of one process; the last may be smaller.
        rank: this process's number.
        world: number of processes.
    """

    def __init__(self, num_records: int, batch_size: int, *, rank: int = 0, world: int = 1) -> None:
        self.mine = range(rank, num_records, world)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.mine) // self.batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for start in range(0, len(self.mine), self.batch_size):
            yield [(0, record) for record in self.mine[start : start + self.batch_size]]
