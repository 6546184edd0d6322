"""The network of a training: what of it is trained, what is saved of it, and a validation that leaves no trace."""

from __future__ import annotations

import pytest
import torch

from tests.engine.training import CPU
from tests.toy import same_bits, toy_cfg
from uniformer_video.datasets import build_dataset
from uniformer_video.engine import learner as learner_module
from uniformer_video.engine import setup
from uniformer_video.engine.checkpoint import Checkpoint
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.learner import Learner
from uniformer_video.runtime.errors import WeightError
from uniformer_video.solver.losses import soft_cross_entropy


class Made:
    """A learner of the toy set, its loaders, and steps of it."""

    def __init__(self, toy_set, tmp_path, *overrides):
        self.cfg = toy_cfg(toy_set, tmp_path / "out", *map(str, overrides))
        sets = [build_dataset("kinetics", self.cfg, split) for split in ("train", "val")]
        self.loader = setup.train_loader(self.cfg, sets[0], CPU)
        self.val_loader = setup.ordered_loader(self.cfg, sets[1], 4, CPU)
        self.loaded = []
        self.learner = Learner(
            self.cfg, CPU, loss=soft_cross_entropy, clips=8, repeats=2, load=lambda model: self.loaded.append(model)
        )

    def steps(self, count=2):
        self.learner.network.train()
        for number, batch in zip(range(count), self.loader, strict=False):
            self.learner.step(batch, epoch=0, step=number, lr=0.01, clips=8)
        return self

    def validate(self, epoch=0):
        return self.learner.validate(self.val_loader, self.loader, FailureLog(None, "val"), epoch)

    def checkpoint(self) -> Checkpoint:
        state = self.learner.state()
        copied = {name: torch.utils._pytree.tree_map(_copy, value) for name, value in state.items()}
        return Checkpoint(epoch=1, cfg="", **copied)


def _copy(value):
    return value.clone() if isinstance(value, torch.Tensor) else value


@pytest.fixture
def make(toy_set, tmp_path):
    return lambda *overrides: Made(toy_set, tmp_path, *overrides)


def test_weights_are_loaded_once_into_the_network_itself(make):
    made = make()
    assert made.loaded == [made.learner.model]


def test_without_an_average_a_state_is_the_networks(make):
    made = make().steps()
    state = made.learner.state()
    assert same_bits(state["model_state"], made.learner.model.state_dict())
    assert state["train_state"] is None and state["average"] is None
    assert len(state["optimizer_state"]["state"]) == len(list(made.learner.model.parameters()))


def test_with_an_average_it_is_what_others_read(make):
    made = make("SOLVER.EMA_DECAY", 0.9).steps()
    state = made.learner.state()
    assert same_bits(state["train_state"], made.learner.model.state_dict())
    assert same_bits(state["model_state"], made.learner.average.state_dict())
    assert state["average"] == {"updates": 2}


def test_it_goes_on_from_its_own_state(make):
    straight, first, second = (make("SOLVER.EMA_DECAY", 0.9, "UNIFORMER.DROP_DEPTH_RATE", 0.3) for _ in range(3))
    straight.steps(3)
    first.steps(2)
    checkpoint = first.checkpoint()
    second.learner.model.load_state_dict(checkpoint.train_state)
    second.learner.go_on(checkpoint, "c.pyth")
    second.learner.network.train()
    for number, batch in enumerate(second.loader):
        if number == 2:
            second.learner.step(batch, epoch=0, step=number, lr=0.01, clips=8)
    one, other = straight.learner.state(), second.learner.state()
    assert same_bits(one["model_state"], other["model_state"]) and same_bits(one["train_state"], other["train_state"])
    assert one["average"] == other["average"] == {"updates": 3}


def test_another_optimizer_is_refused(make):
    checkpoint = make().steps().checkpoint()
    with pytest.raises(WeightError, match="c.pyth cannot be resumed, its optimizer differs"):
        make("SOLVER.OPTIMIZING_METHOD", "sgd").learner.go_on(checkpoint, "c.pyth")


def test_frozen_norms_keep_their_statistics_and_train_their_scale(make, log):
    made = make("MODEL.FROZEN_BN", True)
    count = sum(isinstance(m, torch.nn.BatchNorm3d) for m in made.learner.model.modules())
    assert f"INFO: batch norm: {count} keep their statistics (MODEL.FROZEN_BN)" in log and count > 3
    before = {name: tensor.clone() for name, tensor in made.learner.model.state_dict().items()}
    made.steps()
    after = made.learner.model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert not [name for name in changed if "running" in name or "num_batches" in name]
    assert {"blocks1.0.norm1.weight", "norm.bias"} <= changed


@pytest.mark.parametrize(("world", "said"), [(1, False), (2, True)])
def test_norms_are_synchronised_among_several_processes(make, monkeypatch, log, world, said):
    calls = []
    monkeypatch.setattr(learner_module, "synchronise_norms", lambda model, device: calls.append(model) or 5)
    monkeypatch.setattr(learner_module.distributed, "world_size", lambda: world)
    made = make("BN.NORM_TYPE", "sync_batchnorm")
    assert calls == ([made.learner.model] if said else [])
    assert ("INFO: batch norm: statistics of 5 over all 2 processes" in log) == said


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize("precise", [False, True])
def test_a_validation_changes_no_weight_and_no_generator(make, average, precise):
    made = make("SOLVER.EMA_DECAY", average, "BN.USE_PRECISE_STATS", precise, "UNIFORMER.DROP_DEPTH_RATE", 0.3).steps()
    before = {name: tensor.clone() for name, tensor in made.learner.model.state_dict().items()}
    torch.manual_seed(5)
    state = torch.get_rng_state()
    result = made.validate()
    assert result.videos == 6
    assert torch.equal(torch.get_rng_state(), state)
    changed = {n for n, t in made.learner.model.state_dict().items() if not torch.equal(t, before[n])}
    # Precise statistics belong to the network that is validated: with an average that is the average.
    assert all("running" in name for name in changed)
    assert bool(changed) == (precise and not average)


def test_precise_statistics_are_those_of_the_average_and_saved_with_it(make):
    made = make("SOLVER.EMA_DECAY", 0.5, "BN.USE_PRECISE_STATS", True).steps()
    before = {name: tensor.clone() for name, tensor in made.learner.average.state_dict().items()}
    first = made.validate()
    saved = made.learner.state()["model_state"]
    changed = {name for name in before if not torch.equal(before[name], saved[name])}
    assert changed and all("running" in name for name in changed)
    alone = make()
    alone.learner.model.load_state_dict(saved)
    assert alone.validate().loss == pytest.approx(first.loss, rel=1e-6)


def test_a_validation_is_a_function_of_the_epoch(make):
    made = make("BN.USE_PRECISE_STATS", True, "UNIFORMER.DROP_DEPTH_RATE", 0.5, "SOLVER.EMA_DECAY", 0.5).steps()
    losses = []
    for epoch in (0, 1, 0):
        torch.rand(3)
        losses.append(made.validate(epoch).loss)
    assert losses[0] == losses[2] != losses[1]
