"""One step: the gradient of the whole step however it is cut up, and nothing changed where it is not finite."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.training import CPU
from tests.toy import toy_cfg
from uniformer_video.datasets.batches import Batch
from uniformer_video.engine import setup
from uniformer_video.engine import step as step_module
from uniformer_video.engine.device import Precision
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.step import TrainStep, _runs
from uniformer_video.models.freeze import freeze_norms
from uniformer_video.runtime.seed import Stream
from uniformer_video.solver.build import build_optimizer
from uniformer_video.solver.ema import WeightAverage
from uniformer_video.solver.losses import bce_logit, cross_entropy, soft_cross_entropy

DROPS = ("UNIFORMER.DROP_DEPTH_RATE", "0.4", "UNIFORMER.HEAD_DROPOUT_RATE", "0.3", "UNIFORMER.DROPOUT_RATE", "0.2")


def batch_of(clips: int, repeats: int = 2, seed: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (clips, 3, 4, 32, 32), dtype=torch.uint8, generator=generator)
    records = torch.arange(clips) // repeats
    return Batch(pixels, records % 3, records, torch.arange(clips) % repeats)


class Made:
    """A toy network and its step."""

    def __init__(self, toy_set, tmp_path, *overrides, frozen=True, average=0.0, loss=soft_cross_entropy, **options):
        self.cfg = toy_cfg(toy_set, tmp_path / "out", "SOLVER.CLIP_GRAD_L2NORM", "1", *map(str, overrides))
        self.model = setup.new_model(self.cfg, CPU)
        if frozen:
            freeze_norms(self.model)
        self.model.train()
        self.optimizer = build_optimizer(self.model, self.cfg)
        self.average = WeightAverage(self.model, average) if average else None
        self.step = TrainStep(
            options.pop("network", self.model),
            self.model,
            self.optimizer,
            inputs=DeviceInputs.from_config(self.cfg),
            loss=loss,
            precision=options.pop("precision", Precision(False, CPU)),
            clip_norm=1.0,
            average=self.average,
            seed=7,
            **{"rows": 8, "repeats": 2, **options},
        )

    def take(self, batch=None, *, step=0, epoch=0, lr=1e-3, clips=8, **options):
        return self.step(batch or batch_of(8), epoch=epoch, step=step, lr=lr, clips=clips, **options)

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in self.model.state_dict().items()}


def largest_difference(one: dict, other: dict) -> float:
    return max((one[name].double() - other[name].double()).abs().max().item() for name in one)


@pytest.mark.parametrize("parts", [2, 3, 8])
def test_parts_end_with_the_weights_of_the_whole(toy_set, tmp_path, parts):
    # Plain descent: Adam would divide the rounding of a gradient that is really 0 (a key's bias) by itself.
    sgd = ("SOLVER.OPTIMIZING_METHOD", "sgd")
    whole, cut = (Made(toy_set, tmp_path, *DROPS, *sgd, parts=n) for n in (1, parts))
    before = whole.weights()
    for step in range(3):
        one, other = (made.take(step=step, lr=0.1) for made in (whole, cut))
        assert other.loss == pytest.approx(one.loss, rel=1e-6) and other.norm == pytest.approx(one.norm, rel=1e-4)
    assert largest_difference(before, whole.weights()) > 1e-3
    assert largest_difference(whole.weights(), cut.weights()) < 1e-6


LIGHT = ("MODEL.MODEL_NAME", "Uniformer_light", "UNIFORMER.DEPTH", "[1, 1, 2, 2]")
KINDS = {
    "two heads": (LIGHT, soft_cross_entropy),
    "mixed": (("MIXUP.ENABLE", "True", "AUG.ENABLE", "True", "AUG.RE_PROB", "1.0"), soft_cross_entropy),
    "weighted": (("MODEL.LOSS_FUNC", "cross_entropy"), partial(cross_entropy, weights=torch.tensor([0.2, 1.0, 3.0]))),
    "several labels": (
        ("DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit"),
        partial(bce_logit, weights=torch.tensor([0.2, 1.0, 3.0])),
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_the_whole_whatever_the_network_and_the_loss(toy_set, tmp_path, kind):
    overrides, loss = KINDS[kind]
    batch = batch_of(8)
    if kind == "several labels":
        batch = replace(batch, labels=torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]] * 4))
    options = (*DROPS, "SOLVER.OPTIMIZING_METHOD", "sgd", *overrides)
    whole, cut = (Made(toy_set, tmp_path, *options, loss=loss, parts=n) for n in (1, 3))
    before = whole.weights()
    for step in range(3):
        one, other = (made.take(batch, step=step, lr=0.1) for made in (whole, cut))
        assert other.loss == pytest.approx(one.loss, rel=1e-6)
    assert largest_difference(before, whole.weights()) > 1e-3
    assert largest_difference(whole.weights(), cut.weights()) < 1e-6


def test_batch_norms_of_parts_see_the_parts(toy_set, tmp_path):
    whole, cut = (Made(toy_set, tmp_path, frozen=False, parts=n) for n in (1, 2))
    whole.take(), cut.take()
    assert largest_difference(whole.weights(), cut.weights()) > 1e-4
    counts = {name: value for name, value in cut.weights().items() if name.endswith("num_batches_tracked")}
    assert counts and all(value == 2 for value in counts.values())


def test_a_short_step_is_done_in_one_part(toy_set, tmp_path):
    seen = []
    made = Made(toy_set, tmp_path, parts=4)
    made.model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    made.take()
    made.take(batch_of(6), clips=6, whole=False)
    assert seen == [2, 2, 2, 2, 6]


def test_the_loss_counts_each_clip_once(toy_set, tmp_path):
    made = Made(toy_set, tmp_path, parts=3)
    batch = batch_of(8)
    clips, targets = made.step.inputs.train(batch, CPU)
    with torch.no_grad():
        expected = soft_cross_entropy(made.model(clips), targets).item()
    outcome = made.take(batch)
    assert outcome.loss == pytest.approx(expected, rel=1e-6)
    assert (outcome.clips, outcome.taken, outcome.finite) == (8, True, True)


def test_a_step_is_a_function_of_its_place(toy_set, tmp_path):
    """Draws depend on epoch and step, not on what ran before: a resumed run draws the same."""

    def after(*places, warm=0):
        made = Made(toy_set, tmp_path, *DROPS, "SOLVER.BASE_LR", 0)
        torch.rand(warm)
        losses = [made.take(epoch=e, step=s, lr=0.0).loss for e, s in places]
        return losses[-1]

    assert after((0, 2)) == after((0, 1), (0, 2), warm=5)
    assert len({after((0, 2)), after((0, 1)), after((1, 2))}) == 3


def nan_at(*places):
    """Return a loss that is NaN at its calls of these numbers."""
    calls = []

    def loss(logits, targets):
        calls.append(1)
        value = soft_cross_entropy(logits, targets)
        return value * math.nan if len(calls) - 1 in places else value

    return loss


@pytest.mark.parametrize("parts", [1, 2])
def test_a_step_that_is_not_finite_changes_nothing(toy_set, tmp_path, parts):
    made = Made(toy_set, tmp_path, frozen=False, average=0.9, loss=nan_at(parts), parts=parts)
    made.take()
    before, average = made.weights(), {n: t.clone() for n, t in made.average.state_dict().items()}
    state = {n: s["step"].item() for n, s in made.optimizer.state_dict()["state"].items()}
    outcome = made.take(step=1)
    assert math.isnan(outcome.loss) and not outcome.taken and not outcome.finite
    assert largest_difference(before, made.weights()) == 0  # statistics and counts of batch norms too
    assert largest_difference(average, made.average.state_dict()) == 0 and made.average.updates == 1
    assert {n: s["step"].item() for n, s in made.optimizer.state_dict()["state"].items()} == state
    assert made.take(step=2).taken
    assert largest_difference(before, made.weights()) > 1e-5


def test_an_infinite_gradient_of_a_finite_loss_leaves_the_step_out(toy_set, tmp_path):
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            return gradient * math.inf

    made = Made(toy_set, tmp_path, frozen=False, loss=lambda a, b: Steep.apply(soft_cross_entropy(a, b)))
    before = made.weights()
    outcome = made.take()
    assert math.isfinite(outcome.loss) and not math.isfinite(outcome.norm)
    assert not outcome.taken and not outcome.finite
    assert largest_difference(before, made.weights()) == 0


class Scaler(torch.amp.GradScaler):
    """A scaler that is at work on a CPU, as float16's is on a GPU."""

    def __init__(self, scale: float) -> None:
        super().__init__("cpu", init_scale=scale, enabled=True)


