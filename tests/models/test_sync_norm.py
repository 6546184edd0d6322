"""Synchronised batch norms: two processes with shares of a batch against one with all of it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.distributed as dist
from torch import nn

from uniformer_video.models.freeze import freeze, freeze_norms
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.inference import folds
from uniformer_video.models.sync_norm import (
    SynchronisedBatchNorm1d,
    SynchronisedBatchNorm2d,
    SynchronisedBatchNorm3d,
    synchronise_norms,
)
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime import distributed

CPU = torch.device("cpu")
SMALL = {"depths": (1, 1, 1, 1), "widths": (8, 8, 16, 16), "head_dim": 8, "mlp_ratio": 1, "num_classes": 3}
SHARES = (slice(0, 3), slice(3, 4))
"""The clips of each of two processes: three and one."""


def summed(tensor):
    """Return the sum of a tensor over the processes."""
    total = tensor.detach().clone()
    dist.all_reduce(total)
    return total


def near(got, wanted, tolerance=1e-6):
    """Assert that two tensors are the same but for a share of the largest number in them."""
    assert got.dtype == wanted.dtype and got.shape == wanted.shape
    error = (got.double() - wanted.double()).abs().max().item()
    assert error <= tolerance * max(wanted.abs().max().item(), 1e-3), error


def check_layer(kind, shape, dtype, tolerance, layer_options=None, layout=None, shift=0.0):
    """Compare a layer on shares of a batch with the plain one on all of it: values, gradients, statistics."""
    torch.manual_seed(1)
    plain = kind(shape[1], **(layer_options or {}))
    if plain.affine:
        nn.init.normal_(plain.weight), nn.init.normal_(plain.bias)
    if dtype is torch.float64:
        plain.double()
    layer = copy.deepcopy(plain)
    assert synchronise_norms(nn.Sequential(layer), CPU) == 1
    exact = copy.deepcopy(plain).double()  # torch's own statistics of bfloat16 are off in the second decimal
    for _ in range(3):
        clips, upward = ((torch.randn(shape) * 3 + add).to(dtype) for add in (shift, 0))
        if layout:
            clips = clips.contiguous(memory_format=layout)
        own, all_of_it = clips[SHARES[distributed.rank()]].clone(), clips.double()
        own.requires_grad_(), all_of_it.requires_grad_()
        out, wanted = layer(own), exact(all_of_it)
        assert out.dtype == dtype
        near(out.double(), wanted[SHARES[distributed.rank()]].detach(), tolerance)
        out.backward(upward[SHARES[distributed.rank()]])
        wanted.backward(upward.double())
        near(own.grad.double(), all_of_it.grad[SHARES[distributed.rank()]], tolerance)
        if layout:
            assert out.is_contiguous(memory_format=layout) and own.grad.is_contiguous(memory_format=layout)
        for buffer, value in zip(layer.buffers(), exact.buffers(), strict=True):
            near(buffer.double(), value.double())
    for p, value in zip(layer.parameters(), exact.parameters(), strict=True):
        near(summed(p.grad).double(), value.grad, max(tolerance, 3e-6))


def check_layers():
    volume = (4, 5, 2, 3, 4)
    check_layer(nn.BatchNorm3d, volume, torch.float32, 1e-6, layout=torch.channels_last_3d)
    check_layer(nn.BatchNorm3d, volume, torch.float32, 3e-6, shift=100.0)  # float32 itself has 8e-6 there
    check_layer(nn.BatchNorm3d, volume, torch.float64, 1e-13)
    check_layer(nn.BatchNorm3d, volume, torch.bfloat16, 1e-2)
    check_layer(nn.BatchNorm3d, volume, torch.float32, 1e-6, {"momentum": None})
    check_layer(nn.BatchNorm3d, volume, torch.float32, 1e-6, {"affine": False, "momentum": 1.0})
    check_layer(nn.BatchNorm3d, volume, torch.float32, 1e-6, {"track_running_stats": False})
    check_layer(nn.BatchNorm2d, (4, 3, 5, 2), torch.float32, 1e-6)
    check_layer(nn.BatchNorm1d, (4, 3), torch.float32, 1e-6)  # a process with one value for each channel


def check_few_values():
    """One value for each channel is too few, but for all processes together; none at all is one process's affair."""
    layer = nn.BatchNorm1d(2)
    synchronise_norms(nn.Sequential(layer), CPU)
    alone = torch.ones(1 - distributed.rank(), 2, requires_grad=True)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        layer(alone)
    assert torch.equal(layer.running_mean, torch.zeros(2)) and layer.num_batches_tracked == 0
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])[: 2 - 2 * distributed.rank()].requires_grad_()
    out = layer(x)
    assert out.shape == x.shape
    out.sum().backward()
    torch.testing.assert_close(layer.running_mean, torch.tensor([0.2, 0.4]))
    torch.testing.assert_close(layer.running_var, torch.tensor([0.9 + 0.1 * 2, 0.9 + 0.1 * 8]))


