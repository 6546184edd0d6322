"""``chaos.py kills``: runs that are killed at random moments, again and again, and end with the reference's bits."""

from __future__ import annotations

import argparse
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

from chaos_bench import Bench
from chaos_cases import Case, Subcommand, at_least
from chaos_compare import Folder, compare_runs, inspect
from chaos_log import PHASES, TRACEBACK, resumed_from, steps_done
from chaos_runs import Ended, Run
from chaos_set import CHECKPOINT_STEPS
from chaos_strike import Blow, Plan, Watch, strike

from uniformer_video.runtime.stopping import EXIT_STOPPED

KILLS = 100
WORKERS = (0, 1, 2)
LEFT_S = 20.0
"""After so long no process of a killed run may be left."""
STOP_S = 60.0
"""So long a run may take to stop after SIGTERM."""


class Victim:
    """One run, killed and started again until it comes to its end.

    Args:
        bench: starts it.
        case: takes what is wrong.
        output: its folder.
    """

    def __init__(self, bench: Bench, case: Case, output: Path) -> None:
        self.bench, self.case, self.output = bench, case, output
        self.reference = bench.reference()
        self.folder = Folder()
        self.checked = 0
        self.dying: list[tuple[Run, float]] = []

    def attempt(self, plan: Plan | None) -> Blow | None:
        """Start the run, strike it and check what is left; None where it came to its end (or nothing was planned)."""
        workers = self.bench.random.choice(WORKERS)
        before, watch = self.folder, Watch(self.output, self.bench.steps)
        run = self.bench.start(self.output, "DATA_LOADER.NUM_WORKERS", workers)
        blow = strike(run, plan, watch) if plan is not None else None
        ended = run.wait(STOP_S if blow is not None else 300.0)
        where = f"{self.output.name}, {plan.name if blow and plan else 'to its end'}"
        self.folder = inspect(self.output, self.bench.steps)
        self.checked += self.folder.checked
        # The same mistake is found once, not after every further kill.
        self.case.require_none(self.folder.problems, where)
        self.case.require_none(self._resumed(ended, before), where)
        if blow is None:
            self.case.require(ended.code == 0, f"{where}: {ended.tell()}")
            return None
        assert plan is not None
        self.case.require_none(losses(plan, blow, ended, before.position, self.folder.position), where)
        self.dying.append((run, time.monotonic() + LEFT_S))
        return blow

    def _resumed(self, ended: Ended, before: Folder) -> list[str]:
        """Return what is wrong with where a run went on from."""
        source = resumed_from(ended.out)
        if steps_done(ended.out) is None:  # it may not have come so far
            return []
        if before.newest is None:
            return [f"it went on from {source}, which nobody wrote"] if source else []
        if source is None:
            return [f"it began anew, although there was {before.newest.name}"]
        return [] if Path(source).name == before.newest.name else [f"it went on from {source}, not {before.newest}"]

    def leftovers(self, *, now: bool = False) -> None:
        """Note processes that have outlived their run by too long; ``now``: wait for all that are still to be seen."""
        waiting = []
        for run, until in self.dying:
            if now:
                run.gone(max(0.0, until - time.monotonic()))
            if left := run.members():
                if time.monotonic() < until:
                    waiting.append((run, until))
                else:
                    self.case.problems.append(f"{len(left)} processes are left {LEFT_S:g} s after a kill: {left}")
        self.dying = waiting

    def finish(self) -> None:
        """Check the end of the run against the reference."""
        self.leftovers(now=True)
        self.case.require_none(compare_runs(self.reference.output, self.output), self.output.name)
        self.case.require(not self.folder.temporary, f"{self.output.name}: {self.folder.temporary} are left at the end")


def losses(plan: Plan, blow: Blow, ended: Ended, before: int, after: int) -> list[str]:
    """Return what a kill must not have done.

    Args:
        plan: what was done.
        blow: what the run was doing.
        ended: how it ended.
        before: position of the newest checkpoint before the run, steps.
        after: the same after the kill.
    """
    done = steps_done(ended.out)
    done = before if done is None else done
    problems = []
    if TRACEBACK in ended.out + ended.err:
        problems.append("a traceback")
    if after < max(before, blow.seen):
        problems.append(f"the checkpoint after {max(before, blow.seen)} steps is gone, the newest has {after}")
    if plan.signal == signal.SIGKILL:
        if done - after > CHECKPOINT_STEPS:
            problems.append(f"{done - after} steps are lost: {done} were done, the newest checkpoint has {after}")
        # A run may come to its end between the look and the signal.
        if ended.code not in (-signal.SIGKILL, 0):
            problems.append(ended.tell())
        return problems
    # Python is not ready for a signal while it loads its libraries, nor when all is done and it shuts down.
    unready = blow.quiet or blow.phase == "end"
    allowed = (EXIT_STOPPED, 0, *((-signal.SIGTERM,) if unready else ()))
    if ended.code not in allowed:
        problems.append(f"{ended.tell()}, not {EXIT_STOPPED}")
    elif after != done:
        problems.append(f"{done} steps were done when SIGTERM came, the newest checkpoint has {after}")
    return problems


def kills(bench: Bench, case: Case) -> None:
    """SIGKILL and SIGTERM at random moments, a third of them aimed at checkpoint writing, with 0, 1 or 2 workers."""
    wanted = bench.options.kills
    reference = bench.reference()
    bench.say(f"  reference: trains after {reference.start_s:.1f} s, ends {reference.life_s:.1f} s later")
    counts: Counter[tuple[str, str]] = Counter()
    runs = checked = 0
    while sum(counts.values()) < wanted:
        victim = Victim(bench, case, bench.case / f"run{runs}")
        problems, alive = len(case.problems), True
        while alive:
            left = (1 - victim.folder.position / bench.total) * reference.life_s
            enough = sum(counts.values()) >= wanted
            plan = None if enough else Plan.draw(bench.random, reference.start_s, left)
            blow = victim.attempt(plan)
            victim.leftovers()
            if blow is None or plan is None:
                alive = False
            else:
                counts[plan.name, blow.phase] += 1
        victim.finish()
        runs, checked = runs + 1, checked + victim.checked
        bench.say(f"  run {runs} came to its end; {sum(counts.values())} kills, {checked} checkpoints verified")
        if len(case.problems) == problems:
            shutil.rmtree(victim.output)
    summarise(case, counts, runs, checked)


def summarise(case: Case, counts: Counter[tuple[str, str]], runs: int, checked: int) -> None:
    """Note how many kills there were, of which kind and when."""
    kinds = Counter[str]()
    phases = Counter[str]()
    for (kind, phase), count in counts.items():
        kinds[kind] += count
        phases[phase] += count
    tell = ", ".join(f"{phases[name]} in {name}" for name in PHASES if phases[name])
    case.fact(f"{sum(counts.values())} kills ({', '.join(f'{n} {kind}' for kind, n in sorted(kinds.items()))}; {tell})")
    case.fact(f"{runs} runs came to their end", runs=runs)
    case.fact(f"{checked} checkpoints read and their hashes compared", checkpoints=checked)
    case.figures["kills"] = {f"{kind}, {phase}": count for (kind, phase), count in sorted(counts.items())}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``chaos.py kills``."""
    text = f"at least so many (default {KILLS})"
    parser.add_argument("--kills", type=at_least(1), default=KILLS, metavar="N", help=text)


COMMAND = Subcommand("runs killed at random moments", "9 minutes for 100 kills", (kills,), add_arguments)
