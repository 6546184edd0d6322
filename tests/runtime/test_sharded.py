"""Tensors that processes share: here parts of processes that are made up, and a group of one.

Two real processes: ``tests/engine/test_sharded_state.py``.
"""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor

from uniformer_video.runtime import sharded
from uniformer_video.runtime.sharded import is_sharded, own_part, put, total_norm, whole


@pytest.fixture
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def part(tensor, mesh, place, *placements):
    """Return what the process at ``place`` of a mesh of these sizes holds."""
    made = SimpleNamespace(size=mesh.__getitem__, get_local_rank=place.__getitem__)
    return sharded._part(tensor, SimpleNamespace(device_mesh=made, placements=placements))


@given(rows=st.integers(0, 9), columns=st.integers(1, 4), world=st.integers(1, 5), dimension=st.integers(0, 1))
def test_the_parts_of_all_processes_make_the_whole(rows, columns, world, dimension):
    tensor = torch.arange(rows * columns).view(rows, columns)
    parts = [part(tensor, (world,), (rank,), Shard(dimension)) for rank in range(world)]
    assert torch.equal(torch.cat(parts, dimension), tensor)
    most = -(-tensor.shape[dimension] // world)  # as DTensor cuts: full parts first, none of another number of rows
    lengths = [each.shape[dimension] for each in parts]
    assert lengths == [min(most, max(tensor.shape[dimension] - most * rank, 0)) for rank in range(world)]


@given(rows=st.integers(0, 7), columns=st.integers(0, 7), world=st.tuples(st.integers(1, 3), st.integers(1, 3)))
def test_a_mesh_of_two_dimensions_cuts_twice(rows, columns, world):
    tensor = torch.arange(rows * columns).view(rows, columns)
    lines = [
        torch.cat([part(tensor, world, (a, b), Shard(0), Shard(1)) for b in range(world[1])], 1)
        for a in range(world[0])
    ]
    assert torch.equal(torch.cat(lines), tensor)
    for a in range(world[0]):
        parts = [part(tensor, world, (a, b), Replicate(), Shard(1)) for b in range(world[1])]
        assert torch.equal(torch.cat(parts, 1), tensor)


def test_a_sum_in_parts_has_no_parts_of_a_whole():
    with pytest.raises(AssertionError, match="Partial"):
        part(torch.ones(2), (2,), (0,), Partial())


def test_plain_tensors_are_what_they_are():
    tensor, weight = torch.ones(2, 3), nn.Parameter(torch.ones(2))
    assert whole(tensor) is tensor and own_part(tensor) is tensor
    assert whole(weight) is weight and own_part(weight) is weight
    assert not any(is_sharded(each) for each in (tensor, weight, None, 3, "x"))


def test_a_dtensor_is_told_by_what_it_is(mesh):
    tensor = torch.arange(6.0).view(3, 2)
    made = nn.Parameter(distribute_tensor(tensor, mesh, [Shard(0)]))
    assert is_sharded(made) and is_sharded(made.detach())
    back = whole(made)
    assert type(back) is torch.Tensor and not back.requires_grad and torch.equal(back, tensor)


def test_what_is_written_into_the_own_part_is_in_the_tensor(mesh):
    made = nn.Parameter(distribute_tensor(torch.zeros(3, 2), mesh, [Shard(0)]))
    own = own_part(made)
    assert type(own) is torch.Tensor and not own.requires_grad
    own[1] = 4
    assert whole(made).tolist() == [[0, 0], [4, 4], [0, 0]]


@pytest.mark.parametrize("kind", ["plain", "sharded"])
def test_put_writes_in_place_into_a_parameter(mesh, kind):
    zeros = torch.zeros(3, 2, dtype=torch.float64)
    target = nn.Parameter(zeros if kind == "plain" else distribute_tensor(zeros, mesh, [Shard(0)]))
    memory = own_part(target).data_ptr()
    put(target, torch.arange(6, dtype=torch.float32).view(2, 3).T)
    assert whole(target).tolist() == [[0, 3], [1, 4], [2, 5]]
    assert own_part(target).data_ptr() == memory and target.dtype is torch.float64 and target.requires_grad
    with pytest.raises(ValueError) as raised:
        put(target, torch.ones(1, 2))  # which copy_() would spread
    assert str(raised.value) == "a tensor of shape (1, 2) does not fit into one of (3, 2)"
    assert whole(target).tolist() == [[0, 3], [1, 4], [2, 5]]


def test_the_norm_of_all(mesh):
    plain = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    made = [distribute_tensor(tensor, mesh, [Shard(0)]) for tensor in plain]
    for tensors in (plain, made, [plain[0], made[1]], [made[0], plain[1]]):
        norm = total_norm(tensors)
        assert type(norm) is torch.Tensor and norm.shape == () and norm.dtype is torch.float32 and norm == 5
    assert total_norm([]) == 0
    assert not isinstance(total_norm(made), DTensor)


def test_nobody_pays_for_tensors_that_are_not_there():
    code = (
        "import sys, torch; from uniformer_video.runtime.sharded import is_sharded, total_norm, whole\n"
        "whole(torch.ones(1)), total_norm([torch.ones(1)])\n"
        "assert not is_sharded(torch.ones(1))\n"
        "sys.exit('torch.distributed.tensor' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
