from __future__ import annotations

import pytest
import torch
from torch import nn

from uniformer_video.models.kernels import kernels_are_own, plain_kernels
from uniformer_video.models.recompute import recompute


class Two(nn.Module):
    """A block that takes and returns two tensors, draws, counts its passes and has running statistics."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(4)
        self.linear = nn.Linear(4, 4)
        self.dropout = nn.Dropout(0.5)
        self.passes = 0

    def forward(self, x, y):
        self.passes += 1
        x = self.dropout(self.linear(self.norm(x)).tanh())
        return x + y, x * y


def run(again):
    torch.manual_seed(3)
    block = Two().train()
    x, y = (torch.randn(8, 4, requires_grad=True) for _ in range(2))
    first, second = recompute(block, x, y) if again else block(x, y)
    (first.square().sum() + second.sum()).backward()
    gradients = [p.grad for p in (*block.parameters(), x, y)]
    return block, (first, second), gradients, torch.rand(1)


def test_same_bits_with_twice_the_passes():
    kept, again = run(False), run(True)
    assert (kept[0].passes, again[0].passes) == (1, 2)
    for wanted, got in zip((*kept[1], *kept[2], kept[3]), (*again[1], *again[2], again[3]), strict=True):
        assert torch.equal(wanted, got)


def test_statistics_move_once():
    kept, again = run(False)[0], run(True)[0]
    assert again.norm.num_batches_tracked == 1
    assert torch.equal(kept.norm.running_mean, again.norm.running_mean)
    assert torch.equal(kept.norm.running_var, again.norm.running_var)


def test_buffers_are_the_same_objects_afterwards_also_when_the_second_pass_fails():
    block = Two().train()
    before = dict(block.named_buffers())
    first, _ = recompute(block, torch.randn(8, 4, requires_grad=True), torch.ones(8, 4))
    block.linear = None
    with pytest.raises(TypeError):
        first.sum().backward()
    assert all(buffer is before[name] for name, buffer in block.named_buffers())


def test_a_block_with_one_tensor_and_none():
    class Keep(nn.Module):
        def forward(self, x, nothing):
            return x.exp(), nothing

    x = torch.randn(3, requires_grad=True)
    out, nothing = recompute(Keep(), x, None)
    assert nothing is None
    out.sum().backward()
    assert torch.equal(x.grad, x.detach().exp())


def test_the_second_pass_is_on_the_kernels_of_the_first():
    class Asks(nn.Module):
        def forward(self, x):
            seen.append(kernels_are_own())
            return x.exp()

    seen, x = [], torch.ones(2, requires_grad=True)
    with plain_kernels():
        result = recompute(Asks(), x)
    result.sum().backward()
    recompute(Asks(), x).sum().backward()
    assert seen == [False, False, True, True]
    assert kernels_are_own()
