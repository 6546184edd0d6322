"""What ``chaos.py`` finds: a case for each thing that is done to runs, their table, and results.json."""

from __future__ import annotations

import argparse
import json
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uniformer_video.runtime.paths import atomic_write

if TYPE_CHECKING:
    from chaos_bench import Bench

HELD, FAILED, SKIPPED = "held", "FAILED", "skipped"
SHOWN = 3
"""Problems of a case that the console shows; results.json has all."""


class Skipped(Exception):
    """A case cannot be tried on this machine; the message says why."""


@dataclass
class Case:
    """One thing that is done to runs, and what was found.

    Args:
        subcommand: it belongs to.
        name: such as ``full-disk``.
        done: what is done, in a line.
        facts: what was seen, as short texts.
        problems: what should not have been; a case without any has held.
        figures: numbers for results.json.
        seconds: it took.
        skipped: why it was not tried; empty where it was.
    """

    subcommand: str
    name: str
    done: str
    facts: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    skipped: str = ""

    def require(self, held: bool, problem: str) -> bool:
        """Note ``problem`` unless ``held``, and return ``held``."""
        if not held:
            self.problems.append(problem)
        return held

    def require_none(self, problems: Sequence[str], where: str = "") -> bool:
        """Note every one of ``problems``, and return whether there was none."""
        self.problems.extend(f"{where}: {problem}" if where else problem for problem in problems)
        return not problems

    def fact(self, text: str, **figures: Any) -> None:
        """Note something seen, with its numbers."""
        self.facts.append(text)
        self.figures.update(figures)

    @property
    def verdict(self) -> str:
        """``held``, ``FAILED`` or ``skipped``."""
        return FAILED if self.problems else SKIPPED if self.skipped else HELD

    @property
    def found(self) -> str:
        """What was found, in a line: the problems first."""
        more = [f"and {len(self.problems) - SHOWN} more"] if len(self.problems) > SHOWN else []
        texts = [*self.problems[:SHOWN], *more, *([self.skipped] if self.skipped else []), *self.facts]
        return "; ".join(texts)


CaseFunction = Callable[["Bench", Case], None]
"""Does one thing to runs. Its docstring's first line says what, its name is the case's."""


@dataclass(frozen=True)
class Subcommand:
    """A kind of harm.

    Args:
        help: what it is, in a line.
        takes: how long, on two cores.
        cases: what is tried, in order.
        add_arguments: declares options of its own.
    """

    help: str
    takes: str
    cases: Sequence[CaseFunction]
    add_arguments: Callable[[argparse.ArgumentParser], None] = lambda parser: None


def case_name(function: CaseFunction) -> str:
    """Return what a case is called on the command line."""
    return function.__name__.replace("_", "-")


def describe(function: CaseFunction) -> str:
    """Return what a case does: the first sentence of its docstring, without the full stop."""
    return " ".join((function.__doc__ or "").split("\n\n")[0].split()).removesuffix(".")


def run_case(subcommand: str, function: CaseFunction, bench: Bench) -> Case:
    """Try one case; an error of the harness is a problem of the case, with its traceback.

    The folder of its runs is removed where it held.
    """
    case = Case(subcommand, case_name(function), describe(function))
    bench.say(f"{subcommand} {case.name}: {case.done}")
    began = time.perf_counter()
    bench.begin(f"{subcommand}-{case.name}")
    try:
        function(bench, case)
    except Skipped as reason:
        case.skipped = str(reason)
    except Exception as error:
        bench.say(traceback.format_exc())
        case.problems.append(f"{type(error).__name__}: {error}")
    finally:
        case.require_none(bench.end(keep=bool(case.problems)))
    case.seconds = time.perf_counter() - began
    bench.say(f"  {case.verdict} after {case.seconds:.0f} s: {case.found}")
    return case


def at_least(least: int) -> Callable[[str], int]:
    """Return the type, for argparse, of an option that is a whole number of ``least`` or more."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be {least} or more, got {value}")
        return value

    number.__name__ = "whole number"  # argparse: invalid whole number value: 'x'
    return number


def table(cases: Sequence[Case]) -> str:
    """Return a line for each case: verdict, name, what was done and found."""
    names = [f"{case.subcommand} {case.name}" for case in cases]
    width = max(map(len, names), default=0)
    lines = []
    for name, case in zip(names, cases, strict=True):
        lines.append(f"{case.verdict:8} {name:{width}}  {case.done}")
        lines.append(f"{'':8} {'':{width}}  -> {case.found or 'nothing to tell'}")
    counts = {verdict: sum(case.verdict == verdict for case in cases) for verdict in (HELD, FAILED, SKIPPED)}
    lines.append(", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count) or "no case")
    return "\n".join(lines)


def write_results(path: Path, cases: Sequence[Case], about: Mapping[str, Any]) -> None:
    """Write results.json whole: what ``about`` says of the machine, and every case."""
    entries = [{**asdict(case), "verdict": case.verdict} for case in cases]
    with atomic_write(path) as file:
        json.dump({**about, "held": all_held(cases), "cases": entries}, file, indent=1)
        file.write("\n")


def all_held(cases: Sequence[Case]) -> bool:
    """Tell whether nothing failed, and something was tried."""
    return any(case.verdict == HELD for case in cases) and all(case.verdict != FAILED for case in cases)
