"""What a long list of videos costs: memory of all processes together, and seconds until the first batch is there.

Each measurement is a process of its own with its worker processes, which reads a list, starts the workers, takes the
first batches and then has every worker read every record. No video is decoded; clips are single pixels. Memory is the
proportional set size (PSS) of the process and its workers, in which a page that several share counts once; the list's
part is the difference to the same run with a list of a few dozen.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
for folder in (TOOLS, TOOLS.parent):  # as a program of its own: each measurement is one
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from benchmark_timing import HEADING, Subcommand, Timing, compare, table_line  # noqa: E402

from uniformer_video.runtime.errors import UserError  # noqa: E402

ALLOWED_MIB = 300 * 1e6 / 2**20
"""What a list may cost: 300 MB."""
ALLOWED_S = 10.0
"""Seconds until the first batch."""
CLASSES = 400
BATCH = 8
WALK = 1
"""The epoch whose records stand for all of them: the worker that is asked for one reads every record."""


@dataclass(frozen=True)
class Memory:
    """What a list costs on both sides, MiB.

    Args:
        name: what was counted.
        plain_mib: median of the plain side.
        ours_mib: median of this toolkit's side.
        ratio: ``ours_mib / plain_mib``; below 1: ours is smaller.
        allowed_mib: the bound of our side.
    """

    name: str
    plain_mib: float
    ours_mib: float
    ratio: float
    allowed_mib: float


@dataclass(frozen=True)
class ListRun:
    """What one process measured.

    Args:
        seconds: from the start of the interpreter to the first batch.
        pss_mib: process and workers together, after every worker has read every record.
        peak_mib: the most that the process alone held, resident.
        digest: path and label of some records.
    """

    seconds: float
    pss_mib: float
    peak_mib: float
    digest: list[tuple[str, int]]


def write_list(folder: Path, videos: int, seed: int = 0) -> Path:
    """Write ``train.csv`` with names as downloaders of Kinetics make them, and the first video as an empty file."""
    draw = random.Random(seed)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
    folder.mkdir(parents=True)
    first = ""
    with open(folder / "train.csv", "w", encoding="utf-8") as file:
        for _ in range(videos):
            label, start = draw.randrange(CLASSES), draw.randrange(300)
            name = f"{''.join(draw.choices(letters, k=11))}_{start:06d}_{start + 10:06d}.mp4"
            first = first or f"train/class {label:03d}/{name}"
            file.write(f"train/class {label:03d}/{name} {label}\n")
    # A reader that finds none of the first videos refuses the list.
    (folder / first).parent.mkdir(parents=True)
    (folder / first).touch()
    return folder / "train.csv"


def pss_mib(process: int) -> float:
    """Return the proportional set size of a process in MiB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 2**10


def peak_mib() -> float:
    """Return the most memory that this process ever held, resident, in MiB."""
    # Not getrusage(): its figure lives on from the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 2**10


class PixelClips:
    """In place of a clip maker: one pixel. Of an epoch :data:`WALK` it reads all records first."""

    def __init__(self, records: Sequence) -> None:
        self.records = records

    def __len__(self) -> int:
        return 1

    def __call__(self, path: str, epoch: int, record: int, *, turn: int = 0, may_mirror: bool = True):
        """Return the clip of a record."""
        import numpy as np
        import torch

        from uniformer_video.datasets.clips import Clips

        total = sum(len(r.path) + r.label for r in self.records) if epoch == WALK else len(path)
        return Clips(torch.full((1, 3, 1, 1, 1), total % 251, dtype=torch.uint8), np.zeros((1, 1), int), (False,))