@pytest.mark.parametrize(("scale", "finite"), [(2.0**100, True), (2.0**-1, False)])
def test_an_overflow_is_the_scalers_own_while_it_searches(toy_set, tmp_path, scale, finite):
    precision = Precision(False, CPU)
    precision.scaler = Scaler(scale)
    made = Made(toy_set, tmp_path, precision=precision, loss=lambda a, b: soft_cross_entropy(a, b) * 2.0**120)
    if not finite:  # small scale, and still an overflow
        made.step.loss = lambda a, b: soft_cross_entropy(a, b).detach() + (a.sum() * 0) * math.inf
    before = made.weights()
    outcome = made.take()
    if finite:
        assert math.isfinite(outcome.loss)
    assert (outcome.taken, outcome.finite) == (False, finite)
    assert largest_difference(before, made.weights()) == 0
    assert precision.scaler.get_scale() == scale / 2


def test_a_scaler_changes_no_bit_of_a_good_step(toy_set, tmp_path):
    precision = Precision(False, CPU)
    precision.scaler = Scaler(2.0**10)
    scaled, plain = Made(toy_set, tmp_path, precision=precision), Made(toy_set, tmp_path)
    one, other = scaled.take(), plain.take()
    assert replace(one, norm=0) == replace(other, norm=0) and one.norm == pytest.approx(other.norm, rel=1e-6)
    assert largest_difference(scaled.weights(), plain.weights()) < 1e-7


