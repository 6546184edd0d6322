"""A run that is killed or stopped anywhere and started again ends with the bits of one that was not."""

from __future__ import annotations

import math
import os
import shutil
import signal
from contextlib import suppress

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.engine.training import CPU, assert_same_run, curves, killed_at, last, train
from tests.toy import FULL_AUGMENTATION, entries, rewrite, same_bits, toy_cfg
from uniformer_video.engine import learner, summary, trainer
from uniformer_video.engine.checkpoint import checkpoint_path, checkpoints_in, read_checkpoint, save_checkpoint
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.step import Outcome, TrainStep
from uniformer_video.runtime import stopping
from uniformer_video.runtime.errors import DataError, WriteError
from uniformer_video.solver.ema import WeightAverage

__all__ = ["curves", "train"]

EVERYTHING = (
    *FULL_AUGMENTATION,
    *("SOLVER.EMA_DECAY", 0.9, "UNIFORMER.HEAD_DROPOUT_RATE", 0.2, "BN.USE_PRECISE_STATS", True),
)
STEPS = 3  # in an epoch of the toy set


def assert_same_end(one, other):
    """Two finished runs hold the same bits, in files and in memory."""
    first, second = last(one), last(other)
    assert_same_run(first, second)
    assert (first.train_state is None) == (second.train_state is None)
    if first.train_state is not None:
        assert same_bits(first.train_state, second.train_state) and first.average == second.average
    assert first.nonfinite == second.nonfinite
    assert same_bits(one.learner.model.state_dict(), other.learner.model.state_dict())


@pytest.fixture(scope="module")
def straight(toy_set, tmp_path_factory):
    """Return the trainer of a run of two epochs with everything that nobody disturbed."""
    output = tmp_path_factory.mktemp("straight")
    with pytest.MonkeyPatch.context() as patch:
        for module in (trainer, summary):
            patch.setattr(module, "draw_curves", lambda history, path: None)
        made = trainer.Trainer(toy_cfg(toy_set, output, *map(str, EVERYTHING)), CPU)
        made.run()
    return made


@pytest.fixture
def patch():
    """Return a monkeypatch that can be undone before the test ends, without what the fixtures have patched."""
    with pytest.MonkeyPatch.context() as context:
        yield context


@pytest.fixture
def stop_at(patch):
    """Return a function that has a signal sent to this process while a step, (epoch, step) from 0, is done."""
    step = TrainStep.__call__

    def arrange(place, number=signal.SIGTERM):
        def signalled(self, batch, **options):
            if (options["epoch"], options["step"]) == place:
                os.kill(os.getpid(), number)
            return step(self, batch, **options)

        patch.setattr(TrainStep, "__call__", signalled)

    return arrange


@pytest.fixture
def listening():
    with stopping.listening():
        yield


# ---------------------------------------------------------------------------------------------------------- killed


