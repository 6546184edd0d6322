"""Lists of videos and labels in all their forms."""

from __future__ import annotations

import csv
import io

import pytest
import simplejson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uniformer_video.datasets.label_lists import LabelEntry, read_label_list
from uniformer_video.runtime.errors import DataError


def read(folder, name, text, **options):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_label_list(path, **options)


def pairs(folder, name, text, **options):
    return [(e.path, e.labels) for e in read(folder, name, text, **options).entries]


def error_of(folder, name, text, **options):
    with pytest.raises(DataError) as error:
        read(folder, name, text, **options)
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(str(folder / name))
    return message.removeprefix(str(folder / name))


RUN_AND_JUMP = [("a.mp4", ("run",)), ("my, clip.mp4", ("high jump",))]


# -------------------------------------------------------------------------------------------------- one label, tables


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.csv", 'path,label\na.mp4,run\n"my, clip.mp4",high jump\n'),
        ("l.csv", '\ufeffa.mp4,run\r\n\r\n"my, clip.mp4", high jump \r\n'),
        ("l.csv", 'a.mp4;run\n"my, clip.mp4";high jump'),
        ("l.tsv", "Video Path\tClass\na.mp4\trun\nmy, clip.mp4\thigh jump\n"),
        ("l.txt", "a.mp4\trun\nmy, clip.mp4\thigh jump\n"),
        ("l.csv", 'a.mp4|run\n"my, clip.mp4"|high jump\n'),
        ("l.csv", 'label,file\nrun,a.mp4\nhigh jump,"my, clip.mp4"\n'),
        ("l.csv", 'run,a.mp4\nhigh jump,"my, clip.mp4"\n'),
        ("l.csv", 'clip,what they do\na.mp4,run\n"my, clip.mp4",high jump\n'),
        ("l.csv", 'the clip,what they do\na.mp4,run\n"my, clip.mp4",high jump\n'),
        ("l.txt", 'a.mp4 run\n"my, clip.mp4" "high jump"\n'),
        ("l", "a.mp4,run\n,\n,,\n".replace(",,\n", "") + '"my, clip.mp4",high jump\n'),
        ("l.csv", '"a.mp4","run"\r"my, clip.mp4","high jump"\r'),
    ],
)
def test_tables_of_one_label(tmp_path, name, text):
    found = read(tmp_path, name, text)
    assert [(e.path, e.labels) for e in found.entries] == RUN_AND_JUMP
    assert not found.multi_label


def test_numbers_as_labels_are_text(tmp_path):
    assert pairs(tmp_path, "l.csv", "a.mp4 3\nmy clip.mp4 007\n") == [("a.mp4", ("3",)), ("my clip.mp4", ("007",))]
    assert pairs(tmp_path, "l.json", '[{"path": "a.mp4", "label": 3}, {"path": "b.mp4", "label": 4.0}]') == [
        ("a.mp4", ("3",)),
        ("b.mp4", ("4",)),
    ]


def test_groups_splits_and_lines(tmp_path):
    text = "split,subject,video,class_id,class\n\ntrain,s1,a.mp4,0,run\nval,,b.mp4,1,jump\n"
    found = read(tmp_path, "l.csv", text)
    assert found.entries == [
        LabelEntry("a.mp4", ("run",), "s1", "train", 3),
        LabelEntry("b.mp4", ("jump",), "", "val", 4),
    ]
    assert found.understood == (
        "comma-separated, with a header, paths in column 'video', labels in 'class', groups in 'subject', splits in "
        "'split'"
    )


def test_columns_that_the_user_names(tmp_path):
    text = "id,video,label,verb,who\n1,a.mp4,x,run,s1\n2,b.mp4,y,jump,s2\n"
    options = {"path_column": "VIDEO", "label_column": "verb", "group_column": "who", "split_column": "3"}
    assert read(tmp_path, "l.csv", text, **options).entries == [
        LabelEntry("a.mp4", ("run",), "s1", "x", 2),
        LabelEntry("b.mp4", ("jump",), "s2", "y", 3),
    ]
    text = "x/1,run,q\nx/2,jump,q\n"
    assert pairs(tmp_path, "l.csv", text, label_column=2) == [("x/1", ("run",)), ("x/2", ("jump",))]
    assert pairs(tmp_path, "l.csv", text, label_column="3", path_column="1") == [("x/1", ("q",)), ("x/2", ("q",))]


