#!/usr/bin/env python3
"""Measure this toolkit against plain code that does the same, side by side in one process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
for folder in (TOOLS, TOOLS.parent):  # works from a clone that is not installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import torch  # noqa: E402
from benchmark_gpu import GPU  # noqa: E402
from benchmark_growth import GROWTH  # noqa: E402
from benchmark_items import ITEMS  # noqa: E402
from benchmark_jobs import JOBS  # noqa: E402
from benchmark_lists import LISTS  # noqa: E402
from benchmark_model import MODEL  # noqa: E402
from benchmark_openings import OPENINGS  # noqa: E402
from benchmark_profile import PROFILE  # noqa: E402
from benchmark_readers import READERS  # noqa: E402
from benchmark_table import TABLE  # noqa: E402

from uniformer_video.runtime.cli import ArgumentParser, run_named  # noqa: E402
from uniformer_video.runtime.errors import UserError  # noqa: E402
from uniformer_video.runtime.paths import atomic_write, make_output_dir  # noqa: E402

SUBCOMMANDS = {
    "table": TABLE,
    "model": MODEL,
    "profile": PROFILE,
    "items": ITEMS,
    "readers": READERS,
    "openings": OPENINGS,
    "lists": LISTS,
    "gpu": GPU,
    "jobs": JOBS,
    "growth": GROWTH,
}
"""Measurements by name; a new one is a file beside this one and an entry here."""


def usage() -> str:
    """Return the help text of the tool."""
    names = "\n".join(f"  {name:8} {command.help}" for name, command in SUBCOMMANDS.items())
    return (
        f"usage: benchmark.py NAME [options]\n\n{__doc__}\n\nmeasurements (benchmark.py NAME --help for options):\n"
        f"{names}\n\nexamples:\n"
        "  python tools/benchmark.py table --json table.json\n"
        "  python tools/benchmark.py model --cfg configs/Kinetics/uniformer_s8x8.yaml --size 112\n"
        "  python tools/benchmark.py readers --videos my_videos --repeats 9\n"
        "  python tools/benchmark.py openings --videos my_videos --count 5000 --backend decord"
    )


def run(name: str, arguments: Sequence[str]) -> int:
    """Run one measurement and return the exit code: 0, or what a measurement with a bound says.

    Raises:
        UserError: for an unknown name or arguments that cannot be used.
    """
    command = SUBCOMMANDS.get(name)
    if command is None:
        raise UserError(f"unknown measurement {name!r}; known: {', '.join(SUBCOMMANDS)}")
    parser = ArgumentParser(command.help, prog=f"benchmark.py {name}")
    command.add_arguments(parser)
    rounds, text = command.repeats, f"rounds of which the median counts (default {command.repeats})"
    parser.add_argument("--repeats", type=int, default=rounds, metavar="N", help=text)
    parser.add_argument("--threads", type=int, metavar="N", help="torch's CPU threads (default: torch's choice)")
    parser.add_argument("--json", metavar="FILE", help="write the name and numbers of every measurement")
    if command.takes_settings:
        parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings that override the configuration")
    parser.set_defaults(exit_code=0)
    args = parser.parse_intermixed_args(list(arguments))
    for option in ("repeats", "threads"):
        if getattr(args, option) is not None and getattr(args, option) < 1:
            raise UserError(f"--{option} must be 1 or more, got {getattr(args, option)}")
    if args.json:
        if Path(args.json).is_dir():
            raise UserError(f"--json {args.json!r} is a folder; name a file")
        make_output_dir(Path(args.json).absolute().parent, key="--json")  # fail now, not after the measurement
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    timings = command.run(args)
    if args.json:
        with atomic_write(args.json) as file:
            json.dump([asdict(timing) for timing in timings], file, indent=2)
            file.write("\n")
    return args.exit_code


def main(argv: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0, or 2 after one line on stderr for a mistake of the user."""
    return run_named(argv, usage, run)


if __name__ == "__main__":
    sys.exit(main())