def test_killed_at_every_step_it_goes_on_from_the_last_one(straight, train, monkeypatch, tmp_path, log):
    for epoch, step in [(0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]:
        with killed_at(monkeypatch, (epoch, step)):
            train(*EVERYTHING, "TRAIN.CHECKPOINT_STEPS", 1, "DATA_LOADER.NUM_WORKERS", step % 2, out="cut")
        newest = checkpoints_in(tmp_path / "cut")[0]
        assert newest == checkpoint_path(tmp_path / "cut", epoch, step)
    log.clear()
    made = train(*EVERYTHING, out="cut")
    assert f"INFO: resumed from {newest} after 1 of 2 epochs and 2 of 3 steps" in log
    assert_same_end(straight, made)


def test_between_two_checkpoints_steps_are_done_again(straight, train, monkeypatch, tmp_path):
    with killed_at(monkeypatch, (1, 2)):
        train(*EVERYTHING, "TRAIN.CHECKPOINT_STEPS", 2, "SOLVER.MAX_EPOCH", 2, out="cut")
    assert [path.name for path in checkpoints_in(tmp_path / "cut")] == [
        "checkpoint_epoch_00001_step_000002.pyth",
        "checkpoint_epoch_00001.pyth",
        "checkpoint_epoch_00000_step_000002.pyth",
    ]
    checkpoints_in(tmp_path / "cut")[0].unlink()
    assert_same_end(straight, train(*EVERYTHING, out="cut"))


def test_a_checkpoint_inside_an_epoch_changes_no_bit(straight, train):
    often = train(*EVERYTHING, "TRAIN.CHECKPOINT_STEPS", 1, "TRAIN.KEEP_CHECKPOINTS", 1, out="often")
    assert_same_end(straight, often)
    assert [path.name for path in checkpoints_in(often.output)] == ["checkpoint_epoch_00002.pyth"]


def test_minutes_make_checkpoints_inside_an_epoch(train, tmp_path):
    made = train("TRAIN.CHECKPOINT_MINUTES", 1e-9, "TRAIN.KEEP_CHECKPOINTS", 0)
    places = [(c.epoch, c.step) for c in map(read_checkpoint, checkpoints_in(made.output))]
    assert places == [(2, 0), (1, 2), (1, 1), (1, 0), (0, 2), (0, 1)]


@pytest.mark.parametrize("wish", [("TRAIN.CHECKPOINT_STEPS", 3), ("TRAIN.CHECKPOINT_MINUTES", 1e-9)])
def test_one_that_is_due_at_the_last_step_of_an_epoch_holds_the_validation_too(train, wish, monkeypatch, tmp_path):
    with killed_at(monkeypatch, (1, 0)):
        train(*wish, "TRAIN.CHECKPOINT_PERIOD", 9, "SOLVER.MAX_EPOCH", 9)
    checkpoint = read_checkpoint(checkpoint_path(tmp_path / "out", 1))
    assert [entry["epoch"] for entry in checkpoint.history] == [1] and "val_loss" in checkpoint.history[0]


def test_without_a_wish_only_the_period_counts(train, monkeypatch, tmp_path):
    with killed_at(monkeypatch, (1, 0)):
        train("TRAIN.CHECKPOINT_STEPS", 2, "TRAIN.CHECKPOINT_PERIOD", 9, "SOLVER.MAX_EPOCH", 9)
    assert [path.name for path in checkpoints_in(tmp_path / "out")] == ["checkpoint_epoch_00000_step_000002.pyth"]


def test_a_validation_that_cannot_be_read_costs_no_epoch(train, toy_set, broken_video, monkeypatch, tmp_path, straight):
    lines = [f"{broken_video} 0"] * 2 + entries(toy_set, "val")
    broken = rewrite(toy_set, tmp_path / "broken", val=lines, train=entries(toy_set, "train"))
    monkeypatch.setattr(trainer.Trainer, "_train_epoch", counted(trainer.Trainer._train_epoch, epochs := []))
    for _ in range(2):
        with pytest.raises(DataError, match="of the 8 videos of the validation list cannot be read"):
            train(*EVERYTHING, "DATA.MAX_BAD_FRACTION", 0.1, data=broken)
    assert len(epochs) == 1
    assert [path.name for path in checkpoints_in(tmp_path / "out")] == ["checkpoint_epoch_00000_step_000003.pyth"]
    (broken / "val.csv").write_text("\n".join(entries(toy_set, "val")) + "\n")
    assert_same_end(straight, train(*EVERYTHING, data=broken))


def counted(function, calls):
    def call(*args):
        calls.append(args)
        return function(*args)

    return call


def test_an_epoch_in_which_a_loss_scale_is_searched_has_videos_all_the_same(train, monkeypatch):
    """As fp16 does: its first steps overflow, are left out, and are no fault."""
    step = TrainStep.__call__

    def searching(self, batch, **options):
        outcome = step(self, batch, **options)
        return Outcome(outcome.loss, math.inf, outcome.clips, taken=False, finite=True, wishes=outcome.wishes)

    monkeypatch.setattr(TrainStep, "__call__", searching)
    made = train("SOLVER.MAX_EPOCH", 1)
    assert made.epoch == 1 and math.isnan(made.history[0]["train_loss"])


def test_a_checkpoint_holds_the_place(train, monkeypatch, tmp_path):
    with killed_at(monkeypatch, (1, 2)):
        train("TRAIN.CHECKPOINT_STEPS", 2)
    checkpoint = read_checkpoint(checkpoint_path(tmp_path / "out", 1, 2))
    assert (checkpoint.epoch, checkpoint.step, checkpoint.steps, checkpoint.world) == (1, 2, STEPS, 1)
    total, weight = checkpoint.epoch_loss
    assert weight == 2 * 8 and 0 < total / weight < 2  # two steps of eight clips
    assert [len(checkpoint.history), checkpoint.nonfinite, len(checkpoint.generators)] == [
        *(1, {"total": 0, "in_row": 0}, 1)
    ]
    assert checkpoint.class_names == ["red", "green", "blue"]


# ------------------------------------------------------------------------------------------------------ moving average


def test_the_average_is_what_is_validated_saved_and_predicted_with(train):
    made = train("SOLVER.EMA_DECAY", 0.5, "SOLVER.EMA_WARMUP", False)
    checkpoint = last(made)
    assert same_bits(checkpoint.train_state, made.learner.model.state_dict())
    assert same_bits(checkpoint.model_state, made.learner.average.state_dict())
    assert checkpoint.average == {"updates": 2 * STEPS}
    assert not same_bits(checkpoint.model_state, checkpoint.train_state)
    result = made.learner.validate(made.val_loader, made.loader, made.failures["val"], 1)
    assert result.loss == made.history[-1]["val_loss"]


def test_an_average_may_begin_later_and_end(train, monkeypatch, tmp_path, log):
    epochs = ("SOLVER.MAX_EPOCH", 3)
    with killed_at(monkeypatch, (1, 0)):
        train(*epochs)
    with killed_at(monkeypatch, (2, 0)):
        train(*epochs, "SOLVER.EMA_DECAY", 0.9)
    assert any("the moving average (SOLVER.EMA_DECAY) begins with the weights of" in line for line in log)
    assert read_checkpoint(checkpoint_path(tmp_path / "out", 2)).average == {"updates": STEPS}
    plain = train(*epochs)
    assert last(plain).train_state is None
    # The training itself never knew of the average.
    assert same_bits(last(plain).model_state, last(train(*epochs, out="straight")).model_state)


# --------------------------------------------------------------------------------------------------------- stopped


@pytest.mark.parametrize(
    ("place", "number"),
    [((0, 0), signal.SIGTERM), ((1, 1), signal.SIGUSR1), ((1, 2), signal.SIGINT)],
)
def test_a_signal_in_a_step_keeps_the_step(straight, train, stop_at, patch, tmp_path, place, number):
    stop_at(place, number)
    epoch, done = place[0], place[1] + 1
    path = checkpoint_path(tmp_path / "cut", epoch, done)
    with stopping.listening(), pytest.raises(stopping.Stopped) as caught:
        train(*EVERYTHING, out="cut")
    assert str(caught.value) == (
        f"stopped by {number.name} after {epoch} of 2 epochs and {done} of 3 steps, kept in {path}; the same command "
        "goes on from there"
    )
    assert checkpoints_in(tmp_path / "cut")[0] == path
    patch.undo()
    assert_same_end(straight, train(*EVERYTHING, out="cut"))


def test_a_signal_before_the_first_step_leaves_nothing(train, listening, tmp_path):
    os.kill(os.getpid(), signal.SIGUSR1)
    with pytest.raises(stopping.Stopped) as caught:
        train()
    assert str(caught.value) == "stopped by SIGUSR1 before the first step; the same command begins anew"
    assert checkpoints_in(tmp_path / "out") == []


def test_a_signal_right_after_a_resume_writes_nothing_new(train, monkeypatch, tmp_path):
    with killed_at(monkeypatch, (0, 2)):
        train("TRAIN.CHECKPOINT_STEPS", 2)
    path = checkpoint_path(tmp_path / "out", 0, 2)
    stamp = path.stat().st_mtime_ns
    with stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(stopping.Stopped, match="kept in .*step_000002.pyth"):
            train("TRAIN.CHECKPOINT_STEPS", 2)
    assert path.stat().st_mtime_ns == stamp and checkpoints_in(tmp_path / "out") == [path]


@pytest.mark.parametrize("where", ["recompute_batch_norm", "validate"])
def test_a_signal_in_a_validation_keeps_the_training_of_the_epoch(straight, train, patch, tmp_path, where):
    real, normalized = getattr(learner, where), DeviceInputs.normalized
    batches = []

    def looked_at(*args):
        patch.setattr(DeviceInputs, "normalized", signalled)
        return real(*args)

    def signalled(*args):
        batches.append(args)
        os.kill(os.getpid(), signal.SIGTERM)
        return normalized(*args)

    patch.setattr(learner, where, looked_at)
    with stopping.listening(), pytest.raises(stopping.Stopped, match="after 0 of 2 epochs and 3 of 3 steps"):
        train(*EVERYTHING, out="cut")
    assert len(batches) == 1  # the one in hand
    patch.undo()
    assert_same_end(straight, train(*EVERYTHING, out="cut"))


@pytest.mark.parametrize("call", [1, 2])
def test_a_signal_while_the_average_comes_or_goes_leaves_no_half_of_it(straight, train, patch, tmp_path, call):
    """Before and after a validation weights are written over: nothing may interrupt that."""
    write, calls = WeightAverage._write, []

    def signalled(self, values):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signal.SIGTERM)
        write(self, values)

    patch.setattr(WeightAverage, "_write", signalled)
    with stopping.listening(), pytest.raises(stopping.Stopped):
        train(*EVERYTHING, out="cut")
    assert len(calls) == 2
    patch.undo()
    assert_same_end(straight, train(*EVERYTHING, out="cut"))


