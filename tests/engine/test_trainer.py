"""Training: the same bits however it runs, and everything that can go wrong on the way."""

from __future__ import annotations

import os
import re
import shutil

import pytest
import torch

from tests.engine.training import CPU, assert_same_run, curves, draw_curves, killed_at, last, train
from tests.toy import FULL_AUGMENTATION, entries, rewrite, same_bits, toy_cfg
from uniformer_video.datasets import build_dataset
from uniformer_video.engine import device, learner, setup, trainer
from uniformer_video.engine.checkpoint import best_path, checkpoint_path, read_checkpoint
from uniformer_video.engine.device import Precision
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.report import TrainReport
from uniformer_video.engine.validator import Validation, validate
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.solver.losses import soft_cross_entropy
from uniformer_video.solver.schedule import Schedule

__all__ = ["curves", "train"]

# -------------------------------------------------------------------------------------------------------- training


def test_it_learns_and_keeps_what_it_did(train, curves, log):
    made = train("SOLVER.MAX_EPOCH", 3)
    assert [entry["epoch"] for entry in made.history] == [1, 2, 3]
    losses = [entry["train_loss"] for entry in made.history]
    assert losses == sorted(losses, reverse=True) and losses[-1] < 0.95
    assert made.history[-1]["val_top1"] == 100.0
    assert sorted(os.listdir(made.output / "checkpoints")) == [
        "checkpoint_best.pyth",
        *(f"checkpoint_epoch_0000{n}.pyth" for n in (1, 2, 3)),
    ]
    checkpoint = last(made)
    assert checkpoint.history == made.history and checkpoint.epoch == 3
    assert checkpoint.class_names == ["red", "green", "blue"]
    assert "BATCH_SIZE: 4" in checkpoint.cfg
    assert same_bits(checkpoint.model_state, made.learner.model.state_dict())
    assert [len(history) for history, _ in curves] == [1, 2, 3, 3]
    assert {path for _, path in curves} == {made.output / "curves.png"}
    assert "INFO: training on 12 videos, 3 steps an epoch of 4 videos x 2 clips; validating on 6 videos" in log
    best = made.best
    assert log[-1] == (
        f"INFO: best validation: top-1 {best['val_top1']:.2f} % after epoch {best['epoch']}, kept in "
        f"{best_path(made.output)}"
    )


def test_curves_are_drawn(train, monkeypatch):
    monkeypatch.setattr(trainer, "draw_curves", draw_curves)
    made = train("SOLVER.MAX_EPOCH", 1)
    assert (made.output / "curves.png").read_bytes().startswith(b"\x89PNG")


def one_step(cfg):
    """Return (weights before, gradients, loss) of the first step of an epoch, computed apart from the trainer."""
    model = setup.new_model(cfg, CPU).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = next(iter(setup.train_loader(cfg, build_dataset("kinetics", cfg, "train"), CPU)))
    clips, targets = DeviceInputs.from_config(cfg).train(batch, CPU)
    loss = soft_cross_entropy(model(clips), targets)
    loss.backward()
    return before, {name: p.grad for name, p in model.named_parameters()}, loss.item()


SGD = ("SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.MAX_EPOCH", 1, "TRAIN.BATCH_SIZE", 12, "SOLVER.BASE_LR", 0.5)


def test_a_step_of_sgd(train):
    made = train(*SGD, "SOLVER.WEIGHT_DECAY", 0.01)
    before, gradients, loss = one_step(made.cfg)
    assert made.history[0]["train_loss"] == pytest.approx(loss, rel=1e-6)
    after = dict(made.learner.model.named_parameters())
    for name, old in before.items():
        decay = 0.01 if old.ndim > 1 and not name.endswith("bias") else 0.0
        torch.testing.assert_close(
            after[name], old - 0.5 * (gradients[name] + decay * old), msg=lambda m, n=name: n + m
        )
    assert made.learner.optimizer.param_groups[0]["momentum"] == 0.9


