"""``benchmark.py table``: the whole comparison, what ``make bench`` prints."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import benchmark_items
import benchmark_jobs
from benchmark_memory import PeakMemory, peak_memory
from benchmark_model import ModelBench, chosen_precisions, describe
from benchmark_timing import HEADING, Subcommand, Timing, duration, table_line
from fvcore.common.config import CfgNode

from uniformer_video.config import load_config
from uniformer_video.runtime.errors import UserError

Row = Timing | PeakMemory

BASE = (
    *("UNIFORMER.DEPTH", "[5,8,20,7]", "UNIFORMER.LOCAL_KERNEL", "[5,5,5]", "DATA.TRAIN_CROP_SIZE", "224"),
    *("UNIFORMER.DROP_DEPTH_RATE", "0.3"),
)
"""UniFormer-B as published, with the local kernel that both sides have."""


def short_clips(opts: list[str], repeats: int) -> list[Row]:
    """Base on four clips of 8 frames: inference and training."""
    bench = _bench("8", 4, opts)
    return bench.times(repeats, train_repeats=max(1, repeats - 1), name=f"base {_size(bench)}")


def long_clips(opts: list[str], repeats: int) -> list[Row]:
    """Base on one clip of 32 frames, where attention is half of the work."""
    bench = _bench("32", 1, opts)
    return bench.times(repeats, train_repeats=max(1, repeats // 3), name=f"base {_size(bench)}")


def memory(opts: list[str], repeats: int) -> list[Row]:
    """Peak memory of a training step on a clip of 32 frames."""
    return [peak_memory(_config("32", opts), batch=1, name="base 32 frames x1 training step fp32")]


def items(opts: list[str], repeats: int) -> list[Row]:
    """One item of a test and of training, from the file to the clips."""
    return benchmark_items.measure(repeats)


def jobs(opts: list[str], repeats: int) -> list[Row]:
    """A whole test of 40 videos and an epoch of training on them."""
    return benchmark_jobs.measure(repeats=1)


PARTS: dict[str, Callable[[list[str], int], list[Row]]] = {
    "short": short_clips,
    "long": long_clips,
    "memory": memory,
    "items": items,
    "jobs": jobs,
}
"""The parts of the table by name, in its order."""


def _config(frames: str, opts: list[str]) -> CfgNode:
    return load_config(None, [*BASE, "DATA.NUM_FRAMES", frames, *opts])


def _bench(frames: str, batch: int, opts: list[str]) -> ModelBench:
    cfg = _config(frames, opts)
    bench = ModelBench(cfg, batch=batch, precisions=chosen_precisions("both"))
    print(describe(cfg, bench), flush=True)
    print("\n".join(bench.check()), flush=True)
    return bench


def _size(bench: ModelBench) -> str:
    batch, _, frames, height, width = bench.shape
    return f"{frames}x{height}x{width} x{batch}"


def run_table(args: argparse.Namespace) -> list[Row]:
    """Measure the chosen parts one after the other and print them as one table."""
    names = args.only.split(",") if args.only else list(PARTS)
    for name in names:
        if name not in PARTS:
            raise UserError(f"--only {name!r} is no part of the table; the parts: {', '.join(PARTS)}")
    rows: list[Row] = []
    for name in names:
        start = time.perf_counter()
        rows += PARTS[name](args.opts, args.repeats)
        print(f"({name}: {duration(time.perf_counter() - start)})", flush=True)
    print(f"\n{HEADING}")
    for row in rows:
        print(row.line() if isinstance(row, PeakMemory) else table_line(row))
    return rows


def add_table_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py table``."""
    parser.add_argument("--only", metavar="PARTS", help=f"comma-separated parts of {', '.join(PARTS)} (default: all)")


TABLE = Subcommand("everything below in one table (make bench)", add_table_arguments, run_table, repeats=3)
