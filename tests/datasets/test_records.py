"""Records, and the files of class names."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from uniformer_video.datasets.records import VideoRecord, read_class_names
from uniformer_video.runtime.errors import DataError

NAMES = ["riding a bike", "plié", "Ski-Jump"]


def test_a_record_is_a_small_constant():
    record = VideoRecord("a.mp4", 3)
    assert (record.path, record.label, record.num_frames) == ("a.mp4", 3, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        record.label = 4
    assert not hasattr(record, "__dict__")
    assert pickle.loads(pickle.dumps(record)) == record


def test_no_file_no_names(tmp_path):
    assert read_class_names(tmp_path, 3) is None


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
        ("classes.json", b"a, b, c", "{}: not JSON ("),
        ("classes.json", b"", "{}: not JSON ("),
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
