"""How ``chaos.py`` starts runs of several processes: torchrun, and a command for each shard."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

from chaos_bench import Bench
from chaos_log import steps_done
from chaos_runs import LIMIT_S, Ended, Run, parent_of, python
from chaos_set import BATCH, PLAIN

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")
LOCAL = "127.0.0.1"
MAIN = ("DATA_LOADER.NUM_WORKERS", 1)
FROZEN = (*MAIN, *PLAIN, "MODEL.FROZEN_BN", True)
"""Batch norms take no statistics of their process's clips: only rounding can differ."""


def free_port() -> int:
    """Return a TCP port of this machine that nobody listens on."""
    with socket.socket() as trial:
        trial.bind((LOCAL, 0))
        return trial.getsockname()[1]


def torchrun(bench: Bench, output: Path, *overrides: object, processes: int = 2, options: Sequence[str] = ()) -> Run:
    """Start a run by torchrun on this machine.

    Args:
        bench: of the case.
        output: its OUTPUT_DIR.
        *overrides: KEY VALUE.
        processes: on this machine.
        options: of torchrun; none: ``--standalone``.
    """
    tool = python("run_net.py", *bench.settings(output, overrides))[1:]
    return bench.launch([*TORCHRUN, f"--nproc_per_node={processes}", *(options or ["--standalone"]), *tool])


def shard(bench: Bench, output: Path, number: int, of: int, meet: str, *overrides: object) -> Run:
    """Start one shard of ``of``; ``meet`` is host and port."""
    where = ["--num_shards", str(of), "--shard_id", str(number), "--init_method", f"tcp://{meet}"]
    return bench.start(output, *overrides, options=where)


def shards(bench: Bench, output: Path, *overrides: object, of: int = 2) -> list[Run]:
    """Start a run of ``of`` shards on this machine, with the global batch of a run of one process."""
    meet = f"{LOCAL}:{free_port()}"
    batch = ("TRAIN.BATCH_SIZE", BATCH // of)
    return [shard(bench, output, number, of, meet, *overrides, *batch) for number in range(of)]


def finish(bench: Bench, runs: Sequence[Run]) -> list[Ended]:
    """Wait for the end of runs that nothing is done to.

    Raises:
        RunFailed: one of them does not end with exit code 0.
    """
    return [bench.well(run.wait()) for run in runs]


def wait_until(run: Run, share: float, total: int) -> bool:
    """Wait until a share of ``total`` steps is in the log of a run; False where it ended before."""
    return run.wait_for(lambda text: (steps_done(text) or 0) >= share * total, LIMIT_S, poll_s=0.002)


def ranks(run: Run) -> list[int]:
    """Return the processes that a torchrun agent has started, in order."""
    return sorted(pid for pid in run.members() if parent_of(pid) == run.pid)


def stop(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes."""
    for pid in pids:
        os.kill(pid, number)
