"""Does memory stay flat over thousands of openings? One process opens files in turn and reads a clip from each."""

from __future__ import annotations

import argparse
import gc
import os
import resource
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmark_readers import list_files
from benchmark_timing import Subcommand

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.open import AUTO, BACKENDS, VideoOpener, check_backend
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.sampling import DenseSampler

WARM_UP_SHARE = 0.2
"""Share of the openings after which memory counts: caches, arenas and libraries are then as large as they get."""
ALLOWED_MIB = 32.0
"""How much more memory the last openings may find than the first that count."""


@dataclass(frozen=True)
class Reading:
    """What the process holds after so many openings. Memory in MiB, resident."""

    openings: int
    memory_mib: float
    threads: int
    files: int


def read_process(openings: int) -> Reading:
    """Return what this process holds now (threads: those of the operating system, where it tells)."""
    status = Path("/proc/self/status")
    if not status.exists():  # no Linux: the highest memory so far stands for the present
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        return Reading(openings, peak, threading.active_count(), -1)
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
    memory = int(fields["VmRSS"].split()[0]) / 2**10
    return Reading(openings, memory, int(fields["Threads"]), len(os.listdir("/proc/self/fd")))


def open_one(opener: VideoOpener, path: str, turn: int) -> str:
    """Open a file, read a clip of it that differs from turn to turn, close it; return what failed, or ""."""
    try:
        with opener(path) as reader:
            clip = DenseSampler(16, 4).view(reader.num_frames, turn % 5, 5)
            reader.frames_at(clip)
    except DecodeError as error:
        return error.cause
    return ""


def slope_mib(readings: list[Reading]) -> float:
    """Return the growth of memory, MiB for 1000 openings: a straight line through the readings, 0 for a single one."""
    if len(readings) < 2:
        return 0.0
    line = np.polyfit([r.openings for r in readings], [r.memory_mib for r in readings], 1)
    return float(line[0]) * 1000


def verdict(readings: list[Reading], count: int) -> list[str]:
    """Return what grew between the first reading after the warm-up and the last one; empty: nothing did."""
    counted = [r for r in readings if r.openings >= WARM_UP_SHARE * count]
    first, last = counted[0], counted[-1]
    faults = []
    if (growth := last.memory_mib - first.memory_mib) > ALLOWED_MIB:
        faults.append(f"memory grew by {growth:.1f} MiB, more than {ALLOWED_MIB:g} MiB")
    if last.threads > first.threads:
        faults.append(f"threads grew from {first.threads} to {last.threads}")
    if last.files > first.files:
        faults.append(f"open files grew from {first.files} to {last.files}")
    return faults


def run_openings(args: argparse.Namespace) -> list[Reading]:
    """Open ``args.count`` files in turn and print what the process holds; ``args.exit_code`` is 1 when something grew.

    Raises:
        UserError: arguments that cannot be used.
    """
    for option in ("count", "every"):
        if getattr(args, option) < 1:
            raise UserError(f"--{option} must be 1 or more, got {getattr(args, option)}")
    if args.timeout < 0:
        raise UserError(f"--timeout must be 0 or more, got {args.timeout:g}")
    check_backend(args.backend)
    torch.set_num_threads(args.threads or 1)
    files = list_files(args.videos)
    opener = VideoOpener(args.backend, timeout_seconds=args.timeout)
    print(f"{len(files)} files, backend {args.backend}, limit {args.timeout:g} s", flush=True)
    readings: list[Reading] = []
    failed: Counter[str] = Counter()
    start = time.monotonic()
    for turn in range(args.count):
        path = files[turn % len(files)]
        if cause := open_one(opener, path, turn // len(files)):
            failed[f"{Path(path).name}: {cause}"] += 1
        done = turn + 1
        if done % args.every == 0 or done == args.count:
            gc.collect()
            readings.append(found := read_process(done))
            print(
                f"{done:7d} openings  {found.memory_mib:8.1f} MiB  {found.threads} threads  {found.files} files  "
                f"{time.monotonic() - start:6.0f} s",
                flush=True,
            )
    for cause, times in failed.items():
        print(f"not read, {times} times: {cause}")
    counted = [r for r in readings if r.openings >= WARM_UP_SHARE * args.count]
    print(f"slope after {counted[0].openings} openings: {slope_mib(counted):+.2f} MiB for 1000 openings")
    faults = verdict(readings, args.count)
    print("; ".join(faults) if faults else f"flat: memory grew by no more than {ALLOWED_MIB:g} MiB")
    args.exit_code = 1 if faults else 0
    return readings


def add_opening_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``benchmark.py openings``."""
    parser.add_argument("--videos", required=True, metavar="FOLDER", help="folder of video files, broken ones too")
    parser.add_argument("--count", type=int, default=5000, metavar="N", help="how many openings (default 5000)")
    parser.add_argument("--every", type=int, default=500, metavar="N", help="openings between two lines (default 500)")
    parser.add_argument("--backend", default=AUTO, choices=[AUTO, *BACKENDS], help=f"reader (default {AUTO})")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="DATA.DECODE_TIMEOUT, 0 for none (default 60)"
    )


OPENINGS = Subcommand(
    "memory, threads and open files over thousands of openings; exit code 1 when they grow",
    add_opening_arguments,
    run_openings,
    takes_settings=False,
)
