"""Splits: nothing lost, no group torn, the same for any order, every class in its share."""

from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.prepare.splits import Item, complete_splits, groups_in_several_splits, split_items

USUAL = {"train": 0.7, "val": 0.15, "test": 0.15}
NAMES = ("train", "val", "test")


def single(counts):
    """Return items of one class each: ``counts`` videos of classes a, b, ..."""
    return [Item(f"{chr(97 + c)}/{n}", (chr(97 + c),)) for c, count in enumerate(counts) for n in range(count)]


def table(items, splits):
    """Return the number of videos of each class by split."""
    found = {label: Counter() for item in items for label in item.labels}
    for item in items:
        for label in item.labels:
            found[label][splits[item.name]] += 1
    return {label: tuple(counts[name] for name in NAMES) for label, counts in found.items()}


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (1, (1, 0, 0)),
        (2, (1, 1, 0)),
        (3, (1, 1, 1)),
        (4, (2, 1, 1)),
        (5, (3, 1, 1)),
        (7, (5, 1, 1)),
        (20, (14, 3, 3)),
        (100, (70, 15, 15)),
    ],
)
def test_one_class_in_its_shares(count, expected):
    items = single([count])
    assert table(items, split_items(items, USUAL))["a"] == expected


def test_what_classes_cannot_share_evenly_evens_out_over_all():
    items = single([10] * 8)  # 1.5 of each in val and in test
    splits = split_items(items, USUAL)
    assert {tuple(sorted(row)) for row in table(items, splits).values()} == {(1, 2, 7)}
    assert Counter(splits.values()) == {"train": 56, "val": 12, "test": 12}


def test_a_split_of_nothing_gets_nothing():
    items = single([10, 3, 1])
    splits = split_items(items, {"train": 0.8, "val": 0.2, "test": 0.0})
    assert table(items, splits) == {"a": (8, 2, 0), "b": (2, 1, 0), "c": (1, 0, 0)}


