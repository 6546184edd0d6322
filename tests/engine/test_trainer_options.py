"""What fine-tuning asks for: frozen parts, rates by layer, class weights, several labels, an early end."""

from __future__ import annotations

import re

import numpy as np
import pytest
import simplejson
import torch

from tests.engine.training import (
    CPU,
    MULTI_LABEL,
    SEVERAL,
    assert_same_run,
    curves,
    draw_curves,
    killed_at,
    last,
    several,
    train,
)
from tests.toy import FULL_AUGMENTATION, entries, rewrite
from uniformer_video.engine import learner, setup, trainer
from uniformer_video.engine.checkpoint import best_path, checkpoint_path, read_checkpoint
from uniformer_video.engine.start import own_checkpoint
from uniformer_video.engine.validator import Validation
from uniformer_video.metrics.average_precision import average_precision
from uniformer_video.runtime.errors import ConfigError, WeightError

__all__ = ["curves", "several", "train"]

LIGHT = ("MODEL.MODEL_NAME", "Uniformer_light", "UNIFORMER.DEPTH", "[1, 1, 2, 2]")
RECOMPUTED = ("MODEL.USE_CHECKPOINT", True, "MODEL.CHECKPOINT_NUM", "[1, 1, 1, 1]")


def killed(monkeypatch, train, epoch, *options):
    """Train with ``options`` until the step 1 of ``epoch``, counted from 0."""
    with killed_at(monkeypatch, (epoch, 1)):
        train(*options, out="killed")


# ---------------------------------------------------------------------------------------------------------- frozen


@pytest.mark.parametrize("network", [(), LIGHT, RECOMPUTED])
@pytest.mark.parametrize("what", [2, "backbone"])
def test_what_is_frozen_keeps_its_bits(train, log, network, what):
    options = (*FULL_AUGMENTATION, *network, "BN.USE_PRECISE_STATS", True, "MODEL.FREEZE", what)
    made = train(*options, "SOLVER.MAX_EPOCH", 1)
    start = setup.new_model(made.cfg, CPU).state_dict()
    frozen = {name for name, p in made.learner.model.named_parameters() if not p.requires_grad}
    parts = {name.partition(".")[0] for name in frozen}
    for name, value in made.learner.model.state_dict().items():
        assert torch.equal(value, start[name]) == (name.partition(".")[0] in parts), name
    own = sum(p.numel() for p in made.learner.model.parameters() if not p.requires_grad)
    total = sum(p.numel() for p in made.learner.model.parameters())
    parts_in_words = "backbone" if what == "backbone" else "stem and stages 1-2"
    assert f"INFO: frozen: {own:,} of {total:,} parameters ({parts_in_words})" in log
    assert {n for g in made.learner.optimizer.param_groups for n in g["names"]} == {
        name for name, p in made.learner.model.named_parameters() if p.requires_grad
    }
    # With everything frozen there are no statistics to make precise.
    assert any("precise batch norm" in line for line in log)
    assert ("INFO: precise batch norm from 0 batches" in log) == (what == "backbone")


def test_a_frozen_run_resumes_to_the_same_bits(train, monkeypatch):
    options = (*FULL_AUGMENTATION, "MODEL.FREEZE", 2, "SOLVER.LAYER_DECAY", 0.7, "BN.USE_PRECISE_STATS", True)
    straight = train(*options, out="straight")
    killed(monkeypatch, train, 1, *options)
    assert_same_run(last(straight), last(train(*options, out="killed")))


def test_random_weights_are_not_frozen_in_silence(train, log, tmp_path):
    made = train("MODEL.FREEZE", 1, "SOLVER.MAX_EPOCH", 1)
    line = (
        "WARNING: MODEL.FREEZE 1 keeps random weights as they are: set UNIFORMER.PRETRAIN_NAME or "
        "TRAIN.CHECKPOINT_FILE_PATH to start from trained ones, or MODEL.FREEZE to the empty word"
    )
    assert line in log
    log.clear()
    path = checkpoint_path(made.output, 1)
    train("MODEL.FREEZE", 1, "SOLVER.MAX_EPOCH", 1, "TRAIN.CHECKPOINT_FILE_PATH", path, out="next")
    assert line not in log


