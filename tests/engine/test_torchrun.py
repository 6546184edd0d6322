"""Runs that torchrun starts: on one machine, anew after a death, and by two agents; and machines that do not meet."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.engine.test_launch import RUN_NET, start
from tests.toy import same_bits
from uniformer_video.engine.checkpoint import checkpoint_path, newest_checkpoint, read_checkpoint
from uniformer_video.runtime import distributed

TORCHRUN = (sys.executable, "-m", "torch.distributed.run")


def torchrun(data, output, *overrides, agent=()):
    command = [
        *(*TORCHRUN, *agent, RUN_NET, "--cfg", data / "toy.yaml", "DATA.PATH_TO_DATA_DIR", data),
        *("OUTPUT_DIR", output, "TEST.ENABLE", False, *overrides),
    ]
    return subprocess.Popen(
        [str(word) for word in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
    )


def finished(*processes, timeout=240):
    """Wait for processes; return the exit code, standard output and standard error of each."""
    try:
        texts = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [(process.returncode, *text) for process, text in zip(processes, texts, strict=True)]


def end_of(process):
    """Kill a process and return what it has said."""
    process.kill()
    return process.communicate()


def workers(parent):
    """Return the processes that run_net.py runs in, below ``parent``, by their rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            status = (folder / "stat").read_text().rpartition(")")[2].split()
            variables = dict(
                entry.split("=", 1) for entry in (folder / "environ").read_text().split("\0") if "=" in entry
            )
        except (OSError, UnicodeDecodeError):
            continue
        if int(status[1]) == parent.pid and "RANK" in variables:
            found[int(variables["RANK"])] = int(folder.name)
    return found


def test_two_processes_that_share_the_batch(toy_set, tmp_path):
    options = ("SOLVER.MAX_EPOCH", 1, "TRAIN.EVAL_PERIOD", 1)
    ((code, out, err),) = finished(torchrun(toy_set, tmp_path, *options, agent=("--nproc_per_node=2",)))
    assert code == 0, err
    assert "2 process(es)" in out
    assert "training on 12 videos, 3 steps an epoch of 4 videos x 2 clips" in out
    assert read_checkpoint(checkpoint_path(tmp_path, 1)).epoch == 1


@pytest.mark.slow
def test_a_death_and_a_restart_end_with_the_same_bits(toy_set, tmp_path):
    options = ("SOLVER.MAX_EPOCH", 12, "TRAIN.EVAL_PERIOD", 100, "TRAIN.KEEP_CHECKPOINTS", 0)
    agent = ("--nproc_per_node=2", "--max-restarts=2")
    run = torchrun(toy_set, tmp_path / "out", *options, agent=agent)
    end = time.monotonic() + 120
    while not checkpoint_path(tmp_path / "out", 3).exists():
        assert time.monotonic() < end and run.poll() is None, end_of(run)
        time.sleep(0.02)
    os.kill(workers(run)[1], signal.SIGKILL)
    ((code, out, err),) = finished(run)
    assert code == 0, err
    assert "resumed from" in out and "after 12 of 12" not in out
    # The other process says who was lost, and no more.
    assert [line for line in err.splitlines() if line.startswith("error: ")] == [
        line for line in err.splitlines() if line.startswith("error: process 1 of 2 (") and " is gone; " in line
    ]
    assert err.count("Traceback") == 0
    ((code, *_),) = finished(torchrun(toy_set, tmp_path / "whole", *options, agent=agent))
    assert code == 0
    one, other = (read_checkpoint(newest_checkpoint(tmp_path / name)) for name in ("out", "whole"))
    assert one.epoch == other.epoch == 12 and same_bits(one.model_state, other.model_state)


@pytest.mark.slow
def test_two_agents(toy_set, tmp_path):
    agent = ("--nnodes=2", "--nproc_per_node=1", "--rdzv-backend=c10d", "--rdzv-id=toy", "--local-addr=127.0.0.1")
    agent += (f"--rdzv-endpoint=127.0.0.1:{distributed.free_port()}",)
    options = ("SOLVER.MAX_EPOCH", 1, "TRAIN.BATCH_SIZE", 2)
    ends = finished(*(torchrun(toy_set, tmp_path / "out", *options, agent=agent) for _ in range(2)))
    assert [code for code, *_ in ends] == [0, 0], ends
    # Two machines take TRAIN.BATCH_SIZE each.
    assert sum("3 steps an epoch of 4 videos x 2 clips" in out for _, out, _ in ends) == 1
    assert sum("2 process(es)" in out for _, out, _ in ends) == 1
    assert read_checkpoint(checkpoint_path(tmp_path / "out", 1)).epoch == 1


@pytest.mark.slow
def test_machines_with_different_settings(toy_set, tmp_path):
    port = distributed.free_port()
    processes = [start(toy_set, tmp_path, n, port, "RNG_SEED", n) for n in range(2)]
    ends = finished(*processes)
    assert [code for code, *_ in ends] == [2, 2]
    for _, _, err in ends:
        (line,) = err.strip().splitlines()
        assert line.startswith("error: machine 1 (")
        assert line.endswith("were started with different settings: RNG_SEED is 1 and 0; give every machine the same")


@pytest.mark.slow
def test_one_of_two_machines_is_killed(toy_set, tmp_path):
    port = distributed.free_port()
    options = ("SOLVER.MAX_EPOCH", 500, "TRAIN.EVAL_PERIOD", 1000, "TRAIN.CHECKPOINT_PERIOD", 3)
    processes = [start(toy_set, tmp_path, n, port, *options) for n in range(2)]
    end = time.monotonic() + 120
    while not checkpoint_path(tmp_path, 3).exists():
        assert time.monotonic() < end and processes[0].poll() is None
        time.sleep(0.02)
    processes[1].kill()
    begun = time.monotonic()
    (code, _, err), _ = finished(*processes)
    assert code == 74 and time.monotonic() - begun < 60
    (line,) = err.strip().splitlines()
    assert line.startswith("error: process 1 of 2 (") and "is gone; the same command goes on from the last" in line


@pytest.mark.slow
def test_a_machine_that_never_comes(toy_set, tmp_path):
    process = start(toy_set, tmp_path, 0, distributed.free_port(), "DISTRIBUTED.RENDEZVOUS_TIMEOUT", 2)
    ((code, _, err),) = finished(process)
    assert code == 2
    assert err.startswith("error: 1 of 2 processes came within 2 s; those of machine 1 are missing: start it with")
    assert len(err.splitlines()) == 1


def test_processes_stop_when_torchrun_is_killed(toy_set, tmp_path):
    options = ("SOLVER.MAX_EPOCH", 100_000, "TRAIN.EVAL_PERIOD", 100_000, "TRAIN.CHECKPOINT_PERIOD", 100_000)
    options += ("TRAIN.CHECKPOINT_STEPS", 2, "LOG_PERIOD", 100_000)
    run = torchrun(toy_set, tmp_path, *options, agent=("--nproc_per_node=2",))
    end = time.monotonic() + 120
    while newest_checkpoint(tmp_path) is None:
        assert time.monotonic() < end and run.poll() is None, end_of(run)
        time.sleep(0.05)
    left = workers(run)
    assert sorted(left) == [0, 1]
    try:
        run.kill()
        out, _ = run.communicate(timeout=60)  # they hold its output open
    finally:
        for pid in left.values():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    assert out.count("stopped by SIGTERM after ") == 1
