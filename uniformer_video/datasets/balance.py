"""Class-balanced sampling: an epoch in which every class comes equally often, however many videos it has."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from uniformer_video.datasets.record_table import RecordTable
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.seed import Stream, numpy_generator

# Short passes are drawn many at a time: a generator for each would cost more than the draws.
_BLOCK = 1024


def class_groups(records: Iterable[VideoRecord]) -> list[np.ndarray]:
    """Return the numbers of the records of each class, classes in rising order; classes without records are left out.

    A record of several labels is in the group of each; those of no label form a last group of their own.

    Returns:
        int64 arrays, none empty, each rising.
    """
    table = RecordTable.of(records)
    counts = table.label_counts
    numbers = np.arange(len(table), dtype=np.int64)
    owners = numbers if counts is None else np.repeat(numbers, counts)
    # Stable: the numbers of a class stay in rising order.
    order = np.argsort(table.label_values, kind="stable")
    begins = np.flatnonzero(np.diff(table.label_values[order], prepend=-1))
    groups = np.split(owners[order], begins[1:]) if len(order) else []
    unlabelled = [] if counts is None else numbers[counts == 0]
    return [*groups, unlabelled] if len(unlabelled) else groups


def balanced_order(groups: Sequence[np.ndarray], draws: int, *, seed: int, epoch: int) -> np.ndarray:
    """Return the records of an epoch in which all groups come equally often.

    Class-aware sampling (Shen et al., "Relay backpropagation for effective learning of deep convolutional neural
    networks", 2016): the epoch is made of rounds, each of which has every group once, in an order of its own; a group
    gives its records in turn, from shuffled passes that go on from epoch to epoch. So two groups differ by one draw at
    most in any beginning of an epoch, and two records of a group by one in any stretch of its passes.

    Args:
        groups: record numbers of each group, none empty. Groups may share records.
        draws: length of the epoch.
        seed: RNG_SEED.
        epoch: number of the epoch.

    Returns:
        int64 ``(draws, 2)``, each ``(record, turn)``: turn counts how often the epoch had this record before.
    """
    count = len(groups)
    rounds = -(-draws // count)
    order = numpy_generator(seed, Stream.BALANCE, 0, epoch).permuted(np.tile(np.arange(count), (rounds, 1)), axis=1)
    # By group and round. What the last round leaves out is passed over.
    first = epoch * rounds
    given = np.stack([_passes(group, first, rounds, (seed, Stream.BALANCE, 1 + n)) for n, group in enumerate(groups)])
    records = given[order, np.arange(rounds)[:, None]].ravel()[:draws]
    return np.stack([records, _turns(records)], axis=1)


def _turns(records: np.ndarray) -> np.ndarray:
    """Return of each number how often it stands before."""
    order = np.argsort(records, kind="stable")
    first = np.diff(records[order], prepend=-1) != 0
    places = np.arange(len(records))
    turns = np.empty_like(records)
    turns[order] = places - np.maximum.accumulate(np.where(first, places, 0))
    return turns


def _passes(group: np.ndarray, first: int, count: int, position: tuple[int, ...]) -> np.ndarray:
    """Return members ``first`` to ``first + count`` of endless shuffled passes over ``group``."""
    passes = max(1, _BLOCK // len(group))
    length = passes * len(group)
    blocks = range(first // length, (first + count - 1) // length + 1)
    drawn = [numpy_generator(*position, b).permuted(np.tile(group, (passes, 1)), axis=1).ravel() for b in blocks]
    start = first - blocks.start * length
    return np.concatenate(drawn)[start : start + count]
