"""Lists of `path label` lines of a multi-label set: `path 3,7`."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.datasets.lists import error_of, read, write
from uniformer_video.datasets.kinetics import label_text


@pytest.mark.parametrize(
    ("separator", "text"),
    [
        (" ", "a.mp4 3,7\nb.mp4 0\nmy clip.mp4 -\n"),
        (" ", "a.mp4  7,3\r\nb.mp4 00 \n\nmy clip.mp4 -"),
        ("\t", "a.mp4\t7, 3\nb.mp4\t0\nmy clip.mp4\t-\n"),
        (",", "a.mp4,7|3\nb.mp4,0\nmy clip.mp4,-\n"),
    ],
)
def test_a_multi_label_list(folder, separator, text):
    write(folder, text)
    records = read(folder, separator=separator, multi_label=True)
    found = [(os.path.basename(r.path), r.label, r.labels) for r in records]
    assert found == [("a.mp4", (3, 7), (3, 7)), ("b.mp4", (0,), (0,)), ("my clip.mp4", (), ())]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("a.mp4 3,3\n", {}, ":1: label 3 twice in '3,3'; write each label once"),
        ("a.mp4 3,03\n", {}, ":1: label 3 twice in '3,03'; write each label once"),
        ("a.mp4 1\nb.mp4 3,10\n", {}, ":2: label 10 is outside 0 to 9 (MODEL.NUM_CLASSES 10); correct the one or the "
         "other"),
        ("a.mp4 3,\n", {}, ":1: label '' of '3,' is no whole number; labels are written as 3,7, no label as -"),
        ("a.mp4 3,x\n", {}, ":1: label 'x' of '3,x' is no whole number; labels are written as 3,7, no label as -"),
        ("a.mp4,3,7\n", {"separator": ","}, None),  # the last comma counts: a path "a.mp4,3", which is not there
        ("a.mp4,3|x\n", {"separator": ","}, ":1: label 'x' of '3|x' is no whole number; labels are written as 3|7, no "
         "label as -"),
        ("a.mp4 3, 7\n", {}, ":1: a blank between the labels of 'a.mp4 3, 7'; write them as 3,7"),
        ("a.mp4 \n", {}, ":1: no label after a ' ' in 'a.mp4 '; a list is `path label` lines"),
        ("path labels\n", {}, ":1: 'path labels' looks like a header; remove it (a list is `path label` lines alone)"),
    ],
)  # fmt: skip
def test_a_wrong_line_of_a_multi_label_list(folder, text, options, message):
    path = write(folder, text)
    found = error_of(folder, multi_label=True, **options)
    assert found == f"{path}{message}" if message else "none of its first 1 videos exists" in found


@pytest.mark.parametrize(("label", "options"), [("3,7", {}), ("-", {}), ("3|7", {"separator": ","})])
def test_several_labels_in_a_list_of_one_label(folder, label, options):
    path = write(folder, f"a.mp4 1\nb.mp4 {label}\n".replace(" ", options.get("separator", " ")))
    assert error_of(folder, **options) == (
        f"{path}:2: labels {label!r} are those of a multi-label set; set DATA.MULTI_LABEL True, or write one label"
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets=st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=8), separator=st.sampled_from([" ", ",", "\t"]))
def test_labels_that_are_written_are_read(folder, sets, separator):
    expected = [tuple(sorted(labels)) for labels in sets]
    write(folder, "".join(f"a.mp4{separator}{label_text(labels, separator)}\n" for labels in expected))
    records = read(folder, separator=separator, multi_label=True)
    assert [r.label for r in records] == expected


def test_any_number_of_classes(folder):
    write(folder, "a.mp4 999999\n")
    assert read(folder, num_classes=None)[0].label == 999_999
    path = write(folder, "a.mp4 1000000\n")
    assert error_of(folder, num_classes=None) == (
        f"{path}:1: label 1000000 is outside 0 to 999999; a label is a class number from 0"
    )


def test_a_multi_label_test_list_of_one_label_is_warned_about(folder, log):
    path = write(folder, "a.mp4 1,2\nb.mp4 2,1\n", "test")
    assert len(read(folder, "test", multi_label=True)) == 2
    assert log == [f"WARNING: {path}: all 2 labels are 1,2; the accuracy will say little"]
