"""Rows of CSV files with their lines."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.csv_text import csv_rows, first_cells, split_blank
from uniformer_video.runtime.errors import DataError


def test_rows_have_the_line_they_begin_on():
    text = 'a,b\r\n\r\n"c\nd",e\n , \nf,"g, ""h"""\n'
    assert list(csv_rows("f", text)) == [(1, ["a", "b"]), (3, ["c\nd", "e"]), (6, ["f", 'g, "h"'])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends_of_all_systems(end):
    assert list(csv_rows("f", f"a;b{end}c; d {end}", ";")) == [(1, ["a", "b"]), (2, ["c", "d"])]


def test_quotes_inside_of_a_cell_are_text():
    assert list(csv_rows("f", 'a"b,c\n')) == [(1, ['a"b', "c"])]


@pytest.mark.parametrize(("text", "line"), [('a,b\n"c,d\ne,f\n', 2), ('a,b\nc,d\n"e"f,g\n', 3), ("x" * 200_000, 1)])
def test_faults_have_a_line(text, line):
    with pytest.raises(DataError) as error:
        list(csv_rows("f.csv", text))
    assert str(error.value).startswith(f"f.csv:{line}: not CSV (")
    assert str(error.value).endswith("); check the quotes of this line")


CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), min_size=1, max_size=8).filter(
    lambda cell: cell == cell.strip()
)


@given(st.lists(st.lists(CELLS, min_size=2, max_size=3), max_size=5), st.sampled_from([",", "\t", ";"]))
def test_what_is_written_is_read(rows, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows(rows)
    assert list(csv_rows("f", file.getvalue(), delimiter)) == list(enumerate(rows, 1))


def test_the_first_line():
    assert first_cells('\n"Label",Youtube_ID , x\na,b') == ["label", "youtube_id", "x"]
    assert first_cells("") == []
    assert first_cells('"a,b') == []


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("a.mp4 run", ["a.mp4", "run"]),
        (" my clip.mp4\t run \r", ["my clip.mp4", "run"]),
        ('"my clip.mp4" "riding a bike"', ["my clip.mp4", "riding a bike"]),
        ('my clip.mp4 "x', ["my clip.mp4", '"x']),
        ("my clip.MP4  riding a bike ", ["my clip.MP4", "riding a bike"]),
        ("old.mp4 files/my clip.mp4 run", ["old.mp4 files/my clip.mp4", "run"]),
        ("old.mp4 files/my clip run", ["old.mp4 files/my clip", "run"]),
        ("a.b c run", ["a.b c", "run"]),
        ("a.mp4 b.mp4", ["a.mp4", "b.mp4"]),
        ("a.mp4 opening door/window", ["a.mp4", "opening door/window"]),
        ("a.mp4 door/window", ["a.mp4", "door/window"]),
        ("a.mp4 3,7", ["a.mp4", "3,7"]),
        ("a.mp4 3 jumps", ["a.mp4", "3 jumps"]),
        ('a.mp4 "100 200"', ["a.mp4", "100 200"]),
    ],
)
def test_the_blank_behind_a_video_divides_or_the_last_one(line, cells):
    assert split_blank("f", 3, line) == (3, cells)


@pytest.mark.parametrize("numbers", ["120 3", "120\t3", "120 \t 3", "3, 7", "3 ,7", "0.5 2.5 3", "120 -1", "1 2 3"])
def test_several_numbers_behind_a_video_are_no_label(numbers):
    with pytest.raises(DataError) as error:
        split_blank("l.txt", 4, f"my v1.avi {numbers}")
    assert str(error.value) == (
        f"l.txt:4: {numbers!r} behind the video is several numbers; a line has a path and a label, "
        "several labels as 1,2"
    )


def test_a_line_without_a_blank():
    with pytest.raises(DataError) as error:
        split_blank("f", 3, "a.mp4")
    assert str(error.value) == "f:3: no label after a blank in 'a.mp4'; a list has a path and a label a line"
