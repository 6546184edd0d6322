"""``benchmark.py jobs``: a whole test and a whole training epoch, ours against the same engine with the plain parts."""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path

import torch
from benchmark_job_runs import KINDS, RECIPE, SIDES, STEP_VIDEOS, JobBench, Outcome
from benchmark_timing import HEADING, Subcommand, Timing, compare, duration, relative_difference, table_line
from benchmark_videos import make_videos
from fvcore.common.config import CfgNode

from uniformer_video.engine.device import hardware_name, has_bf16
from uniformer_video.runtime.errors import UserError

VIDEOS, VALIDATED = 40, 4
"""Videos of a job; those of the validation at the end of an epoch."""
WARM_UP_VIDEOS = STEP_VIDEOS
"""Videos of the jobs that do not count."""

SCORE_TOLERANCE = {"fp32": 1e-2, "bf16": 2e-2}
"""Relative difference of test scores. Ours resizes to bytes, the plain side to floats: half a level of 255 and less."""
TOP1_AGREEMENT = {"fp32": 1.0, "bf16": 0.95}
"""Least share of test videos whose highest class is the same."""
TIE = {"fp32": 2e-2, "bf16": 5e-2}
"""Two classes of a video are tied where their scores differ by less than this share of the scores' root mean square."""
LOSS_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-2}
"""Relative difference of the first training step's loss."""


