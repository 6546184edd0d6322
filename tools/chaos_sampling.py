"""Memory and open files of a run's processes, looked at again and again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from chaos_runs import Hang, Run, workers_of

EVERY_S = 0.5


@dataclass
class Line:
    """What a process took, look by look.

    Args:
        steps: of the run, at each look.
        mib: memory; pages that several processes have count for each in part.
        files: open.
    """

    steps: list[int] = field(default_factory=list)
    mib: list[float] = field(default_factory=list)
    files: list[int] = field(default_factory=list)

    def add(self, step: int, mib: float, files: int) -> None:
        """Add a look."""
        self.steps.append(step)
        self.mib.append(mib)
        self.files.append(files)

    def after(self, step: int) -> Line:
        """Return the looks at ``step`` steps and later."""
        first = next((n for n, s in enumerate(self.steps) if s >= step), len(self.steps))
        return Line(self.steps[first:], self.mib[first:], self.files[first:])


class Sampler:
    """Looks at the main process of a run and at its first workers, as long as they are the same ones.

    Args:
        run: what is looked at.
        steps: tells the steps done from the output.
        workers: how many.
    """

    def __init__(self, run: Run, *, steps: Callable[[str], int], workers: int) -> None:
        self.run, self.steps, self.workers = run, steps, workers
        self.pids: dict[str, int] = {}
        self.lines: dict[str, Line] = {}

    def follow(self, limit_s: float) -> dict[str, Line]:
        """Look until the run has ended, and return a line for each process.

        Raises:
            Hang: the run did not end in time; it has been killed.
        """
        until = time.monotonic() + limit_s
        while self.run.running():
            self.look()
            if time.monotonic() > until:
                self.run.kill()
                raise Hang(f"no end after {limit_s:g} s")
            time.sleep(EVERY_S)
        return self.lines

    def look(self) -> None:
        """Look once; nothing is noted before the first step is done."""
        step = self.steps(self.run.out())
        if not step:
            return
        if len(self.pids) <= self.workers:
            found = workers_of(self.run.pid)[: self.workers]
            # The training's workers come first; those of a validation are others.
            self.pids = {"main": self.run.pid, **{f"worker {n}": pid for n, pid in enumerate(found)}}
        looks = {name: taken_by(pid) for name, pid in self.pids.items()}
        # Pages that processes share count for those that are left once one of them is gone.
        if all(taken is not None for taken in looks.values()):
            for name, taken in looks.items():
                self.lines.setdefault(name, Line()).add(step, *taken)


def taken_by(pid: int) -> tuple[float, int] | None:
    """Return a process's memory in MiB and its number of open files; None where it is gone.

    Memory is its proportional share (PSS) of all that is no page of a file: libraries, which every program on the
    machine may use, count for more or less as others come and go. (Before Linux 5.9 the system does not tell them
    apart.)
    """
    try:
        rows = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        kib = {row.split(":")[0]: int(row.split()[1]) for row in rows[1:]}
        own = kib["Pss_Anon"] + kib["Pss_Shmem"] if "Pss_Anon" in kib else kib["Pss"]
        return own / 1024, len(os.listdir(f"/proc/{pid}/fd"))
    except (OSError, KeyError):
        return None
