"""Where the cases of ``chaos.py`` work: the data, runs of it, the reference that others are compared with."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos_log import TRAINING, steps_done
from chaos_runs import LIMIT_S, Ended, Run, python
from chaos_set import CONFIG, EPOCHS, STEPS, write_set

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.stopping import EXIT_STOPPED

END_S = 20.0
"""So long after a case no process of its runs may be left."""
RESULTS = "results.json"
"""Also tells a folder of this tool from others."""


class RunFailed(Exception):
    """A run that nothing was done to did not end well; the message has its last words."""


@dataclass(frozen=True)
class Reference:
    """A run that nothing was done to.

    Args:
        output: its folder.
        start_s: until the line after which it trains.
        life_s: from there to its end.
    """

    output: Path
    start_s: float
    life_s: float


class Bench:
    """Starts runs and keeps what they leave, in a folder for each case.

    Args:
        folder: for everything.
        options: of the command line; ``seed`` and what a subcommand adds.
        say: tells what goes on.
    """

    steps, epochs = STEPS, EPOCHS
    total = STEPS * EPOCHS
    """Steps of a whole run."""

    def __init__(self, folder: Path, options: argparse.Namespace, say: Callable[[str], None] = print) -> None:
        self.folder, self.options, self.say = folder, options, say
        self.data = folder / "data"
        self.random = random.Random(options.seed)
        self.case: Path = folder
        self._runs: list[Run] = []
        self._references: dict[tuple[str, ...], Reference] = {}

    def prepare(self) -> None:
        """Make the data anew."""
        shutil.rmtree(self.data, ignore_errors=True)
        write_set(self.data, self.options.seed)

    def begin(self, name: str) -> None:
        """Begin a case, with an empty folder of its own and draws that do not depend on the cases before."""
        self.case = self.folder / name
        shutil.rmtree(self.case, ignore_errors=True)
        self.case.mkdir(parents=True)
        self.random.seed(f"{self.options.seed} {name}")

    def end(self, *, keep: bool) -> list[str]:
        """End a case and return what is wrong: processes of its runs that are still there, which are ended."""
        problems = []
        for run in self._runs:
            if run.running() or not run.gone(END_S):
                problems.append(f"{len(run.members())} processes were left of {' '.join(run.command[1:3])}")
            run.kill()
        self._runs.clear()
        if not keep and not problems:
            shutil.rmtree(self.case, ignore_errors=True)
        return problems

    def close(self, *, keep: bool, whole: bool) -> None:
        """Remove the data and the references unless ``keep``; with ``whole`` the folder itself."""
        if keep:
            return
        for path in [self.folder] if whole else [self.data, *(r.output for r in self._references.values())]:
            shutil.rmtree(path, ignore_errors=True)

    def settings(self, output: Path, overrides: Sequence[object] = ()) -> list[str]:
        """Return the arguments of a run of the recipe into ``output``."""
        paths = ["--cfg", self.data / CONFIG, "DATA.PATH_TO_DATA_DIR", self.data, "OUTPUT_DIR", output]
        return [str(item) for item in (*paths, *overrides)]

    def start(
        self,
        output: Path,
        *overrides: object,
        prefix: Sequence[str] = (),
        tool: str = "run_net.py",
        options: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Run:
        """Start a run of the recipe.

        Args:
            output: its OUTPUT_DIR.
            *overrides: KEY VALUE.
            prefix: stands in front of the command.
            tool: the program beside this file.
            options: of the program, before the settings.
            environment: variables.
            before: called in the new process.
        """
        command = [*prefix, *python(tool, *options, *self.settings(output, overrides))]
        return self.launch(command, environment=environment, before=before)

    def launch(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        before: Callable[[], None] | None = None,
    ) -> Run:
        """Start any command; what is left of it at the end of the case is a problem."""
        run = Run(command, self.case / "logs", environment=environment, before=before)
        self._runs.append(run)
        return run

    def run(self, output: Path, *overrides: object, limit_s: float = LIMIT_S, **start: object) -> Ended:
        """Start a run and wait for its end; arguments as for :meth:`start`."""
        return self.start(output, *overrides, **start).wait(limit_s)

    def well(self, ended: Ended) -> Ended:
        """Return ``ended``.

        Raises:
            RunFailed: its exit code is not 0.
        """
        if ended.code:
            raise RunFailed(ended.tell())
        return ended

    def reference(self, *overrides: object, **start: object) -> Reference:
        """Return a run with these settings that nothing was done to; the same one for the same settings."""
        key = tuple(map(str, (*overrides, *sorted(start.items()))))
        if key not in self._references:
            output = self.folder / f"reference{len(self._references)}"
            shutil.rmtree(output, ignore_errors=True)
            began = time.monotonic()
            run = self.start(output, *overrides, **start)
            run.wait_for(lambda text: TRAINING in text)
            start_s = time.monotonic() - began
            ended = self.well(run.wait())
            self._references[key] = Reference(output, start_s, ended.seconds - start_s)
        return self._references[key]

    def stopped_at(self, output: Path, fraction: float, *overrides: object) -> Path:
        """Make ``output`` a run that SIGTERM stopped after about ``fraction`` of its steps, and return it.

        Raises:
            RunFailed: it ended otherwise.
        """
        run = self.start(output, *overrides)
        run.wait_for(lambda text: (steps_done(text) or 0) >= fraction * self.total, poll_s=0.002)
        run.send(signal.SIGTERM)
        ended = run.wait()
        if ended.code != EXIT_STOPPED:
            raise RunFailed(f"stopped by SIGTERM: {ended.tell()}")
        return output


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an earlier command of this tool left there.

    Raises:
        UserError: naming the folder.
    """
    if any(folder.iterdir()) and not (folder / RESULTS).exists():
        raise UserError(f"--out {str(folder)!r} holds something else than results of this tool; name a new folder")