HOURGLASS = (
    "MODEL.MODEL_NAME",
    "Uniformer_light",
    "UNIFORMER.DEPTH",
    "[1, 1, 2, 2]",
    "TRAIN.DATASET",
    "kinetics_sparse",
)


def test_a_second_head_is_trained_with_the_mean_of_both_losses(train):
    made = train(*SGD, *HOURGLASS, "SOLVER.WEIGHT_DECAY", 0)
    model = setup.new_model(made.cfg, CPU).train()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    batch = next(iter(setup.train_loader(made.cfg, build_dataset("kinetics_sparse", made.cfg, "train"), CPU)))
    clips, targets = DeviceInputs.from_config(made.cfg).train(batch, CPU)
    loss = sum(soft_cross_entropy(logits, targets) for logits in model(clips)) / 2
    loss.backward()
    assert made.history[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-6)
    after = dict(made.learner.model.named_parameters())
    for name, p in model.named_parameters():
        torch.testing.assert_close(after[name], before[name] - 0.5 * p.grad, msg=lambda m, n=name: n + m)
    assert all(p.grad.abs().sum() > 0 for name, p in model.named_parameters() if name.startswith("head"))


def test_a_second_head_learns_and_is_resumed_to_the_same_bits(train):
    made = train(*HOURGLASS, *FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 2)
    losses = [entry["train_loss"] for entry in made.history]
    assert losses[1] < losses[0]
    train(*HOURGLASS, *FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 2, out="cut")
    checkpoint_path(made.output.parent / "cut", 2).unlink()
    assert_same_run(last(train(*HOURGLASS, *FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 2, out="cut")), last(made))


def test_the_rate_goes_with_the_batch_and_is_said(train, log):
    made = train("SOLVER.MAX_EPOCH", 1, "SOLVER.BASE_LR_BATCH", 32)
    assert made.schedule(0) == pytest.approx(2e-3 * 4 / 32)
    assert "INFO: learning rate 0.00025: SOLVER.BASE_LR 0.002 x 4 videos a step / SOLVER.BASE_LR_BATCH 32" in log


def test_a_checkpoint_to_go_on_from_is_looked_for_by_name_too(train, monkeypatch, tmp_path):
    monkeypatch.setenv("UNIFORMER_WEIGHTS", str(tmp_path))
    torch.save({}, tmp_path / "uniformer_xs_192_in1k.pth")
    name = ("TRAIN.CHECKPOINT_FILE_PATH", "uniformer_xs_192_in1k", "UNIFORMER.HEAD_DIM", 32)
    with pytest.raises(WeightError) as error:
        train("TRAIN.CHECKPOINT_EPOCH_RESET", False, *name)
    assert str(error.value).startswith(
        f"{tmp_path / 'uniformer_xs_192_in1k.pth'} is no checkpoint to go on from: it has no epoch, optimizer or"
    )


def test_lists_whose_folders_tell_other_classes_are_refused(train, toy_set, tmp_path):
    # The label order that the folders of train.csv tell is not that of val.csv.
    lists = {}
    for split, order in (("train", (0, 1, 2)), ("val", (0, 2, 1))):
        lists[split] = []
        for line in entries(toy_set, split):
            path, label = line.rsplit(" ", 1)
            folder = tmp_path / "videos" / ("brush_hair", "cartwheel", "catch")[int(label)]
            folder.mkdir(parents=True, exist_ok=True)
            name = os.path.basename(path)
            shutil.copy(path, folder / name)
            lists[split].append(f"{folder / name} {order[int(label)]}")
    data = rewrite(toy_set, tmp_path / "lists", **lists)
    (data / "classes.json").unlink()
    with pytest.raises(UserError) as error:
        train(data=data)
    assert str(error.value) == (
        "class 1 is 'cartwheel' in train.csv and 'catch' in val.csv; give both lists the same labels"
    )


