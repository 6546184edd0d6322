"""``chaos.py memory``: memory and open files over a long run, and loader workers that are killed."""

from __future__ import annotations

import argparse
import math
import os
import re
import signal
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from chaos_bench import Bench
from chaos_cases import Case, Subcommand, at_least
from chaos_compare import compare_runs
from chaos_launch import wait_until
from chaos_log import steps_done
from chaos_runs import Run, workers_of
from chaos_sampling import Line, Sampler
from chaos_set import STEPS, paths_of

from uniformer_video.drawing.memory import MemoryLine, draw_memory
from uniformer_video.engine.device import hardware_name

ALL_STEPS = 2000
WARM_UP = 200
"""Steps until every video has been decoded often, every buffer has its size, and a validation and a checkpoint were."""
LIMIT = 2.0
"""MiB per 1,000 steps. What could be kept by mistake is more: a batch of this run (96 KiB) 94 MiB, one clip of it (12
KiB) 12 MiB, the record numbers and losses of each step alone 0.1 MiB. An allocator's noise is less: some 100 KiB."""
DEATHS = (0.2, 0.45, 0.7)
"""Shares of a run at which a worker is killed."""
LIMIT_S = 3600.0


def flat_memory(bench: Bench, case: Case) -> None:
    """A run of --steps steps with two workers: memory (PSS) and open files of all processes, twice a second."""
    steps = bench.options.steps
    epochs = math.ceil(steps / STEPS)
    warm_up = WARM_UP if steps >= 5 * WARM_UP else steps // 3
    # Validations and checkpoints are in the figure without being most of it. The first one lies in the warm-up: its
    # workers, which stay, take their part of the pages that all processes share.
    every = max(1, warm_up * 3 // 4 // STEPS)
    own = ("SOLVER.MAX_EPOCH", epochs, "TRAIN.EVAL_PERIOD", every, "TRAIN.CHECKPOINT_PERIOD", every)
    own += ("TRAIN.CHECKPOINT_STEPS", 0, "LOG_PERIOD", 1, "DATA_LOADER.NUM_WORKERS", 2, "TEST.ENABLE", False)
    run = bench.start(bench.case / "run", *own)
    sampler = Sampler(run, steps=lambda text: steps_done(text) or 0, workers=2)
    lines = sampler.follow(LIMIT_S)
    bench.well(run.wait())
    case.require(set(lines) == {"main", "worker 0", "worker 1"}, f"seen were only {', '.join(lines)}")
    for name, line in lines.items():
        case.require_none(judge(name, line, warm_up))
        case.fact(tell(name, line, warm_up), **{name: figures(line, warm_up)})
    picture = Path(bench.options.plot or bench.folder / "memory.png")
    drawn = {name: MemoryLine(line.steps, line.mib, line.files) for name, line in lines.items()}
    title = f"Memory and open files over {epochs * STEPS:,} steps"
    draw_memory(drawn, picture, warm_up=warm_up, title=title, note=hardware_name(torch.device("cpu")))
    case.fact(f"plot: {picture}")


def figures(line: Line, warm_up: int) -> dict[str, float]:
    """Return the numbers of a process after ``warm_up`` steps: memory in MiB, its slope per 1,000 steps, files."""
    late = line.after(warm_up)
    return {
        "first_mib": late.mib[0],
        "median_mib": statistics.median(late.mib),
        "last_mib": late.mib[-1],
        "mib_per_1000_steps": slope(late.steps, late.mib) * 1000,
        "files_first": min(late.files[: max(1, len(late.files) // 5)]),
        "files_last": min(late.files[-max(1, len(late.files) // 5) :]),
        "samples": len(late.steps),
    }


def judge(name: str, line: Line, warm_up: int) -> list[str]:
    """Return what is wrong with a process: memory that grows, files that stay open, or too few samples to tell."""
    late = line.after(warm_up)
    if len(late.steps) < 10:
        return [f"{name}: {len(late.steps)} samples after {warm_up} steps are too few to tell"]
    found = figures(line, warm_up)
    problems = []
    if not found["mib_per_1000_steps"] <= LIMIT:
        problems.append(f"{name} grows by {found['mib_per_1000_steps']:.2f} MiB in 1,000 steps, more than {LIMIT:g}")
    # The least of many looks: a look may fall into the reading of a video.
    if found["files_last"] > found["files_first"]:
        problems.append(f"{name} has {found['files_last']} files open, and had {found['files_first']}")
    return problems


def tell(name: str, line: Line, warm_up: int) -> str:
    """Return the figures of a process in a line."""
    found = figures(line, warm_up)
    return (
        f"{name}: {found['first_mib']:.1f} MiB first, {found['median_mib']:.1f} median, {found['last_mib']:.1f} last, "
        f"{found['mib_per_1000_steps']:+.2f} MiB in 1,000 steps, {found['files_first']} and {found['files_last']} files"
    )


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Return the median slope between all pairs of points (Theil 1950, Sen 1968): single jumps do not move it."""
    stride = max(1, len(x) // 300)
    points = list(zip(x[::stride], y[::stride], strict=True))
    slopes = [
        (after[1] - before[1]) / (after[0] - before[0])
        for number, before in enumerate(points)
        for after in points[number + 1 :]
        if after[0] > before[0]
    ]
    return statistics.median(slopes) if slopes else math.nan


def killed_worker(bench: Bench, case: Case) -> None:
    """SIGKILL to a loader worker, three times in a run: the log names what it was reading, the bits stay."""
    reference = bench.reference()
    for attempt in range(5):
        output = bench.case / f"run{attempt}"
        run = bench.start(output)
        pids = [_kill_one(bench, run, share) for share in DEATHS]
        ended = run.wait()
        if not case.require(ended.code == 0, ended.tell()):
            return
        files, problems = deaths(ended.out, [pid for pid in pids if pid], paths_of(bench.data, "train"))
        case.require_none(problems)
        # A worker may have been idle; and a file that ends two workers is given up by design, which changes the bits.
        if files and len(set(files)) == len(files):
            break
    case.require(bool(files), "no worker was killed while it was reading, or none of the lines says so")
    case.require_none(compare_runs(reference.output, output))
    case.fact(
        f"{len([pid for pid in pids if pid])} workers killed, {len(files)} of them while reading {', '.join(files)}"
    )


def _kill_one(bench: Bench, run: Run, share: float) -> int:
    """Kill a worker once a share of the run is done, and return its number; 0 where there was none to kill."""
    if not wait_until(run, share, bench.total):
        return 0
    for _ in range(100):
        if workers := workers_of(run.pid):
            pid = bench.random.choice(workers)
            os.kill(pid, signal.SIGKILL)
            return pid
        time.sleep(0.01)
    return 0


def deaths(text: str, pids: Sequence[int], videos: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names of the files that the log names, and what is wrong with it: each death told in one line.

    Args:
        text: output of the run.
        pids: workers that were killed.
        videos: paths of the training list.
    """
    files, problems = [], []
    for pid in pids:
        lines = [line for line in text.splitlines() if re.search(rf"\b{pid}\b", line) and "SIGKILL" in line]
        if len(lines) != 1:
            problems.append(f"{len(lines)} lines tell that worker {pid} was ended by SIGKILL")
        files += [Path(video).name for video in videos for line in lines if video in line]
    return files, problems


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``chaos.py memory``."""
    text = f"of the long run (default {ALL_STEPS}, of which the first {WARM_UP} do not count)"
    parser.add_argument("--steps", type=at_least(100), default=ALL_STEPS, metavar="N", help=text)
    parser.add_argument("--plot", metavar="FILE", help="the picture (default: memory.png in --out)")


CASES: Sequence = (flat_memory, killed_worker)
COMMAND = Subcommand("memory and open files of a long run, killed workers", "3 minutes", CASES, add_arguments)