def test_a_signal_between_epochs_keeps_the_validation_too(straight, train, monkeypatch, tmp_path):
    finish = trainer.Trainer._finish_epoch

    def signalled(self):
        finish(self)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(trainer.Trainer, "_finish_epoch", signalled)
    # The epoch is not one to be saved, and is saved all the same.
    with stopping.listening(), pytest.raises(stopping.Stopped, match="after 1 of 2 epochs, kept in"):
        train(*EVERYTHING, "TRAIN.CHECKPOINT_PERIOD", 2, out="cut")
    monkeypatch.setattr(trainer.Trainer, "_finish_epoch", finish)
    assert read_checkpoint(checkpoint_path(tmp_path / "cut", 1)).history == straight.history[:1]
    made = train(*EVERYTHING, out="cut")
    assert_same_end(straight, made)


# ------------------------------------------------------------------------------------------------- moved and changed


def test_another_length_of_the_epoch_goes_on_at_the_same_share(train, toy_set, monkeypatch, tmp_path, log):
    with killed_at(monkeypatch, (0, 2)):
        train("TRAIN.CHECKPOINT_STEPS", 2)
    shorter = rewrite(toy_set, tmp_path / "shorter", train=entries(toy_set, "train"))
    made = train("TRAIN.BATCH_SIZE", 2, data=shorter)  # six steps where there were three
    assert (
        f"WARNING: the epoch that {checkpoint_path(tmp_path / 'out', 0, 2)} is in the middle of had 3 steps and now "
        "has 6: it goes on after 4 of them, so some of its videos come twice or not at all"
    ) in log
    assert len(made.history) == 2


