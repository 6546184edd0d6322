"""Steps left out as not finite: counted, listed, told, and the end of a run in a row."""

from __future__ import annotations

import csv
import math

import pytest
import torch

from uniformer_video.datasets.batches import Batch
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.engine.nonfinite import HEADER, NonfiniteLog
from uniformer_video.runtime.errors import UserError

RECORDS = [VideoRecord(f"v {n}.mp4", n % 3) for n in range(6)] + [VideoRecord("seven,x.mp4", (0, 2))]


def batch(*numbers: int, repeats: int = 2) -> Batch:
    each = torch.tensor(numbers).repeat_interleave(repeats)
    clips = torch.zeros(len(each), 3, 1, 1, 1, dtype=torch.uint8)
    return Batch(clips, torch.zeros(len(each), dtype=torch.int64), each, torch.zeros_like(each))


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def made(tmp_path) -> NonfiniteLog:
    return NonfiniteLog(tmp_path / "nonfinite.csv", RECORDS, 3)


def test_a_step_is_counted_listed_and_told(made, log):
    made.left_out(batch(5, 1), epoch=0, step=4, loss=math.nan, norm=2.5)
    assert (made.total, made.in_row) == (1, 1)
    assert rows(made.path) == [
        list(HEADER),
        ["1", "5", "nan", "2.5", "v 1.mp4", "1"],
        ["1", "5", "nan", "2.5", "v 5.mp4", "2"],
    ]
    assert log == [
        "WARNING: epoch 1 step 5 left out: its loss is nan and its gradient norm 2.5 (1 in a row, 1 in all); its "
        f"videos are in {made.path}"
    ]


def test_rows_are_added_and_a_step_that_is_met_again_stands_once(made):
    made.left_out(batch(0), epoch=0, step=4, loss=math.inf, norm=1)
    made.left_out(batch(6), epoch=1, step=4, loss=1, norm=math.inf)
    made.passed()
    made.left_out(batch(2, 3), epoch=0, step=4, loss=math.inf, norm=1)
    assert rows(made.path)[1:] == [
        ["2", "5", "1", "inf", "seven,x.mp4", "0 2"],
        ["1", "5", "inf", "1", "v 2.mp4", "2"],
        ["1", "5", "inf", "1", "v 3.mp4", "0"],
    ]


def test_a_row_ends_with_a_step_that_was_taken(made):
    for _ in range(4):
        made.left_out(batch(0), epoch=0, step=0, loss=math.nan, norm=1)
        made.left_out(batch(0), epoch=0, step=1, loss=math.nan, norm=1)
        made.passed()
    assert (made.total, made.in_row) == (8, 0)


def test_so_many_in_a_row_end_the_run_with_advice(made):
    for step in range(2):
        made.left_out(batch(0), epoch=6, step=step, loss=math.nan, norm=1)
    with pytest.raises(UserError) as caught:
        made.left_out(batch(4), epoch=6, step=2, loss=math.inf, norm=math.nan)
    assert str(caught.value) == (
        "3 steps in a row had an infinite or NaN loss or gradient, the last at epoch 7 step 3 (loss inf, gradient "
        f"norm nan; SOLVER.MAX_NONFINITE 3); their videos are in {made.path}; lower SOLVER.BASE_LR or lengthen "
        "SOLVER.WARMUP_EPOCHS, set SOLVER.CLIP_GRAD_L2NORM, or TRAIN.MIXED_PRECISION bf16 or False; none of these "
        f"steps has changed a weight, and checkpoints in {made.path.parent} are kept: where the loss grew before "
        "them, remove the newest"
    )
    assert rows(made.path)[-1] == ["7", "3", "inf", "nan", "v 4.mp4", "1"]


def test_the_counts_go_on_after_a_restart(made, tmp_path):
    made.left_out(batch(0), epoch=0, step=0, loss=math.nan, norm=1)
    made.left_out(batch(0), epoch=0, step=1, loss=math.nan, norm=1)
    assert made.state() == {"total": 2, "in_row": 2}
    other = NonfiniteLog(tmp_path / "other.csv", RECORDS, 3)
    other.load(made.state())
    with pytest.raises(UserError, match="3 steps in a row"):
        other.left_out(batch(0), epoch=0, step=2, loss=math.nan, norm=1)
    fresh = NonfiniteLog(tmp_path / "third.csv", RECORDS, 3)
    fresh.load({})  # of a checkpoint from before there were counts
    assert fresh.state() == {"total": 0, "in_row": 0}


@pytest.mark.parametrize("before", [b"\xff\xfe\x00damaged\r\x00,\n1,1\xe9\n", b"", b'"never closed', b"\n\n"])
def test_a_report_that_was_damaged_does_not_end_the_run(made, before):
    made.path.write_bytes(before)
    made.left_out(batch(5), epoch=0, step=4, loss=math.nan, norm=2.5)
    found = rows(made.path)
    assert found[0] == list(HEADER) and found[-1] == ["1", "5", "nan", "2.5", "v 5.mp4", "2"]
