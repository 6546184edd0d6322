"""A compiled network: the values of the plain one, and one compilation for each size of a batch."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.backends.debugging import aot_eager

from tests.engine.training import CPU, curves, last, train
from tests.helpers import write_text
from tests.toy import FULL_AUGMENTATION, entries, rewrite, toy_cfg
from uniformer_video.engine import compiled
from uniformer_video.engine.compiled import OneShape, compiled_network, require_compiler
from uniformer_video.engine.tester import Tester
from uniformer_video.models.build import build_model
from uniformer_video.runtime.errors import ConfigError

__all__ = ["curves", "train"]


@pytest.fixture(autouse=True)
def forget():
    """Let no test see what another one compiled."""
    torch._dynamo.reset()
    before = torch._dynamo.config.optimize_ddp
    yield
    torch._dynamo.config.optimize_ddp = before
    torch._dynamo.reset()


@pytest.fixture
def compilations(monkeypatch) -> list[int]:
    """Compile to torch's own operations, and note the batch size of each compilation."""
    sizes = []

    def backend(graph, examples):
        sizes.append(next(len(example) for example in examples if example.ndim == 5 and example.shape[1] == 3))
        return aot_eager(graph, examples)

    monkeypatch.setattr(compiled, "BACKEND", backend)
    monkeypatch.setattr(compiled, "require_compiler", lambda device: None)
    return sizes


@pytest.fixture
def network(toy_set, tmp_path) -> nn.Module:
    torch.manual_seed(0)
    return build_model(toy_cfg(toy_set, tmp_path))


def clips(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 4, 32, 32, generator=torch.Generator().manual_seed(count))


class TestOneShape:
    def made(self, network, compilations) -> OneShape:
        return OneShape(network, train_clips=3, eval_clips=4, backend=compiled.BACKEND)

    def test_names_and_state_stay_the_networks(self, network, compilations):
        names = list(network.state_dict())
        called = self.made(network, compilations)
        assert list(called.model.state_dict()) == names
        assert [id(p) for p in called.parameters()] == [id(p) for p in network.parameters()]

    def test_shorter_batches_are_filled_up(self, network, compilations):
        called = self.made(network, compilations).eval()
        assert not network.training
        with torch.no_grad():
            for count in (4, 1, 3, 4, 2):
                found = called(clips(count))
                assert found.shape == (count, 3)
                torch.testing.assert_close(found, network(clips(count)))
        assert compilations == [4]

    def test_longer_batches_are_not_compiled(self, network, compilations):
        called = self.made(network, compilations).eval()
        with torch.inference_mode():
            assert torch.equal(called(clips(5)), network(clips(5)))
        assert compilations == []

    def test_a_training_step_of_another_size_is_not_compiled(self, network, compilations):
        called = self.made(network, compilations).train()
        for count in (3, 2, 3, 1, 3):
            called(clips(count)).sum().backward()
        assert compilations == [3]

    def test_training_and_evaluation_in_turn(self, network, compilations):
        called = self.made(network, compilations)
        for _ in range(3):
            called.train()
            called(clips(3)).sum().backward()
            called.eval()
            with torch.no_grad():
                called(clips(4))
        assert compilations == [3, 4]

    def test_gradients_are_those_of_the_plain_network(self, network, compilations):
        wanted = torch.autograd.grad(network.train()(clips(3)).square().sum(), list(network.parameters()))
        called = self.made(network, compilations).train()
        found = torch.autograd.grad(called(clips(3)).square().sum(), list(network.parameters()))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

    def test_several_outputs_are_cut_alike(self, compilations):
        class Two(nn.Module):
            def forward(self, x):
                return x.sum((1, 2, 3, 4)), x

        called = self.made(Two(), compilations).eval()
        sums, same = called(clips(2))
        assert (len(sums), same.shape) == (2, clips(2).shape)


