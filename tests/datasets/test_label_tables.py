"""Delimiters, headers and several labels, told from the table."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.label_tables import TableForm, read_table
from uniformer_video.runtime.errors import DataError

NOTHING_ASKED = (None, None, None, None)


def read(text, path="list.csv", asked=NOTHING_ASKED, **form):
    return read_table(path, text, asked, TableForm(**form))


@pytest.mark.parametrize(
    ("text", "understood"),
    [
        ("path,label\na.mp4,run\n", "comma-separated, with a header, paths in column 'path', labels in 'label'"),
        ("a.mp4\trun\n", "tab-separated, no header, paths in column 1, labels in 2"),
        ("a.mp4;run\n", "semicolon-separated, no header, paths in column 1, labels in 2"),
        ("a.mp4|run\n", "'|'-separated, no header, paths in column 1, labels in 2"),
        ("a.mp4 run\n", "blank-separated, no header, paths in column 1, labels in 2"),
        ("a.mp4 3\nb.mp4 3,7\n", "blank-separated, no header, paths in column 1, labels in 2 (several for a video)"),
        ("path,labels\na.mp4,x|y\n", "comma-separated, with a header, paths in column 'path', labels in 'labels' "
         "(several for a video)"),
        ("path,u,v\na.mp4,0,1\n", "comma-separated, with a header, paths in column 'path', labels are the names of 2 "
         "columns of 0 and 1"),
        ("path,label,subject,set\na.mp4,x,s,t\n", "comma-separated, with a header, paths in column 'path', labels in "
         "'label', groups in 'subject', splits in 'set'"),
    ],
)  # fmt: skip
def test_how_a_table_is_understood(text, understood):
    assert read(text).understood == understood


@pytest.mark.parametrize(
    ("text", "path", "label"),
    [
        ("a, b.mp4\trun\nc.mp4\tjump\n", "a, b.mp4", "run"),  # a comma in some of the names
        ("a,b.mp4 run\nc.mp4 jump\nd.mp4 jump\n", "a,b.mp4", "run"),
        ('"a;b.mp4",run;jump\nc.mp4,x\n', "a;b.mp4", "run;jump"),
        ("a.mp4,riding a bike\nb.mp4,x\n", "a.mp4", "riding a bike"),
    ],
)
def test_the_delimiter_makes_rows_of_one_length(text, path, label):
    row = read(text).rows[0]
    assert (row[1], row[2]) == (path, (label,))


def test_a_tab_comes_first_in_a_tsv():
    text = "a,b.mp4\tx\nc,d.mp4\ty\n"
    assert read(text, "list.tsv").rows[0][1] == "a,b.mp4"


def test_several_labels_need_a_sign():
    assert not read("path,label\na.mp4,x|y\n").multi_label
    assert read("path,label\na.mp4,x|y\n", label_separator="|").rows[0][2] == ("x", "y")
    assert read("path,labels\na.mp4,x\nb.mp4,y\n").multi_label is False
    # The comma of `clip.mp4 3,7` stands between labels; that of `clip.mp4,7` between columns.
    assert read("my clip.mp4 3,7\nb.mp4 1,2\n").rows[0][1:3] == ("my clip.mp4", ("3", "7"))
    assert read("my clip.mp4,7\nb.mp4,2\n").rows[0][1:3] == ("my clip.mp4", ("7",))
    assert read("my clip.mp4, 7\nb.mp4, 2\n").rows[0][1:3] == ("my clip.mp4", ("7",))


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("path,label\na.mp4,x\n", True),
        ("video,verb\na.mp4,x\n", True),
        ("clip no,verb\na.mp4,x\n", True),
        ("a.mp4,label\nb.mp4,x\n", False),
        ("x/path,label\nb.mp4,x\n", False),
        ("k1,k2\nk3,k4\n", False),
    ],
)
def test_headers(text, header):
    assert len(read(text).rows) == (1 if header else 2)


def test_a_header_as_the_user_says():
    assert len(read("path,label\na.mp4,x\n", has_header=False).rows) == 2
    assert len(read("k1,k2\nk3/a,k4\n", has_header=True).rows) == 1
    assert len(read("k1,k2\nk3,k4\n", asked=("k1", None, None, None)).rows) == 1


def test_lines_of_rows():
    assert [row[0] for row in read('path,label\n\n"a\nb.mp4",x\nc.mp4,y\n').rows] == [3, 5]


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("\n", {}, "list.csv: an empty list; write a path and a label for each video"),
        ("a.mp4\nb.mp4\n", {"delimiter": ","}, "list.csv:1: one column only, 'a.mp4'; a list has a path and a label "
         "for each video (say with --delimiter what stands between them)"),
        ("a.mp4,x\nb.mp4\nc.mp4,y\n", {}, "list.csv:2: 1 columns where the others have 2; put cells that hold the "
         "delimiter into quotes"),
        ("a.mp4,x\n", {"delimiter": '"'}, "list.csv: the delimiter '\"' is none; allowed is one character, such as "
         "',' or a tab"),
    ],
)  # fmt: skip
def test_faults(text, form, message):
    with pytest.raises(DataError) as error:
        read(text, **form)
    assert str(error.value) == message
