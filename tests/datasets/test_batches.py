"""Batches: collation, and the order of records over epochs and processes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.samples import sample
from uniformer_video.datasets.batches import BalancedBatches, Batch, InOrderBatches, TrainBatches, collate, join_clips
from uniformer_video.datasets.dataset import Failure, Sample
from uniformer_video.datasets.records import VideoRecord

pytestmark = pytest.mark.usefixtures("random_state_unchanged")


NONE = torch.empty(0, dtype=torch.int64)


# --------------------------------------------------------------------------------------------------------- collate


def test_clips_are_flattened_record_by_record():
    batch = collate([sample(8, 10), sample(2, 20, clips=3), sample(5, 30, clips=1)])
    assert batch.clips.dtype == torch.uint8
    assert batch.clips[:, 0, 0, 0, 0].tolist() == [10, 11, 20, 21, 22, 30]
    assert batch.labels.tolist() == [108, 108, 102, 102, 102, 105]
    assert batch.records.tolist() == [8, 8, 2, 2, 2, 5]
    assert batch.parts.tolist() == [0, 1, 0, 1, 2, 0]
    assert {t.dtype for t in (batch.labels, batch.records, batch.parts)} == {torch.int64}
    assert (batch.epoch, batch.lost, batch.failures) == (3, [], [])


def test_what_could_not_be_read_is_told():
    late = Failure(2, "b", "damaged")
    lost = Sample(None, NONE, 4, 3, 0, [Failure(4, "d", "empty"), Failure(1, "a", "text")])
    batch = collate([sample(2, 5, failures=[late]), lost])
    assert batch.records.tolist() == [2, 2]
    assert batch.lost == [4]
    assert batch.failures == [late, *lost.failures]


def test_a_batch_without_any_clip():
    batch = collate([Sample(None, NONE, 4, 9, 0, [Failure(4, "d", "empty")])])
    assert batch.clips is None
    assert [t.tolist() for t in (batch.labels, batch.records, batch.parts)] == [[], [], []]
    assert (batch.epoch, batch.lost) == (9, [4])
    assert batch.pin_memory() is batch


def test_labels_of_several_classes():
    rows = [torch.tensor([[1.0, 0, 1], [0, 1, 1]]), torch.empty(0, 3), torch.tensor([[0.0, 0, 0]])]
    pixels = [torch.zeros(len(r), 3, 1, 2, 2, dtype=torch.uint8) if len(r) else None for r in rows]
    batch = collate([Sample(p, r, n) for n, (p, r) in enumerate(zip(pixels, rows, strict=True))])
    assert batch.labels.tolist() == [[1, 0, 1], [0, 1, 1], [0, 0, 0]] and batch.labels.dtype == torch.float32
    assert (batch.records.tolist(), batch.lost) == ([0, 0, 2], [1])
    lost = collate([Sample(None, torch.empty(0, 3), 4)])
    assert tuple(lost.labels.shape) == (0, 3)


def test_clips_of_one_video_may_have_different_labels():
    one = Sample(torch.zeros(2, 3, 1, 2, 2, dtype=torch.uint8), torch.tensor([4, 5]), 0)
    assert collate([one, sample(8, 1, clips=1)]).labels.tolist() == [4, 5, 108]


def test_places_name_the_turn_where_there_is_one():
    batch = collate([sample(8, 10), sample(2, 20, turn=3), sample(5, 30, clips=1)])
    assert batch.turns.tolist() == [0, 0, 3, 3, 0]
    assert batch.places() == [(8, 0), (8, 1), (2, 0, 3), (2, 1, 3), (5, 0)]
    plain = Batch(None, NONE, torch.tensor([3, 3]), torch.tensor([0, 1]))
    assert plain.turns.tolist() == [0, 0] and plain.places() == [(3, 0), (3, 1)]


def test_some_clips_of_a_batch():
    batch = collate([sample(8, 10), sample(2, 20, turn=3), Sample(None, NONE, 1)])
    part = batch.select(torch.tensor([3, 0]))
    assert part.clips[:, 0, 0, 0, 0].tolist() == [21, 10]
    assert (part.labels.tolist(), part.places()) == ([102, 108], [(2, 1, 3), (8, 0)])
    assert (part.epoch, part.lost) == (batch.epoch, [1])
    assert len(batch.labels) == 4


# -------------------------------------------------------------------------------------------------------- samplers

worlds, seeds = st.integers(1, 5), st.integers(0, 99)


@settings(deadline=None)
@given(
    share=st.integers(1, 6), world=worlds, extra=st.integers(0, 40), seed=st.integers(0, 99), epoch=st.integers(0, 9)
)
def test_training_batches_of_all_processes_make_the_global_batch(share, world, extra, seed, epoch):
    size = share * world
    count = size + extra
    ranks = []
    for rank in range(world):
        batches = TrainBatches(count, size, seed=seed, rank=rank, world=world)
        batches.epoch = epoch
        assert len(batches) == len(list(batches)) == count // size
        ranks.append(list(batches))
    alone = TrainBatches(count, size, seed=seed)
    alone.epoch = epoch
    for step, whole in enumerate(alone):
        parts = [batches[step] for batches in ranks]
        assert all(len(part) == share for part in parts)
        assert [parts[n % world][n // world] for n in range(size)] == whole
    seen = [record for step in alone for _, record in step]
    assert len(seen) == len(set(seen)) == count - count % size  # each at most once, the last incomplete batch left out
    assert set(seen) <= set(range(count))
    assert all(e == epoch and type(record) is int for step in alone for e, record in step)


def order(count, *, seed, epoch):
    batches = TrainBatches(count, 1, seed=seed)
    batches.epoch = epoch
    return [record for ((_, record),) in batches]


def test_each_epoch_is_a_permutation_of_its_own():
    orders = [order(30, seed=4, epoch=epoch) for epoch in range(5)]
    assert all(sorted(o) == list(range(30)) for o in orders)
    assert len({tuple(o) for o in orders}) == 5
    assert order(30, seed=4, epoch=3) == orders[3]
    assert order(30, seed=5, epoch=3) != orders[3]
    # Every record comes to every place: no fixed points over many epochs.
    places = np.array([order(6, seed=0, epoch=epoch) for epoch in range(200)])
    counts = np.stack([np.bincount(column, minlength=6) for column in places.T])
    assert counts.min() > 10 and counts.max() < 60  # 33 expected


def test_the_order_of_an_epoch_does_not_depend_on_the_batch_size():
    batches = TrainBatches(12, 4, seed=9)
    assert [record for step in batches for _, record in step] == order(12, seed=9, epoch=0)


def test_left_out_records_change_from_epoch_to_epoch():
    left_out = {frozenset(order(10, seed=0, epoch=epoch)[8:]) for epoch in range(20)}
    assert len(left_out) > 5


@pytest.mark.parametrize(("count", "size", "world"), [(3, 4, 1), (8, 3, 2), (8, 0, 1)])
def test_batches_that_cannot_be(count, size, world):
    with pytest.raises(AssertionError):
        TrainBatches(count, size, seed=0, world=world)


@settings(deadline=None)
@given(count=st.integers(4, 40), start=st.integers(0, 12), epoch=st.integers(0, 3), balanced=st.booleans())
def test_a_pass_may_begin_inside_an_epoch(count, start, epoch, balanced):
    records = [VideoRecord(f"v{n}", n % 3) for n in range(count)]
    place = {"seed": 5, "rank": 1, "world": 2}
    batches = BalancedBatches(records, 4, **place) if balanced else TrainBatches(count, 4, **place)
    batches.epoch = epoch
    whole = list(batches)
    batches.start = start
    assert list(batches) == whole[start:]
    assert len(batches) == len(whole) == count // 4  # the steps of the epoch, wherever a pass begins
    batches.start = 0
    assert list(batches) == whole


def test_a_pass_stays_in_the_epoch_that_it_began_with():
    batches = TrainBatches(12, 4, seed=9)
    items = iter(batches)
    first = next(items)
    batches.epoch, batches.start = 1, 2
    assert [first, *items] == list(TrainBatches(12, 4, seed=9))


labels = st.lists(st.integers(0, 5), min_size=5, max_size=60)


@given(labels=labels, share=st.integers(1, 5), world=worlds, seed=seeds, epoch=st.integers(0, 9))
def test_balanced_batches_of_all_processes_make_the_global_batch(labels, share, world, seed, epoch):
    records = [VideoRecord(f"v{n}", label) for n, label in enumerate(labels)]
    size = min(share * world, len(labels) // world * world)
    ranks = []
    for rank in range(world):
        batches = BalancedBatches(records, size, seed=seed, rank=rank, world=world)
        batches.epoch = epoch
        assert len(batches) == len(list(batches)) == len(records) // size
        ranks.append(list(batches))
    alone = BalancedBatches(records, size, seed=seed)
    alone.epoch = epoch
    for step, whole in enumerate(alone):
        parts = [batches[step] for batches in ranks]
        assert [parts[n % world][n // world] for n in range(size)] == whole
    items = [item for step in alone for item in step]
    assert len(items) == len(set(items)) == len(records) - len(records) % size  # no item twice: its turn tells
    assert {e for e, _, _ in items} == {epoch}
    counts = Counter(labels[record] for _, record, _ in items)
    every = [counts[label] for label in set(labels)]
    assert max(every) - min(every) <= 1


@settings(deadline=None)
@given(count=st.integers(0, 50), size=st.integers(1, 9), world=worlds)
def test_in_order_every_record_is_in_one_batch_of_one_process(count, size, world):
    seen = []
    for rank in range(world):
        batches = InOrderBatches(count, size, rank=rank, world=world)
        steps = list(batches)
        assert len(batches) == len(steps)
        assert all(len(step) == size for step in steps[:-1]) and all(0 < len(step) <= size for step in steps)
        mine = [record for step in steps for _, record in step]
        assert mine == sorted(mine)
        assert {epoch for step in steps for epoch, _ in step} <= {0}
        assert list(batches) == steps  # again the same
        seen += mine
    assert sorted(seen) == list(range(count))


def test_in_order_shares_differ_by_one_at_most():
    assert [len(InOrderBatches(11, 1, rank=r, world=3)) for r in range(3)] == [4, 4, 3]


def test_clips_are_joined_as_torch_joins_them():
    parts = [torch.arange(n * 12, dtype=torch.uint8).view(n, 3, 1, 2, 2) for n in (2, 1, 3)]
    assert torch.equal(join_clips(parts), torch.cat(parts))


def test_an_epoch_is_no_list_of_a_million_tuples():
    # The order of the whole list is one array; tuples are made for a step at a time.
    batches = TrainBatches(1000, 10, seed=3)
    assert batches._items().dtype == np.int64 and batches._items().shape == (1000, 1)
    assert [type(number) for item in next(iter(batches)) for number in item] == [int] * 20
