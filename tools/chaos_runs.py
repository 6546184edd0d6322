"""Commands that are started, watched, hurt and waited for, with all the processes they make."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MARK = "UNIFORMER_CHAOS"
"""Environment variable by which the processes of a command are found again, whoever their parent is by then."""
LIMIT_S = 300.0
"""After so long a command counts as hanging."""
LAUNCHER_VARIABLES = (
    *("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS"),
)
"""Of a launcher of this tool, which is none of the runs' that it starts."""

_numbers = itertools.count()


class Hang(Exception):
    """A command did not end in time; it has been killed."""


@dataclass(frozen=True)
class Ended:
    """A command that has ended.

    Args:
        code: exit code; minus the signal's number where one ended it.
        seconds: from its start to its end.
        out: standard output.
        err: standard error.
    """

    code: int
    seconds: float
    out: str
    err: str

    def tell(self) -> str:
        """Return the exit code and the last words, for a problem's text."""
        last = (self.err.strip() or self.out.strip()).splitlines()[-2:]
        return f"exit code {self.code}: {' | '.join(last)[-300:]}"


class Run:
    """A command in a process group of its own, its output in two files.

    Args:
        command: program and arguments.
        folder: of the output files; made if needed.
        environment: variables on top of this process's.
        before: called in the new process before the program.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> None:
        self.command = list(map(str, command))
        self.mark = f"{os.getpid()}-{next(_numbers)}"
        folder.mkdir(parents=True, exist_ok=True)
        self._paths = tuple(folder / f"run{self.mark}.{kind}" for kind in ("out", "err"))
        clean = {name: value for name, value in os.environ.items() if name not in LAUNCHER_VARIABLES}
        variables = {**clean, "PYTHONUNBUFFERED": "1", **(environment or {}), MARK: self.mark}
        with open(self._paths[0], "wb") as out, open(self._paths[1], "wb") as err:
            self.process = subprocess.Popen(
                self.command,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                preexec_fn=before,
            )
        self.started = time.monotonic()

    @property
    def pid(self) -> int:
        """Of the command's own process, and the number of its group."""
        return self.process.pid

    def out(self) -> str:
        """Return the standard output so far."""
        return self._paths[0].read_text(encoding="utf-8", errors="replace")

    def running(self) -> bool:
        """Tell whether the command's own process has not ended."""
        return self.process.poll() is None

    def wait_for(self, told: Callable[[str], object], limit_s: float = LIMIT_S, poll_s: float = 0.01) -> bool:
        """Wait until ``told(output)`` is true, and tell so; False where the command ended before.

        Raises:
            Hang: neither in time.
        """
        until = time.monotonic() + limit_s
        while True:
            ended = not self.running()
            if told(self.out()):
                return True
            if ended:
                return False
            if time.monotonic() > until:
                self.kill()
                raise Hang(f"{limit_s:g} s without the line waited for: {' '.join(self.command)}")
            time.sleep(poll_s)

    def send(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the command's process, or to its whole group; nothing where it is gone."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if group else os.kill)(self.pid, number)

    def wait(self, limit_s: float = LIMIT_S) -> Ended:
        """Wait for the end of the command's own process.

        Raises:
            Hang: it did not end in time; it and all its processes have been killed.
        """
        try:
            code = self.process.wait(limit_s)
        except subprocess.TimeoutExpired:
            members = self.members()
            self.kill()
            raise Hang(f"no end after {limit_s:g} s ({len(members)} processes): {' '.join(self.command)}") from None
        err = self._paths[1].read_text(encoding="utf-8", errors="replace")
        return Ended(code, time.monotonic() - self.started, self.out(), err)

    def members(self) -> list[int]:
        """Return the numbers of all its processes that are alive, whoever started them."""
        return marked(self.mark)

    def gone(self, limit_s: float) -> bool:
        """Wait until none of its processes is left, at most ``limit_s``, and tell so."""
        until = time.monotonic() + limit_s
        while self.members():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def kill(self) -> None:
        """End all its processes at once."""
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if self.running():
            self.process.kill()
        self.process.wait()


def marked(mark: str) -> list[int]:
    """Return the processes that have the mark in the environment they were started with, zombies left out."""
    entry = f"{MARK}={mark}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            # A process may end, or belong to someone else.
            with contextlib.suppress(OSError):
                if entry in (folder / "environ").read_bytes().split(b"\0") and state(int(folder.name)) not in "ZX":
                    found.append(int(folder.name))
    return found


def state(pid: int) -> str:
    """Return the letter of a process's state: R, S, D, T, Z; X where it is gone."""
    try:
        # The name, in brackets, may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def parent_of(pid: int) -> int:
    """Return the number of a process's parent; 0 where it is gone."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def workers_of(pid: int) -> list[int]:
    """Return the loader workers of a process: its children by fork, which run the same command line, in order."""
    own = _command_line(pid)
    children = [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]
    children = [child for child in children if parent_of(child) == pid and _command_line(child) == own]
    return sorted(child for child in children if state(child) not in "ZX")


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def python(tool: str, *arguments: str) -> list[str]:
    """Return the command of a tool beside this file."""
    return [sys.executable, str(Path(__file__).resolve().parent / tool), *arguments]