def test_those_of_the_longer_epoch_are_not_gone_back_to(train, stop_at, monkeypatch, tmp_path):
    with killed_at(monkeypatch, (0, 5)):
        train("TRAIN.BATCH_SIZE", 2, "TRAIN.CHECKPOINT_STEPS", 1)  # after 3, 4 and 5 of six steps
    with stopping.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(stopping.Stopped, match=r"after 0 of 2 epochs and 2 of 3 steps, kept in (\S+);") as caught:
            train()
    only = checkpoint_path(tmp_path / "out", 0, 2)
    assert checkpoints_in(tmp_path / "out") == [only] and str(only) in str(caught.value)


def test_where_going_on_was_forbidden_it_is_said_how(train, stop_at):
    stop_at((0, 1))
    with stopping.listening(), pytest.raises(stopping.Stopped) as caught:
        train("TRAIN.AUTO_RESUME", False)
    assert str(caught.value).endswith("; the same command with TRAIN.AUTO_RESUME True goes on from there")


def test_another_number_of_processes_is_said(train, monkeypatch, tmp_path, log):
    made = train("SOLVER.MAX_EPOCH", 1)
    path = checkpoint_path(made.output, 1)
    checkpoint = read_checkpoint(path)
    checkpoint.world, checkpoint.generators = 4, checkpoint.generators * 4
    save_checkpoint(checkpoint, path)
    train("SOLVER.MAX_EPOCH", 2)
    assert any(line.startswith(f"WARNING: {path} is of 4 process(es), this run has 1: batches and") for line in log)


