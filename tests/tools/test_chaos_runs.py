"""The processes of chaos.py: started, found again, waited for, ended."""

from __future__ import annotations

import os
import signal
import sys
import time

import pytest

from tests.tools.chaos_path import bench

# isort: split
import chaos_bench
import chaos_runs as runs
from chaos_bench import RunFailed
from chaos_sampling import Line, Sampler, taken_by

PYTHON = [sys.executable, "-S", "-c"]
CHILD = """
import os, signal, sys, time
if os.fork() == 0:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("child", os.getpid(), flush=True)
    time.sleep(100)
time.sleep(0.1)
print("parent", flush=True)
time.sleep(float(sys.argv[1]))
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def launch(code, *arguments, **options):
        run = runs.Run([*PYTHON, code, *arguments], tmp_path / "logs", **options)
        started.append(run)
        return run

    yield launch
    for run in started:
        run.kill()


def test_a_command_that_ends(start, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code = "import os, sys; print('out', 'RANK' in os.environ, os.environ['OWN']); sys.exit('words')"
    ended = start(code, environment={"OWN": "yes"}).wait(60)
    assert (ended.code, ended.out, ended.err) == (1, "out False yes\n", "words\n")
    assert ended.tell() == "exit code 1: words"
    assert 0 < ended.seconds < 60


def test_a_signal_is_a_negative_code_and_words_are_waited_for(start):
    run = start("import time; print('ready', flush=True); time.sleep(100)")
    assert run.wait_for(lambda text: "ready" in text, 60)
    run.send(signal.SIGTERM)
    assert run.wait(60).code == -signal.SIGTERM
    run.send(signal.SIGTERM)  # nobody is there
    assert not run.wait_for(lambda text: "never" in text, 60)


def test_a_process_left_by_its_parent_is_found_and_ended(start):
    run = start(CHILD, "0")
    run.wait(60)
    left = run.members()
    assert len(left) == 1 and f"child {left[0]}" in run.out()
    assert not run.gone(0.2)
    run.send(signal.SIGTERM, group=True)  # which it ignores
    assert not run.gone(0.2)
    run.kill()
    assert run.gone(10)


def test_a_command_that_hangs_is_ended_with_all_its_processes(start):
    run = start(CHILD, "100")
    assert run.wait_for(lambda text: "parent" in text, 60)
    with pytest.raises(runs.Hang, match="2 processes"):
        run.wait(0.2)
    assert run.gone(10) and not run.running()
    other = start("import time; time.sleep(100)")
    with pytest.raises(runs.Hang, match="line waited for"):
        other.wait_for(lambda text: False, 0.2)


def test_workers_are_children_with_the_same_command_line(start):
    run = start(CHILD, "100")
    assert run.wait_for(lambda text: "child" in text, 60)
    (worker,) = runs.workers_of(run.pid)
    assert f"child {worker}" in run.out()
    assert runs.parent_of(worker) == run.pid
    program = "import time; print(1, flush=True); time.sleep(100)"
    other = start(f"import subprocess, sys; subprocess.run([sys.executable, '-S', '-c', {program!r}])")
    assert other.wait_for(lambda text: text, 60)
    assert len(other.members()) == 2
    assert runs.workers_of(other.pid) == [], "another program is no worker"
    os.kill(worker, signal.SIGKILL)
    deadline = time.monotonic() + 30
    while runs.workers_of(run.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert runs.workers_of(run.pid) == [], "a zombie is no worker"
    assert runs.state(worker) == "Z"


def test_what_is_not_there():
    assert runs.state(2**22 + 1) == "X" and runs.parent_of(2**22 + 1) == 0
    assert runs.workers_of(2**22 + 1) == [] and taken_by(2**22 + 1) is None


def test_a_process_left_at_the_end_of_a_case_is_a_problem(tmp_path, monkeypatch):
    made, _ = bench(tmp_path)
    run = made.launch([*PYTHON, CHILD, "0"])
    run.wait(60)
    monkeypatch.setattr(chaos_bench, "END_S", 0.2)
    problems = made.end(keep=False)
    assert len(problems) == 1 and problems[0].startswith("1 processes were left of")
    assert run.gone(30)
    assert made.case.exists(), "a case that failed keeps its folder"
    assert made.end(keep=False) == []
    assert not made.case.exists()


def test_a_run_that_should_end_well_and_does_not(tmp_path):
    made, _ = bench(tmp_path)
    with pytest.raises(RunFailed, match="exit code 3: no"):
        made.well(runs.Ended(3, 1.0, "", "no\n"))
    assert made.well(runs.Ended(0, 1.0, "", "")).code == 0


def test_memory_and_files_are_sampled_from_the_first_step_on(start):
    hold = "files = [open('/dev/null') for _ in range(20)]; block = bytearray(64 << 20);" + CHILD.replace("'", '"')
    run = start(hold, "100")
    assert run.wait_for(lambda text: "parent" in text, 60)
    step = 0
    sampler = Sampler(run, steps=lambda text: step, workers=1)
    sampler.look()
    assert sampler.lines == {}
    step = 5
    sampler.look()
    step = 9
    sampler.look()
    assert list(sampler.lines) == ["main", "worker 0"]
    line = sampler.lines["main"]
    assert line.steps == [5, 9]
    assert 64 <= line.mib[0] + sampler.lines["worker 0"].mib[0] < 128, "pages that both have count once"
    assert min(line.files) >= 20
    assert line.after(6) == Line([9], line.mib[1:], line.files[1:])
    assert line.after(10) == Line()
    with pytest.raises(runs.Hang):
        sampler.follow(0)
    assert not run.running()


def test_a_launcher_of_the_tool_is_none_of_its_runs(tmp_path, monkeypatch):
    names = ("RANK", "TORCHELASTIC_RUN_ID", "SLURM_STEP_NUM_TASKS")
    for name in names:
        monkeypatch.setenv(name, "7")
    program = f"import os; print([name for name in {names} if name in os.environ])"
    assert runs.Run([sys.executable, "-c", program], tmp_path).wait(60).out == "[]\n"
