"""A function in one process or many, on one machine or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from uniformer_video.runtime.meeting import Limits
from uniformer_video.runtime.member import Job, own_gpu, run_member
from uniformer_video.runtime.supervisor import supervise

__all__ = ["Limits", "launch", "own_gpu"]


def launch(
    function: Callable[..., int],
    args: tuple[Any, ...],
    *,
    processes: int,
    shards: int = 1,
    shard: int = 0,
    local: int | None = None,
    init_method: str = "",
    use_cuda: bool = False,
    backend: str = "auto",
    limits: Limits | None = None,
    agreed: Mapping[str, str] | None = None,
) -> int:
    """Run ``function(*args)`` in each of ``processes`` processes of this machine, as one process group.

    With one process in all, ``function`` runs in this process and no group is made.

    Args:
        function: returns the exit code, the same in every process; importable from the top of a module, since new
            processes import it.
        args: of the function.
        processes: on each machine.
        shards: machines in the run.
        shard: number of this machine, from 0.
        local: number of this process on its machine, where something else has started them all; None: they are started
            here.
        init_method: where the processes meet, such as ``tcp://10.0.0.1:9999``; needed with several machines.
        use_cuda: one GPU for each process.
        backend: ``nccl``, ``gloo``, or ``auto``: nccl between GPUs, else gloo.
        limits: how long the processes wait for each other; None: the defaults.
        agreed: settings that must be the same in every process, by name.

    Returns:
        The exit code of ``function``. Of a run of several processes also 2 after a ``UserError``, 74 where a process
        was lost and 75 where it was stopped before it began; the line that says why has been printed.

    Raises:
        UserError: from ``function`` in a run of one process, or the processes cannot meet.
        ProcessRaisedException: a new process ended with another exception; the others have been ended.
        Stopped: a signal asked to stop before the processes had met.
    """
    if processes * shards == 1:
        return function(*args)
    job = Job(
        function,
        args,
        processes=processes,
        machines=shards,
        machine=shard,
        meeting=init_method,
        use_cuda=use_cuda,
        backend=backend,
        limits=limits or Limits(),
        agreed=agreed or {},
    )
    if local is None and processes > 1:
        return supervise(job)
    number = local or 0
    return run_member(job, number, hosts=shard == 0 and number == 0)