def test_wishes_come_back(toy_set, tmp_path):
    made = Made(toy_set, tmp_path)
    assert made.take(wishes=(True, False)).wishes == (True, False)
    assert made.take(wishes=(False, True)).wishes == (False, True)
    assert made.take().wishes == ()


def test_a_compiled_network_draws_for_each_part_and_process(toy_set, tmp_path, monkeypatch):
    """What is compiled knows nothing of rows: drawn alike, all parts and processes would drop the same."""
    seeds = []
    monkeypatch.setattr(step_module, "seed_everything", lambda *place: seeds.append(place))
    Made(toy_set, tmp_path, parts=2, compiled=True).take(step=5, epoch=1)
    assert seeds == [(7, Stream.NETWORK, 1, 5, 0), (7, Stream.NETWORK, 1, 5, 0, 1)]
    seeds.clear()
    Made(toy_set, tmp_path, parts=2).take(step=5, epoch=1)
    assert seeds == [(7, Stream.NETWORK, 1, 5, 0)] * 2


def test_rows_of_a_process_are_every_worldth_record(toy_set, tmp_path, monkeypatch):
    rows = []
    monkeypatch.setattr(step_module, "batch_rows", lambda r, total: rows.append((r.tolist(), total)) or _nothing())
    monkeypatch.setattr(step_module.distributed, "rank", lambda: 1)
    monkeypatch.setattr(step_module.distributed, "world_size", lambda: 3)
    made = Made(toy_set, tmp_path, rows=24, parts=2)
    with made.step._draws(0, 0, 0, slice(0, 4)), made.step._draws(0, 0, 1, slice(4, 8)):
        pass
    # Records 1, 4, 7, 10 of the step, two clips each.
    assert rows == [([2, 3, 8, 9], 24), ([14, 15, 20, 21], 24)]


class _nothing:
    def __enter__(self):
        return None

    def __exit__(self, *_):
        return None


@given(count=st.integers(1, 60), parts=st.integers(1, 70))
def test_runs_cover_all_once_and_none_is_empty(count, parts):
    runs = list(_runs(count, parts))
    assert [n for run in runs for n in range(run.start, run.stop)] == list(range(count))
    sizes = [run.stop - run.start for run in runs]
    assert len(runs) == min(count, parts) and min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
