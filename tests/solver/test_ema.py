"""The average of weights: against its formula in float64, exact ways back, and what a file of it must hold."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.sharded import is_sharded, whole
from uniformer_video.solver.ema import WeightAverage


class Small(nn.Module):
    """A channels-last kernel, a norm with statistics, one matrix under two names, and a buffer of each kind."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 4, 3).to(memory_format=torch.channels_last_3d)
        self.norm = nn.BatchNorm3d(4)
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.tensor(3))
        self.register_buffer("mask", torch.tensor([float("-inf"), 0.0]), persistent=False)


def move(model, generator):
    """Change everything in a state dict, as a step does."""
    with torch.no_grad():
        for tensor in {id(t): t for t in model.state_dict(keep_vars=True).values()}.values():
            if tensor.is_floating_point():
                tensor += 0.1 * torch.randn(tensor.shape, generator=generator).to(tensor.dtype)
            else:
                tensor += 1


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


def bits(model):
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def assert_same_bits(one, other):
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize(("decay", "warmup"), [(0.9, False), (0.99, True), (0.5, True), (0.0, False)])
def test_against_the_formula_in_float64(decay, warmup, generator):
    model = Small()
    average = WeightAverage(model, decay, warmup)
    wanted = {name: tensor.double() for name, tensor in bits(model).items()}
    for step in range(400):
        move(model, generator)
        average.update()
        share = min(decay, (1 + step) / (10 + step)) if warmup else decay
        for name, value in bits(model).items():
            wanted[name] = share * wanted[name] + (1 - share) * value.double()
    got = average.state_dict()
    assert average.updates == 400
    assert list(got) == list(model.state_dict())
    for name, value in got.items():
        if name in ("count", "norm.num_batches_tracked"):
            assert torch.equal(value, model.state_dict()[name])
        else:
            assert value.dtype == torch.float32
            assert (value.double() - wanted[name]).abs().max() < 2e-6, name


@given(st.floats(0, 0.999999), st.integers(0, 30))
def test_a_constant_weight_is_its_own_average_to_the_bit(decay, steps):
    model = nn.Linear(3, 2)
    average = WeightAverage(model, decay)
    for _ in range(steps):
        average.update()
    assert_same_bits(average.state_dict(), bits(model))


def test_without_warmup_the_first_weights_stay_long_and_with_it_they_are_forgotten():
    left = {}
    for warmup in (False, True):
        model = nn.Linear(1, 1, bias=False)
        nn.init.ones_(model.weight)
        average = WeightAverage(model, 0.9999, warmup)
        nn.init.zeros_(model.weight)
        for _ in range(20):
            average.update()
        left[warmup] = average.state_dict()["weight"].item()
    assert left[False] == pytest.approx(0.9999**20, rel=1e-5)
    assert left[True] == pytest.approx(math.prod((1 + n) / (10 + n) for n in range(20)), rel=1e-4)


def test_a_shared_parameter_moves_once(generator):
    model = Small()
    average = WeightAverage(model, 0.5, warmup=False)
    before = model.first.weight.detach().clone()
    move(model, generator)
    average.update()
    state = average.state_dict()
    torch.testing.assert_close(state["first.weight"], (before + model.first.weight.detach()) / 2)
    assert torch.equal(state["first.weight"], state["second.weight"])


