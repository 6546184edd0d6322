"""The MLP for CPUs against the plain one, over runs of rows of all lengths."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from uniformer_video.models import cpu_mlp as module
from uniformer_video.models.cpu_mlp import add_cpu_mlp_, cpu_mlp


def parameters(channels=8, hidden=24):
    generator = torch.Generator().manual_seed(0)
    shapes = ((hidden, channels), (hidden,), (channels, hidden), (channels,))
    return [torch.randn(shape, generator=generator) for shape in shapes]


def plain(x, weight1, bias1, weight2, bias2):
    return F.linear(F.gelu(F.linear(x, weight1, bias1)), weight2, bias2)


@pytest.fixture(params=[1, 70 * 24 * 4, 2**30], ids=["shortest runs", "two runs", "one run"])
def _runs_of(request, monkeypatch):
    monkeypatch.setattr(module, "RUN_BYTES", request.param)


@pytest.mark.parametrize("shape", [(2, 3, 4, 5, 8), (130, 8), (1, 8), (8,)])
def test_result_and_gradients(_runs_of, shape):
    x, upward = torch.randn(shape), torch.randn(shape)
    given = [x, *parameters()]
    results = []
    for function, dtype in ((cpu_mlp, torch.float32), (plain, torch.float64)):
        own = [part.to(dtype, copy=True).requires_grad_() for part in given]
        out = function(*own)
        results.append([out.detach(), *torch.autograd.grad(out, own, upward.to(dtype))])
    for got, wanted in zip(*results, strict=True):
        assert got.shape == wanted.shape
        assert (got.double() - wanted).norm() < 1e-6 * wanted.norm()


def test_bf16_keeps_float32_gradients_of_weights(_runs_of):
    x, upward = (torch.randn(200, 8).bfloat16() for _ in range(2))
    weights = [part.requires_grad_() for part in parameters()]
    got = torch.autograd.grad(cpu_mlp(x, *weights), weights, upward)
    exact = [part.detach().bfloat16().double().requires_grad_() for part in weights]
    wanted = torch.autograd.grad(plain(x.double(), *exact), exact, upward.double())
    for one, other in zip(got, wanted, strict=True):
        assert one.dtype == torch.float32
        assert (one.double() - other).norm() < 1e-2 * other.norm()


def test_inputs_that_learn_nothing_get_no_gradient():
    weights = [part.requires_grad_() for part in parameters()]
    out = cpu_mlp(torch.randn(4, 8), *weights)
    out.sum().backward()
    assert all(part.grad is not None for part in weights)


def test_memory_kept_for_the_backward_pass_is_the_wide_part_once():
    kept = []

    def pack(tensor):
        kept.append(tuple(tensor.shape))
        return tensor

    x = torch.randn(100, 8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        cpu_mlp(x, *(part.requires_grad_() for part in parameters()))
    assert sorted(kept) == sorted([(100, 8), (100, 24), (24, 8), (8, 24)])


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
@pytest.mark.parametrize("normed", [True, False])
def test_in_place_without_gradients(_runs_of, dtype, tolerance, normed):
    x, weights = torch.randn(3, 60, 8), parameters()
    scale, shift = torch.rand(8) + 0.5, torch.randn(8)
    norm = (lambda rows: F.layer_norm(rows, (8,), scale, shift, 1e-3)) if normed else None
    wanted = x + plain(norm(x) if normed else x, *weights)
    with torch.no_grad():
        got = add_cpu_mlp_(x, norm, *(part.to(dtype) for part in weights), dtype)
    assert got is x
    assert got.dtype == torch.float32, "what is added to keeps its type"
    assert (got - wanted).norm() < tolerance * wanted.norm()


def test_runs_cover_all_rows_and_differ_by_little():
    for rows in (0, 1, 64, 65, 1000, 12345):
        for hidden in (1, 256, 10**6):
            cut = list(module._runs(rows, hidden, torch.float32))
            assert [i for run in cut for i in range(run.start, run.stop)] == list(range(rows))
            lengths = [run.stop - run.start for run in cut]
            assert not lengths or max(lengths) <= max(64, module.RUN_BYTES // (hidden * 4))