def test_a_run_goes_on_with_the_classes_it_began_with(train, toy_set, tmp_path):
    train("SOLVER.MAX_EPOCH", 1)
    other = rewrite(toy_set, tmp_path / "other")
    (other / "classes.json").write_text('["red", "blue", "green"]')
    with pytest.raises(UserError) as error:
        train("SOLVER.MAX_EPOCH", 2, data=other)
    newest = checkpoint_path(tmp_path / "out", 1)
    assert str(error.value) == (
        f"class 1 is 'blue' in the training list and 'green' in {newest}; a run goes on with the classes it began "
        "with; set OUTPUT_DIR to a new folder"
    )


@pytest.mark.parametrize(("key", "limit"), [("SOLVER.CLIP_GRAD_L2NORM", 0.01), ("SOLVER.CLIP_GRAD_VAL", 1e-4)])
def test_gradients_are_clipped(train, log, key, limit):
    made = train(*SGD, "SOLVER.WEIGHT_DECAY", 0, key, limit)
    before, gradients, _ = one_step(made.cfg)
    norm = torch.stack([g.norm() for g in gradients.values()]).norm().item()
    assert norm > 0.02  # there is something to clip
    for name, p in made.learner.model.named_parameters():
        if "NORM" in key:
            clipped = gradients[name] * limit / norm
        else:
            clipped = gradients[name].clamp(-limit, limit)
        torch.testing.assert_close(p.detach(), before[name] - 0.5 * clipped, atol=1e-7, rtol=1e-4)
    line = next(line for line in log if "grad " in line)
    assert float(re.search(r"grad ([\d.]+)", line)[1]) == pytest.approx(norm, rel=0.01)  # before clipping


def test_rates_follow_the_schedule_in_every_step(train, monkeypatch):
    rates = []
    step_done = TrainReport.step_done
    monkeypatch.setattr(
        TrainReport,
        "step_done",
        lambda self, e, s, loss, lr, norm, clips: rates.append(lr) or step_done(self, e, s, loss, lr, norm, clips),
    )
    made = train("SOLVER.WARMUP_EPOCHS", 0.5)
    schedule = Schedule.from_config(made.cfg)
    assert rates == [schedule(n / 3) for n in range(6)]
    assert rates[0] == 1e-6 and len(set(rates)) == 6
    assert [entry["lr"] for entry in made.history] == [rates[2], rates[5]]


@pytest.mark.parametrize(("warmup", "end"), [(1, 2e-3), (4, 1e-6 + (2e-3 - 1e-6) / 4)])
def test_a_warm_up_that_never_ends_is_warned_about(train, log, warmup, end):
    made = train("SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", warmup)
    assert [line for line in log if "WARMUP" in line] == [
        f"WARNING: SOLVER.WARMUP_EPOCHS {warmup} is not below SOLVER.MAX_EPOCH 1: training ends in the warm-up, at "
        f"rate {end:.3g}"
    ]
    # Step 3 of 3 is two thirds into the epoch.
    assert made.history[0]["lr"] == pytest.approx(1e-6 + (2e-3 - 1e-6) / warmup * 2 / 3, rel=1e-9)


def test_a_warm_up_that_ends_is_not_warned_about(train, log):
    train("SOLVER.MAX_EPOCH", 1, "SOLVER.WARMUP_EPOCHS", 0.9)
    assert not any("WARMUP" in line for line in log)


@pytest.mark.parametrize("mode", ["bf16", True])
def test_half_precision_trains(train, monkeypatch, mode):
    monkeypatch.setattr(device, "has_bf16", lambda _: True)
    full = train("SOLVER.MAX_EPOCH", 1)
    half = train("SOLVER.MAX_EPOCH", 1, "TRAIN.MIXED_PRECISION", mode, out="half")
    assert all(p.dtype == torch.float32 for p in half.learner.model.parameters())
    assert half.history[0]["train_loss"] == pytest.approx(full.history[0]["train_loss"], rel=0.02)
    assert half.history[0]["train_loss"] != full.history[0]["train_loss"]


