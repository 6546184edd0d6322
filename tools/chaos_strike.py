"""One blow at a run: which signal, to whom and when, and what the run was doing at that moment."""

from __future__ import annotations

import random
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from chaos_compare import positions_in, temporary_files
from chaos_log import TRAINING, phase
from chaos_runs import LIMIT_S, Run

WRITING_S = 0.03
"""A checkpoint of the small network is being written for about so long; most of it waits for the disk."""
POLL_S = 0.0005
STARTUP, ANYTIME, WRITING = "start-up", "anytime", "writing"


@dataclass(frozen=True)
class Plan:
    """What is to be done to a run.

    Args:
        signal: SIGKILL or SIGTERM.
        group: to the process group, the loader's workers with it, or to the main process alone.
        aim: ``start-up``: at any moment from the start of the command on; ``anytime``: from the start of training on;
            ``writing``: at the first checkpoint that is being written after ``delay_s`` of training.
        delay_s: when.
        extra_s: how long a writing has gone on by then.
    """

    signal: signal.Signals
    group: bool
    aim: str
    delay_s: float
    extra_s: float = 0.0

    @classmethod
    def draw(cls, generator: random.Random, start_s: float, left_s: float) -> Plan:
        """Draw a plan: half of them SIGKILL, a third to the group; 6 of 100 at start-up, a third at writing.

        Args:
            generator: drawn from.
            start_s: seconds until a run trains.
            left_s: seconds from there to its end.
        """
        number = generator.choice((signal.SIGKILL, signal.SIGTERM))
        group, dice = generator.random() < 1 / 3, generator.random()
        if dice < 0.06:
            return cls(number, group, STARTUP, generator.uniform(0, start_s))
        aim = WRITING if dice < 0.06 + 1 / 3 else ANYTIME
        # A checkpoint must still come after the moment from which on one is looked for.
        latest = 0.7 * left_s if aim == WRITING else left_s
        return cls(number, group, aim, generator.uniform(0, latest), generator.uniform(0, WRITING_S))

    @property
    def name(self) -> str:
        """Such as ``SIGKILL to the group``."""
        return f"{self.signal.name} to the {'group' if self.group else 'process'}"


@dataclass(frozen=True)
class Blow:
    """What a run was doing when it was struck.

    Args:
        phase: one of ``chaos_log.PHASES``.
        seen: the furthest position that a checkpoint of its folder had at any time, by the names of the files.
        quiet: the run had said nothing yet: it was loading its libraries.
    """

    phase: str
    seen: int
    quiet: bool


class Watch:
    """Looks at a run's checkpoints as they come; to be made before the run begins.

    Args:
        output: of the run.
        steps: of an epoch.
    """

    def __init__(self, output: Path, steps: int) -> None:
        self.output, self.steps = output, steps
        self.seen = 0
        # What an earlier run left unfinished is not a writing of this one.
        self.old = set(temporary_files(output))

    def writing(self) -> bool:
        """Note which checkpoints there are, and tell whether one is being written."""
        self.seen = max([self.seen, *positions_in(self.output, self.steps)])
        return bool(set(temporary_files(self.output)) - self.old)


def strike(run: Run, plan: Plan, watch: Watch) -> Blow | None:
    """Carry out a plan and return what the run was doing, or None where it had ended before."""
    if plan.aim != STARTUP and not run.wait_for(lambda text: TRAINING in text, LIMIT_S, poll_s=0.005):
        return None
    _sleep(run, plan.delay_s, watch)
    if plan.aim == WRITING:
        while run.running() and not watch.writing():
            time.sleep(POLL_S)
        time.sleep(plan.extra_s)
    if not run.running():
        return None
    busy = watch.writing()
    run.send(plan.signal, group=plan.group)
    text = run.out()  # after the signal, or it could tell less than the run had done when it came
    return Blow(phase(text, writing=busy and TRAINING in text), watch.seen, quiet=not text.strip())


def _sleep(run: Run, seconds: float, watch: Watch) -> None:
    until = time.monotonic() + seconds
    while run.running() and time.monotonic() < until:
        watch.writing()
        time.sleep(min(0.01, max(0.0, until - time.monotonic())))
