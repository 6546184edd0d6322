"""What the harness of chaos.py reads in the output of a run."""

from __future__ import annotations

import pytest

from tests.tools.chaos_path import TOOLS

assert TOOLS
import chaos_log  # noqa: E402
from chaos_log import one_line, phase, resumed_from, steps_done  # noqa: E402

BEGUN = "[11-20 19:31:07 I] uniformer_video 1.0\n"
TRAINS = BEGUN + "[11-20 19:31:07 I] training on 44 videos, 11 steps an epoch of 4 videos x 2 clips; validating\n"


def step(epoch, number, of=11):
    return f"[11-20 19:31:08 I] epoch {epoch}/5 step {number}/{of}  loss 1.1248  lr 0.002  grad 1.16\n"


def done(epoch):
    return f"[11-20 19:31:08 I] epoch {epoch}/5 done  training loss 1.0\n"


TESTS = TRAINS + step(5, 11) + done(5) + "[11-20 19:31:09 I] testing 7 videos x 6 views (2 clips x 3 crops)\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", None),
        (TRAINS, None),
        (TRAINS + step(1, 1), 1),
        (TRAINS + step(1, 11) + done(1), 11),
        (TRAINS + step(1, 11) + done(1) + step(2, 3), 14),
        (TRAINS + step(3, 2, of=7), 16),
        (TRAINS + step(1, 4) + "[x W] epoch 1 step 5 left out: its loss is nan\n", 4),
    ],
)
def test_the_last_step_told_counts_over_all_epochs(text, wanted):
    assert steps_done(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", "start-up"),
        (BEGUN, "start-up"),
        (TRAINS, "training"),
        (TRAINS + step(1, 10), "training"),
        (TRAINS + step(1, 11), "validation"),
        (TRAINS + step(1, 11) + done(1), "training"),
        (TRAINS + step(1, 11) + done(1) + step(2, 11), "validation"),
        (TESTS, "test"),
        (TESTS + "[11-20 19:31:09 I] predictions: a.csv, summary: b.json\n", "end"),
    ],
)
def test_phases(text, wanted):
    assert wanted in chaos_log.PHASES
    assert phase(text) == wanted


def test_a_temporary_file_is_a_writing_until_the_run_has_said_its_last_line():
    assert phase(TRAINS + step(1, 11), writing=True) == "writing"
    assert phase(TESTS + "predictions: a.csv", writing=True) == "end"


def test_where_a_run_went_on_from():
    assert resumed_from(TRAINS) is None
    line = (
        "[11-20 19:31:07 I] resumed from /a b/checkpoints/checkpoint_epoch_00001_step_000002.pyth after 1 of 5 epochs\n"
    )
    assert resumed_from(TRAINS + line) == "/a b/checkpoints/checkpoint_epoch_00001_step_000002.pyth"
    other = line.replace("step_000002", "step_000004")
    assert resumed_from(line + other).endswith("step_000004.pyth"), "the last one counts: a run that torchrun restarted"


@pytest.mark.parametrize(
    ("out", "err", "words", "problems"),
    [
        ("", "error: no room in 'x'\n", ["ROOM"], 0),
        ("", "UserWarning: something\nerror: no room\n", ["no room"], 0),
        ("", "[rank 1 of 2] error: no room\n", ["no room"], 0),
        ("", "", [], 1),
        ("", "error: one\nerror: two\n", [], 1),
        ("", "error: one\n", ["two"], 1),
        ("", "Traceback (most recent call last):\n  x\nerror: one\n", [], 1),
        ("Traceback (most recent call last):\n", "error: one\n", [], 1),
        ("error: on the wrong stream\n", "", ["wrong"], 1),
        ("", "the error: is not at the beginning\n", [], 1),
    ],
)
def test_one_line(out, err, words, problems):
    assert len(one_line(out, err, *words)) == problems