class TestApplied:
    def test_average_inside_and_the_same_bits_and_objects_afterwards(self, generator):
        model = Small()
        average = WeightAverage(model, 0.9)
        move(model, generator)
        average.update()
        before, objects = bits(model), dict(model.state_dict(keep_vars=True))
        mask = model.mask
        wanted = {name: tensor.clone() for name, tensor in average.state_dict().items()}
        with average.applied():
            assert_same_bits(bits(model), wanted)
            assert_same_bits(average.state_dict(), wanted)
            assert not torch.equal(model.conv.weight, before["conv.weight"])
            # What is written inside is neither kept in the network nor in the average.
            move(model, generator)
        before["count"] += 1
        before["norm.num_batches_tracked"] += 1
        assert_same_bits(bits(model), before)
        assert all(tensor is objects[name] for name, tensor in model.state_dict(keep_vars=True).items())
        assert model.mask is mask
        averaged = average.state_dict()
        assert all(torch.equal(averaged[name], wanted[name]) for name in wanted if wanted[name].is_floating_point())

    def test_the_way_back_after_an_error(self, generator):
        model = Small()
        average = WeightAverage(model, 0.9)
        move(model, generator)
        before = bits(model)
        with pytest.raises(KeyError), average.applied():
            raise KeyError
        assert_same_bits(bits(model), before)
        with average.applied():  # it can be applied again
            pass
        average.update()

    def test_bits_that_numbers_do_not_show(self):
        model = nn.Linear(4, 1, bias=False)
        strange = torch.tensor([[-0.0, float("nan"), 1e-42, float("-inf")]])
        average = WeightAverage(model, 0.5)
        model.weight.data.copy_(strange)
        with average.applied():
            assert model.weight.isfinite().all()
        assert torch.equal(model.weight.data.view(torch.int32), strange.view(torch.int32))

    def test_neither_an_update_nor_a_second_time_inside(self):
        average = WeightAverage(nn.Linear(2, 2), 0.5)
        with average.applied():
            with pytest.raises(AssertionError, match="the network holds the average itself"):
                average.update()
            with pytest.raises(AssertionError, match="the network holds the average already"), average.applied():
                pass

    def test_a_network_that_is_called_through_a_wrapper_scores_with_the_average(self, generator):
        model = Uniformer(depths=(1, 1, 1, 1), widths=(8, 8, 16, 16), head_dim=8, mlp_ratio=1, num_classes=3).eval()
        other = copy.deepcopy(model)
        average = WeightAverage(model, 0.3, warmup=False)
        move(model, generator)
        average.update()
        other.load_state_dict(average.state_dict())
        called = torch.compile(model, backend="eager")
        clips = torch.randn(2, 3, 2, 32, 32, generator=generator)
        with torch.no_grad():
            raw = called(clips)
            with average.applied():
                torch.testing.assert_close(called(clips), other(clips))
            assert not torch.allclose(raw, other(clips), rtol=1e-3)
            assert torch.equal(called(clips), raw)


def test_layout_in_memory_is_the_parameters():
    model = Small()
    average = WeightAverage(model, 0.9)
    average.update()
    state = average.state_dict()
    assert state["conv.weight"].stride() == model.conv.weight.stride()
    assert not state["conv.weight"].is_contiguous()


def test_half_precision_is_averaged_in_float32():
    model = nn.Linear(1, 1, bias=False).bfloat16()
    nn.init.ones_(model.weight)
    average = WeightAverage(model, 0.999, warmup=False)
    nn.init.zeros_(model.weight)
    for _ in range(10):
        average.update()
    value = average.state_dict()["weight"]
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(0.999**10, rel=1e-6)  # in bfloat16 it would still be 1
    with average.applied():
        assert model.weight.item() == torch.tensor(0.999**10).bfloat16().item()
    assert model.weight.item() == 0
    assert WeightAverage(nn.Linear(1, 1).double(), 0.5).state_dict()["weight"].dtype == torch.float64


def test_a_network_with_nothing_to_average():
    average = WeightAverage(nn.GELU(), 0.9)
    average.update()
    with average.applied():
        assert average.state_dict() == {}


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_a_share_that_is_none(decay):
    with pytest.raises(AssertionError, match="is none"):
        WeightAverage(nn.Linear(1, 1), decay)


class TestFrozen:
    def test_is_in_the_state_as_it_is_and_not_averaged(self, generator):
        model = Small()
        model.first.requires_grad_(False)
        average = WeightAverage(model, 0.9)
        move(model, generator)
        average.update()
        state = average.state_dict()
        assert list(state) == list(model.state_dict())
        assert torch.equal(state["first.weight"], model.first.weight)
        assert not torch.equal(state["second.bias"], model.second.bias)
        assert not state["first.weight"].requires_grad

    def test_an_average_of_before_it_was_frozen_is_kept(self, generator):
        model = Small()
        before = WeightAverage(model, 0.9)
        move(model, generator)
        before.update()
        saved = {name: tensor.clone() for name, tensor in before.state_dict().items()}
        model.first.requires_grad_(False)
        average = WeightAverage(model, 0.9)
        average.load_state_dict(saved, 1)
        assert_same_bits(average.state_dict(), saved)
        raw = model.first.bias.detach().clone()
        with average.applied():
            assert torch.equal(model.first.bias, saved["first.bias"])
        assert torch.equal(model.first.bias, raw)


