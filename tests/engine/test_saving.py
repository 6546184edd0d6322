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


def raise_full(*_: object) -> None:
    raise UserError("no room")


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

    monkeypatch.setattr(saving, "save_checkpoint", raise_full)
    with pytest.raises(UserError, match="no room"):
        made.save(at(2), best=True)
    assert files(tmp_path) == ["checkpoint_epoch_00001.pyth"]
    assert read_checkpoint(checkpoint_path(tmp_path, 1)).model_state["w"].item() == 3.0
    assert made.place == (1, 0)


def test_those_of_an_epoch_that_had_another_length_go_once_the_next_one_is_there(tmp_path):
    before = saver(tmp_path, keep=0)
    before.save(at(0, 5))
    for step in (3, 4, 5):
        path = before.save(at(1, step))
    before.save(at(2, 1))  # damaged, say
    made = saver(tmp_path, keep=3)
    made.begin((1, 2), path)  # what were five of six steps are two of three
    assert made.place is None and len(files(tmp_path)) == 5
    made.save(at(1, 3))
    assert files(tmp_path) == [
        "checkpoint_epoch_00000_step_000005.pyth",
        "checkpoint_epoch_00001_step_000003.pyth",
        "checkpoint_epoch_00002_step_000001.pyth",
    ]
    assert read_checkpoint(checkpoint_path(tmp_path, 1, 3)).step == 3 and made.place == (1, 3)
    before.save(at(1, 7))
    made.save(at(2))
    assert checkpoint_path(tmp_path, 1, 7).exists()  # it is done once


def test_one_that_cannot_be_written_leaves_those_of_another_length(tmp_path, monkeypatch):
    path = saver(tmp_path).save(at(1, 5))
    made = saver(tmp_path)
    made.begin((1, 2), path)
    with monkeypatch.context() as patch, pytest.raises(UserError):
        patch.setattr(saving, "save_checkpoint", raise_full)
        made.save(at(1, 3))
    assert files(tmp_path) == [path.name]


def test_going_on_from_the_best_one_removes_nothing(tmp_path):
    saver(tmp_path).save(at(1), newest=False, best=True)
    saver(tmp_path).save(at(1, 4))  # damaged, say
    made = saver(tmp_path)
    made.begin((1, 0), best_path(tmp_path))
    assert made.place is None  # nothing of that name is on the disk
    made.save(at(1, 1))
    assert files(tmp_path) == [
        "checkpoint_best.pyth",
        "checkpoint_epoch_00001_step_000001.pyth",
        "checkpoint_epoch_00001_step_000004.pyth",
    ]


def test_the_place_of_the_checkpoint_that_a_run_goes_on_from(tmp_path):
    path = saver(tmp_path).save(at(1, 4))
    made = saver(tmp_path)
    made.begin((1, 4), path)
    assert made.place == (1, 4)
    made.save(at(1, 5))
    assert len(files(tmp_path)) == 2


def test_time_and_place_begin_with_the_checkpoint_there_is(tmp_path, clock):
    made = saver(tmp_path, clock, minutes=1)
    clock.seconds += 59
    made.begin((4, 2))
    clock.seconds += 59
    assert not made.is_due(3) and made.place == (4, 2)