def test_header_or_not_as_the_user_says(tmp_path):
    text = "path,label\na.mp4,run\n"
    assert pairs(tmp_path, "l.csv", text, has_header=False) == [("path", ("label",)), ("a.mp4", ("run",))]
    assert pairs(tmp_path, "l.csv", "x,y\na,run\n", has_header=True, path_column="x") == [("a", ("run",))]


def test_a_delimiter_that_the_user_names(tmp_path):
    assert pairs(tmp_path, "l.csv", "a,b.mp4 run\n", delimiter=" ") == [("a,b.mp4", ("run",))]
    assert pairs(tmp_path, "l.csv", "a,b.mp4\trun\n", delimiter="\\t") == [("a,b.mp4", ("run",))]
    assert pairs(tmp_path, "l.csv", "a,b.mp4:run\n", delimiter=":") == [("a,b.mp4", ("run",))]


# ------------------------------------------------------------------------------------------------------ several labels


@pytest.mark.parametrize(
    ("name", "text", "options"),
    [
        ("l.csv", "a.mp4 3,7\nb.mp4 3\nc.mp4 -\n", {}),
        ("l.csv", "path,labels\na.mp4,3|7\nb.mp4,3\nc.mp4,\n", {}),
        ("l.csv", "a.mp4,3;7\nb.mp4,3\nc.mp4,\n", {"label_separator": ";"}),
        ("l.csv", "a.mp4;3,7\nb.mp4;3\nc.mp4;\n", {"label_separator": ","}),
        ("l.csv", 'path,label\na.mp4,"[""3"", 7]"\nb.mp4,3\nc.mp4,[]\n', {}),
        ("l.csv", "path,label_1,label_2\na.mp4,3,7\nb.mp4,3,\nc.mp4,,\n", {}),
        ("l.csv", "path,label,label\na.mp4,3,7\nb.mp4,3,\nc.mp4,,\n", {}),
        ("l.csv", "path,3,7\na.mp4,1,1\nb.mp4,1,0\nc.mp4,0,0\n", {}),
        ("l.json", '[{"id": "a.mp4", "tag": [3, "7"]}, {"id": "b.mp4", "tag": "3"}, {"id": "c.mp4", "tag": []}]', {}),
        ("l.json", '{"a.mp4": [3, 7], "b.mp4": [3], "c.mp4": null}', {}),
        ("l.json", '{"a.mp4": "3+7", "b.mp4": "3", "c.mp4": ""}', {"label_separator": "+"}),
        ("l.jsonl", '["a.mp4", [3, 7]]\n["b.mp4", 3]\n["c.mp4", []]', {}),
    ],
)  # fmt: skip
def test_several_labels(tmp_path, name, text, options):
    found = read(tmp_path, name, text, **options)
    assert [(e.path, e.labels) for e in found.entries] == [("a.mp4", ("3", "7")), ("b.mp4", ("3",)), ("c.mp4", ())]
    assert found.multi_label


def test_one_label_may_hold_what_divides_others(tmp_path):
    text = "path,label\na.mp4,run|jump\nb.mp4,[something] falling\nc.mp4,x;y\n"
    found = read(tmp_path, "l.csv", text)
    assert [e.labels for e in found.entries] == [("run|jump",), ("[something] falling",), ("x;y",)]
    assert not found.multi_label


def test_a_label_twice_is_once(tmp_path):
    assert pairs(tmp_path, "l.jsonl", '["a.mp4", ["x", "y", "x"]]') == [("a.mp4", ("x", "y"))]