def test_the_seed_chooses_which_videos_and_never_how_many():
    items = single([20, 20])
    first, again, other = (split_items(items, USUAL, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert table(items, first) == table(items, other)


def test_a_draw_is_pinned():
    # A set that a user splits again next year must fall into the same splits.
    splits = split_items(single([6]), USUAL, 3)
    assert [splits[f"a/{n}"] for n in range(6)] == ["train", "train", "train", "test", "val", "train"]


def test_groups_stay_together_and_classes_keep_their_shares():
    items = [
        Item(f"{label}{group}{n}", (label,), f"{label}{group}") for label in "ab" for group in range(10) for n in "xyz"
    ]
    splits = split_items(items, USUAL)
    assert groups_in_several_splits(items, splits) == []
    assert {sum(row) for row in table(items, splits).values()} == {30}
    assert all(row[0] == 21 and min(row) >= 3 for row in table(items, splits).values())


def test_a_large_group_goes_to_train_and_the_rest_makes_up_for_it():
    items = [Item(f"big{n}", ("a",), "big") for n in range(14)] + single([6])
    splits = split_items(items, USUAL)
    assert {splits[f"big{n}"] for n in range(14)} == {"train"}
    assert table(items, splits)["a"] == (14, 3, 3)


def test_classes_that_share_groups_find_a_way_into_every_split():
    # Every group has both classes, but c has only two, which a rarer class's needs come first for.
    items = [Item(f"{g}{label}", (label,), f"g{g}") for g in range(6) for label in "ab"]
    items += [Item("4c", ("c",), "g4"), Item("5c", ("c",), "g5")]
    rows = table(items, split_items(items, USUAL))
    assert min(min(rows["a"]), min(rows["b"])) >= 1
    assert rows["c"][:2] == (1, 1)


def test_several_labels_are_stratified_and_none_at_all_is_dealt_by_room():
    rng = random.Random(0)
    items = [
        Item(
            f"v{n}",
            tuple(label for label, share in (("often", 0.5), ("some", 0.2), ("rare", 0.04)) if rng.random() < share),
        )
        for n in range(400)
    ]
    splits = split_items(items, USUAL)
    rows = table(items, splits)
    sizes = Counter(splits.values())
    assert [abs(sizes[name] - 400 * USUAL[name]) <= 2 for name in NAMES] == [True] * 3
    for row in rows.values():
        assert [abs(row[k] - sum(row) * USUAL[name]) <= 2 for k, name in enumerate(NAMES)] == [True] * 3
    assert Counter(splits[item.name] for item in items if not item.labels).keys() == set(NAMES)


def test_where_no_way_exists_nothing_breaks():
    items = [Item("1", ("a", "c")), Item("2", ("a", "b")), Item("3", ("b", "c"))]
    splits = split_items(items, {"train": 0.5, "val": 0.5})
    assert set(splits.values()) == {"train", "val"}


fractions = st.tuples(*[st.integers(1, 20)] * 3).map(
    lambda parts: {name: part / sum(parts) for name, part in zip(NAMES, parts, strict=True)}
)
class_sizes = st.lists(st.integers(1, 25), min_size=1, max_size=6)


@given(class_sizes, fractions, st.integers(0, 5), st.randoms(use_true_random=False))
def test_single_labels_lose_nothing_keep_minima_and_shares_in_any_order(counts, shares, seed, rng):
    items = single(counts)
    splits = split_items(items, shares, seed)
    assert splits.keys() == {item.name for item in items}
    shuffled = list(items)
    rng.shuffle(shuffled)
    assert split_items(shuffled, shares, seed) == splits
    for row in table(items, splits).values():
        total = sum(row)
        assert row[0] >= 1
        assert row[1] >= 1 or total < 2
        assert row[2] >= 1 or total < 3
        for place, name in enumerate(NAMES):
            # A class's own rounding, and at most two videos given up for the minima.
            assert abs(row[place] - shares[name] * total) < 2.7


@st.composite
def anything(draw):
    """Return items of several labels in groups."""
    count = draw(st.integers(1, 30))
    return [
        Item(
            f"v{n}",
            tuple(sorted(draw(st.sets(st.sampled_from("abcde"), max_size=3)))),
            draw(st.sampled_from(["", "", "g1", "g2", "g3", "g4"])),
        )
        for n in range(count)
    ]


@given(anything(), fractions, st.integers(0, 5), st.randoms(use_true_random=False))
def test_groups_and_labels_of_any_kind_neither_leak_nor_get_lost(items, shares, seed, rng):
    splits = split_items(items, shares, seed)
    assert splits.keys() == {item.name for item in items}
    assert set(splits.values()) <= set(NAMES)
    assert groups_in_several_splits(items, splits) == []
    shuffled = list(items)
    rng.shuffle(shuffled)
    assert split_items(shuffled, shares, seed) == splits


@given(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=8), min_size=1, max_size=4), st.integers(0, 3))
def test_groups_of_one_class_are_in_every_split_as_far_as_they_go(classes, seed):
    items = [
        Item(f"{c}/{g}/{n}", (str(c),), f"{c}/{g}")
        for c, groups in enumerate(classes)
        for g, size in enumerate(groups)
        for n in range(size)
    ]
    splits = split_items(items, USUAL, seed)
    for c, groups in enumerate(classes):
        row = table(items, splits)[str(c)]
        assert [count > 0 for count in row[: len(groups)]] == [True] * min(len(groups), 3)