def test_generators_of_the_user_go_on_too(train, monkeypatch, tmp_path):
    """What a user adds may draw from torch's global generator between steps."""
    seen = []
    note = trainer.Trainer._note

    def drawing(self, outcome, batch, step):
        note(self, outcome, batch, step)
        seen.append(torch.rand(()).item())

    monkeypatch.setattr(trainer.Trainer, "_note", drawing)
    train(*EVERYTHING, out="straight")
    straight, seen[:] = list(seen), []
    with killed_at(monkeypatch, (1, 1)):
        train(*EVERYTHING, "TRAIN.CHECKPOINT_STEPS", 1, out="cut")
    train(*EVERYTHING, out="cut")
    assert seen == straight


def test_a_disk_that_is_full_leaves_the_checkpoints_there_are(train, patch, tmp_path):
    calls = []
    save = trainer.Saver.save.__globals__["save_checkpoint"]

    def full(checkpoint, path):
        calls.append(path)
        if len(calls) == 3:
            raise WriteError("no room")
        save(checkpoint, path)

    patch.setattr("uniformer_video.engine.saving.save_checkpoint", full)
    with pytest.raises(WriteError, match="no room"):
        train("TRAIN.CHECKPOINT_STEPS", 1)
    patch.undo()
    newest = checkpoints_in(tmp_path / "out")[0]
    assert newest == calls[1]
    shutil.rmtree(tmp_path / "straight", ignore_errors=True)
    straight = train(out="straight")
    assert_same_end(straight, train())


# ----------------------------------------------------------------------------------------------------------- property


@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    cuts=st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(0, 1)), min_size=1, max_size=4),
    every=st.integers(1, 4),
)
def test_any_number_of_interruptions_changes_no_bit(train, tmp_path, cuts, every):
    if not (tmp_path / "straight").exists():
        train(*FULL_AUGMENTATION, "SOLVER.EMA_DECAY", 0.9, out="straight")
    straight = read_checkpoint(checkpoint_path(tmp_path / "straight", 2))
    shutil.rmtree(tmp_path / "cut", ignore_errors=True)
    options = (*FULL_AUGMENTATION, "SOLVER.EMA_DECAY", 0.9, "TRAIN.CHECKPOINT_STEPS", every)
    for place, politely, workers in sorted(cuts):
        with pytest.MonkeyPatch.context() as patch, suppress(Gone, stopping.Stopped), stopping.listening():
            _interrupt(patch, divmod(place, STEPS), politely)
            train(*options, "DATA_LOADER.NUM_WORKERS", workers, out="cut")
    made = train(*options, out="cut")
    assert_same_run(straight, last(made))
    assert same_bits(straight.train_state, last(made).train_state)


class Gone(BaseException):
    """The process is gone."""


def _interrupt(patch, place, politely):
    step = TrainStep.__call__

    def interrupted(self, batch, **options):
        if (options["epoch"], options["step"]) == place:
            if not politely:
                raise Gone
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, batch, **options)

    patch.setattr(TrainStep, "__call__", interrupted)