class NoVideo:
    """In place of an opened video: its path."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> str:
        return self.path

    def __exit__(self, *_: object) -> None:
        pass


class SomeBatches:
    """The first batches of an epoch, and one for each worker that reads everything."""

    def __init__(self, batches: Sequence, first: int, walks: int) -> None:
        self.batches, self.first, self.walks = batches, first, walks

    def __len__(self) -> int:
        return self.first + self.walks

    def __iter__(self) -> Iterator[list[tuple[int, ...]]]:
        shuffled = iter(self.batches)
        yield from (next(shuffled) for _ in range(self.first))
        yield from ([(WALK, number)] for number in range(self.walks))


def our_loader(path: Path, *, workers: int, batch_size: int, first: int) -> tuple[object, Callable[[int], tuple]]:
    """Return a loader over a list, and a function from a number to path and label; see ``plain_loader``."""
    from uniformer_video.config import load_config
    from uniformer_video.datasets import build_dataset
    from uniformer_video.datasets.loader import TrainBatches, make_loader

    settings = ["DATA.PATH_TO_DATA_DIR", str(path.parent), "MODEL.NUM_CLASSES", str(CLASSES)]
    dataset = build_dataset("kinetics", load_config(None, settings), "train")
    dataset.opener, dataset.clips = NoVideo, PixelClips(dataset.records)
    batches = SomeBatches(TrainBatches(len(dataset), batch_size, seed=0), first, workers)
    loader = make_loader(dataset, batches, num_workers=workers, pin_memory=False)
    return loader, lambda number: (dataset.records[number].path, dataset.records[number].label)


def measure_here(side: str, path: Path, workers: int, started: float) -> ListRun:
    """Measure one side in this process, which has done nothing else; ``started``: ``time.monotonic()`` at its start."""
    import multiprocessing

    if side == "ours":
        make = our_loader
    else:
        from benchmark_plain_lists import plain_loader as make
    loader, record = make(path, workers=workers, batch_size=BATCH, first=2 * workers)
    batches = iter(loader)
    next(batches)
    seconds = time.monotonic() - started
    for _ in batches:
        pass
    peak = peak_mib()
    memory = sum(map(pss_mib, [os.getpid(), *(child.pid for child in multiprocessing.active_children())]))
    count = len(loader.dataset)
    return ListRun(seconds, memory, peak, [record(number) for number in range(0, count, max(1, count // 1000))])


def measure(side: str, path: Path, workers: int) -> ListRun:
    """Measure one side in a new process.

    Raises:
        UserError: the process failed.
    """
    command = [sys.executable, __file__, side, str(path), str(workers), str(time.monotonic())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"the {side} side failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    values = json.loads(done.stdout.splitlines()[-1])
    return ListRun(**{**values, "digest": [tuple(pair) for pair in values["digest"]]})


def compare_runs(name: str, large: dict[str, list[ListRun]], tiny: dict[str, list[ListRun]]) -> tuple[Timing, Memory]:
    """Return what a list costs on both sides, medians over the runs of each."""

    def median(side: str, runs: dict[str, list[ListRun]], field: str) -> float:
        return statistics.median(getattr(run, field) for run in runs[side])

    plain, ours = (median(side, large, "pss_mib") - median(side, tiny, "pss_mib") for side in ("plain", "ours"))
    timing = compare(f"{name}, to the first batch", median("plain", large, "seconds"), median("ours", large, "seconds"))
    return timing, Memory(f"{name}, PSS of all", plain, ours, ours / plain, ALLOWED_MIB)


def faults_of(timing: Timing, memory: Memory) -> list[str]:
    """Return the bounds that our side breaks, in words."""
    faults = []
    if timing.ours_s > ALLOWED_S:
        faults.append(f"{timing.ours_s:.1f} s to the first batch, more than {ALLOWED_S:g} s")
    if memory.ours_mib > memory.allowed_mib:
        faults.append(f"{memory.ours_mib:.0f} MiB, more than {memory.allowed_mib:.0f} MiB")
    return faults


def run_lists(args: argparse.Namespace) -> list[Timing | Memory]:
    """Measure both sides in turn and print the table; ``args.exit_code`` is 1 where our side breaks a bound.

    Raises:
        UserError: arguments that cannot be used, no Linux, or two sides that read different records.
    """
    for option in ("records", "workers"):
        if getattr(args, option) < 1:
            raise UserError(f"--{option} must be 1 or more, got {getattr(args, option)}")
    if args.records < 2 * args.workers * BATCH:
        raise UserError(f"--records must be {2 * args.workers * BATCH} or more for {args.workers} workers")
    if not Path("/proc/self/smaps_rollup").exists():
        raise UserError("memory of several processes can only be told on Linux (/proc/self/smaps_rollup)")
    large: dict[str, list[ListRun]] = {"ours": [], "plain": []}
    tiny: dict[str, list[ListRun]] = {"ours": [], "plain": []}
    with tempfile.TemporaryDirectory() as folder:
        lists = {id(large): write_list(Path(folder, "large"), args.records)}
        lists[id(tiny)] = write_list(Path(folder, "tiny"), 2 * args.workers * BATCH)
        for _ in range(args.repeats):
            for runs, side in ((tiny, "ours"), (tiny, "plain"), (large, "ours"), (large, "plain")):
                runs[side].append(measure(side, lists[id(runs)], args.workers))
            for runs in (tiny, large):
                if runs["ours"][-1].digest != runs["plain"][-1].digest:
                    raise UserError("both sides read different records of one list")
    name = f"lists.{args.records} records, {args.workers} workers"
    timing, memory = compare_runs(name, large, tiny)
    peaks = {side: max(run.peak_mib for run in large[side]) - max(run.peak_mib for run in tiny[side]) for side in large}
    print(HEADING)
    print(table_line(timing))
    print(
        f"{memory.name:46} {memory.plain_mib:7.0f} MiB {memory.ours_mib:7.0f} MiB {1 / memory.ratio:6.2f}x"
        f" {memory.allowed_mib:7.0f} MiB"
    )
    print(
        f"highest of the main process, above a tiny list: plain {peaks['plain']:.0f} MiB, ours {peaks['ours']:.0f} MiB"
    )
    faults = faults_of(timing, memory)
    args.exit_code = 1 if faults else 0
    print("; ".join(faults) if faults else f"within bounds: {memory.allowed_mib:.0f} MiB (300 MB) and {ALLOWED_S:g} s")
    return [timing, memory]


def add_list_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``benchmark.py lists``."""
    parser.add_argument("--records", type=int, default=1_000_000, metavar="N", help="videos listed (default 1000000)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="worker processes (default 4)")


LISTS = Subcommand(
    "memory and start of a list of a million videos; exit code 1 where a bound is broken",
    add_list_arguments,
    run_lists,
    takes_settings=False,
)

if __name__ == "__main__":
    _side, _path, _workers, _started = sys.argv[1:]
    print(json.dumps(asdict(measure_here(_side, Path(_path), int(_workers), float(_started)))))
