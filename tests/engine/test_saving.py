"""When a checkpoint is due, what is written and removed, and what a disk that is full leaves."""

from __future__ import annotations

import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.engine import saving
from uniformer_video.engine.checkpoint import Checkpoint, best_path, checkpoint_path, read_checkpoint
from uniformer_video.engine.saving import Saver
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def saver(folder, clock=None, *, keep=2, steps=0, minutes=0.0) -> Saver:
    return Saver(folder, keep=keep, steps=steps, minutes=minutes, **({"clock": clock} if clock else {}))


def at(epoch: int, step: int = 0, value: float = 1.0) -> Checkpoint:
    return Checkpoint(epoch, {"w": torch.tensor([value])}, {"state": {}, "param_groups": []}, "cfg", step=step)


def files(folder) -> list[str]:
    return sorted(os.listdir(folder / "checkpoints"))


@given(every=st.integers(0, 7), step=st.integers(1, 50))
def test_due_by_steps(tmp_path_factory, every, step):
    made = saver(tmp_path_factory.getbasetemp(), steps=every)
    assert made.is_due(step) == (every > 0 and step % every == 0)


def test_due_by_time_since_the_last_one(tmp_path, clock):
    made = saver(tmp_path, clock, minutes=0.5)
    assert not made.is_due(3)
    clock.seconds += 29.9
    assert not made.is_due(3)
    clock.seconds += 0.1
    assert made.is_due(3)
    made.save(at(0, 3))
    assert not made.is_due(4)
    clock.seconds += 30
    assert made.is_due(5)


def test_a_best_one_alone_does_not_count(tmp_path, clock):
    made = saver(tmp_path, clock, minutes=1)
    clock.seconds += 60
    assert made.save(at(1), newest=False, best=True) is None
    assert made.is_due(1) and made.place is None
    assert files(tmp_path) == ["checkpoint_best.pyth"]


def test_only_the_main_process_looks_at_the_time(tmp_path, clock, monkeypatch):
    made = saver(tmp_path, clock, minutes=1, steps=4)
    clock.seconds += 60
    monkeypatch.setattr(distributed, "is_main", lambda: False)
    assert not made.is_due(3) and made.is_due(4)


def test_neither_steps_nor_minutes(tmp_path, clock):
    made = saver(tmp_path, clock)
    clock.seconds += 1e9
    assert not made.is_due(1000)


def test_the_newest_are_kept_and_the_best_besides(tmp_path):
    made = saver(tmp_path, keep=2)
    path = made.save(at(1), best=True)
    assert path == checkpoint_path(tmp_path, 1) and made.place == (1, 0)
    for place in ((1, 2), (1, 4), (2, 0)):
        made.save(at(*place))
    assert files(tmp_path) == [
        "checkpoint_best.pyth",
        "checkpoint_epoch_00001_step_000004.pyth",
        "checkpoint_epoch_00002.pyth",
    ]
    assert read_checkpoint(best_path(tmp_path)).epoch == 1
    assert made.place == (2, 0)


def test_with_0_all_are_kept(tmp_path):
    made = saver(tmp_path, keep=0)
    for epoch in range(1, 6):
        made.save(at(epoch))
    assert len(files(tmp_path)) == 5


def test_one_that_cannot_be_written_leaves_those_before(tmp_path, monkeypatch):
    made = saver(tmp_path, keep=1)
    made.save(at(1, value=3.0))

    def full(*_: object) -> None:
        raise UserError("no room")

    monkeypatch.setattr(saving, "save_checkpoint", full)
    with pytest.raises(UserError, match="no room"):
        made.save(at(2), best=True)
    assert files(tmp_path) == ["checkpoint_epoch_00001.pyth"]
    assert read_checkpoint(checkpoint_path(tmp_path, 1)).model_state["w"].item() == 3.0
    assert made.place == (1, 0)


def test_time_and_place_begin_with_the_checkpoint_there_is(tmp_path, clock):
    made = saver(tmp_path, clock, minutes=1)
    clock.seconds += 59
    made.begin((4, 2))
    clock.seconds += 59
    assert not made.is_due(3) and made.place == (4, 2)
