"""The classes of a set: their order, and what looks wrong with them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from uniformer_video.datasets.label_sets import normalise
from uniformer_video.prepare.prepared import PreparedSet
from uniformer_video.prepare.sources import Entry, Source, count_of

ORDERS = ("alphabetical", "as-listed")
"""Orders of class names that a user can choose."""

_MOST_NAMES = 5


def order_classes(source: Source, good: Sequence[Entry], order: str = "alphabetical") -> tuple[list[str], list[str]]:
    """Return the class names in label order, and a warning for each class that is left out.

    Classes without one usable video are left out, but where a file beside the list names the numbers of all classes.

    Args:
        source: what the user has.
        good: its usable videos.
        order: ``alphabetical``: by code points, or by value where all labels are whole numbers; ``as-listed``: as they
            first appear.
    """
    assert order in ORDERS, order
    if source.class_names:
        return list(source.class_names), []
    listed = list(dict.fromkeys(label for entry in source.entries for label in entry.labels))
    usable = {label for entry in good for label in entry.labels}
    if order == "alphabetical":
        numeric = all(label.isascii() and label.isdigit() for label in listed)
        listed.sort(key=(lambda label: (int(label), label)) if numeric else None)
    counts = Counter(label for entry in source.entries for label in entry.labels)
    lost = [label for label in listed if label not in usable]
    warnings = [
        f"class {label!r} is left out: it has no usable video, of {count_of(counts[label], 'video')}" for label in lost
    ]
    return [label for label in listed if label in usable], warnings


def number_labels(source: Source, names: Sequence[str]) -> dict[str, int]:
    """Return the class number of each label of a source, given the class names in label order."""
    if source.class_names:
        return {label: int(label) for entry in source.entries for label in entry.labels}
    return {name: number for number, name in enumerate(names)}


def class_warnings(prepared: PreparedSet) -> list[str]:
    """Return what looks wrong with the classes of a set, one line each."""
    warnings = []
    alike = defaultdict(list)
    for name in prepared.class_names:
        alike[normalise(name)].append(name)
    warnings += [
        f"classes {' and '.join(map(repr, names))} differ in spelling alone; are they one?"
        for names in alike.values()
        if len(names) > 1
    ]
    splits = [split for split in ("train", "val", "test") if prepared.of_split(split)]
    counts = prepared.class_counts()
    for split in splits:
        lacking = [name for name, count in zip(prepared.class_names, counts, strict=True) if not count[split]]
        if lacking:
            shown = ", ".join(map(repr, lacking[:_MOST_NAMES])) + (" ..." if len(lacking) > _MOST_NAMES else "")
            noun = "class has" if len(lacking) == 1 else "classes have"
            warnings.append(f"{len(lacking)} {noun} no video in {split}: {shown}")
    return warnings
