"""A process that a run starts on its machine, seen from outside and from inside."""

from __future__ import annotations

import os
import signal
import traceback
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from threading import Lock
from typing import Any

from uniformer_video.runtime import stopping
from uniformer_video.runtime.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.heartbeat import EXIT_LOST
from uniformer_video.runtime.member import EXIT_DEFECT, Job, Tell, leave, run_member
from uniformer_video.runtime.stopping import listening


@dataclass
class Child:
    """A process that was started here.

    Attributes:
        process: the process.
        reader: where its reports come from.
        reports: what it has reported, by kind.
        code: its exit code, or minus the signal that ended it; None: it runs.
    """

    process: Any
    reader: Connection
    reports: dict[str, Any] = field(default_factory=dict)
    code: int | None = None

    def look(self) -> None:
        """Take in its reports, and whether it has ended."""
        ended = not self.process.is_alive()
        with suppress(EOFError, OSError):
            while self.reader.poll():
                kind, item = self.reader.recv()
                self.reports[kind] = item
        if ended:
            self.process.join()
            self.code = self.process.exitcode

    def is_bad(self) -> bool:
        """Return whether it has ended without the result of its work."""
        return self.code is not None and "result" not in self.reports

    def end(self) -> str:
        """Return the kind of the report that says how it ended; empty: it left none."""
        return next((kind for kind in ("defect", "mistake", "interrupted", "lost") if kind in self.reports), "")

    def send(self, number: int) -> None:
        """Send it a signal."""
        if self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send(signal.SIGKILL)
        self.process.join()


def run_new(local: int, job: Job, writers: tuple[Connection, ...]) -> None:
    """Be a new process of this machine: report how it goes and end with the exit code."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        leave(EXIT_LOST)  # it ended before this process could ask to be told
    writer, lock = writers[local], Lock()
    for other in writers:
        if other is not writer:
            other.close()

    def tell(kind: str, item: Any) -> None:
        with lock, suppress(OSError):
            writer.send((kind, item))

    with listening():
        tell("listening", None)
        code = _run_told(job, local, tell)
        leave(code)


def _run_told(job: Job, local: int, tell: Tell) -> int:
    try:
        code = run_member(job, local, hosts=False, tell=tell)
    except UserError as error:
        tell("mistake", str(error))
        return EXIT_USER_ERROR
    except stopping.Stopped:
        code = stopping.EXIT_STOPPED
    except KeyboardInterrupt:
        tell("interrupted", None)
        return EXIT_INTERRUPTED
    except Exception:
        tell("defect", traceback.format_exc())
        return EXIT_DEFECT
    tell("result", code)
    return code
