"""Which way a function is run: here, as one of several, or in new processes."""

from __future__ import annotations

import os

import pytest

from uniformer_video.runtime import launcher
from uniformer_video.runtime.launcher import Limits, launch
from uniformer_video.runtime.member import Job


@pytest.fixture
def ways(monkeypatch):
    """Note the ways that are taken."""
    taken = []
    monkeypatch.setattr(launcher, "supervise", lambda job: taken.append(("supervise", job)) or 7)
    monkeypatch.setattr(launcher, "run_member", lambda job, local, hosts: taken.append((local, hosts, job)) or 8)
    return taken


def test_one_process_in_all_is_this_one(ways):
    for local in (None, 0):
        assert launch(lambda *args: (os.getpid(), *args), (1, 2), processes=1, local=local) == (os.getpid(), 1, 2)
    assert ways == []


@pytest.mark.parametrize("shards", [1, 3])
def test_several_on_this_machine_are_started(ways, shards):
    limits = Limits(1, 2, 3)
    options = {"init_method": "tcp://h:1", "use_cuda": True, "backend": "gloo", "limits": limits, "agreed": {"A": "1"}}
    assert launch(int, (), processes=2, shards=shards, shard=shards - 1, **options) == 7
    assert ways == [
        ("supervise", Job(int, (), 2, shards, shards - 1, "tcp://h:1", True, "gloo", limits, {"A": "1"})),
    ]


@pytest.mark.parametrize(
    ("processes", "shards", "shard", "local", "number", "hosts"),
    [
        (1, 2, 0, None, 0, True),
        (1, 2, 1, None, 0, False),
        (2, 1, 0, 0, 0, True),
        (2, 1, 0, 1, 1, False),
        (2, 2, 1, 0, 0, False),
        (1, 2, 1, 0, 0, False),
    ],
)
def test_one_of_several_that_were_started(ways, processes, shards, shard, local, number, hosts):
    assert launch(int, (), processes=processes, shards=shards, shard=shard, local=local, init_method="x") == 8
    assert ways == [(number, hosts, Job(int, (), processes, shards, shard, "x"))]
