"""What chaos.py processes asks: every video once, equal weights, a lost process told, nobody left waiting."""

from __future__ import annotations

import math
import socket
import sys

import pytest
import torch

from tests.tools.chaos_path import bench

# isort: split
import chaos_joining
from chaos_cases import Case
from chaos_joining import listener, refused_all
from chaos_launch import LOCAL, free_port, ranks, shards, torchrun
from chaos_losing import lost
from chaos_processes import close, counted
from chaos_runs import Ended


def test_every_video_once():
    assert counted(["a", "b", "c"], ["c", "b", "a"]) == []
    assert counted(["a", "b", "b"], ["a", "b"]) == ["b was counted 2 times"]
    assert counted(["a"], ["a", "b"]) == ["b was not counted"]
    assert counted(["a", "x"], ["a"]) == ["x is not of the list"]


@pytest.mark.parametrize(("other", "held"), [(0.0, True), (9e-6, True), (2e-5, False), (math.nan, False)])
def test_weights_are_equal_up_to_rounding(other, held):
    case = Case("processes", "x", "")
    close(case, "two", {"w": torch.zeros(2)}, {"w": torch.tensor([0.0, other])})
    assert (not case.problems) == held
    assert case.figures["two"] == pytest.approx(other, nan_ok=True)


TOLD = "process 1 of 2 was ended by SIGKILL; the same command goes on from the last checkpoint\n"


@pytest.mark.parametrize(
    ("ended", "problems"),
    [
        (Ended(74, 5.0, "", TOLD), 0),
        (Ended(74, 5.0, "", ""), 1),
        (Ended(1, 5.0, "", TOLD), 1),
        (Ended(-9, 5.0, "", ""), 2),
        (Ended(74, 5.0, "", TOLD + "Traceback (most recent call last):\n"), 1),
    ],
)
def test_how_a_process_must_end_that_lost_another(ended, problems):
    assert len(lost(ended)) == problems


def test_commands_of_launchers(tmp_path, monkeypatch):
    made, _ = bench(tmp_path)
    commands = []
    monkeypatch.setattr(made, "launch", lambda command, **more: commands.append(command))
    shards(made, tmp_path / "out", "A", 1)
    first, second = commands
    assert first[0] == sys.executable and first[1].endswith("run_net.py")
    place = first.index("--init_method")
    assert first[place + 1].startswith("tcp://127.0.0.1:") and second[place + 1] == first[place + 1]
    assert [command[command.index("--shard_id") + 1] for command in commands] == ["0", "1"]
    assert first[-4:] == ["A", "1", "TRAIN.BATCH_SIZE", "2"], "the batch of one process is shared"
    torchrun(made, tmp_path / "out", "A", 1, processes=3)
    command = commands[-1]
    assert command[1:5] == ["-m", "torch.distributed.run", "--nproc_per_node=3", "--standalone"]
    assert command[5].endswith("run_net.py") and command[-2:] == ["A", "1"]
    torchrun(made, tmp_path / "out", options=["--nnodes=2"])
    assert "--standalone" not in commands[-1] and "--nnodes=2" in commands[-1]


def test_ports():
    port = free_port()
    with socket.socket() as mine:
        mine.bind((LOCAL, port))
    with listener() as taken, socket.socket() as mine:
        with pytest.raises(OSError, match="in use"):
            mine.bind((LOCAL, taken))
        with socket.create_connection((LOCAL, taken), timeout=10):
            pass


def test_children_of_a_launcher_in_order(tmp_path):
    made, _ = bench(tmp_path)
    code = "import os, time\npids = [p for p in (os.fork(), os.fork()) if p]\nprint(pids, flush=True); time.sleep(100)"
    run = made.launch([sys.executable, "-S", "-c", code])
    assert run.wait_for(lambda text: text.count("]") == 4, 60)
    assert len(run.members()) == 4, "one of them is a child's child"
    found = ranks(run)
    assert len(found) == 2 and found == sorted(found)
    assert str(found) in run.out()
    run.kill()
    made.end(keep=False)


def test_commands_that_should_be_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos_joining, "LIMIT_S", 3.0)
    made, _ = bench(tmp_path)

    def command(code):
        return made.launch([sys.executable, "-S", "-c", code])

    case = Case("processes", "x", "")
    good = "import sys; print('error: port 5 is taken', file=sys.stderr); sys.exit(2)"
    refused_all(case, "good", [command(good), command(good)], "port 5")
    assert case.problems == [] and len(case.facts) == 2
    refused_all(case, "bad", [command("raise RuntimeError('x')")], "port 5")
    assert any("not 2" in text for text in case.problems) and any("traceback" in text for text in case.problems)
    case.problems.clear()
    refused_all(case, "hangs", [command("import time; time.sleep(100)"), command(good)], "port 5")
    assert len(case.problems) == 1 and "no end after 3 s" in case.problems[0]
    assert made.end(keep=False) == []
