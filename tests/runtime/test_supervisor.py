"""The processes that a run starts on its machine: how they end when one of them, or the one that started them, does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from uniformer_video.runtime import distributed, stopping, supervisor
from uniformer_video.runtime.child import Child
from uniformer_video.runtime.heartbeat import GOES_ON
from uniformer_video.runtime.member import Job
from uniformer_video.runtime.stopping import listening
from uniformer_video.runtime.supervisor import _Watch

ROOT = Path(__file__).resolve().parents[2]
QUICK = distributed.Limits(meeting=60, collective=120, heartbeat=4)


def exchange_for_ever(folder: str) -> int:
    """Exchange until a signal asks to stop, on which all agree; write down one's number as a process first."""
    Path(folder, f"pid{distributed.rank()}.part").write_text(str(os.getpid()), encoding="utf-8")
    os.replace(Path(folder, f"pid{distributed.rank()}.part"), Path(folder, f"pid{distributed.rank()}"))
    while True:
        asked = distributed.sum_floats([float(bool(stopping.requested()))], torch.device("cpu"))[0]
        if asked:
            Path(folder, f"kept{distributed.rank()}").touch()
            return stopping.EXIT_STOPPED


def act_on(folder: Path, act, *, limit=90.0):
    """Run two processes that exchange, and call ``act`` with their numbers once both do; return the exit code."""
    import threading

    def wait_then_act():
        end = time.monotonic() + limit
        while not all((folder / f"pid{rank}").exists() for rank in (0, 1)):
            if time.monotonic() > end:
                return
            time.sleep(0.05)
        act([int((folder / f"pid{rank}").read_text()) for rank in (0, 1)])

    thread = threading.Thread(target=wait_then_act)
    thread.start()
    try:
        with listening():
            return distributed.launch(exchange_for_ever, (str(folder),), processes=2, limits=QUICK)
    finally:
        thread.join()


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def errors(capfd):
    return [line for line in capfd.readouterr().err.splitlines() if line]


def test_a_killed_process_ends_the_run_with_one_line(tmp_path, capfd):
    killed = []
    assert act_on(tmp_path, lambda pids: (killed.extend(pids), os.kill(pids[1], signal.SIGKILL))) == 74
    assert errors(capfd) == [
        f"error: process 1 of 2 was ended by SIGKILL (out of memory, or killed by hand); {GOES_ON}"
    ]
    assert not any(map(is_alive, killed))


@pytest.mark.slow
def test_a_process_that_stands_still_ends_the_run_with_one_line(tmp_path, capfd):
    stopped = []
    assert act_on(tmp_path, lambda pids: (stopped.extend(pids), os.kill(pids[1], signal.SIGSTOP))) == 74
    (line,) = errors(capfd)
    assert line.startswith("error: process 1 of 2 (") and line.endswith(f") was not heard of for 4 s; {GOES_ON}")
    assert not any(map(is_alive, stopped))


def test_a_signal_is_passed_on_and_the_work_kept(tmp_path, capfd):
    assert act_on(tmp_path, lambda pids: os.kill(os.getpid(), signal.SIGTERM)) == 75
    assert errors(capfd) == []
    assert all((tmp_path / f"kept{rank}").exists() for rank in (0, 1))


ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from tests.runtime.test_supervisor import QUICK, exchange_for_ever
from uniformer_video.runtime import distributed
if __name__ == "__main__":
    distributed.launch(exchange_for_ever, (sys.argv[2],), processes=2, limits=QUICK)
