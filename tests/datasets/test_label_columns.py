"""Columns by their usual names, by the user's word, by content."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.label_columns import (
    LABEL_NAMES,
    PATH_NAMES,
    Columns,
    Table,
    key,
    looks_like_file,
    usual,
)
from uniformer_video.runtime.errors import DataError


def columns(header, *rows, path=None, label=None, group=None, split=None):
    table = Table("f:1", header.split(",") if header else None, [row.split(",") for row in rows])
    return table.columns(path, label, group, split)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("path,label", Columns(0, (1,))),
        ("label,path", Columns(1, (0,))),
        ("Video Path,Class Name", Columns(0, (1,))),
        ("video-path, LABEL ", Columns(0, (1,))),
        ("id,video,class_id,class", Columns(1, (3,))),
        ("name,class", Columns(0, (1,))),
        ("video,name,label", Columns(0, (2,))),
        ("file,category,subject,split", Columns(0, (1,), 2, 3)),
        ("subset,source,url,target", Columns(2, (3,), 1, 0)),
        ("path,label_1,label_2,label10", Columns(0, (1, 2, 3))),
        ("path,tag,tag", Columns(0, (1, 2))),
        ("path,label,label_id", Columns(0, (1,))),
        ("path,verb", Columns(0, (1,))),  # what is left
    ],
)
def test_usual_names(header, expected):
    assert columns(header, ",".join("x" * (header.count(",") + 1))) == expected


def test_the_user_comes_first():
    row = "a.mp4,b.mp4,c,d,e"
    header = "video,other,label,verb,who"
    assert columns(header, row, path="OTHER", label="verb", group="who") == Columns(1, (3,), 4)
    assert columns(header, row, path="2", label=4, split="5") == Columns(1, (3,), None, 4)
    assert columns("", row, path=2, label=3) == Columns(1, (2,))
    # A name that is a number is the name.
    assert columns("1,2,0", "a.mp4,b,c", path="1", label="0") == Columns(0, (2,))


def test_content_tells_where_names_do_not():
    assert columns("", "a.mp4,run", "b.mp4,jump") == Columns(0, (1,))
    assert columns("", "run,a.mp4", "jump,b.mp4") == Columns(1, (0,))
    assert columns("", "x,y") == Columns(0, (1,))
    assert columns("verb,it", "run,x/a", "jump,x/b") == Columns(1, (0,))


def test_columns_of_zeros_and_ones_are_labels():
    assert columns("path,run,jump", "a.mp4,1,0", "b.mp4,1,1") == Columns(0, (1, 2), one_hot=True)
    assert columns("path,split,run,jump", "a.mp4,x,1,0") == Columns(0, (2, 3), None, 1, one_hot=True)


@pytest.mark.parametrize(
    ("header", "row", "options", "message"),
    [
        ("path,a,b", "x,1,2", {}, "f:1: which column holds the labels? its columns are 'path', 'a', 'b'; say so with "
         "--label-column"),
        ("", "a.mp4,1,2", {}, "f:1: which column holds the labels? the list has 3 columns and no header; say so with "
         "--label-column"),
        ("", "a,1,2", {}, "f:1: which column holds the paths? the list has 3 columns and no header; say so with "
         "--path-column"),
        ("a,b", "x,y", {}, "f:1: which column holds the paths? its columns are 'a', 'b'; say so with --path-column"),
        ("path,label", "x,y", {"group": "who"}, "f:1: there is no group column 'who'; its columns are 'path', 'label'; "
         "name one with --group-column, or give its number from 1"),
        ("path,label", "x,y", {"split": "0"}, "f:1: there is no split column '0'; its columns are 'path', 'label'; "
         "name one with --split-column, or give its number from 1"),
        (",".join(f"c{n}" for n in range(20)), ",".join("x" * 20), {}, "f:1: which column holds the paths? its columns "
         "are " + ", ".join(f"'c{n}'" for n in range(12)) + " ...; say so with --path-column"),
    ],
)  # fmt: skip
def test_what_cannot_be_told(header, row, options, message):
    with pytest.raises(DataError) as error:
        columns(header, row, **options)
    assert str(error.value) == message


def test_keys_and_usual_names():
    assert key("  Video-Path ") == "video_path"
    assert usual(["Class ID", "Class"], LABEL_NAMES) == "Class"
    assert usual(["x"], PATH_NAMES) is None
    assert usual([], PATH_NAMES) is None


@pytest.mark.parametrize("text", ["a.mp4", "A.WEBM", "x/y", "c:\\x", "https://h/v"])
def test_files(text):
    assert looks_like_file(text)


@pytest.mark.parametrize("text", ["run", "3", "a.b", "mp4", "", "riding a bike"])
def test_no_files(text):
    assert not looks_like_file(text)
