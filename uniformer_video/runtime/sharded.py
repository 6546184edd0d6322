"""Tensors of which each process holds a part: torch's DTensor, as sharded training (FSDP2) makes of parameters.

The rest of the package asks here and need not know them. Asking never imports torch's module for them: while nobody
else has, there are none.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

_DTENSORS = "torch.distributed.tensor"
"""The module whose ``DTensor`` every such tensor is."""


def is_sharded(tensor: Any) -> bool:
    """Return whether ``tensor`` is a DTensor, of which this process holds its part; False for what is no tensor."""
    kind = getattr(sys.modules.get(_DTENSORS), "DTensor", None)
    return kind is not None and isinstance(tensor, kind)


def whole(tensor: Tensor) -> Tensor:
    """Return all of a DTensor as a plain tensor, on its device and outside autograd; any other tensor as it is.

    A collective for a DTensor: every process of its mesh must call it, for the same tensors in the same order.
    """
    return tensor.detach().full_tensor() if is_sharded(tensor) else tensor


def own_part(tensor: Tensor) -> Tensor:
    """Return the memory of this process's part of a DTensor (it may hold nothing); any other tensor as it is.

    What is written into it is written into the DTensor.
    """
    return tensor.detach().to_local() if is_sharded(tensor) else tensor


@torch.no_grad()
def put(target: Tensor, tensor: Tensor) -> None:
    """Copy a whole plain tensor into ``target`` in place; a DTensor takes its part of it. Nothing is communicated.

    Args:
        target: a parameter, a moment of an optimizer, any tensor; may be sharded along one dimension for each
            dimension of its mesh, or replicated.
        tensor: plain, of the whole shape of ``target``, the same on every process; of any floating type and device.

    Raises:
        ValueError: the shapes differ. ``target`` is then as before.
    """
    if tensor.shape != target.shape:
        raise ValueError(f"a tensor of shape {tuple(tensor.shape)} does not fit into one of {tuple(target.shape)}")
    if not is_sharded(target):
        target.copy_(tensor)
        return
    own_part(target).copy_(_part(tensor, target))


def _part(tensor: Tensor, target: Tensor) -> Tensor:
    """Return what this process holds of ``tensor`` where it is laid out as the DTensor ``target`` is."""
    mesh = target.device_mesh
    for dimension, placement in enumerate(target.placements):
        assert placement.is_shard() or placement.is_replicate(), f"{placement!r} has no parts of one whole"
        if placement.is_shard():
            # DTensor cuts as torch.chunk does: the last parts may be smaller, or not be there.
            parts = tensor.chunk(mesh.size(dimension), placement.dim)
            number = mesh.get_local_rank(dimension)
            tensor = parts[number] if number < len(parts) else tensor.narrow(placement.dim, 0, 0)
    return tensor


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the Euclidean norm of all ``tensors`` together, DTensors counted whole; the same number on every process.

    One collective where there are DTensors: every process of their mesh must call it. (torch's ``get_total_norm`` has
    one for each of them.)

    Args:
        tensors: DTensors, sharded along one dimension of one mesh, and plain ones, which are the same on every process.

    Returns:
        A plain single number on their device; 0 where there are no tensors.
    """
    sharded = [tensor for tensor in tensors if is_sharded(tensor)]
    if not sharded:
        return nn.utils.get_total_norm(tensors)
    meshes = {tensor.device_mesh for tensor in sharded}
    assert len(meshes) == 1 and all(len(t.placements) == 1 and t.placements[0].is_shard() for t in sharded)
    own = nn.utils.get_total_norm([own_part(tensor) for tensor in sharded])
    square = own.double() ** 2
    dist.all_reduce(square, group=meshes.pop().get_group())
    plain = [tensor for tensor in tensors if not is_sharded(tensor)]
    if plain:
        square += nn.utils.get_total_norm(plain).double() ** 2
    return square.sqrt().to(own.dtype)