def test_a_run_compiles_once_for_each_of_its_sizes(train, compilations, log):
    options = ("SOLVER.MAX_EPOCH", 2, *FULL_AUGMENTATION)
    made = train(*options, "MODEL.COMPILE", True, out="compiled")
    # 4 videos x 2 clips in a step; 6 videos are validated, 4 and 2
    assert compilations == [8, 4]
    assert any("compiled (MODEL.COMPILE default) for 8 clips in training, 4 in evaluation" in line for line in log)
    plain = train(*options, out="plain")
    # The same draws; operations may be other ones.
    for name, wanted in last(plain).model_state.items():
        torch.testing.assert_close(last(made).model_state[name], wanted, rtol=1e-2, atol=1e-3)
    assert [entry["val_top1"] for entry in made.history] == [entry["val_top1"] for entry in plain.history]


def test_blocks_computed_again_are_compiled_too(train, compilations):
    options = ("SOLVER.MAX_EPOCH", 1, "MODEL.USE_CHECKPOINT", True, "MODEL.CHECKPOINT_NUM", [1, 1, 1, 1])
    made = train(*options, "MODEL.COMPILE", "reduce-overhead", out="compiled")
    plain = train(*options, out="plain")
    assert compilations == [8, 4]
    assert made.history[-1]["train_loss"] == pytest.approx(plain.history[-1]["train_loss"], rel=1e-5)


@pytest.mark.parametrize("batch", [12, 8, 4])
def test_a_test_compiles_once(toy_set, tmp_path, compilations, batch):
    """6 videos of 6 views, one of which cannot be read: batches of one or two videos, whole or in parts."""
    broken = write_text(tmp_path / "broken.mp4")
    data = rewrite(toy_set, tmp_path / "set", test=[f"{broken} 1", *entries(toy_set, "test")])
    options = ("TRAIN.ENABLE", "False", "TEST.BATCH_SIZE", str(batch), "TEST.ALLOW_MISSING", "True")

    def scores(*more):
        tester = Tester(toy_cfg(data, tmp_path, *options, *more), CPU)
        return tester._score(tester.ready[0]).scores()

    torch.testing.assert_close(scores("MODEL.COMPILE", "True"), scores(), rtol=1e-4, atol=1e-5, equal_nan=True)
    assert compilations == [{12: 12, 8: 6, 4: 4}[batch]]


def test_without_the_key_it_is_the_network(network, toy_set, tmp_path):
    assert compiled_network(network, toy_cfg(toy_set, tmp_path), CPU, eval_clips=4) is network


class TestWhatCompiles:
    @pytest.fixture(autouse=True)
    def nothing(self, monkeypatch):
        monkeypatch.setattr(shutil, "which", lambda name: None)
        for name in ("CC", "CXX"):
            monkeypatch.delenv(name, raising=False)

    def test_no_compiler_on_a_cpu(self, network, toy_set, tmp_path):
        cfg = toy_cfg(toy_set, tmp_path, "MODEL.COMPILE", "True")
        with pytest.raises(ConfigError, match=r"^MODEL.COMPILE needs a C\+\+ compiler, and there is no \w+\+\+; "):
            compiled_network(network, cfg, CPU, eval_clips=4)

    def test_the_environment_names_one(self, monkeypatch):
        monkeypatch.setenv("CXX", "my-c++")
        with pytest.raises(ConfigError, match=r"there is no my-c\+\+; install my-c\+\+, set the .+ CXX"):
            require_compiler(CPU)
        monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
        require_compiler(CPU)

    @pytest.mark.parametrize(("triton", "message"), [(False, "needs Triton on a GPU"), (True, "no gcc or clang or cc")])
    def test_on_a_gpu(self, monkeypatch, triton, message):
        monkeypatch.setattr("torch.utils._triton.has_triton", lambda: triton)
        with pytest.raises(ConfigError, match=message):
            require_compiler(torch.device("cuda"))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which(os.environ.get("CXX", "g++")) is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
def test_torchs_own_compiler(network, mode):
    torch._dynamo.utils.counters.clear()
    called = OneShape(network, train_clips=2, eval_clips=3, mode=mode)
    for _ in range(2):
        called.train()
        found = torch.autograd.grad(called(clips(2)).square().sum(), list(network.parameters()))
        wanted = torch.autograd.grad(network(clips(2)).square().sum(), list(network.parameters()))
        for one, other in zip(found, wanted, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
        called.eval()
        with torch.no_grad():
            for count in (3, 1):
                torch.testing.assert_close(called(clips(count)), network(clips(count)), rtol=1e-4, atol=1e-4)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2
