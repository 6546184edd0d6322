"""One network on the processes of a run: here a group of one, made in this process.

Two processes: ``test_sharded_state.py``.
"""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule

from uniformer_video.engine.compiled import OneShape
from uniformer_video.engine.parallel import data_parallel, gathered, share_statistics
from uniformer_video.engine.sharded_state import whole_model_state
from uniformer_video.models import inference
from uniformer_video.models.freeze import freeze
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.sharded import is_sharded
from uniformer_video.solver.ema import WeightAverage

CPU = torch.device("cpu")


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network(**options):
    torch.manual_seed(0)
    return Uniformer(depths=(1, 1, 1, 1), widths=(16, 16, 32, 32), head_dim=16, mlp_ratio=2, num_classes=3, **options)


def clips():
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def test_one_process_needs_no_wrapping(log):
    model = network()
    assert data_parallel(model, CPU) is model
    assert log == []
    assert data_parallel(model, CPU, "fsdp") is model and not any(is_sharded(p) for p in model.parameters())
    (line,) = log
    assert line.startswith("WARNING: TRAIN.PARALLEL fsdp has nothing to cut up in a run of one process")
    share_statistics(model)
    with gathered(model):
        assert not any(is_sharded(p) for p in model.parameters())


@pytest.mark.parametrize("method", ["ddp", "fsdp"])
@pytest.mark.parametrize("what", [None, 2, "backbone"])
def test_gradients_are_those_of_the_network_also_where_it_is_frozen(group, what, method):
    plain, model = network(), network()
    for made in (plain, model):
        if what:
            freeze(made, what)
    wrapped = data_parallel(model, CPU, method)
    assert isinstance(wrapped, nn.parallel.DistributedDataParallel if method == "ddp" else FSDPModule)
    assert all(is_sharded(p) == (method == "fsdp") for p in model.parameters())
    for made in (plain, wrapped):
        made.train()
        made(clips()).square().sum().backward()
    assert what is None or not model.blocks1.training
    for (name, p), own in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert (p.grad is None) == (own.grad is None) == (not p.requires_grad), name
        if p.grad is not None:
            gradient = p.grad.full_tensor() if method == "fsdp" else p.grad
            torch.testing.assert_close(gradient, own.grad, msg=lambda m, n=name: n + m)
    share_statistics(model)
    for (name, value), own in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(value, own), name


@pytest.mark.parametrize("method", ["ddp", "fsdp"])
def test_a_head_that_training_does_not_use_is_in_nobody_s_way(group, method):
    model = network(aux_head=True)
    wrapped = data_parallel(model, CPU, method).train()
    for _ in range(3):  # DDP notices in the step after
        wrapped(clips()).sum().backward()
    assert model.aux_head.weight.grad is None and model.head.weight.grad is not None


@pytest.mark.parametrize(("options", "frozen", "looks"), [
    ({}, None, False), ({"aux_head": True}, None, True), ({"aux_head": True}, "all of it", False),
])  # fmt: skip
def test_only_where_parameters_are_idle_are_they_looked_for(group, options, frozen, looks):
    model = network(**options)
    if frozen:
        model.aux_head.requires_grad_(False)
    assert (
        data_parallel(OneShape(model, train_clips=1, eval_clips=1, backend="eager"), CPU).find_unused_parameters
        is looks
    )


@pytest.mark.parametrize("kind", [Uniformer, Hourglass])
@pytest.mark.parametrize("options", [{}, {"image": True}, {"drop_path_rate": 0.9, "layer_scale": True}])
def test_nothing_else_is_idle(group, kind, options):
    torch.manual_seed(0)
    model = kind(depths=(1, 1, 1, 1), widths=(16, 16, 32, 32), head_dim=16, mlp_ratio=2, num_classes=3, **options)
    scores = model.train()(clips()[:, :, :1])
    sum(each.sum() for each in (scores if isinstance(scores, tuple) else (scores,))).backward()
    assert all(p.grad is not None for p in model.parameters())
    assert not data_parallel(model, CPU).find_unused_parameters


def test_kernels_of_a_replica_are_channels_last_and_statistics_its_own(group):
    wrapped = data_parallel(network(std=True), CPU)
    weight = wrapped.module.patch_embed2.proj.weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d) and not weight.is_contiguous()
    assert not wrapped.will_sync_module_buffers()
    assert wrapped.gradient_as_bucket_view


def test_a_network_is_cut_up_block_by_block_with_its_names_and_values(group, log):
    plain, model = network(layer_scale=True), network(layer_scale=True)
    model.patch_embed2.proj.weight.data = model.patch_embed2.proj.weight.data.to(memory_format=torch.channels_last_3d)
    assert data_parallel(model, CPU, "fsdp") is model
    assert {name for name, module in model.named_modules() if isinstance(module, FSDPModule)} == {
        "", "blocks1.0", "blocks2.0", "blocks3.0", "blocks4.0"}  # fmt: skip
    state = whole_model_state(model)
    assert list(state) == list(plain.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in plain.state_dict().items())
    millions = sum(p.numel() for p in plain.parameters()) / 1e6
    assert log[-1].startswith(f"INFO: TRAIN.PARALLEL fsdp: this process keeps {millions:.3f} of {millions:.3f} M")


