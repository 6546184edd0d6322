"""One network on the processes of a run: here a group of one, made in this process."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from uniformer_video.engine.parallel import data_parallel, share_statistics
from uniformer_video.models.freeze import freeze
from uniformer_video.models.uniformer import Uniformer

CPU = torch.device("cpu")


@pytest.fixture
def group():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def network():
    torch.manual_seed(0)
    return Uniformer(depths=(1, 1, 1, 1), widths=(16, 16, 32, 32), head_dim=16, mlp_ratio=2, num_classes=3)


def clips():
    return torch.randn(2, 3, 4, 32, 32, generator=torch.Generator().manual_seed(1))


def test_one_process_needs_no_wrapping():
    model = network()
    assert data_parallel(model, CPU) is model
    share_statistics(model)


@pytest.mark.parametrize("what", [None, 2, "backbone"])
def test_gradients_are_those_of_the_network_also_where_it_is_frozen(group, what):
    plain, model = network(), network()
    for made in (plain, model):
        if what:
            freeze(made, what)
    wrapped = data_parallel(model, CPU)
    assert isinstance(wrapped, nn.parallel.DistributedDataParallel)
    for made in (plain, wrapped):
        made.train()
        made(clips()).square().sum().backward()
    assert what is None or not model.blocks1.training
    for (name, p), own in zip(model.named_parameters(), plain.parameters(), strict=True):
        assert (p.grad is None) == (own.grad is None) == (not p.requires_grad), name
        if p.grad is not None:
            torch.testing.assert_close(p.grad, own.grad, msg=lambda m, n=name: n + m)
    share_statistics(model)
    for (name, value), own in zip(model.named_buffers(), plain.buffers(), strict=True):
        assert torch.equal(value, own), name