"""


def test_processes_do_not_outlive_the_one_that_started_them(tmp_path):
    (tmp_path / "alone.py").write_text(ALONE)
    with subprocess.Popen([sys.executable, tmp_path / "alone.py", ROOT, tmp_path], stderr=subprocess.DEVNULL) as parent:
        end = time.monotonic() + 120
        while not all((tmp_path / f"pid{rank}").exists() for rank in (0, 1)):
            assert time.monotonic() < end and parent.poll() is None
            time.sleep(0.05)
        parent.kill()
    pids = [int((tmp_path / f"pid{rank}").read_text()) for rank in (0, 1)]
    end = time.monotonic() + 60
    while any(map(is_alive, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)
    # They were asked to stop, and kept what they had.
    assert all((tmp_path / f"kept{rank}").exists() for rank in (0, 1))


class Process:
    """A process that is none: what the watch sees of it is set by the test."""

    pid = 12345

    def __init__(self):
        self.exitcode, self.got = None, []

    def is_alive(self):
        return self.exitcode is None

    def join(self):
        pass


@pytest.fixture
def watch(monkeypatch):
    """Return a function that makes a watch of processes with given reports and exit codes (None: alive)."""

    def send(child, number):
        if child.process.is_alive():
            child.process.got.append(number)

    monkeypatch.setattr(Child, "send", send)

    def make(*ends):
        children = []
        for reports, code in ends:
            process = Process()
            process.exitcode = code
            children.append(Child(process, reader=None, reports=dict(reports), code=code))
        return _Watch(Job(int, (), processes=len(ends)), children, store=None)

    return make


class TestOutcome:
    """What is told when several have ended, each with something to say."""

    def outcome(self, watch, first_bad):
        watch.first_bad = first_bad
        return watch.outcome()

    @pytest.mark.parametrize(("codes", "code"), [((0, 0), 0), ((1, 1), 1), ((0, 75), 75)])
    def test_results(self, watch, codes, code):
        assert self.outcome(watch(*(({"result": c}, c) for c in codes)), None) == code

    def test_a_mistake_is_told_once(self, watch, capfd):
        ends = ({"mistake": "an empty list"}, 2), ({"mistake": "an empty list"}, 2)
        assert self.outcome(watch(*ends), 0) == 2
        assert errors(capfd) == ["error: an empty list"]

    def test_a_defect_goes_before_the_end_that_it_caused(self, watch):
        ends = ({"lost": "process 1 of 2 ended: KeyError"}, 74), ({"defect": "Traceback ...\nKeyError: 1\n"}, 1)
        with pytest.raises(mp.ProcessRaisedException) as caught:
            self.outcome(watch(*ends), 0)
        assert str(caught.value) == "\n\nprocess 1 of 2 ended:\nTraceback ...\nKeyError: 1\n"

    def test_a_kill_goes_before_what_follows_from_it(self, watch, capfd):
        ends = ({"lost": "process 1 of 2 is gone"}, 74), ({}, -9)
        assert self.outcome(watch(*ends), 1) == 74
        assert "process 1 of 2 was ended by SIGKILL" in errors(capfd)[0]

    def test_those_that_were_ended_here_are_not_the_reason(self, watch, capfd):
        ends = ({"lost": "process 1 of 2 was not heard of"}, 74), ({"listening": None}, -9)
        assert self.outcome(watch(*ends), 0) == 74
        assert errors(capfd) == ["error: process 1 of 2 was not heard of"]

    def test_an_end_without_a_word(self, watch, capfd):
        assert self.outcome(watch(({}, 3), ({"lost": "x"}, 74)), 0) == 74
        assert errors(capfd) == [f"error: process 0 of 2 ended with exit code 3 before its work was done; {GOES_ON}"]

    def test_another_signal_and_none_that_is_known(self, watch, capfd):
        self.outcome(watch(({}, -11), ({"lost": "x"}, 74)), 0)
        self.outcome(watch(({}, -99), ({"lost": "x"}, 74)), 0)
        assert errors(capfd) == [
            f"error: process 0 of 2 was ended by SIGSEGV; {GOES_ON}",
            f"error: process 0 of 2 was ended by signal 99; {GOES_ON}",
        ]

    def test_ctrl_c(self, watch, capfd):
        assert self.outcome(watch(({"interrupted": None}, 130), ({"lost": "x"}, 74)), 0) == 130
        assert errors(capfd) == ["interrupted"]


class TestPassingOn:
    @pytest.mark.parametrize(
        ("asked", "sent"), [("SIGTERM", signal.SIGTERM), ("SIGINT", signal.SIGUSR1), ("SIGUSR1", signal.SIGUSR1)]
    )
    def test_once_to_each_that_listens(self, watch, monkeypatch, asked, sent):
        made = watch(({"listening": None}, None), ({"listening": None}, None))
        made._pass_on()
        monkeypatch.setattr(stopping, "_requested", asked)
        made._pass_on()
        made._pass_on()
        assert [child.process.got for child in made._children] == [[sent], [sent]]

    def test_before_they_listen_they_have_nothing_to_keep(self, watch, monkeypatch, capfd):
        made = watch(({"listening": None}, None), ({}, None))
        monkeypatch.setattr(stopping, "_requested", "SIGTERM")
        made._pass_on()
        assert [child.process.got for child in made._children] == [[signal.SIGKILL]] * 2
        assert made.outcome() == 75
        assert errors(capfd) == ["stopped by SIGTERM before the run began; the same command begins it"]


class TestLimits:
    @pytest.fixture
    def clock(self, monkeypatch):
        now = [1000.0]
        monkeypatch.setattr(supervisor.time, "monotonic", lambda: now[0])
        return now

    @pytest.mark.parametrize(
        ("reports", "seconds"), [({"mistake": "x"}, 15), ({}, 15), ({"lost": "x"}, 5), ({"interrupted": None}, 1)]
    )
    def test_the_others_have_a_time_to_end(self, watch, clock, reports, seconds):
        made = watch((reports, 2), ({"listening": None}, None))
        made.first_bad = 0
        for after, got in ((0, []), (seconds, []), (seconds + 0.1, [signal.SIGKILL])):
            clock[0] = 1000.0 + after
            made._limit()
            assert made._children[1].process.got == got

    def test_one_that_has_done_its_work_must_end(self, watch, clock):
        made = watch(({"result": 0}, 0), ({"result": 0}, None))
        made._limit()
        clock[0] += 60.1
        made._limit()
        assert made._children[1].process.got == [signal.SIGKILL]

    def test_one_that_works_has_no_limit(self, watch, clock):
        made = watch(({"result": 0}, 0), ({"listening": None}, None))
        for _ in range(3):
            clock[0] += 1e6
            made._limit()
        assert made._children[1].process.got == []