# ---------------------------------------------------------------------------------------------------------------- JSON


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.json", '[{"path": "a.mp4", "label": "run"},\n{"path": "b.mp4", "label": "jump"}]'),
        ("l.json", '[["a.mp4", "run"],\n["b.mp4", "jump"]]'),
        ("l.json", '{"a.mp4": "run",\n"b.mp4": "jump"}'),
        ("l.json", '{"a.mp4": {"label": "run"},\n"b.mp4": {"class": "jump", "length": 3}}'),
        ("l.json", '{"n": 1, "videos": [{"File Name": "a.mp4", "Category": "run"},\n{"id": "b.mp4", "tag": "jump"}]}'),
        ("l.json", '{"data": [["a.mp4", "run"],\n["b.mp4", "jump"]]}'),
        ("l.json", '{"annotations": [{"video": "a.mp4", "action": "run"},\n{"video": "b.mp4", "action": "jump"}]}'),
        ("l.jsonl", '\ufeff{"path": "a.mp4", "label": "run"}\r\n{"path": "b.mp4", "label": "jump"}\r\n'),
        ("l.ndjson", '["a.mp4", "run"]\n["b.mp4", "jump"]\n'),
        ("l.json", '{"path": "a.mp4", "label": "run"}\n{"path": "b.mp4", "label": "jump"}\n'),
        ("l", '[["a.mp4", "run"],\n["b.mp4", "jump"]]'),
    ],
)  # fmt: skip
def test_forms_of_json(tmp_path, name, text):
    found = read(tmp_path, name, text)
    assert [(e.path, e.labels, e.line) for e in found.entries] == [("a.mp4", ("run",), 1), ("b.mp4", ("jump",), 2)]
    assert not found.multi_label


def test_keys_of_json(tmp_path):
    text = '[{"id": 3, "video": "a.mp4", "action": "run", "subject": 7, "subset": "training"}]'
    assert read(tmp_path, "l.json", text).entries == [LabelEntry("a.mp4", ("run",), "7", "training", 1)]
    found = read(tmp_path, "l.json", text, path_column="ID", label_column="subset", group_column="action")
    assert found.entries == [LabelEntry("3", ("training",), "run", "", 1)]
    assert found.understood == "JSON with 'ID' and 'subset'"


# -------------------------------------------------------------------------------------------------------------- faults