def test_a_validation_may_be_in_full_precision_while_training_is_not(train, log):
    made = train("SOLVER.MAX_EPOCH", 1, "TRAIN.MIXED_PRECISION", "bf16", "TEST.MIXED_PRECISION", False)
    assert "INFO: precision: bf16 in training, float32 in validation" in log
    made.failures["val"].by_record.clear()
    validated = validate(
        made.learner.model, made.val_loader, made.learner.inputs, Precision(False, CPU), made.failures["val"]
    )
    assert made.history[0]["val_loss"] == validated.loss
    half = validate(
        made.learner.model, made.val_loader, made.learner.inputs, Precision("bf16", CPU), made.failures["val"]
    )
    assert half.loss != validated.loss


def test_plain_labels_and_recomputation_train(train):
    made = train(
        *("MODEL.LOSS_FUNC", "cross_entropy", "MODEL.USE_CHECKPOINT", True, "MODEL.CHECKPOINT_NUM", "[1, 1, 1, 1]"),
        *("SOLVER.MAX_EPOCH", 1),
    )
    plain = train("MODEL.LOSS_FUNC", "cross_entropy", "SOLVER.MAX_EPOCH", 1, out="plain")
    for (name, a), b in zip(
        made.learner.model.state_dict().items(), plain.learner.model.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(a, b, msg=lambda m, n=name: n + m)


def test_precise_batch_norm_changes_statistics_alone(train, log):
    plain = train("SOLVER.MAX_EPOCH", 1)
    made = train("SOLVER.MAX_EPOCH", 1, "BN.USE_PRECISE_STATS", True, "BN.NUM_BATCHES_PRECISE", 2, out="precise")
    assert "INFO: precise batch norm from 2 batches" in log
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain.learner.model.parameters(), made.learner.model.parameters(), strict=True)
    )
    changed = [
        name
        for (name, a), b in zip(plain.learner.model.named_buffers(), made.learner.model.buffers(), strict=True)
        if "running" in name and not torch.equal(a, b)
    ]
    assert len(changed) == sum("running" in name for name, _ in plain.learner.model.named_buffers())
    assert same_bits(last(made).model_state, made.learner.model.state_dict())


@pytest.mark.parametrize("options", [("SOLVER.BASE_LR", 1e30), ("SOLVER.BASE_LR", 1e30, "SOLVER.CLIP_GRAD_L2NORM", 1)])
def test_a_loss_that_is_no_number_stops_the_run(train, tmp_path, options):
    with pytest.raises(UserError) as error:
        train("SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.MAX_NONFINITE", 2, *options)
    assert re.match(
        r"2 steps in a row had an infinite or NaN loss or gradient, the last at epoch [12] step [123] \(loss \S+, "
        r"gradient norm \S+; SOLVER.MAX_NONFINITE 2\); their videos are in \S+/nonfinite.csv; lower SOLVER.BASE_LR",
        str(error.value),
    )


# ------------------------------------------------------------------------------------------------------- same bits


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
def test_no_number_of_workers_changes_a_bit(train, toy_set, tmp_path, broken_video):
    data = rewrite(toy_set, tmp_path / "set", train=[*entries(toy_set, "train"), f"{broken_video} 1"])
    options = (*FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 1, "BN.USE_PRECISE_STATS", True)
    base = last(train(*options, out="w0", data=data))
    for workers in (1, 3):
        other = last(train(*options, "DATA_LOADER.NUM_WORKERS", workers, out=f"w{workers}", data=data))
        assert_same_run(base, other)
    seeded = last(train(*options, "RNG_SEED", 8, out="seed", data=data))
    assert not same_bits(base.model_state, seeded.model_state)


def test_what_ran_before_in_the_process_changes_no_bit(train):
    base = last(train(*FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 1))
    torch.manual_seed(12345)
    torch.rand(7)
    assert_same_run(base, last(train(*FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 1, out="again")))


def test_a_killed_run_resumes_to_the_same_bits(train, tmp_path, monkeypatch, log):
    options = (*FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 3, "DATA_LOADER.NUM_WORKERS", 1)
    straight = train(*options, out="straight")
    with killed_at(monkeypatch, (1, 2)):
        train(*options, out="killed")
    assert sorted(os.listdir(tmp_path / "killed" / "checkpoints")) == [
        *("checkpoint_best.pyth", "checkpoint_epoch_00001.pyth"),
    ]
    log.clear()
    resumed = train(*options, out="killed")
    assert f"INFO: resumed from {checkpoint_path(tmp_path / 'killed', 1)} after 1 of 3 epochs" in log
    assert not any("random weights" in line for line in log)
    assert_same_run(last(straight), last(resumed))