def test_a_frozen_network_learns_with_its_head(train):
    start = train("SOLVER.MAX_EPOCH", 3, out="start")
    path = checkpoint_path(start.output, 3)
    made = train("MODEL.FREEZE", "backbone", "TRAIN.CHECKPOINT_FILE_PATH", path, "SOLVER.MAX_EPOCH", 2, out="next")
    assert made.history[-1]["val_top1"] == 100.0
    assert made.history[-1]["train_loss"] < start.history[0]["train_loss"]
    frozen = {name for name, p in made.learner.model.named_parameters() if not p.requires_grad}
    for name in frozen:
        assert torch.equal(made.learner.model.state_dict()[name], start.learner.model.state_dict()[name])


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (("MODEL.FREEZE", 1), ("MODEL.FREEZE", 2)),
        ((), ("MODEL.FREEZE", "backbone")),
        (("SOLVER.LAYER_DECAY", 0.8), ("SOLVER.LAYER_DECAY", 0.7)),
        ((), ("SOLVER.LAYER_DECAY", 0.8)),
        (("SOLVER.LAYER_DECAY", 0.8), ()),
    ],
)
def test_a_run_goes_on_with_what_it_trains_and_at_which_rates(train, first, then):
    train("SOLVER.MAX_EPOCH", 1, *first)
    with pytest.raises(WeightError) as error:
        train("SOLVER.MAX_EPOCH", 2, *then)
    assert re.fullmatch(
        r"\S+ cannot be resumed, its optimizer differs \(it has other groups of parameters: MODEL.FREEZE, "
        r"SOLVER.LAYER_DECAY or SOLVER.ZERO_WD_1D_PARAM differs\); set OUTPUT_DIR to a new folder, or the "
        r"configuration to that of the run",
        str(error.value),
    )


# -------------------------------------------------------------------------------------------------- rates by layer


def test_the_rate_that_is_told_is_the_heads(train, log):
    plain = train("SOLVER.MAX_EPOCH", 2)
    made = train("SOLVER.MAX_EPOCH", 2, "SOLVER.LAYER_DECAY", 0.5, out="layers")
    assert [entry["lr"] for entry in made.history] == [entry["lr"] for entry in plain.history]
    assert made.history[0]["train_loss"] != plain.history[0]["train_loss"]
    rates = {name: group["lr"] for group in made.learner.optimizer.param_groups for name in group["names"]}
    lr = made.history[-1]["lr"]
    assert rates["head.weight"] == rates["norm.bias"] == lr
    assert rates["blocks4.0.mlp.fc1.weight"] == rates["patch_embed4.proj.weight"] == pytest.approx(lr / 2)
    assert rates["blocks1.0.mlp.fc1.weight"] == pytest.approx(lr / 16)
    assert rates["patch_embed1.proj.weight"] == pytest.approx(lr / 32)
    assert (
        "INFO: layer-wise rates: SOLVER.LAYER_DECAY 0.5 leaves the stem 0.0312 of the head's rate, 5 layers behind it"
    ) in log


def test_rates_by_layer_resume_to_the_same_bits(train, monkeypatch):
    options = (*FULL_AUGMENTATION, *LIGHT, "SOLVER.LAYER_DECAY", 0.6)
    straight = train(*options, out="straight")
    killed(monkeypatch, train, 1, *options)
    assert_same_run(last(straight), last(train(*options, out="killed")))


# --------------------------------------------------------------------------------------------------- class weights


@pytest.mark.parametrize("loss", ["soft_cross_entropy", "cross_entropy", "bce_logit"])
def test_equal_classes_have_no_use_for_weights(train, log, loss):
    options = ("MODEL.LOSS_FUNC", loss, "SOLVER.MAX_EPOCH", 1)
    plain, balanced = train(*options), train(*options, "MODEL.CLASS_WEIGHTS", "balanced", out="balanced")
    assert balanced.history[0]["train_loss"] == pytest.approx(plain.history[0]["train_loss"], rel=1e-6)
    assert "INFO: class weights from 1 (red, 4 training videos) to 1 (red, 4)" in log


def test_rare_classes_weigh_more(train, toy_set, tmp_path, log):
    lines = entries(toy_set, "train")
    kept = [line for line in lines if not line.endswith(" 2")] + [line for line in lines if line.endswith(" 2")][:2]
    data = rewrite(toy_set, tmp_path / "set", train=kept)  # 4, 4, 2
    made = train("MODEL.CLASS_WEIGHTS", "balanced", "SOLVER.MAX_EPOCH", 1, data=data)
    assert "INFO: class weights from 0.833 (red, 4 training videos) to 1.67 (blue, 2)" in log
    assert made.learner.step.loss.keywords["weights"].tolist() == pytest.approx([10 / 12, 10 / 12, 10 / 6])
    given = train("MODEL.CLASS_WEIGHTS", "[0, 2, 1]", "SOLVER.MAX_EPOCH", 1, data=data, out="given")
    assert given.learner.step.loss.keywords["weights"].tolist() == [0, 2, 1]
    assert given.history[0]["val_loss"] > 0  # validation weighs nothing


def test_weights_of_another_number_of_classes(train):
    with pytest.raises(ConfigError, match=r"^MODEL.CLASS_WEIGHTS has 2 weights, but MODEL.NUM_CLASSES is 3"):
        train("MODEL.CLASS_WEIGHTS", "[1, 2]")


# -------------------------------------------------------------------------------------------------- several labels


