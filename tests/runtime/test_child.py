"""A started process, seen from outside: its reports, its end, signals to it; and what it says of itself."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys

import pytest

from uniformer_video.runtime import child, stopping
from uniformer_video.runtime.child import Child
from uniformer_video.runtime.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.member import EXIT_DEFECT


class Process:
    """What ``Child`` asks of a process of multiprocessing, on an ordinary one that sleeps."""

    def __init__(self) -> None:
        self.process = subprocess.Popen([sys.executable, "-S", "-c", "import time; time.sleep(600)"])
        self.pid = self.process.pid

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def join(self) -> None:
        self.process.wait(30)

    @property
    def exitcode(self) -> int | None:
        return self.process.returncode


@pytest.fixture
def made():
    """Return a started process and where its reports are written."""
    reader, writer = multiprocessing.Pipe(duplex=False)
    process = Process()
    yield Child(process, reader), writer
    process.process.kill()
    process.process.wait(30)


def test_reports_are_taken_in_while_it_runs(made):
    one, writer = made
    one.look()
    assert one.reports == {} and one.code is None and not one.is_bad()
    writer.send(("listening", None))
    writer.send(("mistake", "an empty list"))
    one.look()
    assert one.reports == {"listening": None, "mistake": "an empty list"} and one.code is None
    writer.close()
    one.look()  # an end of the line is no error


def test_an_end_by_a_signal_without_a_result_is_bad(made):
    one, _ = made
    one.send(signal.SIGTERM)
    one.process.join()
    one.look()
    assert one.code == -signal.SIGTERM and one.is_bad()
    one.send(signal.SIGTERM)  # to nobody


def test_with_a_result_no_end_is_bad(made):
    one, writer = made
    writer.send(("result", 75))
    one.kill()
    one.look()
    assert one.reports == {"result": 75} and one.code == -signal.SIGKILL and not one.is_bad()


@pytest.mark.parametrize(
    ("reports", "kind"),
    [
        ({"listening": None}, ""),
        ({"lost": "x", "interrupted": None}, "interrupted"),
        ({"lost": "x", "mistake": "y"}, "mistake"),
        ({"mistake": "y", "defect": "z"}, "defect"),
    ],
)
def test_the_report_that_says_most_tells_how_it_ended(reports, kind):
    assert Child(None, None, reports).end() == kind


@pytest.mark.parametrize(
    ("outcome", "code", "report"),
    [
        (0, 0, ("result", 0)),
        (1, 1, ("result", 1)),
        (stopping.Stopped("x"), stopping.EXIT_STOPPED, ("result", stopping.EXIT_STOPPED)),
        (DataError("an empty\nlist"), EXIT_USER_ERROR, ("mistake", "an empty list")),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, ("interrupted", None)),
    ],
)
def test_what_it_says_of_itself(monkeypatch, outcome, code, report):
    def run_member(job, local, *, hosts, tell):
        assert (job, local, hosts) == ("job", 3, False)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    monkeypatch.setattr(child, "run_member", run_member)
    told = []
    assert child._run_told("job", 3, lambda *words: told.append(words)) == code
    assert told == [report]


def test_a_defect_is_told_with_its_traceback(monkeypatch):
    def run_member(*_, **__):
        raise KeyError("ours")

    monkeypatch.setattr(child, "run_member", run_member)
    told = []
    assert child._run_told("job", 0, lambda *words: told.append(words)) == EXIT_DEFECT
    ((kind, text),) = told
    assert kind == "defect" and text.startswith("Traceback") and "KeyError: 'ours'" in text and "run_member" in text