def test_a_network_without_lists_is_cut_up_as_one(group):
    plain = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model = data_parallel(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1)), CPU, "fsdp")
    plain.load_state_dict(whole_model_state(model))
    x = torch.ones(4, 2)
    assert torch.equal(model(x), plain(x))


def test_a_compiled_network_is_not_cut_up(group):
    compiled = OneShape(network(), train_clips=1, eval_clips=1, backend="eager")
    with pytest.raises(ConfigError) as raised:
        data_parallel(compiled, CPU, "fsdp")
    assert str(raised.value) == (
        "TRAIN.PARALLEL fsdp and MODEL.COMPILE do not go together: a network that is put together block by block "
        "cannot be compiled as one; set MODEL.COMPILE False or TRAIN.PARALLEL ddp"
    )
    assert not any(is_sharded(p) for p in compiled.parameters())


def test_another_method_is_our_mistake():
    with pytest.raises(AssertionError, match="'zero' is none of"):
        data_parallel(network(), CPU, "zero")


# ------------------------------------------------------------------------------------------------------------ gathered


@torch.no_grad()
def scores(model):
    return model.eval()(clips())


def test_a_gathered_network_is_a_plain_one_on_the_fast_kernels(group, monkeypatch):
    plain, model = network(layer_scale=True), data_parallel(network(layer_scale=True), CPU, "fsdp")
    expected = scores(plain)
    torch.testing.assert_close(scores(model), expected)  # as it is, block by block
    parameters, calls = dict(model.named_parameters()), []
    monkeypatch.setattr(inference, "add_cpu_mlp_", spy(inference.add_cpu_mlp_, calls))
    with gathered(model):
        assert torch.equal(scores(model), expected)
        assert {type(p) for p in model.parameters()} == {nn.Parameter}
        assert all(p.requires_grad for p in model.parameters())
    assert len(calls) == 4
    after = dict(model.named_parameters())
    assert after.keys() == parameters.keys() and all(is_sharded(p) for p in after.values())
    torch.testing.assert_close(scores(model), expected)
    assert len(calls) == 4  # FSDP is back at work


def spy(function, calls):
    def called(*args):
        calls.append(args)
        return function(*args)

    return called


def test_gathering_comes_before_the_first_pass_too_and_training_goes_on(group):
    plain, model = network(), data_parallel(network(), CPU, "fsdp")
    optimizers = [torch.optim.SGD(made.parameters(), 0.1) for made in (plain, model)]
    for _ in range(2):
        with gathered(model):
            torch.testing.assert_close(scores(model), scores(plain))
        for made, optimizer in zip((plain, model), optimizers, strict=True):
            made.train()(clips()).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    for (name, value), other in zip(whole_model_state(model).items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, msg=lambda m, n=name: n + m)


def test_gathered_statistics_are_kept_and_errors_undo_all(group):
    model = data_parallel(network(), CPU, "fsdp")
    before = model.norm.running_mean.clone()
    with pytest.raises(KeyError), gathered(model), torch.no_grad():
        model.train()(clips())
        raise KeyError
    assert not torch.equal(model.norm.running_mean, before)
    assert all(is_sharded(p) for p in model.parameters())
    model(clips()).sum().backward()
    assert all(is_sharded(p.grad) for p in model.parameters())


def test_hooks_of_others_are_called_in_gathered_networks(group):
    model, seen = data_parallel(network(), CPU, "fsdp"), []
    handle = model.blocks1[0].register_forward_hook(lambda *_: seen.append("block"))
    with gathered(model):
        scores(model)
        assert seen == ["block"]
    scores(model)
    handle.remove()
    scores(model)
    assert seen == ["block"] * 2


def test_a_parameter_in_two_places_is_gathered_once(group):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    data_parallel(model, CPU, "fsdp")
    with gathered(model):
        assert model[0].weight is model[1].weight and not is_sharded(model[0].weight)
    assert model[0].weight is model[1].weight and is_sharded(model[0].weight)


def test_an_average_of_weights_is_gathered_where_it_is_applied_first(group):
    model = data_parallel(network(), CPU, "fsdp")
    average = WeightAverage(model, 0.5, warmup=False)
    expected = scores(model)
    with torch.no_grad():
        for p in model.parameters():
            p += 1
    with average.applied(), gathered(model):
        torch.testing.assert_close(scores(model), expected)
    assert not torch.allclose(scores(model), expected)