def test_several_labels_are_learned(train, several, log):
    made = train(*MULTI_LABEL, "MIXUP.LABEL_SMOOTH_VALUE", 0, "SOLVER.MAX_EPOCH", 5, "SOLVER.BASE_LR", 4e-3)
    first, final = made.history[0], made.history[-1]
    assert set(final) == {"epoch", "train_loss", "lr", "val_map", "val_loss"}
    assert final["train_loss"] < first["train_loss"] and final["val_map"] == 100.0
    best = made.best
    assert best["val_map"] == max(entry["val_map"] for entry in made.history)
    assert read_checkpoint(best_path(made.output)).best == best
    assert log[-1] == (
        f"INFO: best validation: mAP 100.00 % after epoch {best['epoch']}, kept in {best_path(made.output)}"
    )
    line = next(line for line in log if line.startswith("INFO: epoch 5/5 done"))
    assert line == (
        f"INFO: epoch 5/5 done  training loss {final['train_loss']:.4f}  validation mAP 100.00 %  "
        f"loss {final['val_loss']:.4f}"
    )
    assert not any("top-" in line for line in log)
    # The last validation is of the weights that the run ended with.
    model = made.learner.model.eval()
    batches = list(made.val_loader)
    with torch.no_grad():
        scores = torch.cat([model(made.learner.inputs.normalized(batch.clips, CPU)) for batch in batches])
    labels = torch.cat([batch.labels for batch in batches])
    assert labels.tolist() == [[1, 0, 0], [1, 1, 0], [0, 0, 1]] * 2
    assert final["val_map"] == pytest.approx(100 * average_precision(scores, labels).mean().item())
    expected = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    assert final["val_loss"] == pytest.approx(expected.item(), rel=1e-5)


def test_the_first_loss_of_several_labels_is_that_of_sigmoids(train, several):
    made = train(*MULTI_LABEL, "TRAIN.BATCH_SIZE", 12, "SOLVER.MAX_EPOCH", 1, "MIXUP.LABEL_SMOOTH_VALUE", 0.3)
    model = setup.new_model(made.cfg, CPU).train()
    batch = next(iter(made.loader))
    clips, targets = made.learner.inputs.train(batch, CPU)
    expected = [[0.8 if k in SEVERAL[n] else 0.1 for k in range(3)] for n in (batch.records % 3).tolist()]
    torch.testing.assert_close(targets, torch.tensor(expected))
    probability = model(clips).sigmoid().double()
    loss = -(targets * probability.log() + (1 - targets) * (1 - probability).log()).mean()
    assert made.history[0]["train_loss"] == pytest.approx(loss.item(), rel=1e-5)


@pytest.mark.parametrize("network", [(), LIGHT])
def test_several_labels_go_with_everything_else(train, several, monkeypatch, network):
    options = (*MULTI_LABEL, *FULL_AUGMENTATION, *network, "MODEL.CLASS_WEIGHTS", "balanced", "MODEL.FREEZE", 1)
    options = (*options, "TRAIN.MIXED_PRECISION", "bf16", "AUG.NUM_SAMPLE", 2, "SOLVER.LAYER_DECAY", 0.8)
    straight = train(*options, out="straight")
    assert straight.learner.step.loss.keywords["weights"].tolist() == pytest.approx([16 / 24, 16 / 12, 16 / 12])
    killed(monkeypatch, train, 1, *options)
    assert_same_run(last(straight), last(train(*options, out="killed")))


def test_a_checkpoint_tells_that_a_video_may_have_several_labels(train, several):
    checkpoint = last(train(*MULTI_LABEL, "SOLVER.MAX_EPOCH", 1))
    assert re.search(r"^  MULTI_LABEL: true$", checkpoint.cfg, re.MULTILINE)
    assert re.search(r"^  LOSS_FUNC: bce_logit$", checkpoint.cfg, re.MULTILINE)
    assert checkpoint.class_names == ["red", "green", "blue"]


def test_curves_of_several_labels(train, several, monkeypatch):
    monkeypatch.setattr(trainer, "draw_curves", draw_curves)
    made = train(*MULTI_LABEL, "SOLVER.MAX_EPOCH", 1)
    assert (made.output / "curves.png").read_bytes().startswith(b"\x89PNG")


# ------------------------------------------------------------------------------------------------ an early end


@pytest.fixture
def shares(monkeypatch):
    """Return a function that sets the top-1 of the validations to come."""

    def script(*values):
        coming = iter(values)
        monkeypatch.setattr(learner, "validate", lambda *_: Validation(next(coming), 100.0, 1.0, 6))

    return script