def test_a_run_stopped_between_epochs_resumes_to_the_same_bits(train, tmp_path):
    straight = train(*FULL_AUGMENTATION, "BN.USE_PRECISE_STATS", True)
    shutil.copytree(straight.output, tmp_path / "copy")
    checkpoint_path(tmp_path / "copy", 2).unlink()
    resumed = train(*FULL_AUGMENTATION, "BN.USE_PRECISE_STATS", True, out="copy")
    assert_same_run(last(straight), last(resumed))


def test_a_finished_run_does_nothing(train, tmp_path):
    first = train()
    stamp = checkpoint_path(first.output, 2).stat().st_mtime_ns
    again = train()
    assert again.history == first.history and again.best == first.best
    assert checkpoint_path(first.output, 2).stat().st_mtime_ns == stamp


def test_auto_resume_off_wants_a_new_folder(train, log):
    first = train("SOLVER.MAX_EPOCH", 1)
    path = checkpoint_path(first.output, 1)
    before = path.read_bytes()
    for name in ("checkpoint_epoch_00001.pyth", "checkpoint_best.pyth"):  # then the best alone
        with pytest.raises(UserError) as error:
            train("SOLVER.MAX_EPOCH", 2, "TRAIN.AUTO_RESUME", False)
        assert str(error.value) == (
            f"TRAIN.AUTO_RESUME is False, but OUTPUT_DIR {str(first.output)!r} holds {name} of an earlier run, which "
            "would be mixed up with this one; set OUTPUT_DIR to a new folder"
        )
        if name.startswith("checkpoint_epoch"):
            assert path.read_bytes() == before
            path.unlink()
    assert os.listdir(first.output / "checkpoints") == ["checkpoint_best.pyth"]
    log.clear()
    anew = train("SOLVER.MAX_EPOCH", 1, "TRAIN.AUTO_RESUME", False, out="new")
    assert any("random weights" in line for line in log)
    assert_same_run(read_checkpoint(best_path(first.output)), last(anew))


def test_a_run_goes_on_from_the_best_where_the_others_were_deleted(train, tmp_path, log):
    straight = train(*FULL_AUGMENTATION, out="straight")
    best = straight.best["epoch"]
    (tmp_path / "copy" / "checkpoints").mkdir(parents=True)
    shutil.copy(best_path(straight.output), tmp_path / "copy" / "checkpoints")
    log.clear()
    resumed = train(*FULL_AUGMENTATION, "SOLVER.MAX_EPOCH", 2, out="copy")
    assert f"INFO: resumed from {best_path(tmp_path / 'copy')} after {best} of 2 epochs" in log
    assert resumed.history == straight.history
    assert same_bits(resumed.learner.model.state_dict(), straight.learner.model.state_dict())


def test_a_longer_run_goes_on(train):
    train("SOLVER.MAX_EPOCH", 1)
    longer = train("SOLVER.MAX_EPOCH", 3)
    assert [entry["epoch"] for entry in longer.history] == [1, 2, 3]


def test_going_on_from_a_file_elsewhere(train, tmp_path):
    straight = train(out="straight")
    path = checkpoint_path(straight.output, 1)
    options = ("TRAIN.CHECKPOINT_FILE_PATH", path)
    made = train(*options, "TRAIN.CHECKPOINT_EPOCH_RESET", False, out="elsewhere")
    assert_same_run(last(straight), last(made))
    # With the reset (the default) it gives weights alone: two epochs more.
    reset = train(*options, out="reset")
    assert [entry["epoch"] for entry in reset.history] == [1, 2]
    assert not same_bits(last(reset).model_state, last(straight).model_state)
    # What OUTPUT_DIR holds comes first.
    again = train(*options, "TRAIN.CHECKPOINT_EPOCH_RESET", False, "SOLVER.MAX_EPOCH", 3, out="elsewhere")
    assert [entry["epoch"] for entry in again.history] == [1, 2, 3]


