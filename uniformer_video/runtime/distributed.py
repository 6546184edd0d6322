"""Several processes, or one. Every function works without a process group and then means "a run of one process"."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

T = TypeVar("T")

RENDEZVOUS_TIMEOUT = timedelta(minutes=10)


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


def gather_objects(item: T) -> list[T]:
    """Return every process's ``item``, in the order of ranks, on every process. Items must be picklable."""
    if not is_initialized():
        return [item]
    items: list[Any] = [None] * world_size()
    dist.all_gather_object(items, item)
    return items


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


def launch(
    function: Callable[..., None],
    args: tuple[Any, ...],
    *,
    processes: int,
    shards: int = 1,
    shard: int = 0,
    init_method: str = "",
    use_cuda: bool = False,
) -> None:
    """Run ``function(*args)`` in each of ``processes`` new processes of this machine, as one process group.

    With one process in all, ``function`` runs in this process and no group is made.

    Args:
        function: importable from the top of a module, since new processes import it.
        processes: processes on this machine.
        shards: machines in the run, each started with its own ``shard`` from 0.
        init_method: where the processes meet, such as ``tcp://10.0.0.1:9999``; needed with several machines.
        use_cuda: NCCL and one GPU for each process; otherwise gloo.
    """
    world = processes * shards
    if world == 1:
        function(*args)
        return
    method = init_method or f"tcp://127.0.0.1:{free_port()}"
    settings = (function, args, processes, world, shard, method, use_cuda)
    if processes == 1:
        _run_in_group(0, *settings)
        return
    mp.start_processes(_run_in_group, settings, nprocs=processes, start_method="spawn")


def _run_in_group(
    local: int,
    function: Callable[..., None],
    args: tuple[Any, ...],
    processes: int,
    world: int,
    shard: int,
    method: str,
    use_cuda: bool,
) -> None:
    os.environ["LOCAL_RANK"] = str(local)
    if use_cuda:
        torch.cuda.set_device(local)
    dist.init_process_group(
        "nccl" if use_cuda else "gloo",
        init_method=method,
        world_size=world,
        rank=shard * processes + local,
        timeout=RENDEZVOUS_TIMEOUT,
    )
    try:
        function(*args)
    finally:
        dist.destroy_process_group()
