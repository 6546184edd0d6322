"""Class-balanced order: counts of classes and records, turns, and what it depends on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.balance import balanced_order, class_groups
from uniformer_video.datasets.records import VideoRecord

pytestmark = pytest.mark.usefixtures("random_state_unchanged")

labels = st.lists(st.integers(0, 6), min_size=1, max_size=60)
seeds, numbers = st.integers(0, 99), st.integers(0, 40)


def records_of(labels):
    return [VideoRecord(f"v{n}", label) for n, label in enumerate(labels)]


def order(labels, *, seed=0, epoch=0, draws=None):
    groups = class_groups(records_of(labels))
    return [tuple(row) for row in balanced_order(groups, draws or len(labels), seed=seed, epoch=epoch).tolist()]


def test_groups():
    assert [g.tolist() for g in class_groups(records_of([4, 0, 4, 9, 0]))] == [[1, 4], [0, 2], [3]]
    several = class_groups(records_of([(2,), (), (0, 2), (0,), ()]))
    assert [g.tolist() for g in several] == [[2, 3], [0, 2], [1, 4]]  # those of no label last
    assert all(g.dtype == np.int64 for g in several)
    assert class_groups([]) == []


@given(labels, seeds, numbers)
def test_classes_come_equally_often_in_every_beginning(labels, seed, epoch):
    drawn = [labels[record] for record, _ in order(labels, seed=seed, epoch=epoch)]
    assert len(drawn) == len(labels)
    for end in range(1, len(drawn) + 1):
        counts = Counter(drawn[:end])
        every = [counts[label] for label in set(labels)]
        assert max(every) - min(every) <= 1


@given(labels, seeds, numbers, st.integers(1, 150))
def test_records_of_a_class_come_in_turn(labels, seed, epoch, draws):
    counts = Counter(record for record, _ in order(labels, seed=seed, epoch=epoch, draws=draws))
    for label in set(labels):
        mine = [counts[record] for record, own in enumerate(labels) if own == label]
        # An epoch begins and ends within a pass.
        assert max(mine) - min(mine) <= 2


@given(labels, seeds, numbers)
def test_turns_count_the_draws_of_a_record(labels, seed, epoch):
    seen = Counter()
    for record, turn in order(labels, seed=seed, epoch=epoch):
        assert type(record) is int and turn == seen[record]
        seen[record] += 1


def test_passes_go_on_from_epoch_to_epoch():
    # 3 classes of 30, 2 and 1 records: 11 rounds an epoch, so three epochs show 33 = 30 + 3 of the first class.
    labels = [0] * 30 + [1] * 2 + [2]
    drawn = [record for epoch in range(3) for record, _ in order(labels, epoch=epoch)]
    counts = Counter(drawn)
    assert sorted(counts[r] for r in range(30)) == [1] * 27 + [2] * 3
    assert sorted(counts[r] for r in (30, 31)) == [16, 17]
    assert counts[32] == 33


def test_a_long_run_of_passes_is_without_gaps():
    # More passes than are drawn at a time: each still has every record once.
    labels = [0] * 5 + [1] * 3000
    mine = [record for record, _ in order(labels, draws=6000) if record < 5]
    assert len(mine) == 3000
    assert all(sorted(mine[n : n + 5]) == list(range(5)) for n in range(0, 3000, 5))
    assert len({tuple(mine[n : n + 5]) for n in range(0, 3000, 5)}) > 100  # of 120 orders


def test_the_order_is_a_function_of_seed_and_epoch():
    labels = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 2]
    base = order(labels, seed=3, epoch=4)
    assert order(labels, seed=3, epoch=4) == base
    assert order(labels, seed=4, epoch=4) != base
    assert order(labels, seed=3, epoch=5) != base


def test_no_class_is_first_by_rule():
    labels = [0] * 10 + [1, 2]
    first = Counter(labels[order(labels, epoch=epoch)[0][0]] for epoch in range(300))
    assert all(60 < first[label] < 140 for label in range(3))  # 100 expected
    # A last round that is cut short leaves out one class or another.
    last = Counter(labels[order(labels, epoch=epoch, draws=13)[-1][0]] for epoch in range(300))
    assert all(60 < last[label] < 140 for label in range(3))


@given(st.lists(st.sets(st.integers(0, 4), max_size=3), min_size=1, max_size=30), seeds)
def test_several_labels_each_label_has_its_turn(sets, seed):
    sets = [tuple(sorted(s)) for s in sets]
    groups = class_groups(records_of(sets))
    drawn = balanced_order(groups, 10 * len(groups), seed=seed, epoch=0).tolist()
    counts = Counter(label for record, _ in drawn for label in sets[record])
    assert all(counts[label] >= 10 for s in sets for label in s)
    # Those without a label come as often as a class does.
    assert sum(not sets[record] for record, _ in drawn) == (10 if () in sets else 0)


def test_one_class_is_a_plain_shuffle():
    assert sorted(order([3] * 20)) == [(record, 0) for record in range(20)]
