"""Cases of ``chaos.py processes`` in which one of two processes is lost, or asked to stop."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Sequence

from chaos_bench import Bench
from chaos_cases import Case
from chaos_compare import compare_runs, inspect
from chaos_launch import MAIN, finish, shards, wait_until
from chaos_log import TRACEBACK, steps_done
from chaos_runs import Ended, Hang, Run

from uniformer_video.runtime.stopping import EXIT_STOPPED

EXIT_LOST = 74
WITHIN_S = 60.0
"""So soon everything must have ended after one process was lost."""
TOLD = re.compile(r"process \d+ of \d+ .*(gone|ended|heard|lost|killed).*checkpoint")
"""The line that tells which process was lost and how to go on."""


def killed_process(bench: Bench, case: Case) -> None:
    """SIGKILL to one of two processes, first to the second one, then to the one that the others meet at."""
    _lose(bench, case, signal.SIGKILL)


def halted_process(bench: Bench, case: Case) -> None:
    """SIGSTOP to one of two processes, as a machine that hangs: first the second one, then the first."""
    _lose(bench, case, signal.SIGSTOP)


def _lose(bench: Bench, case: Case, number: signal.Signals) -> None:
    """Take one process, then the other, away from a run; go on with the same command; compare with a whole run."""
    finish(bench, shards(bench, bench.case / "whole", *MAIN))
    output = bench.case / "lost"
    for victim, share in ((1, 0.3), (0, 0.6)):
        pair = shards(bench, output, *MAIN)
        name = f"{number.name} to process {victim}"
        if not case.require(wait_until(pair[0], share, bench.total), f"{name}: the run ended before"):
            return
        began = time.monotonic()
        pair[victim].send(number)
        ended = _end(case, pair[1 - victim], name)
        seconds = time.monotonic() - began
        if ended is not None:
            case.require_none(lost(ended), name)
            case.require(seconds <= WITHIN_S, f"{name}: the other one ended after {seconds:.0f} s")
            line = next((line for line in (ended.err + ended.out).splitlines() if TOLD.search(line)), "")
            case.fact(f"{name}: exit code {ended.code} after {seconds:.1f} s: {line[-160:]}", **{name: seconds})
        if number == signal.SIGSTOP:
            pair[victim].send(signal.SIGCONT)
            woken = _end(case, pair[victim], f"{name}, woken")
            case.require(woken is None or woken.code != 0, f"{name}: woken, it ended with exit code 0")
        found = inspect(output, bench.steps)
        case.require_none(found.problems, name)
        case.require(found.position > 0, f"{name}: no checkpoint is there")
    finish(bench, shards(bench, output, *MAIN))
    case.require_none(compare_runs(bench.case / "whole", output))
    case.fact("the same commands went on from the last checkpoint to the same bits")


def lost(ended: Ended) -> list[str]:
    """Return what is wrong with how a process ended that lost another one."""
    problems = [] if ended.code == EXIT_LOST else [f"{ended.tell()}, not {EXIT_LOST}"]
    if TRACEBACK in ended.out + ended.err:
        problems.append("a traceback")
    if not TOLD.search(ended.err):
        problems.append(f"no line tells which process was lost: {ended.err.strip()[-200:]}")
    return problems


def _end(case: Case, run: Run, name: str) -> Ended | None:
    try:
        return run.wait(WITHIN_S + 30)
    except Hang as error:
        case.problems.append(f"{name}: {error}")
        return None


def stopped_processes(bench: Bench, case: Case) -> None:
    """SIGTERM to one of two processes, then to both: all exit with 75, nothing is lost, and the bits are the same."""
    finish(bench, shards(bench, bench.case / "whole", *MAIN))
    output = bench.case / "stopped"
    for share, struck in ((0.3, (1,)), (0.6, (0, 1))):
        pair = shards(bench, output, *MAIN)
        wait_until(pair[0], share, bench.total)
        for number in struck:
            pair[number].send(signal.SIGTERM)
        endings = [run.wait() for run in pair]
        name = f"SIGTERM to {len(struck)} of 2"
        codes = [ended.code for ended in endings]
        case.require(
            codes == [EXIT_STOPPED] * 2, f"{name}: exit codes {codes}: {endings[0].tell()}; {endings[1].tell()}"
        )
        found, done = inspect(output, bench.steps), steps_done(endings[0].out)
        case.require_none(found.problems, name)
        case.require(found.position == done, f"{name}: {done} steps were done, the checkpoint has {found.position}")
        case.fact(f"{name}: exit codes {codes} after step {done}")
    finish(bench, shards(bench, output, *MAIN))
    case.require_none(compare_runs(bench.case / "whole", output))


LOSING: Sequence = (killed_process, halted_process, stopped_processes)
