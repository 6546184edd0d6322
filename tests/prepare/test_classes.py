"""The order of classes, and what looks wrong with them."""

from __future__ import annotations

import pytest

from uniformer_video.prepare.classes import class_warnings, number_labels, order_classes
from uniformer_video.prepare.prepared import PreparedSet, Video
from uniformer_video.prepare.sources import Entry, Source
from uniformer_video.video.probe import Probe


def source(*labels, names=()):
    entries = [Entry(f"/{n}", str(n), (label,)) for n, label in enumerate(labels)]
    return Source(entries, "/", class_names=names)


@pytest.mark.parametrize(
    ("labels", "order", "expected"),
    [
        (["sit", "Run", "jump"], "alphabetical", ["Run", "jump", "sit"]),
        (["sit", "Run", "sit", "jump"], "as-listed", ["sit", "Run", "jump"]),
        (["10", "9", "0"], "alphabetical", ["0", "9", "10"]),
        (["10", "9", "x"], "alphabetical", ["10", "9", "x"]),
        (["2", "02", "1"], "alphabetical", ["1", "02", "2"]),
    ],
)
def test_order(labels, order, expected):
    found = source(*labels)
    assert order_classes(found, found.entries, order) == (expected, [])
    assert number_labels(found, expected) == {name: number for number, name in enumerate(expected)}


def test_a_class_without_usable_videos_is_left_out_and_told():
    found = source("a", "b", "b", "c")
    names, warnings = order_classes(found, found.entries[:1] + found.entries[3:])
    assert names == ["a", "c"]
    assert warnings == ["class 'b' is left out: it has no usable video, of 2 videos"]


def test_a_file_of_names_keeps_all_its_classes_and_the_numbers_of_the_list():
    found = source("2", "0", "02", names=("still", "walk", "run"))
    names, warnings = order_classes(found, found.entries[:1])
    assert (names, warnings) == (["still", "walk", "run"], [])
    assert number_labels(found, names) == {"2": 2, "0": 0, "02": 2}


def prepared(names, *videos):
    return PreparedSet(
        [Video(str(n), f"/{n}", labels, split, Probe("")) for n, (labels, split) in enumerate(videos)], names, False
    )


def test_names_that_differ_in_spelling():
    videos = [((n,), "train") for n in range(3)]
    assert class_warnings(prepared(["Push up", "push_up", "sit"], *videos)) == [
        "classes 'Push up' and 'push_up' differ in spelling alone; are they one?"
    ]


def test_classes_that_a_split_lacks_but_not_splits_that_do_not_exist():
    names = [f"c{n}" for n in range(7)]
    videos = [((n,), "train") for n in range(7)] + [((0,), "val")]
    assert class_warnings(prepared(names, *videos)) == [
        "6 classes have no video in val: 'c1', 'c2', 'c3', 'c4', 'c5' ..."
    ]
