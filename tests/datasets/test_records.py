"""Records, and the files of class names."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from uniformer_video.datasets.records import Annotation, VideoRecord, read_class_names
from uniformer_video.runtime.errors import DataError

NAMES = ["riding a bike", "plié", "Ski-Jump"]


def test_a_record_is_a_small_constant():
    record = VideoRecord("a.mp4", 3)
    assert (record.path, record.label, record.num_frames) == ("a.mp4", 3, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.label = 4
    assert not hasattr(record, "__dict__")
    assert pickle.loads(pickle.dumps(record)) == record


def test_labels_of_one_and_of_several():
    assert VideoRecord("a.mp4", 3).labels == (3,)
    assert VideoRecord("a.mp4", (3, 7)).labels == (3, 7)
    assert VideoRecord("a.mp4", ()).labels == ()


def test_an_annotation_has_no_names_and_nothing_absent_unless_it_says_so():
    annotation = Annotation([VideoRecord("a.mp4", 0)])
    assert (annotation.class_names, annotation.absent, annotation.source) == (None, (), "")


def test_no_file_no_names(tmp_path):
    assert read_class_names(tmp_path, 3) is None
    assert read_class_names(tmp_path, None) is None


def test_any_number_of_names(tmp_path):
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert read_class_names(tmp_path, None) == ["a", "b"]
    assert read_class_names(tmp_path, 2) == ["a", "b"]


@pytest.mark.parametrize(("name", "text"), [("classes.json", "[]"), ("classes.txt", "\n \r\n")])
def test_no_names_at_all(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError) as error:
        read_class_names(tmp_path, None)
    assert str(error.value) == f"{tmp_path / name} names no class; write the class names in label order"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.json", '["riding a bike", "pli\\u00e9", "Ski-Jump"]'),
        ("classes.json", '\ufeff["riding a bike", "plié", "Ski-Jump"]\r\n'),
        ("classes.txt", "riding a bike\nplié\nSki-Jump\n"),
        ("classes.txt", "\ufeffriding a bike\r\nplié \r\n\r\nSki-Jump"),
    ],
)
def test_names_in_label_order(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert read_class_names(tmp_path, 3) == NAMES


def test_json_comes_before_text(tmp_path):
    (tmp_path / "classes.txt").write_text("x\ny\n")
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert read_class_names(tmp_path, 2) == ["a", "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.txt", b"a\nb\n", "{} names 2 classes, but MODEL.NUM_CLASSES is 3; make them agree"),
        ("classes.json", b'["a", "b", "c", "d"]', "{} names 4 classes, but MODEL.NUM_CLASSES is 3; make them agree"),
        ("classes.json", b'{"a": 0}', '{}: must be a list of class names in label order, such as ["run", "jump"]'),
        ("classes.json", b"[1, 2, 3]", '{}: must be a list of class names in label order, such as ["run", "jump"]'),
    ],
)
def test_wrong_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read_class_names(tmp_path, 3)
    assert str(error.value) == message.format(tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "begin"),
    [
        ("classes.json", b"a, b, c", "{}:1: not JSON ("),
        ("classes.json", b"", "{}:1: not JSON ("),
        (
            "classes.json",
            b'["a",\n"b"\n"c"]',
            "{}:3: not JSON (Expecting ','",
        ),
        ("classes.json", b"[" * 100_000, "{}:1: not JSON (lists or objects nested too deeply, column 1)"),
        ("classes.json", b"[" + b"9" * 10_000 + b"]", "{}"),
        ("classes.json", b'["a", NaN, "c"]', "{}"),
        ("classes.json", b'["a", "\\ud800", "c"]', "{}, class 1: the name '\\ud800' holds half of a character"),
        ("classes.json", b'["a", "b\\u0000", "c"]', "{}, class 1: the name 'b\\x00' holds a NUL character; remove it"),
        ("classes.json", b'{"a": 0, "a": 1}', "{}:1: not JSON (the key 'a' twice in one object, column 1)"),
        ("classes.json", b'["\xff"]', "{}: cannot be read as UTF-8 text ("),
        ("classes.txt", b"caf\xe9\nb\nc\n", "{}: cannot be read as UTF-8 text ("),
    ],
)
def test_files_that_are_no_text_or_no_json(tmp_path, name, content, begin):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as error:
        read_class_names(tmp_path, 3)
    assert str(error.value).startswith(begin.format(tmp_path / name))
    assert "\n" not in str(error.value)