def check_network(network, autocast, **options):
    """Compare a network on shares of a batch with the plain one on all of it, in training and then in evaluation."""
    torch.manual_seed(2)
    plain = network(**SMALL, **options).train()
    if not autocast:
        plain.double()  # rounding aside, the two are the same
    model = copy.deepcopy(plain)
    names = list(model.state_dict())
    objects = [id(tensor) for tensor in (*model.parameters(), *model.buffers())]
    norms = sum(isinstance(module, nn.BatchNorm3d) for module in plain.modules())
    assert synchronise_norms(model, CPU) == norms > 0
    assert list(model.state_dict()) == names
    assert [id(tensor) for tensor in (*model.parameters(), *model.buffers())] == objects
    clips = torch.randn(4, 3, 4, 32, 32, dtype=plain.norm.weight.dtype)
    share = SHARES[distributed.rank()]

    def scores(net, given):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = net(given)
        return torch.stack(out) if isinstance(out, tuple) else out[None]

    out, wanted = scores(model, clips[share]), scores(plain, clips)
    near(out.detach(), wanted[:, share].detach(), 3e-2 if autocast else 1e-11)
    out.square().sum().backward()
    wanted.square().sum().backward()
    if not autocast:
        for p, value in zip(model.parameters(), plain.parameters(), strict=True):
            near(summed(p.grad), value.grad, 1e-10)
        for buffer, value in zip(model.buffers(), plain.buffers(), strict=True):
            near(buffer, value, 1e-12)
        plain.load_state_dict(model.state_dict())
        with torch.no_grad():  # batch norms folded away, without a word to the other process
            assert folds(model.eval().norm)
            assert torch.equal(model(clips), plain.eval()(clips))
    else:
        assert out.dtype == torch.bfloat16
    return model


def check_data_parallel(model):
    """Gradients of torch's DDP are the mean of those of the processes, with blocks computed again too."""
    model.train().zero_grad()
    other = copy.deepcopy(model)
    other.checkpoint_blocks = (1, 1, 1, 1)
    wrapped = nn.parallel.DistributedDataParallel(other, broadcast_buffers=False)
    clips = torch.randn(4, 3, 4, 32, 32, dtype=torch.float64)[SHARES[distributed.rank()]]
    for net in (model, wrapped):
        net(clips).square().sum().backward()
    for p, own in zip(other.parameters(), model.parameters(), strict=True):
        near(p.grad, summed(own.grad) / 2, 1e-12)
    for buffer, own in zip(other.buffers(), model.buffers(), strict=True):
        assert torch.equal(buffer, own)


def check_compiled():
    """What is compiled waits for the other process too."""
    layer = nn.BatchNorm3d(3)
    synchronise_norms(nn.Sequential(layer), CPU)
    x = torch.randn(2, 3, 2, 2, 2)
    wanted = layer(x)
    assert torch.equal(torch.compile(layer, backend="eager")(x), wanted)


def check_all() -> int:
    """Do every check of this file that needs two processes: new processes import it from here."""
    torch.set_num_threads(1)
    check_layers()
    check_few_values()
    model = check_network(Uniformer, False, conv_stem=True)
    check_network(Hourglass, False)
    check_network(Uniformer, True)
    check_data_parallel(model)
    check_compiled()
    return 0


def test_two_processes_have_the_numbers_of_one():
    assert distributed.launch(check_all, (), processes=2) == 0


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_run_of_one_process_keeps_its_layers():
    model = Uniformer(**SMALL)
    kinds = [type(module) for module in model.modules()]
    assert synchronise_norms(model, CPU) == 0
    assert [type(module) for module in model.modules()] == kinds


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_group_of_one_and_none_at_all_are_the_plain_layer_to_the_bit(momentum, group):
    plain = nn.BatchNorm3d(3, momentum=momentum)
    layer = copy.deepcopy(plain)
    synchronise_norms(nn.Sequential(layer), CPU)
    assert type(layer) is SynchronisedBatchNorm3d
    other = SynchronisedBatchNorm3d(3, momentum=momentum)
    x = torch.randn(2, 3, 2, 2, 2)
    assert torch.equal(layer(x), plain(x))
    assert torch.equal(layer.running_var, plain.running_var)
    dist.destroy_process_group()
    assert torch.equal(other(x), layer(x))
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)


def test_frozen_norms_are_left_alone(group):
    model = Uniformer(**SMALL)
    freeze(model, 1)
    assert synchronise_norms(model, CPU) == 3
    assert type(model.blocks1[0].norm1) is nn.BatchNorm3d
    assert type(model.blocks2[0].norm1) is type(model.norm) is SynchronisedBatchNorm3d
    assert synchronise_norms(model, CPU) == 0, "once is enough"
    model = Uniformer(**SMALL)
    freeze_norms(model)
    assert synchronise_norms(model, CPU) == 0


def test_other_norms_and_kinds(group):
    model = nn.Sequential(
        nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.LayerNorm(2), nn.InstanceNorm3d(2), nn.BatchNorm3d(2)
    )
    model.append(model[4])
    before = [id(module) for module in model]
    assert synchronise_norms(model, CPU) == 3
    kinds = [SynchronisedBatchNorm1d, SynchronisedBatchNorm2d, nn.LayerNorm, nn.InstanceNorm3d]
    assert [type(module) for module in model] == kinds + [SynchronisedBatchNorm3d] * 2
    assert [id(module) for module in model] == before


def test_on_a_gpu_the_layers_are_torchs(group):
    model = Uniformer(**SMALL)
    freeze(model, 1)
    twin = copy.deepcopy(model)
    model.again = model.norm  # one layer under two names
    parameters = {name: id(p) for name, p in model.named_parameters()}
    assert synchronise_norms(model, torch.device("cuda", 0)) == 3
    assert type(model.norm) is type(model.blocks2[0].norm2) is nn.SyncBatchNorm
    assert model.again is model.norm
    assert type(model.blocks1[0].norm1) is nn.BatchNorm3d
    assert {name: id(p) for name, p in model.named_parameters()} == parameters
    assert folds(model.eval().norm) and not folds(model.train().norm)
    clips = torch.randn(2, 3, 2, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.eval()(clips), twin.eval()(clips))