class TestLoading:
    def test_goes_on_to_the_same_bits(self, generator):
        model = Small()
        average = WeightAverage(model, 0.99)
        for _ in range(3):
            move(model, generator)
            average.update()
        saved = {name: tensor.clone() for name, tensor in average.state_dict().items()}
        twin = copy.deepcopy(model)
        other = WeightAverage(twin, 0.99)
        other.load_state_dict(saved, 3)
        assert other.updates == 3
        state = generator.get_state()
        for one, its in ((model, average), (twin, other)):
            generator.set_state(state)
            move(one, generator)
            its.update()
        assert_same_bits(average.state_dict(), other.state_dict())

    def test_holds_no_tensor_of_the_file(self):
        average = WeightAverage(nn.Linear(2, 2), 0.5)
        saved = {name: tensor + 1 for name, tensor in average.state_dict().items()}
        average.load_state_dict(saved, 0)
        kept = average.state_dict()["bias"].clone()
        saved["bias"].zero_()
        assert torch.equal(average.state_dict()["bias"], kept)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            (lambda s: s.pop("bias"), "lacks bias; it is of"),
            (lambda s: (s.pop("bias"), s.pop("weight")), "lacks bias and 1 more; it is of"),
            (lambda s: s.update(z=torch.ones(1)), "has the unknown z; it is of"),
            (lambda s: s.update(bias=torch.ones(3)), "has bias of shape (3,), not (2,); it is of"),
            (lambda s: s.update(bias=[1.0, 2.0]), "has a list as bias; it is of"),
        ],
    )
    def test_another_network_is_refused_and_nothing_changes(self, change, words):
        average = WeightAverage(nn.Linear(3, 2), 0.5)
        before = {name: tensor.clone() for name, tensor in average.state_dict().items()}
        saved = {name: tensor + 1 for name, tensor in before.items()}
        change(saved)
        with pytest.raises(WeightError) as error:
            average.load_state_dict(saved, 7)
        assert words in str(error.value)
        assert "set OUTPUT_DIR to a new folder" in str(error.value)
        assert_same_bits(average.state_dict(), before)
        assert average.updates == 0


def average_sharded() -> int:
    """Average a network of which this process holds half: called in each of two processes."""
    from torch.distributed.fsdp import fully_shard

    torch.manual_seed(3)
    # Three rows shared by two processes, one row that the second has nothing of, and buffers, which are not shared.
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    plain = copy.deepcopy(model).eval()
    fully_shard(model[0])
    fully_shard(model)
    average = WeightAverage(model, 0.6, warmup=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    wanted = {name: whole(tensor).clone() for name, tensor in model.state_dict().items()}
    clips = torch.randn(6, 4)
    for _ in range(3):
        model(clips).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        average.update()
        for name, tensor in model.state_dict().items():
            value = whole(tensor)
            wanted[name] = 0.6 * wanted[name] + 0.4 * value if value.is_floating_point() else value
    raw = {name: whole(tensor).clone() for name, tensor in model.state_dict().items()}
    state = average.state_dict()
    assert not any(is_sharded(tensor) for tensor in state.values())
    torch.testing.assert_close(state, wanted)
    model.eval()
    with torch.no_grad():
        before = model(clips)  # gathers the weights, which then lie there
        plain.load_state_dict(state)
        with average.applied():
            torch.testing.assert_close(model(clips), plain(clips))
        assert torch.equal(model(clips), before)
        assert not torch.allclose(before, plain(clips), rtol=1e-3)
    for name, tensor in model.state_dict().items():
        assert torch.equal(whole(tensor), raw[name]), name
    other = WeightAverage(model, 0.6)
    other.load_state_dict({name: tensor.clone() for name, tensor in state.items()}, 3)
    assert_same_bits(other.state_dict(), state)
    return 0


def test_a_network_sharded_among_two_processes():
    assert distributed.launch(average_sharded, (), processes=2) == 0
