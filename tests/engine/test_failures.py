"""Unreadable videos: said once, written once."""

from __future__ import annotations

import csv

import pytest

from uniformer_video.datasets.dataset import Failure
from uniformer_video.engine.failures import FailureLog
from uniformer_video.runtime import distributed


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_each_video_is_said_and_written_once(tmp_path, log):
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "train")
    failures.add([])
    assert not path.exists() and len(failures) == 0
    failures.add([Failure(3, "a.mp4: empty"), Failure(3, "a.mp4: empty"), Failure(5, 'b, "x".mp4: no picture')])
    failures.add([Failure(5, "b: another reason later"), Failure(1, "é.mp4: text")])
    assert rows(path) == [
        ["split", "reason"],
        ["train", "a.mp4: empty"],
        ["train", 'b, "x".mp4: no picture'],
        ["train", "é.mp4: text"],
    ]
    assert log == [
        "WARNING: unreadable train video a.mp4: empty",
        'WARNING: unreadable train video b, "x".mp4: no picture',
        "WARNING: unreadable train video é.mp4: text",
    ]
    assert failures.reasons == {3: "a.mp4: empty", 5: 'b, "x".mp4: no picture', 1: "é.mp4: text"}
    assert len(failures) == 3


def test_two_splits_share_a_file(tmp_path):
    path = tmp_path / "unreadable.csv"
    train, val = FailureLog(path, "train"), FailureLog(path, "val")
    train.add([Failure(0, "a: x")])
    val.add([Failure(0, "a: x")])
    train.add([Failure(1, "b: y")])
    assert rows(path) == [["split", "reason"], ["train", "a: x"], ["val", "a: x"], ["train", "b: y"]]


def test_a_resumed_run_writes_no_row_twice(tmp_path, log):
    path = tmp_path / "unreadable.csv"
    FailureLog(path, "train").add([Failure(0, "a: x, y")])
    resumed = FailureLog(path, "train")
    resumed.add([Failure(0, "a: x, y"), Failure(1, "b: z")])
    assert rows(path) == [["split", "reason"], ["train", "a: x, y"], ["train", "b: z"]]
    assert len(log) == 3  # but says it again: its log may be another
    assert len(resumed) == 2


def test_without_a_file(tmp_path, log):
    failures = FailureLog(None, "test")
    failures.add([Failure(0, "a: x")])
    assert log == ["WARNING: unreadable test video a: x"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_speaks_for_all(tmp_path, log, monkeypatch, main):
    monkeypatch.setattr(distributed, "is_main", lambda: main)
    monkeypatch.setattr(distributed, "gather_objects", lambda own: [own, {9: "z: other", 4: "d: mine"}])
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "train")
    failures.add([Failure(4, "d: mine")])
    failures.sync()
    failures.sync()
    assert failures.reasons == {4: "d: mine", 9: "z: other"}
    expected = ["WARNING: unreadable train video d: mine", "WARNING: unreadable train video z: other"]
    assert log == (expected if main else [])
    assert path.exists() == main