@pytest.mark.parametrize(
    ("name", "text", "options", "message"),
    [
        ("l.csv", "", {}, ": an empty list; write a path and a label for each video"),
        ("l.csv", "path,label\n", {}, ": an empty list; write a path and a label for each video"),
        ("l.json", "[]", {}, ": an empty list; write a path and a label for each video"),
        ("l.jsonl", "\n", {}, ": an empty list; write a path and a label for each video"),
        ("l.csv", "path,label\n\na.mp4,\n", {}, ":3: no label for 'a.mp4'; each video needs one"),
        ("l.csv", "path,label\n,run\n", {}, ":2: no path; each video needs one"),
        ("l.csv", "a.mp4,run\nb,c.mp4,jump\nd.mp4,x\n", {}, ":2: 3 columns where the others have 2; put cells that "
         "hold the delimiter into quotes"),
        ("l.csv", "path,label\nb,c.mp4,jump\n", {}, ":2: 3 columns where the header has 2; put cells that hold the "
         "delimiter into quotes"),
        ("l.csv", 'path,label\na.mp4,run\n"b.mp4,jump\n', {}, ":3: not CSV (unexpected end of data); check the quotes "
         "of this line"),
        ("l.txt", "a.mp4\nb.mp4\n", {}, ":1: no label after a blank in 'a.mp4'; a list has a path and a label a line"),
        ("l.csv", "a.mp4,1,2\n", {}, ":1: which column holds the labels? the list has 3 columns and no header; say so "
         "with --label-column"),
        ("l.csv", "x,y,label\n1,2,3\n", {}, ":1: which column holds the paths? its columns are 'x', 'y', 'label'; say "
         "so with --path-column"),
        ("l.csv", "path,label\na.mp4,x\n", {"label_column": "class"}, ":1: there is no label column 'class'; its "
         "columns are 'path', 'label'; name one with --label-column, or give its number from 1"),
        ("l.csv", "a.mp4,x\n", {"path_column": 3}, ":1: there is no path column '3'; the list has 2 columns and no "
         "header; name one with --path-column, or give its number from 1"),
        ("l.csv", "a.mp4,x\n", {"delimiter": "::"}, ": the delimiter '::' is none; allowed is one character, such as "
         "',' or a tab"),
        ("l.csv", "a\0.mp4,x\n", {"delimiter": ","}, None),
        ("l.csv", "path,u,v\na.mp4,1,0\nb.mp4,2,0\n", {}, ":1: which column holds the labels? its columns are 'path', "
         "'u', 'v'; say so with --label-column"),
        ("l.csv", "path,u,v\n" + "a.mp4,1,0\n" * 300 + "b.mp4,2,0\n", {}, ":302: '2' in a column of 0 and 1; name a "
         "column with --label-column"),
        ("l.json", '[{"path": "a.mp4"}]', {}, ":1: no label among the keys 'path'; name the key with --label-column"),
        ("l.json", '[\n{"label": "a"}]', {}, ":2: no path among the keys 'label'; name the key with --path-column"),
        ("l.json", "[{}]", {}, ":1: no path among the keys none; name the key with --path-column"),
        ("l.json", '[{"path": "a", "label": "x"}]', {"group_column": "who"}, ":1: no key 'who' among the keys 'path', "
         "'label'; name the key with --group-column"),
        ("l.json", '[{"path": "a.mp4", "label": null}]', {}, ":1: no label for 'a.mp4'; each video needs one"),
        ("l.json", '[{"path": "a.mp4", "label": true}]', {}, ":1: the label is True; it must be a text or a whole "
         "number"),
        ("l.json", '[{"path": "a.mp4", "label": 1.5}]', {}, ":1: the label is 1.5; it must be a text or a whole "
         "number"),
        ("l.json", '[{"path": "a.mp4", "label": [["x"]]}]', {}, ":1: the label is list; it must be a text or a whole "
         "number"),
        ("l.json", '[{"path": ["a.mp4"], "label": "x"}]', {}, ":1: the path is list; it must be a text or a whole "
         "number"),
        ("l.json", '[{"path": "", "label": "x"}]', {}, ":1: no path; each video needs one"),
        ("l.json", '[{"path": "a\\u0000", "label": "x"}]', {}, ":1: the path 'a\\x00' holds a NUL character; "
         "remove it"),
        ("l.json", '[{"path": "a", "label": "\\udc00"}]', {}, ":1: the label '\\udc00' holds half of a character (a "
         "lone surrogate)"),
    ],
)  # fmt: skip
def test_faults_are_named(tmp_path, name, text, options, message):
    found = error_of(tmp_path, name, text, **options)
    assert message is None or found == message


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("l.json", '[{"path": "a.mp4",\n"label" "x"}]', 2),
        ("l.json", '["a.mp4"]', 1),
        ("l.json", "\n3", 2),
        ("l.json", "[1e999]", 1),
        ("l.json", '[{"path": "a", "path": "b", "label": "x"}]', 1),
        ("l.json", "[" * 100_000, 1),
        ("l.jsonl", '["a", "b"]\n\n{"a"}\n', 3),
        ("l.jsonl", '["a", "b"]\n["a"]\n', 2),
    ],
)
def test_faults_of_json_have_a_line(tmp_path, name, text, line):
    assert error_of(tmp_path, name, text).startswith(f":{line}: ")


def test_no_file(tmp_path):
    with pytest.raises(DataError) as error:
        read_label_list(tmp_path / "l.csv")
    assert (
        str(error.value)
        == f"{tmp_path / 'l.csv'}: no such file; give a CSV, TSV, JSON or JSONL list of videos and labels"
    )
    assert "cannot be read as UTF-8 text" in error_of(tmp_path, "l.csv", b"\xff\xfea\x00")


# --------------------------------------------------------------------------------------------------------- round trips

TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=12).filter(
    lambda w: w == w.strip() and not w.startswith("[")
)
ENTRIES = st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ENTRIES, st.sampled_from([",", "\t", ";"]))
def test_a_quoted_table_is_read_as_it_was_written(tmp_path, entries, delimiter):
    file = io.StringIO(newline="")
    csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL).writerows([("path", "label"), *entries])
    found = pairs(tmp_path, "l.csv", file.getvalue(), delimiter=delimiter)
    assert found == [(path, (label,)) for path, label in entries]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ENTRIES, st.booleans())
def test_json_is_read_as_it_was_written(tmp_path, entries, lines):
    objects = [{"path": path, "label": label} for path, label in entries]
    text = "\n".join(map(simplejson.dumps, objects)) if lines else simplejson.dumps(objects, indent=1)
    found = pairs(tmp_path, "l.jsonl" if lines else "l.json", text)
    assert found == [(path, (label,)) for path, label in entries]
