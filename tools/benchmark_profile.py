"""``benchmark.py profile``: which operations the time of each side's network goes to, for docs/PERFORMANCE.md."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from benchmark_model import ModelBench, chosen_precisions, describe
from benchmark_timing import Subcommand
from torch.profiler import profile

from uniformer_video.config import load_config
from uniformer_video.runtime.errors import UserError

GROUPS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("attention kernel", ("attention",)),
    ("linear maps", ("addmm", "addmm_", "mm", "_linear_pointwise", "mkldnn_linear")),
    ("products of activations", ("bmm", "baddbmm")),
    ("convolution, backward", ("convolution_backward",)),
    ("convolution, forward", ("convolution",)),
    ("GELU", ("gelu", "gelu_", "gelu_backward")),
    ("softmax", ("softmax",)),
    ("norms", ("native_batch_norm", "native_layer_norm", "norm_backward")),
    ("copies and layouts", ("copy_", "cat", "clone", "contiguous")),
    ("sums, factors, filling", ("add", "add_", "sub_", "mul", "mul_", "sum", "mean", "fill_", "zero_", "div")),
    ("optimizer", ("_fused_adamw", "_fused_adam", "_foreach")),
)
"""Kinds of work and what the names of their operations are or, where long enough to be no other's, contain."""


@dataclass(frozen=True)
class Share:
    """Seconds of one kind of work on one side; ``share`` of all that side did."""

    name: str
    side: str
    seconds: float
    share: float


def kind_of(operation: str) -> str:
    """Return the kind of work that an operation of torch is, such as ``aten::addmm``; "other" for what has none."""
    name = operation.rpartition("::")[2]
    for kind, names in GROUPS:
        if name in names or any(len(part) > 6 and part in name for part in names):
            return kind
    return "other"


def profile_side(call: Callable[[], object]) -> dict[str, float]:
    """Return the seconds of each kind of work in one call, after one that is not counted."""
    call()
    with profile() as seen:
        call()
    seconds: Counter[str] = Counter()
    for event in seen.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    return dict(seconds.most_common())


def shares(side: str, seconds: dict[str, float]) -> list[Share]:
    """Return the kinds of work of a side, the largest first."""
    total = sum(seconds.values())
    return [Share(name, side, value, value / total) for name, value in seconds.items()]


def add_profile_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py profile``."""
    parser.add_argument("--cfg", metavar="FILE", help="YAML file of the recipe (default: the defaults)")
    parser.add_argument("--batch", type=int, default=2, metavar="N", help="clips in a batch (default 2)")
    parser.add_argument("--step", action="store_true", help="a training step instead of a forward pass")


def run_profile(args: argparse.Namespace) -> list[Share]:
    """Profile the plain side and ours in every precision, and print where their time goes."""
    if args.batch < 1:
        raise UserError(f"--batch must be 1 or more, got {args.batch}")
    cfg = load_config(args.cfg, args.opts)
    bench = ModelBench(cfg, batch=args.batch, precisions=chosen_precisions("both"))
    print(describe(cfg, bench))
    sides = {"plain fp32": (bench.plain, "fp32"), **{f"ours {p}": (bench.ours, p) for p in bench.precisions}}
    found: list[Share] = []
    for side, (model, precision) in sides.items():
        work = bench.step if args.step else bench.score
        rows = shares(side, profile_side(partial(work, model, precision)))
        print(f"\n{side}: {sum(row.seconds for row in rows):.2f} s", flush=True)
        for row in rows:
            print(f"  {row.name:26} {row.seconds:8.3f} s {row.share:6.1%}")
        found += rows
    return found


PROFILE = Subcommand("where the time of a network goes, by kind of operation", add_profile_arguments, run_profile)
