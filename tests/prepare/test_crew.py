"""A crew of processes: what crashes, hangs or raises in it, and what is left of it."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from uniformer_video.prepare.crew import Outcome, run_crew

ROOT = Path(__file__).resolve().parents[2]


def work(item):
    """Do what the item says."""
    kind, value = item
    if kind == "crash":
        os.kill(os.getpid(), value)
    if kind == "leave":
        os._exit(value)
    if kind == "raise":
        raise ValueError(value)
    if kind == "sleep":
        time.sleep(value)
    return value, os.getpid()


def test_this_process_works_where_there_is_no_crew():
    outcomes = list(run_crew(work, [("add", 1), ("add", 2)], workers=0))
    assert outcomes == [Outcome(0, (1, os.getpid())), Outcome(1, (2, os.getpid()))]


def test_nothing_to_do_starts_nobody():
    assert list(run_crew(work, [], workers=4)) == []


def test_crashes_hangs_and_exits_are_the_faults_of_their_items():
    items = [
        ("add", 10),
        ("crash", signal.SIGSEGV),
        ("add", 12),
        ("crash", signal.SIGKILL),
        ("sleep", 60),
        ("leave", 3),
        ("add", 16),
    ]
    started = time.monotonic()
    outcomes = sorted(run_crew(work, items, workers=2, limit_seconds=0.5))
    assert time.monotonic() - started < 20
    assert [o.number for o in outcomes] == list(range(7))
    assert [o.value[0] if o.value else None for o in outcomes] == [10, None, 12, None, None, None, 16]
    assert os.getpid() not in {o.value[1] for o in outcomes if o.value}
    assert [o.failure for o in outcomes] == [
        "",
        "the process that read it crashed (SIGSEGV)",
        "",
        "the process that read it was killed (SIGKILL; out of memory?)",
        "took longer than 0.5 seconds",
        "the process that read it ended (exit code 3)",
        "",
    ]
    assert multiprocessing.active_children() == []


def test_an_error_of_the_function_is_a_defect_and_shows_its_traceback():
    with pytest.raises(RuntimeError, match=r"('raise', 'no such thing')[\s\S]*ValueError: no such thing"):
        list(run_crew(work, [("raise", "no such thing")], workers=1))
    assert multiprocessing.active_children() == []


def test_a_crew_that_is_left_in_the_middle_ends():
    outcomes = run_crew(work, [("add", 0), ("sleep", 60), ("sleep", 60)], workers=2)
    assert next(outcomes).number == 0
    started = time.monotonic()
    outcomes.close()
    assert time.monotonic() - started < 4  # told to end, not waited for
    assert multiprocessing.active_children() == []


SCRIPT = """
import sys
sys.path.insert(0, {root!r})
from tests.prepare.test_crew import work
from uniformer_video.prepare.crew import run_crew
if __name__ == "__main__":
    try:
        for outcome in run_crew(work, [("add", 1), ("sleep", 60), ("sleep", 60)], workers=2):
            print(outcome.value[1], flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
def test_ctrl_c_ends_the_leader_and_leaves_no_process_behind(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT.format(root=str(ROOT)))
    leader = subprocess.Popen(
        [sys.executable, tmp_path / "script.py"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    leader.stdout.readline()
    os.killpg(leader.pid, signal.SIGINT)  # as a terminal does: to the workers too
    out, err = leader.communicate(timeout=20)
    assert (out, err) == ("interrupted\n", "")
    assert living(leader.pid) == set()


def living(group):
    """Return the names of a process group's processes that are still there after a while, but for dead ones."""
    for _ in range(50):
        found = subprocess.run(["ps", "-o", "stat=,args=", "-g", str(group)], capture_output=True, text=True).stdout
        names = {line.split(None, 1)[1] for line in found.splitlines() if not line.startswith("Z")}
        if not names:
            break
        time.sleep(0.1)  # multiprocessing's own helper ends a moment after
    return names
