#!/usr/bin/env python3
"""Do to runs what a shared cluster does to them, and see whether they keep what they promise."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

TOOLS = Path(__file__).resolve().parent
for folder in (TOOLS, TOOLS.parent):  # works from a clone that is not installed
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import chaos_files  # noqa: E402
import chaos_kills  # noqa: E402
import chaos_memory  # noqa: E402
import chaos_numbers  # noqa: E402
import chaos_pickle  # noqa: E402
import chaos_processes  # noqa: E402
import torch  # noqa: E402
from chaos_bench import RESULTS, Bench, check_folder  # noqa: E402
from chaos_cases import Case, Subcommand, all_held, case_name, run_case, table, write_results  # noqa: E402

from uniformer_video.engine.device import hardware_name  # noqa: E402
from uniformer_video.runtime.cli import ArgumentParser, run_named  # noqa: E402
from uniformer_video.runtime.errors import UserError  # noqa: E402
from uniformer_video.runtime.paths import make_output_dir  # noqa: E402

SUBCOMMANDS: dict[str, Subcommand] = {
    "kills": chaos_kills.COMMAND,
    "files": chaos_files.COMMAND,
    "pickle": chaos_pickle.COMMAND,
    "numbers": chaos_numbers.COMMAND,
    "processes": chaos_processes.COMMAND,
    "memory": chaos_memory.COMMAND,
}
"""Kinds of harm by name; a new one is a file beside this one and an entry here."""
ALL = "all"
EXIT_FAILED = 1


def usage() -> str:
    """Return the help text of the tool."""
    lines = [f"  {name:10} {command.help} ({command.takes})" for name, command in SUBCOMMANDS.items()]
    lines.append(f"  {ALL:10} all of them, one after another (half an hour)")
    names = "\n".join(lines)
    return (
        f"usage: chaos.py NAME [--out DIR] [--seed N] [--only CASE ...] [options]\n\n{__doc__}\n\n"
        "Everything that is needed is made on the spot: 57 small videos, a small network, on the CPU. Linux only.\n\n"
        f"what can be done (times on two cores; chaos.py NAME --help for options and cases):\n{names}\n\n"
        "examples:\n"
        "  python tools/chaos.py all --out runs/chaos\n"
        "  python tools/chaos.py kills --kills 20 --seed 3\n"
        "  python tools/chaos.py files --only full-disk all-damaged\n"
        "  python tools/chaos.py memory --steps 500 --plot memory.png\n\n"
        "Exit codes: 0 all held; 1 something did not, the folder is kept and named; 2 a mistake in the input."
    )


def parse(name: str, arguments: Sequence[str]) -> argparse.Namespace:
    """Return the options of one command line.

    Raises:
        UserError: an unknown name, an unknown case, or a number that cannot be used.
    """
    if name not in (*SUBCOMMANDS, ALL):
        raise UserError(f"unknown name {name!r}; known: {', '.join((*SUBCOMMANDS, ALL))}")
    chosen = list(SUBCOMMANDS.values()) if name == ALL else [SUBCOMMANDS[name]]
    known = [case_name(function) for command in chosen for function in command.cases]
    about = "everything" if name == ALL else chosen[0].help
    parser = ArgumentParser(about, f"cases: {', '.join(known)}", prog=f"chaos.py {name}")
    parser.add_argument("--out", metavar="DIR", help="where to work (default: a temporary folder, kept on failure)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of every random choice (default 0)")
    parser.add_argument("--only", nargs="+", default=[], metavar="CASE", help="these cases alone")
    for command in chosen:
        command.add_arguments(parser)
    options = parser.parse_args(list(arguments))
    unknown = [case for case in options.only if case not in known]
    if unknown:
        raise UserError(f"--only: no case {unknown[0]!r}; known: {', '.join(known)}")
    if options.seed < 0:
        raise UserError(f"--seed must be 0 or more, got {options.seed}")
    return options


def run(name: str, arguments: Sequence[str]) -> int:
    """Do what a name stands for and return the exit code: 0 where all held, else 1.

    Raises:
        UserError: arguments that cannot be used.
    """
    options = parse(name, arguments)
    if not sys.platform.startswith("linux"):
        raise UserError(f"chaos.py reads /proc and sends signals as Linux has them; this is {sys.platform}")
    if options.out is None:
        place = Path(tempfile.mkdtemp(prefix="chaos-"))
    else:
        place = make_output_dir(options.out, key="--out").absolute()
        check_folder(place)
    about = {
        "command": " ".join(["chaos.py", name, *arguments]),
        "seed": options.seed,
        "torch": torch.__version__,
        "hardware": hardware_name(torch.device("cpu")),
    }
    write_results(place / RESULTS, [], about)
    bench = Bench(place, options, say=lambda text: print(text, flush=True))
    bench.say(f"working in {place}")
    cases = carry_out(name, bench)
    write_results(place / RESULTS, cases, about)
    held = all_held(cases)
    whole = held and options.out is None
    where = "" if whole else f"\nresults: {place / RESULTS}"
    print(f"\n{table(cases)}{where}")
    bench.close(keep=not held, whole=whole)
    return 0 if held else EXIT_FAILED


def carry_out(name: str, bench: Bench) -> list[Case]:
    """Try every case that is asked for and return them; after Ctrl-C no process of a run is left."""
    bench.prepare()
    cases = []
    try:
        for subcommand, command in SUBCOMMANDS.items():
            for function in command.cases if name in (subcommand, ALL) else ():
                if not bench.options.only or case_name(function) in bench.options.only:
                    cases.append(run_case(subcommand, function, bench))
    finally:
        bench.end(keep=True)
    return cases


def main(argv: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0, 1 where something did not hold, 2 after one line for a user's mistake."""
    return run_named(argv, usage, run)


if __name__ == "__main__":
    sys.exit(main())