def test_a_run_ends_when_it_gets_no_better(train, shares, log):
    shares(50.0, 75.0, 60.0, 75.0, 90.0)
    options = ("SOLVER.MAX_EPOCH", 9, "TRAIN.EARLY_STOP_PATIENCE", 2, "TRAIN.CHECKPOINT_PERIOD", 5)
    made = train(*options)
    assert [entry["epoch"] for entry in made.history] == [1, 2, 3, 4]
    assert "INFO: stopped after epoch 4 of 9: no better top-1 since epoch 2 (TRAIN.EARLY_STOP_PATIENCE 2)" in log
    # Its end is a checkpoint, as that of any run; the best is the one that finetune.yaml tests.
    assert last(made).epoch == 4
    assert read_checkpoint(own_checkpoint(made.output, best=True)).epoch == 2
    # The same command has nothing left to do.
    shares()
    again = train(*options)
    assert again.history == made.history
    # With more patience it goes on.
    shares(80.0, 70.0, 70.0, 70.0)
    more = train("SOLVER.MAX_EPOCH", 9, "TRAIN.EARLY_STOP_PATIENCE", 3)
    assert [entry["val_top1"] for entry in more.history] == [50.0, 75.0, 60.0, 75.0, 80.0, 70.0, 70.0, 70.0]


def test_patience_counts_over_a_resume(train, shares, monkeypatch):
    options = ("SOLVER.MAX_EPOCH", 9, "TRAIN.EARLY_STOP_PATIENCE", 3)
    shares(70.0, 60.0, 60.0)
    killed(monkeypatch, train, 2, *options)
    shares(60.0, 60.0)
    made = train(*options, out="killed")
    assert [entry["epoch"] for entry in made.history] == [1, 2, 3, 4]


def test_patience_counts_validations_not_epochs(train, shares):
    shares(70.0, 60.0, 60.0)
    made = train("SOLVER.MAX_EPOCH", 9, "TRAIN.EARLY_STOP_PATIENCE", 2, "TRAIN.EVAL_PERIOD", 2)
    assert made.epoch == 6


def test_a_run_that_gets_to_its_end_says_nothing_of_stopping(train, shares, log):
    shares(70.0, 60.0)
    made = train("SOLVER.MAX_EPOCH", 2, "TRAIN.EARLY_STOP_PATIENCE", 1)
    assert made.epoch == 2 and not any("stopped" in line for line in log)


def test_patience_watches_map_in_a_set_of_several_labels(train, several, monkeypatch, log):
    values = iter([30.0, 20.0])
    nan = float("nan")
    monkeypatch.setattr(learner, "validate", lambda *_: Validation(nan, nan, 1.0, 6, next(values)))
    made = train(*MULTI_LABEL, "SOLVER.MAX_EPOCH", 9, "TRAIN.EARLY_STOP_PATIENCE", 1)
    assert [entry["val_map"] for entry in made.history] == [30.0, 20.0]
    assert "INFO: stopped after epoch 2 of 9: no better mAP since epoch 1 (TRAIN.EARLY_STOP_PATIENCE 1)" in log


def test_patience_ends_where_nothing_is_a_number(train, shares, log):
    shares(float("nan"), float("nan"))
    made = train("SOLVER.MAX_EPOCH", 9, "TRAIN.EARLY_STOP_PATIENCE", 2)
    assert made.epoch == 2 and made.best is None
    assert "INFO: stopped after epoch 2 of 9: no better top-1 since the start (TRAIN.EARLY_STOP_PATIENCE 2)" in log


# ------------------------------------------------------------------------------------------------ fewer than five


def test_the_best_five_of_three_classes_are_not_told(train, log):
    made = train("SOLVER.MAX_EPOCH", 1)
    assert set(made.history[0]) == {"epoch", "train_loss", "lr", "val_top1", "val_loss"}
    assert not any("top-5" in line or "top5" in line for line in log)
    stats = [simplejson.loads(line.split("json_stats: ")[1]) for line in log if "json_stats" in line]
    assert set(stats[-1]) == {"_type", "epoch", "top1_err", "loss"}


def test_top5_of_more_classes_is_told(train, toy_set, tmp_path, log):
    data = rewrite(toy_set, tmp_path / "set")
    (data / "classes.json").unlink()
    made = train("SOLVER.MAX_EPOCH", 1, "MODEL.NUM_CLASSES", 8, data=data)
    assert {"val_top1", "val_top5"} <= set(made.history[0])
    assert any(re.search(r"validation top-1 \S+ %  top-5 \S+ %  loss", line) for line in log)


def test_label_smoothing_needs_no_mixing(train):
    made = train("SOLVER.MAX_EPOCH", 1, "MIXUP.LABEL_SMOOTH_VALUE", 0.3)
    batch = next(iter(made.loader))
    targets = made.learner.inputs.train(batch, CPU)[1]
    expected = np.full((8, 3), 0.1)
    expected[range(8), batch.labels] = 0.8
    np.testing.assert_allclose(targets.numpy(), expected, atol=1e-6)
