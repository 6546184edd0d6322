"""Several processes, or one. Every function works without a process group and then means "a run of one process"."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from uniformer_video.runtime.cli import EXIT_USER_ERROR, print_error
from uniformer_video.runtime.errors import UserError

T = TypeVar("T")

# Also of every collective: processes may differ by minutes in how long their share of a test takes.
TIMEOUT = timedelta(minutes=30)


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


def launch(
    function: Callable[..., int],
    args: tuple[Any, ...],
    *,
    processes: int,
    shards: int = 1,
    shard: int = 0,
    init_method: str = "",
    use_cuda: bool = False,
) -> int:
    """Run ``function(*args)`` in each of ``processes`` new processes of this machine, as one process group.

    With one process in all, ``function`` runs in this process and no group is made.

    Args:
        function: returns the exit code, the same in every process; importable from the top of a module, since new
            processes import it.
        processes: processes on this machine.
        shards: machines in the run, each started with its own ``shard`` from 0.
        init_method: where the processes meet, such as ``tcp://10.0.0.1:9999``; needed with several machines.
        use_cuda: NCCL and one GPU for each process; otherwise gloo.

    Returns:
        The exit code of ``function``. A ``UserError`` in a new process is printed there and gives code 2.

    Raises:
        UserError: from ``function`` in this process, or the processes cannot meet.
        ProcessRaisedException: a new process ended with another exception; the others have been ended.
    """
    world = processes * shards
    if world == 1:
        return function(*args)
    method = init_method or f"tcp://127.0.0.1:{free_port()}"
    settings = (function, args, processes, world, shard, method, use_cuda)
    if processes == 1:
        return _run_in_group(0, *settings)
    try:
        mp.start_processes(_run_spawned, settings, nprocs=processes, start_method="spawn")
    except mp.ProcessExitedException as ended:
        # The process said why it ended; a negative code is that of a signal, which nobody has explained.
        if ended.exit_code > 0:
            return ended.exit_code
        raise
    return 0


def _run_spawned(local: int, *settings: Any) -> None:
    """Run one new process of this machine; a user's mistake ends it with its line and exit code, not a traceback."""
    try:
        code = _run_in_group(local, *settings)
    except UserError as error:
        # All processes meet most mistakes together. The first speaks at once, and its end ends the others.
        time.sleep(3 if local else 0)
        print_error(error)
        code = EXIT_USER_ERROR
    if code:
        sys.stdout.flush()
        os._exit(code)  # not sys.exit(): the group's end would wait for processes that may never come


def _run_in_group(
    local: int,
    function: Callable[..., int],
    args: tuple[Any, ...],
    processes: int,
    world: int,
    shard: int,
    method: str,
    use_cuda: bool,
) -> int:
    os.environ["LOCAL_RANK"] = str(local)
    if use_cuda:
        torch.cuda.set_device(local)
    backend, number = "nccl" if use_cuda else "gloo", shard * processes + local
    try:
        dist.init_process_group(backend, init_method=method, world_size=world, rank=number, timeout=TIMEOUT)
    except (dist.DistError, RuntimeError, ValueError, OSError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(
            f"process {number} of {world} cannot meet the others at {method} ({reason}); check --init_method, that its "
            "port is free on the first machine, and that every machine has another --shard_id"
        ) from None
    code = function(*args)
    # Not after an error: taking the group apart may wait for the others, which wait in a collective.
    dist.destroy_process_group()
    return code
