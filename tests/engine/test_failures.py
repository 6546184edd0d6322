"""Unreadable videos: said once, written once."""

from __future__ import annotations

import csv

import pytest
import torch

from uniformer_video.datasets.dataset import Failure
from uniformer_video.datasets.loader import Batch
from uniformer_video.engine.failures import FailureLog
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import DataError, WriteError

CPU = torch.device("cpu")


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
    with pytest.raises(WriteError, match="No space left"):
        failures.add([Failure(1, "b.mp4", "text")])
    assert path.read_bytes() == before == b"split,path,cause\ntrain,a.mp4,empty\n"
    assert list(tmp_path.iterdir()) == [path]


# -------------------------------------------------------------------------------------------------------- too many


def numbered(count, first=0):
    return [Failure(n, f"v{n}.mp4", "empty") for n in range(first, first + count)]


def test_new_failures_are_counted():
    failures = FailureLog(None, "train")
    assert failures.add([]) == 0
    assert failures.add(numbered(3)) == 3
    assert failures.add(numbered(5)) == 2
    assert failures.add([*numbered(1, 9), *numbered(1, 9)]) == 1
    assert len(failures) == 6


def test_ten_are_said_and_all_are_written(tmp_path, log):
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "train")
    failures.add(numbered(7))
    failures.add(numbered(8, 7))
    failures.add(numbered(5, 15))
    assert log == [
        *(f"WARNING: unreadable train video v{n}.mp4: empty" for n in range(10)),
        f"WARNING: further unreadable train videos are listed in {path} alone",
    ]
    assert [row[1] for row in rows(path)[1:]] == [f"v{n}.mp4" for n in range(20)]


def test_exactly_ten_need_no_further_word(log):
    failures = FailureLog(None, "test")
    failures.add(numbered(10))
    failures.add(numbered(10))
    assert len(log) == 10
    failures.add(numbered(1, 10))
    assert log[10:] == ["WARNING: further unreadable test videos are counted at the end"]


@pytest.mark.parametrize(
    ("count", "records", "share", "stops"),
    [
        (0, 10, 0.0, False),
        (1, 10, 0.0, True),
        (1, 10, 0.1, False),
        (2, 10, 0.1, True),
        (29, 100, 0.29, False),  # 0.29 * 100 is below 29
        (30, 100, 0.29, True),
        (7, 10, 0.7, False),
        (9, 10, 1.0, False),
        (10, 10, 1.0, True),  # nothing is left to train on
        (1, 1, 1.0, True),
        (0, 0, 0.5, False),
    ],
)
def test_the_share_that_may_fail(count, records, share, stops):
    failures = FailureLog(None, "train", records=records, max_fraction=share)
    failures.add(numbered(count))
    if not stops:
        failures.check()
        return
    with pytest.raises(DataError):
        failures.check()


def test_the_error_in_full(tmp_path):
    path = tmp_path / "unreadable.csv"
    failures = FailureLog(path, "val", records=20, max_fraction=0.1)
    failures.add(reversed(numbered(5)))
    with pytest.raises(DataError) as error:
        failures.check()
    assert str(error.value) == (
        "5 of the 20 videos of the validation list cannot be read, more than DATA.MAX_BAD_FRACTION 0.1 allows, for "
        f"example v0.mp4: empty; v1.mp4: empty; v2.mp4: empty (all in {path}); mend the videos, correct the list or "
        "DATA.PATH_PREFIX, or raise DATA.MAX_BAD_FRACTION"
    )
    everything = FailureLog(None, "train", records=2)
    everything.add(numbered(2))
    with pytest.raises(DataError) as error:
        everything.check()
    assert str(error.value) == (
        "none of the 2 videos of the training list can be read, for example v0.mp4: empty; v1.mp4: empty; mend the "
        "videos, correct the list or DATA.PATH_PREFIX"
    )


def batch(failed=(), *, empty=False):
    zeros = torch.zeros(0 if empty else 2, dtype=torch.int64)
    clips = None if empty else torch.zeros(2, 3, 1, 1, 1, dtype=torch.uint8)
    return Batch(clips, zeros, zeros, zeros, failures=list(failed))


def test_a_step_goes_on_with_what_there_is():
    failures = FailureLog(None, "train", records=10, max_fraction=0.3)
    assert failures.admits(batch(), CPU, expected=2) == (2, True)
    assert failures.admits(batch(numbered(2)), CPU, expected=3) == (2, False)
    assert failures.admits(batch(numbered(3), empty=True), CPU).clips == 0
    assert failures.admits(batch(empty=True), CPU).clips == 0
    assert failures.admits(batch(numbered(3)), CPU).clips == 2
    with pytest.raises(DataError, match="^4 of the 10 videos"):
        failures.admits(batch(numbered(4)), CPU)


@pytest.fixture
def other(monkeypatch):
    """Let there be a second process, whose part in a step is set by the test."""

    class Other:
        failed, empty, short = {}, 0.0, 0.0

    def sum_floats(own, device):
        clips = 0 if Other.empty else 3
        return [own[0] + len(Other.failed), own[1] + Other.empty, own[2] + clips, own[3] + Other.short]

    monkeypatch.setattr(distributed, "sum_floats", sum_floats)
    monkeypatch.setattr(distributed, "gather_objects", lambda own: [own, Other.failed])
    return Other


def test_a_step_that_another_process_has_nothing_for_is_left_out_by_all(other):
    failures = FailureLog(None, "train", records=10, max_fraction=0.3)
    assert failures.admits(batch(), CPU, expected=2) == (5, True)
    other.short = 1.0
    assert failures.admits(batch(), CPU, expected=2) == (5, False)
    other.empty = 1.0
    assert failures.admits(batch(), CPU, expected=2) == (0, False)


def test_what_other_processes_could_not_read_counts_for_all(other):
    failures = FailureLog(None, "train", records=10, max_fraction=0.3)
    other.failed = {f.record: f for f in numbered(2, 5)}
    assert failures.admits(batch(numbered(1)), CPU).clips == 5
    assert sorted(failures.by_record) == [0, 5, 6]
    other.failed = {f.record: f for f in numbered(3, 5)}
    with pytest.raises(DataError, match="^4 of the 10 videos"):
        failures.admits(batch(), CPU)


@pytest.mark.parametrize("before", [b"\xff\xfe\x00damaged\r\x00,\n1,1\xe9\n", b"", b'"never closed'])
def test_a_file_that_was_damaged_does_not_end_the_run(tmp_path, before):
    path = tmp_path / "unreadable.csv"
    path.write_bytes(before)
    FailureLog(path, "val").add([Failure(0, "a.mp4", "cause")])
    assert path.read_text(encoding="utf-8").splitlines()[-1] == "val,a.mp4,cause"


def test_a_folder_in_the_files_place_is_one_line(tmp_path):
    (tmp_path / "unreadable.csv").mkdir()
    with pytest.raises(WriteError, match=r"unreadable.csv' cannot be written \(Is a directory\); check the folder"):
        FailureLog(tmp_path / "unreadable.csv", "val").add([Failure(0, "a.mp4", "cause")])
