"""``chaos.py processes``: several processes give what one gives, and start again when one of them is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from chaos_bench import Bench
from chaos_cases import Case, Subcommand
from chaos_compare import compare_runs, largest_difference, scores_of, trained_weights
from chaos_joining import JOINING
from chaos_launch import FROZEN, LOCAL, MAIN, finish, free_port, ranks, shards, torchrun, wait_until
from chaos_log import resumed_from
from chaos_losing import LOSING
from chaos_set import BATCH, PLAIN, paths_of

from uniformer_video.engine.checkpoint import newest_checkpoint

TOLERANCE = 1e-5
SYNC = ("BN.NORM_TYPE", "sync_batchnorm")
NO_TEST = ("TEST.ENABLE", False)


def close(case: Case, name: str, one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """Require that two networks have the same weights to :data:`TOLERANCE`."""
    worst, where = largest_difference(one, other)
    case.fact(f"{name}: {worst:.2g}", **{name: worst})
    case.require(worst <= TOLERANCE, f"{name}: {where} differs by {worst:.2g} > {TOLERANCE:g}")


def equal_weights(bench: Bench, case: Case) -> None:
    """Two gloo processes (torchrun; --num_shards 2) against one with the same global batch: frozen and sync BN."""
    for norm, alone, shared in (("frozen BN", FROZEN, FROZEN), ("sync BN", (*MAIN, *PLAIN), (*MAIN, *PLAIN, *SYNC))):
        folder = bench.case / norm
        bench.well(bench.run(folder / "one", *alone, *NO_TEST))
        wanted = trained_weights(folder / "one")
        finish(bench, [torchrun(bench, folder / "torchrun", *shared, *NO_TEST)])
        close(case, f"{norm}, torchrun", wanted, trained_weights(folder / "torchrun"))
        finish(bench, shards(bench, folder / "shards", *shared, *NO_TEST))
        close(case, f"{norm}, shards", wanted, trained_weights(folder / "shards"))


def sharded_training(bench: Bench, case: Case) -> None:
    """TRAIN.PARALLEL fsdp against ddp, two processes each; then a run that goes on with the other one in turn."""
    for method in ("ddp", "fsdp"):
        run = torchrun(bench, bench.case / method, *FROZEN, *NO_TEST, "TRAIN.PARALLEL", method)
        finish(bench, [run])
    wanted = trained_weights(bench.case / "ddp")
    close(case, "fsdp", wanted, trained_weights(bench.case / "fsdp"))
    output = bench.case / "moved"
    for share, method in ((0.2, "fsdp"), (0.5, "ddp"), (1.0, "fsdp")):
        pair = shards(bench, output, *FROZEN, *NO_TEST, "TRAIN.PARALLEL", method)
        if share < 1:
            wait_until(pair[0], share, 2 * bench.steps)
            pair[0].send(signal.SIGTERM)
            for run in pair:
                ended = run.wait()
                case.require(ended.code == 75, f"{method} stopped by SIGTERM: {ended.tell()}")
        else:
            finish(bench, pair)
    close(case, "fsdp, ddp, fsdp in turn", wanted, trained_weights(output))


def every_video_once(bench: Bench, case: Case) -> None:
    """The test of seven videos by 1, 2 and 3 processes: every video is there, once, with the same scores."""
    weights = newest_checkpoint(bench.reference(*MAIN).output)
    wanted = paths_of(bench.data, "test")
    scores: dict[int, np.ndarray] = {}
    for processes in (1, 2, 3):
        output = bench.case / f"test{processes}"
        # The batch of a training that does not come must be a multiple of the processes all the same.
        own = (*MAIN, "TRAIN.ENABLE", False, "TRAIN.BATCH_SIZE", 6, "TEST.CHECKPOINT_FILE_PATH", weights)
        finish(bench, [torchrun(bench, output, *own, processes=processes)])
        found = scores_of(output)
        if found is None:
            case.problems.append(f"{processes} processes: no predictions.npz")
            continue
        case.require_none(counted(found["paths"].tolist(), wanted), f"{processes} processes")
        scores[processes] = found["scores"][np.argsort(found["paths"])]
    for processes, found in scores.items():
        worst = float(np.abs(found - scores[1]).max()) if found.shape == scores[1].shape else float("inf")
        case.require(worst <= TOLERANCE, f"scores of {processes} processes differ by {worst:.2g}")
        case.fact(f"{processes} processes: {len(found)} videos, scores differ by {worst:.2g}")


def counted(paths: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """Return what is wrong with the videos that a test has counted: each of ``wanted`` once, and no others."""
    counts = Counter(paths)
    problems = [f"{path} was counted {count} times" for path, count in counts.items() if count > 1]
    problems += [f"{path} was not counted" for path in wanted if path not in counts]
    return problems + [f"{path} is not of the list" for path in counts if path not in set(wanted)]


def restarted(bench: Bench, case: Case) -> None:
    """torchrun --max-restarts=2, one of two processes killed twice: torchrun starts them again and they go on."""
    finish(bench, [torchrun(bench, bench.case / "whole", *MAIN)])
    output = bench.case / "killed"
    run = torchrun(bench, output, *MAIN, options=["--standalone", "--max-restarts=2"])
    for share, rank in ((0.3, 1), (0.6, 0)):
        if case.require(wait_until(run, share, bench.total), f"it ended before {share:.0%} of its steps"):
            pids = ranks(run)
            if case.require(len(pids) == 2, f"{len(pids)} processes in place of two"):
                os.kill(pids[rank], signal.SIGKILL)
    ended = run.wait()
    case.require(ended.code == 0, ended.tell())
    case.require(resumed_from(ended.out) is not None, "it began anew")
    case.require_none(compare_runs(bench.case / "whole", output))
    case.fact(f"ended with 0 after {ended.seconds:.0f} s and two restarts, with the bits of an uninterrupted run")


def two_agents(bench: Bench, case: Case) -> None:
    """Two torchrun agents that meet on loopback, as on two machines, one process each."""
    bench.well(bench.run(bench.case / "one", *FROZEN, *NO_TEST))
    end = f"{LOCAL}:{free_port()}"
    options = [
        "--nnodes=2",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={end}",
        "--rdzv-id=chaos",
        f"--local-addr={LOCAL}",
    ]
    own = (*FROZEN, *NO_TEST, "TRAIN.BATCH_SIZE", BATCH // 2)
    output: Path = bench.case / "agents"
    runs = [torchrun(bench, output, *own, processes=1, options=options) for _ in range(2)]
    finish(bench, runs)
    close(case, "two agents", trained_weights(bench.case / "one"), trained_weights(output))


CASES: Sequence = (equal_weights, sharded_training, every_video_once, restarted, two_agents, *LOSING, *JOINING)
COMMAND = Subcommand("several processes: equal, lost, joining", "10 minutes", CASES)
