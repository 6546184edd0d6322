"""Several processes, or one. Every function works without a process group and then means "a run of one process"."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.launcher import Limits, launch, own_gpu

__all__ = [
    "Limits",
    "barrier",
    "free_port",
    "gather_objects",
    "gather_on_main",
    "is_initialized",
    "is_main",
    "launch",
    "main_first",
    "own_gpu",
    "rank",
    "sum_floats",
    "world_size",
]

T = TypeVar("T")


def is_initialized() -> bool:
    """Return whether this process is one of a process group."""
    return dist.is_available() and dist.is_initialized()


def world_size() -> int:
    """Return the number of processes of the run."""
    return dist.get_world_size() if is_initialized() else 1


def rank() -> int:
    """Return this process's number, from 0."""
    return dist.get_rank() if is_initialized() else 0


def is_main() -> bool:
    """Return whether this process writes files and the console."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here."""
    if is_initialized():
        dist.barrier()


def main_first(function: Callable[[], T]) -> T:
    """Return ``function()``, which the main process has finished before the others begin: a download is done once.

    Raises:
        UserError: from ``function`` in the main process, in every process, so that each machine says what is wrong.
    """
    result, mistake = None, None
    if is_main():
        try:
            result = function()
        except UserError as error:
            mistake = error
    mistake = gather_objects(mistake)[0]
    if mistake is not None:
        raise mistake
    return result if is_main() else function()


def gather_objects(item: T) -> list[T]:
    """Return every process's ``item``, in the order of ranks, on every process. Items must be picklable."""
    if not is_initialized():
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


def gather_on_main(item: T) -> list[T]:
    """Return every process's ``item``, in the order of ranks, on the main process; nothing on the others."""
    if not is_initialized():
        return [item]
    items: list[Any] | None = [None] * world_size() if is_main() else None
    dist.gather_object(item, items)
    return items or []


def sum_floats(values: list[float], device: torch.device) -> list[float]:
    """Return the element-wise sum of ``values`` over all processes, in float64."""
    if not is_initialized():
        return list(values)
    # Not every accelerator has float64, but those with NCCL do.
    total = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(total)
    return total.tolist()


def free_port() -> int:
    """Return a TCP port on the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
