"""Lists as sources: what they name, where that lies, and a list for each split."""

from __future__ import annotations

import json

import pytest

from uniformer_video.prepare.source_lists import ListOptions, find_lists, read_source
from uniformer_video.prepare.sources import Entry
from uniformer_video.runtime.errors import DataError


def test_a_list_with_all_columns(tmp_path):
    (tmp_path / "set.csv").write_text("file,action,person,part\na/1.mp4,run,p1,train\nb/2.mp4,sit,p2,validation\n")
    options = ListOptions(group_column="person", split_column="part")
    source = read_source(tmp_path / "set.csv", options)
    where = f"{tmp_path}/set.csv"
    assert source.entries == [
        Entry(f"{tmp_path}/a/1.mp4", "a/1.mp4", ("run",), "p1", "train", f"{where}:2"),
        Entry(f"{tmp_path}/b/2.mp4", "b/2.mp4", ("sit",), "p2", "val", f"{where}:3"),
    ]
    assert (source.root, source.files, source.multi_label) == (str(tmp_path), (where,), False)
    assert source.notes[0].startswith(f"{where}: comma-separated, with a header")


def test_paths_begin_in_the_folder_of_videos(tmp_path):
    (tmp_path / "videos").mkdir()
    (tmp_path / "set.tsv").write_text("sub/../1.mp4\trun\n/abs/2.mp4\tsit\nhttp://host/3.mp4\tsit\n../4.mp4\tsit\n")
    source = read_source(tmp_path / "set.tsv", ListOptions(videos=str(tmp_path / "videos")))
    assert [(entry.path, entry.name) for entry in source.entries] == [
        (f"{tmp_path}/videos/1.mp4", "1.mp4"),
        ("/abs/2.mp4", "/abs/2.mp4"),
        ("http://host/3.mp4", "http://host/3.mp4"),
        (f"{tmp_path}/4.mp4", f"{tmp_path}/4.mp4"),
    ]


def test_ids_without_an_ending_find_their_videos(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "frames7").mkdir()
    for name in ("run/1.webm", "run/1.txt", "run/2.x.mp4"):
        (tmp_path / name).touch()
    (tmp_path / "set.csv").write_text("id,label\nrun/1,a\nrun/2.x,a\nframes7,b\nrun/3,b\n")
    assert [(entry.path, entry.name) for entry in read_source(tmp_path / "set.csv").entries] == [
        (f"{tmp_path}/{name}", name) for name in ("run/1.webm", "run/2.x.mp4", "frames7", "run/3")
    ]


def test_a_list_for_each_split(tmp_path):
    (tmp_path / "train.csv").write_text("1.mp4 0\n2.mp4 1\n")
    (tmp_path / "validation.csv").write_text("3.mp4 1\n")
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "run").mkdir()  # lists count, not folders
    source = read_source(tmp_path)
    assert [(entry.name, entry.labels, entry.split) for entry in source.entries] == [
        ("1.mp4", ("0",), "train"),
        ("2.mp4", ("1",), "train"),
        ("3.mp4", ("1",), "val"),
    ]
    assert find_lists(tmp_path) == {"train": tmp_path / "train.csv", "val": tmp_path / "validation.csv"}


def test_several_labels_and_none(tmp_path):
    (tmp_path / "set.jsonl").write_text(
        "\n".join(json.dumps(row) for row in ({"path": "1.mp4", "labels": ["b", "a"]}, {"path": "2.mp4", "labels": []}))
    )
    source = read_source(tmp_path / "set.jsonl")
    assert source.multi_label
    assert [entry.labels for entry in source.entries] == [("b", "a"), ()]


def test_a_list_of_one_label_each_is_an_ordinary_set_unless_a_separator_is_given(tmp_path):
    (tmp_path / "set.json").write_text(
        json.dumps([{"path": "1.mp4", "labels": ["a"]}, {"path": "2.mp4", "labels": ["b"]}])
    )
    source = read_source(tmp_path / "set.json")
    assert not source.multi_label
    assert source.notes[-1] == "each video has exactly one label: a set of one label for each video"
    assert read_source(tmp_path / "set.json", ListOptions(label_separator="|")).multi_label


@pytest.mark.parametrize(
    ("names", "expected"),
    [("still\nmoving\n", ("still", "moving")), ("still\n", ()), (None, ())],  # a file that knows too few is of others
)
def test_names_beside_numbers(tmp_path, names, expected):
    (tmp_path / "set.csv").write_text("path,label\n1.mp4,0\n2.mp4,1\n")
    if names:
        (tmp_path / "classes.txt").write_text(names)
    assert read_source(tmp_path / "set.csv").class_names == expected


def test_names_beside_words_are_of_no_use(tmp_path):
    (tmp_path / "set.csv").write_text("path,label\n1.mp4,run\n2.mp4,sit\n")
    (tmp_path / "classes.txt").write_text("still\nmoving\n")
    assert read_source(tmp_path / "set.csv").class_names == ()


@pytest.mark.parametrize(
    ("files", "source", "videos", "message"),
    [
        ({}, "no.csv", "", "no.csv: no such file or folder; give a folder of class folders or a list"),
        ({"a.MP4": "\0"}, "a.MP4", "", "a.MP4 is a video; give a folder of class folders or a list"),
        ({"a.csv": "path,label\n"}, "a.csv", "", "a.csv:?.* an empty list|a.csv"),
        ({"a.csv": "1.mp4 0\n"}, "a.csv", "nowhere", "--videos nowhere: no such folder; give the one"),
        ({"train.csv": "1.mp4 0\n", "train.json": "[]"}, ".", "", "train.csv and .*train.json are both lists of train"),
        ({"run/a.mp4": ""}, ".", "/tmp", "--videos belongs to a list, but .* is a folder without a train list"),
        ({"a.csv": "path,label,split\n1.mp4,a,holdout\n"}, "a.csv", "", "a.csv:2: 'holdout' is no split"),
    ],
)
def test_mistakes_are_one_line(tmp_path, files, source, videos, message):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        read_source(tmp_path / source, ListOptions(videos=videos))
    assert "\n" not in str(raised.value)