def check(job: str, outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return a line for each of our sides that says how well it agrees with the plain one.

    Args:
        job: of ``KINDS``.
        outcomes: of each side, "plain" among them.

    Raises:
        UserError: they do not, so that times would compare different things.
    """
    compared = _compare_scores if job == "test" else _compare_losses
    return [
        f"{job}, {side}: {compared(outcome, outcomes['plain'], SIDES[side])}"
        for side, outcome in outcomes.items()
        if side != "plain"
    ]


def _compare_scores(ours: Outcome, plain: Outcome, precision: str) -> str:
    difference = relative_difference(ours.scores, plain.scores)
    # What videos have in common is no merit: the scores less their mean over videos are what tells them apart.
    apart = relative_difference(*(side.scores - side.scores.mean(0) for side in (ours, plain)))
    highest = plain.scores.amax(1)
    gap = highest - plain.scores.gather(1, ours.scores.argmax(1, keepdim=True)).squeeze(1)
    same = float((gap <= TIE[precision] * plain.scores.square().mean(1).sqrt()).double().mean())
    if not (difference <= SCORE_TOLERANCE[precision] and same >= TOP1_AGREEMENT[precision]):
        raise UserError(
            f"test scores of the two sides in {precision} differ by {difference:.2g} (allowed: "
            f"{SCORE_TOLERANCE[precision]:g}), the highest class is the same in {same:.0%} of the videos (at least "
            f"{TOP1_AGREEMENT[precision]:.0%}): not comparable"
        )
    classes = len(plain.scores.argmax(1).unique())
    return (
        f"same highest class in {same:.0%} of {len(plain.scores)} videos ({classes} classes), scores differ by "
        f"{difference:.1e}, less their mean over videos by {apart:.1e}"
    )


def _compare_losses(ours: Outcome, plain: Outcome, precision: str) -> str:
    first, last = (abs(ours.losses[step] / plain.losses[step] - 1) for step in (0, -1))
    if not first <= LOSS_TOLERANCE[precision] or len(ours.losses) != len(plain.losses):
        raise UserError(
            f"the first training loss of the two sides in {precision} is {ours.losses[0]:.6g} and "
            f"{plain.losses[0]:.6g}, further apart than {LOSS_TOLERANCE[precision]:g}: not comparable"
        )
    return f"losses differ by {first:.1e} in the first of {len(plain.losses)} steps, by {last:.1e} in the last"


def measure(
    *,
    repeats: int = 1,
    videos: int = VIDEOS,
    seconds: float = 10.0,
    jobs: Sequence[str] = KINDS,
    sides: Sequence[str] = tuple(SIDES),
    settings: Sequence[str] = (),
    folder: Path | None = None,
    say: Callable[[str], None] = lambda text: print(text, flush=True),
) -> list[Timing]:
    """Compare and time whole jobs; both sides in turn, once on few videos to warm up.

    Args:
        repeats: rounds that count.
        videos: of a job.
        seconds: of each video.
        jobs: which of ``KINDS``.
        sides: which of ``SIDES``, "plain" among them; bf16 is left out where the processor only imitates it.
        settings: pairs ``KEY VALUE`` over the recipe.
        folder: keeps the videos for another time; None: they are made and thrown away.
        say: takes lines as they come.

    Returns:
        For each job and each of our sides a timing against plain float32.

    Raises:
        UserError: the sides do not agree.
    """
    if not has_bf16(torch.device("cpu")):
        sides = [side for side in sides if SIDES[side] != "bf16"]
        say("bf16 is left out: this processor only imitates it")
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        start = time.perf_counter()
        make_videos(place, videos, seconds, validation=VALIDATED)
        bench = JobBench(Path(place), settings)
        say(f"{describe(bench.config('test', 'fp32'), videos)}; made in {duration(time.perf_counter() - start)}")
        timings = []
        for job in jobs:
            few = {side: bench.run(job, side, min(WARM_UP_VIDEOS, videos)) for side in sides}
            check(job, few)
            rounds = [{side: bench.run(job, side) for side in sides} for _ in range(repeats)]
            for line in check(job, rounds[0]):
                say(line)
            medians = {side: statistics.median(each[side].seconds for each in rounds) for side in sides}
            timings += [
                compare(f"{TITLES[job].format(videos)} {SIDES[side]}", medians["plain"], medians[side])
                for side in sides
                if side != "plain"
            ]
    return timings


TITLES = {"test": "test {} videos 4x3 views", "train": "train an epoch of {} videos"}


def describe(cfg: CfgNode, videos: int) -> str:
    """Return what the jobs run on, in one line."""
    data = cfg.DATA
    return (
        f"{videos} videos, H.264; {RECIPE.stem}, clips {data.NUM_FRAMES}x{data.SAMPLING_RATE}, {data.TEST_CROP_SIZE} "
        f"pixels, workers {cfg.DATA_LOADER.NUM_WORKERS}; a training step has {cfg.TRAIN.BATCH_SIZE} videos x "
        f"{cfg.AUG.NUM_SAMPLE} clips, its epoch ends with a validation of {VALIDATED} videos and a checkpoint"
    )


def add_job_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py jobs``."""
    parser.add_argument("--jobs", nargs="+", choices=KINDS, default=list(KINDS), help="which jobs (default: all)")
    parser.add_argument("--count", type=int, default=VIDEOS, metavar="N", help=f"videos of a job (default {VIDEOS})")
    parser.add_argument("--seconds", type=float, default=10.0, metavar="S", help="of each video (default 10)")
    parser.add_argument("--videos", metavar="FOLDER", help="keep the generated videos here for another time")


def run_jobs(args: argparse.Namespace) -> list[Timing]:
    """Compare, time and print whole jobs."""
    if args.count < WARM_UP_VIDEOS:
        raise UserError(f"--count must be {WARM_UP_VIDEOS} (a training step) or more, got {args.count}")
    print(f"hardware: {hardware_name(torch.device('cpu'))}; torch {torch.__version__}", flush=True)
    timings = measure(
        repeats=args.repeats,
        videos=args.count,
        seconds=args.seconds,
        jobs=args.jobs,
        settings=args.opts,
        folder=Path(args.videos) if args.videos else None,
    )
    print(HEADING)
    for timing in timings:
        print(table_line(timing))
    return timings


JOBS = Subcommand("whole jobs: a test and a training epoch, wall-clock", add_job_arguments, run_jobs, repeats=1)