def test_weights_alone_cannot_be_gone_on_from(train, tmp_path, toy_set):
    path = tmp_path / "w.pyth"
    torch.save(setup.new_model(toy_cfg(toy_set, tmp_path), CPU).state_dict(), path)
    with pytest.raises(WeightError, match=f"^{path} is no checkpoint to go on from"):
        train("TRAIN.CHECKPOINT_FILE_PATH", path, "TRAIN.CHECKPOINT_EPOCH_RESET", False)


@pytest.mark.parametrize(
    ("overrides", "what"),
    [
        (("UNIFORMER.DEPTH", "[1, 2, 1, 1]"), "it is of another network"),
        (("MODEL.NUM_CLASSES", 3, "UNIFORMER.EMBED_DIM", "[16, 16, 32, 48]"), "it is of another network"),
        (("SOLVER.OPTIMIZING_METHOD", "sgd"), "its optimizer differs"),
        (("SOLVER.ZERO_WD_1D_PARAM", False), "its optimizer differs"),
    ],
)
def test_another_run_cannot_be_resumed(train, overrides, what):
    path = checkpoint_path(train("SOLVER.MAX_EPOCH", 1).output, 1)
    with pytest.raises(WeightError) as error:
        train(*overrides)
    text = str(error.value)
    assert text.startswith(f"{path} cannot be resumed, {what} (") and "\n" not in text
    assert text.endswith("); set OUTPUT_DIR to a new folder, or the configuration to that of the run")


# --------------------------------------------------------------------------------------------- periods and the best


def test_the_best_is_kept(train, monkeypatch):
    shares = iter([50.0, 75.0, 75.0, 60.0])
    monkeypatch.setattr(learner, "validate", lambda *_: Validation(next(shares), 100.0, 1.0, 6))
    made = train("SOLVER.MAX_EPOCH", 4)
    best = read_checkpoint(best_path(made.output))
    assert (best.epoch, best.best["epoch"], best.best["val_top1"]) == (2, 2, 75.0)  # the first of equals
    assert made.best == best.best == last(made).best
    assert same_bits(best.model_state, read_checkpoint(checkpoint_path(made.output, 2)).model_state)


def test_of_equal_validations_the_one_with_the_lower_loss_is_kept(train, monkeypatch):
    losses = iter([0.9, 0.7, 0.8])
    monkeypatch.setattr(learner, "validate", lambda *_: Validation(100.0, 100.0, next(losses), 6))
    made = train("SOLVER.MAX_EPOCH", 3)
    assert read_checkpoint(best_path(made.output)).epoch == made.best["epoch"] == 2


@pytest.mark.parametrize(
    ("evaluate", "save", "epochs", "evaluated", "saved"),
    [(2, 3, 4, [2, 4], [2, 3, 4]), (9, 9, 3, [3], [3]), (1, 1, 2, [1, 2], [1, 2])],
)
def test_periods(train, monkeypatch, curves, evaluate, save, epochs, evaluated, saved):
    count = iter(range(100))
    monkeypatch.setattr(learner, "validate", lambda *_: Validation(100.0 - next(count), 100.0, 1.0, 6))
    made = train("TRAIN.EVAL_PERIOD", evaluate, "TRAIN.CHECKPOINT_PERIOD", save, "SOLVER.MAX_EPOCH", epochs)
    assert [entry["epoch"] for entry in made.history if "val_top1" in entry] == evaluated
    names = [int(m[1]) for name in os.listdir(made.output / "checkpoints") if (m := re.search(r"epoch_(\d+)", name))]
    best = read_checkpoint(best_path(made.output)).epoch
    assert best == evaluated[0]
    assert sorted(names) == [n for n in saved if n % save == 0 or n == epochs]
    assert len(made.history) == epochs