class TestGivenSplits:
    def test_all_given_are_kept(self):
        items = single([3])
        given_ = {"a/0": "test", "a/1": "train", "a/2": "val"}
        assert complete_splits(items, given_, USUAL) == (given_, [])

    def test_none_given_are_dealt_out(self):
        items = single([20])
        assert complete_splits(items, {}, USUAL, 4) == (split_items(items, USUAL, 4), [])

    def test_a_missing_val_is_cut_off_train_alone(self):
        items = single([25])
        given_ = {f"a/{n}": "test" if n < 5 else "train" for n in range(25)}
        splits, notes = complete_splits(items, given_, USUAL)
        assert table(items, splits)["a"] == (16, 4, 5)  # 20 * 0.7 / 0.85 = 16.5
        assert all(splits[f"a/{n}"] == "test" for n in range(5))
        assert notes == ["the source has no val: cut off its train"]

    def test_val_and_test_missing(self):
        items = single([20])
        splits, notes = complete_splits(items, {item.name: "train" for item in items}, USUAL)
        assert table(items, splits)["a"] == (14, 3, 3)
        assert notes == ["the source has no val and no test: cut off its train"]

    def test_a_split_that_is_not_wanted_is_not_missing(self):
        items = single([10])
        given_ = {f"a/{n}": "val" if n < 2 else "train" for n in range(10)}
        splits, notes = complete_splits(items, given_, {"train": 0.8, "val": 0.2, "test": 0.0})
        assert (splits, notes) == (given_, [])

    def test_videos_without_a_split_train(self):
        items = single([4])
        splits, notes = complete_splits(items, {"a/0": "val", "a/1": "test"}, USUAL)
        assert splits == {"a/0": "val", "a/1": "test", "a/2": "train", "a/3": "train"}
        assert notes == ["2 videos without a split in the source: taken for train"]

    def test_videos_without_a_split_follow_their_group(self):
        names = {"1": "A", "2": "B", "3": "A", "4": "B", "5": "C", "6": ""}
        items = [Item(name, ("a",), group) for name, group in names.items()]
        splits, (note,) = complete_splits(items, {"1": "test", "2": "train"}, USUAL | {"val": 0.0})
        assert splits == {"1": "test", "2": "train", "3": "test", "4": "train", "5": "train", "6": "train"}
        assert note == (
            "4 videos without a split in the source: taken for train, but for 1 in the split of their group"
        )

    def test_of_a_torn_group_the_first_split_takes_what_has_none(self):
        items = [Item(str(n), ("a",), "g") for n in range(4)]
        splits, notes = complete_splits(items, {"0": "test", "1": "train", "2": "val"}, USUAL)
        assert splits["3"] == "train"
        assert len(notes) == 2

    @given(
        st.lists(st.tuples(st.sampled_from(["", *NAMES]), st.sampled_from(["", "g", "h", "i"])), min_size=1),
        st.integers(0, 9),
    )
    def test_what_is_completed_tears_no_group_that_the_source_keeps_whole(self, rows, seed):
        items = [Item(str(n), ("a",), group) for n, (_, group) in enumerate(rows)]
        given_ = {str(n): split for n, (split, _) in enumerate(rows) if split}
        splits, _ = complete_splits(items, given_, USUAL, seed)
        assert {name: splits[name] for name in given_ if given_[name] != "train"} == {
            name: split for name, split in given_.items() if split != "train"
        }
        torn = set(groups_in_several_splits([item for item in items if item.name in given_], given_))
        assert set(groups_in_several_splits(items, splits)) == torn

    def test_groups_that_the_source_tears_are_told_and_left(self):
        items = [Item("1", ("a",), "g"), Item("2", ("a",), "g"), Item("3", ("a",), "h")]
        given_ = {"1": "train", "2": "val", "3": "test"}
        splits, (note,) = complete_splits(items, given_, USUAL)
        assert splits == given_
        assert note == "1 group in several of the source's own splits, such as 'g': kept as given"

    def test_groups_of_what_is_cut_off_stay_together(self):
        items = [Item(f"{g}{n}", ("a",), f"g{g}") for g in range(8) for n in range(3)]
        splits, _ = complete_splits(items, {item.name: "train" for item in items}, USUAL)
        assert groups_in_several_splits(items, splits) == []
        assert set(splits.values()) == set(NAMES)


def test_many_videos_take_no_time():
    labels = defaultdict(int)
    items = []
    for n in range(20000):
        label = f"c{n % 400}"
        labels[label] += 1
        items.append(Item(f"{label}/{n}", (label,)))
    splits = split_items(items, USUAL)
    sizes = Counter(splits.values())
    assert [abs(sizes[name] - 20000 * USUAL[name]) <= 400 for name in NAMES] == [True] * 3
