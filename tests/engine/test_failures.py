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
    first, second, third = (
        *(Failure(3, "a.mp4", "empty"), Failure(5, 'b, "x": y.mp4', "no picture")),
        Failure(1, "é.mp4", "text"),
    )
    failures.add([first, Failure(3, "a.mp4", "empty"), second])
    failures.add([Failure(5, 'b, "x": y.mp4', "another cause later"), third])
    assert rows(path) == [
        ["split", "path", "cause"],
        ["train", "a.mp4", "empty"],
        ["train", 'b, "x": y.mp4', "no picture"],
        ["train", "é.mp4", "text"],
    ]
    assert log == [
        "WARNING: unreadable train video a.mp4: empty",
        'WARNING: unreadable train video b, "x": y.mp4: no picture',
        "WARNING: unreadable train video é.mp4: text",
    ]
    assert failures.by_record == {3: first, 5: second, 1: third}
    assert len(failures) == 3


def test_two_splits_share_a_file(tmp_path):
    path = tmp_path / "unreadable.csv"
    train, val = FailureLog(path, "train"), FailureLog(path, "val")
    train.add([Failure(0, "a", "x")])
    val.add([Failure(0, "a", "x")])
    train.add([Failure(1, "b", "y")])
    assert rows(path) == [["split", "path", "cause"], ["train", "a", "x"], ["val", "a", "x"], ["train", "b", "y"]]


def test_a_resumed_run_writes_no_row_twice(tmp_path, log):
    path = tmp_path / "unreadable.csv"
    FailureLog(path, "train").add([Failure(0, "a", "x, y")])
    resumed = FailureLog(path, "train")
    # The cause may name another frame, and the list may have been sorted anew.
    resumed.add([Failure(7, "a", "frame 9 is damaged"), Failure(1, "b", "z")])
    FailureLog(path, "val").add([Failure(0, "a", "x, y")])  # another split has a row of its own
    assert rows(path) == [["split", "path", "cause"], ["train", "a", "x, y"], ["train", "b", "z"], ["val", "a", "x, y"]]
    # But it is said again: the log may be another.
    assert log == [
        "WARNING: unreadable train video a: x, y",
        "WARNING: unreadable train video a: frame 9 is damaged",
        "WARNING: unreadable train video b: z",
        "WARNING: unreadable val video a: x, y",
    ]
    assert len(resumed) == 2


def test_a_video_that_is_in_the_list_twice_has_one_row(tmp_path):
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "train")
    failures.add([Failure(0, "a", "x"), Failure(4, "a", "x")])
    assert rows(path) == [["split", "path", "cause"], ["train", "a", "x"]]
    assert len(failures) == 2


def test_without_a_file(tmp_path, log):
    failures = FailureLog(None, "test")
    failures.add([Failure(0, "a", "x")])
    assert log == ["WARNING: unreadable test video a: x"]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("main", [True, False])
def test_the_main_process_speaks_for_all(tmp_path, log, monkeypatch, main):
    mine, other = Failure(4, "d", "mine"), Failure(9, "z", "other")
    monkeypatch.setattr(distributed, "is_main", lambda: main)
    monkeypatch.setattr(distributed, "gather_objects", lambda own: [own, {9: other, 4: mine}])
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "train")
    failures.add([mine])
    failures.sync()
    failures.sync()
    assert failures.by_record == {4: mine, 9: other}
    expected = ["WARNING: unreadable train video d: mine", "WARNING: unreadable train video z: other"]
    assert log == (expected if main else [])
    assert path.exists() == main


def test_a_write_that_fails_leaves_the_rows_before_it(tmp_path, monkeypatch):
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "train")
    failures.add([Failure(0, "a.mp4", "empty")])
    before = path.read_bytes()

    def full_disk(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(OSError, match="No space left"):
        failures.add([Failure(1, "b.mp4", "text")])
    assert path.read_bytes() == before == b"split,path,cause\ntrain,a.mp4,empty\n"
    assert list(tmp_path.iterdir()) == [path]
