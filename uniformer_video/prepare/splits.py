"""Which videos train, which validate and which test: every class in its share, and no group in two splits.

The iterative stratification of Sechidis, Tsoumakas and Vlahavas, "On the Stratification of Multi-Label Data" (ECML
PKDD 2011), on groups of videos in place of single ones: the class with the fewest videos left is dealt out first, each
of its groups to the split that lacks most of that class. On top of it every class gets at least one group in each
split, first train, then val, then test, as far as its groups go; with one class for each video that always works.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uniformer_video.prepare.sources import SPLITS, count_of
from uniformer_video.runtime.seed import Stream, numpy_generator

_REPAIR_ROUNDS = 3


@dataclass(frozen=True, slots=True)
class Item:
    """What is dealt out: one video.

    Args:
        name: unlike any other's.
        labels: its classes, any number.
        group: videos of one group stay together; empty: alone.
    """

    name: str
    labels: tuple[str, ...]
    group: str = ""


def split_items(items: Sequence[Item], fractions: Mapping[str, float], seed: int = 0) -> dict[str, str]:
    """Return the split of each item by its name.

    The answer depends on the set of items, not on their order. A group is never torn. Where each item has one class and
    each group items of one class, every class of 2 groups has one in train and one in val, every class of 3 also one in
    test; else that holds as far as this search finds a way.

    Args:
        items: the videos.
        fractions: of each split in the order of their precedence, >= 0, with sum 1; a split of 0 gets nothing.
        seed: >= 0; another seed, other videos in the splits.
    """
    assert len({item.name for item in items}) == len(items), "names that stand twice"
    assert fractions and math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6), fractions
    return _Dealer(items, fractions, seed).deal()


class _Dealer:
    """Deals groups to splits."""

    def __init__(self, items: Sequence[Item], fractions: Mapping[str, float], seed: int) -> None:
        self.splits = [split for split, fraction in fractions.items() if fraction > 0]
        members: dict[tuple[bool, str], list[Item]] = defaultdict(list)
        for item in sorted(items, key=lambda item: item.name):
            members[(True, item.group) if item.group else (False, item.name)].append(item)
        ordered = [members[key] for key in sorted(members)]
        shuffled = [ordered[k] for k in numpy_generator(seed, Stream.SPLIT).permutation(len(ordered))]
        # Large groups first: what comes late must fit into what is left.
        self.groups = sorted(shuffled, key=len, reverse=True)
        self.counts = [Counter(label for item in group for label in item.labels) for group in self.groups]
        self.left: dict[str, set[int]] = defaultdict(set)
        for number, counts in enumerate(self.counts):
            for label in counts:
                self.left[label].add(number)
        self.groups_of = {label: sorted(numbers) for label, numbers in self.left.items()}
        totals: Counter[str] = Counter()
        for counts in self.counts:
            totals.update(counts)
        self.wanted = {s: {label: fractions[s] * totals[label] for label in totals} for s in self.splits}
        self.room = {s: fractions[s] * len(items) for s in self.splits}
        self.split_of: dict[int, str] = {}
        self.held: dict[str, Counter[str]] = {s: Counter() for s in self.splits}  # groups of each class

    def deal(self) -> dict[str, str]:
        waiting = set(self.left)
        while waiting:
            label = min(waiting, key=lambda label: (len(self.left[label]), label))
            for number in sorted(self.left[label]):
                self.give(number, self.choose(label))
            waiting.remove(label)
        for number in range(len(self.groups)):
            if number not in self.split_of:  # no labels at all
                self.give(number, self.roomiest(self.splits))
        for _ in range(_REPAIR_ROUNDS):
            if not self.repair():
                break
        return {item.name: self.split_of[n] for n, group in enumerate(self.groups) for item in group}

    def choose(self, label: str) -> str:
        """Return the split of the next group of a class: one that has none, when the rest is needed for that."""
        lacking = [split for split in self.splits if not self.held[split][label]]
        if len(self.left[label]) <= len(lacking):
            return lacking[0]
        most = max(self.wanted[split][label] for split in self.splits)
        return self.roomiest([s for s in self.splits if self.wanted[s][label] >= most - 1e-9])

    def roomiest(self, splits: Sequence[str]) -> str:
        """Return the split that most is missing from; of equals the first."""
        return max(splits, key=lambda split: round(self.room[split], 9))

    def give(self, number: int, split: str) -> None:
        before = self.split_of.get(number)
        for place, sign in ((before, -1), (split, 1)):
            if place is None:
                continue
            self.room[place] -= sign * len(self.groups[number])
            for label, count in self.counts[number].items():
                self.wanted[place][label] -= sign * count
                self.held[place][label] += sign
        self.split_of[number] = split
        for label in self.counts[number]:
            self.left[label].discard(number)

    def repair(self) -> bool:
        """Give splits a group of each class that they lack, from a split that can spare it; tell whether any moved."""
        moved = False
        for label in sorted(self.groups_of):
            groups = self.groups_of[label]
            for split in self.splits[: len(groups)]:
                if self.held[split][label]:
                    continue
                spare = [number for number in groups if self.can_go(number, label, split)]
                if spare:
                    # The smallest move: fewest videos, fewest other classes; then a fixed one.
                    self.give(min(spare, key=lambda n: (len(self.groups[n]), len(self.counts[n]), n)), split)
                    moved = True
        return moved

    def can_go(self, number: int, label: str, split: str) -> bool:
        """Return whether no class becomes worse off when a group moves to ``split``, which lacks ``label``."""
        here = self.split_of[number]
        for other in self.counts[number]:
            if self.held[here][other] > 1:
                continue
            # Its last one here: only to a split that comes first, and that lacks it too.
            first = self.splits.index(split) < self.splits.index(here)
            if not first or self.held[split][other]:
                return False
        return True


def complete_splits(
    items: Sequence[Item], given: Mapping[str, str], fractions: Mapping[str, float], seed: int = 0
) -> tuple[dict[str, str], list[str]]:
    """Return the split of every item where the source gives some splits, and a line for each thing to know.

    What is given stays. An item without a split goes where its group is (to the first of several splits), else to
    train. A val or test that is missing is cut off train, in the proportion of ``fractions``.

    Args:
        items: the videos.
        given: the split by name, of the items that have one; empty: all are dealt out.
        fractions: of train, val and test, with sum 1.
        seed: >= 0.
    """
    if not given:
        return split_items(items, fractions, seed), []
    notes = []
    home: dict[str, str] = {}  # the split of each group
    for item in items:
        if item.group and item.name in given:
            home[item.group] = min(given[item.name], home.get(item.group, SPLITS[-1]), key=SPLITS.index)
    splits = {item.name: given.get(item.name) or home.get(item.group, "train") for item in items}
    without = [item for item in items if item.name not in given]
    if without:
        moved = sum(splits[item.name] != "train" for item in without)
        rest = f", but for {moved} in the split of their group" if moved else ""
        notes.append(f"{count_of(len(without), 'video')} without a split in the source: taken for train{rest}")
    there = set(splits.values())
    missing = [split for split in SPLITS[1:] if split not in there and fractions[split] > 0]
    if "train" in there and missing:
        shares = {split: fractions[split] for split in ("train", *missing)}
        total = sum(shares.values())
        pool = [item for item in items if splits[item.name] == "train"]
        splits |= split_items(pool, {split: share / total for split, share in shares.items()}, seed)
        notes.append(f"the source has no {' and no '.join(missing)}: cut off its train")
    torn = groups_in_several_splits(items, splits)
    if torn:
        notes.append(
            f"{count_of(len(torn), 'group')} in several of the source's own splits, such as {torn[0]!r}: kept as given"
        )
    return splits, notes


def groups_in_several_splits(items: Sequence[Item], splits: Mapping[str, str]) -> list[str]:
    """Return the sorted names of the groups that are in more than one split."""
    found: dict[str, set[str]] = defaultdict(set)
    for item in items:
        if item.group:
            found[item.group].add(splits[item.name])
    return sorted(group for group, where in found.items() if len(where) > 1)
