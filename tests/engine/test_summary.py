"""What a training tells at its end."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.dataset import Failure
from uniformer_video.engine import summary
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.nonfinite import NonfiniteLog
from uniformer_video.engine.summary import tell_summary


@pytest.fixture
def told(tmp_path, monkeypatch, log):
    """Return a function that tells a summary and gives the lines and what was drawn."""
    drawn = []
    monkeypatch.setattr(summary, "draw_curves", lambda history, path: drawn.append((len(history), path.name)))

    def tell(*, epochs=2, best=None, patience=0, broken=(), left_out=0):
        failures = {split: FailureLog(None, split, records=9) for split in ("train", "val")}
        for number, split in enumerate(broken):
            failures[split].add([Failure(number, f"{number}.mp4", "x")])
        nonfinite = NonfiniteLog(tmp_path / "nonfinite.csv", [], 5)
        nonfinite.total = left_out
        log.clear()
        history = [{"epoch": 1, "train_loss": 1.0}, {"epoch": 2, "train_loss": 0.5}]
        tell_summary(
            tmp_path,
            history=history,
            best=best,
            watched="val_top1",
            epochs=epochs,
            patience=patience,
            failures=failures,
            nonfinite=nonfinite,
        )
        assert drawn == [(2, "curves.png")]
        return list(log)

    return tell


def test_a_whole_run(told, tmp_path):
    assert told(best={"epoch": 2, "val_top1": 87.5}) == [
        f"INFO: curves: {tmp_path / 'curves.png'}",
        "INFO: best validation: top-1 87.50 % after epoch 2, kept in "
        f"{tmp_path / 'checkpoints' / 'checkpoint_best.pyth'}",
    ]


def test_an_early_end_says_since_when(told):
    line = "INFO: stopped after epoch 2 of 7: no better top-1 since {} (TRAIN.EARLY_STOP_PATIENCE 3)"
    assert told(epochs=7, patience=3, best={"epoch": 1, "val_top1": 1.0})[0] == line.format("epoch 1")


def test_an_early_end_without_any_best(told):
    lines = told(epochs=7, patience=3)
    assert lines[0].endswith("no better top-1 since the start (TRAIN.EARLY_STOP_PATIENCE 3)") and len(lines) == 2


def test_what_was_left_out(told, tmp_path):
    assert told(broken=("val", "train", "val"), left_out=4)[1:] == [
        f"WARNING: videos that could not be read: 1 train, 2 val; see {tmp_path / 'unreadable.csv'}",
        f"WARNING: 4 steps were left out as not finite; see {tmp_path / 'nonfinite.csv'}",
    ]
