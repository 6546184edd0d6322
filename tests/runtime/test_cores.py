"""The processors of this process: those it may run on, and the time it may have on them."""

from __future__ import annotations

import os

import pytest

from uniformer_video.runtime import cores
from uniformer_video.runtime.cores import available_cores, cores_per_process


@pytest.fixture(autouse=True)
def groups(monkeypatch, tmp_path):
    """Return the folder that stands for /sys/fs/cgroup; this process is in no group."""
    monkeypatch.setattr(cores, "CGROUPS", tmp_path)
    monkeypatch.setattr(cores, "OWN_CGROUPS", tmp_path / "self")
    return tmp_path


def cpus(monkeypatch, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(count)), raising=False)


@pytest.mark.parametrize(("allowed", "count"), [({0, 3, 5}, 3), ({7}, 1), (set(), 1)])
def test_the_part_of_the_machine_that_is_ours_counts(monkeypatch, allowed, count):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert available_cores() == count


@pytest.mark.parametrize(("known", "count"), [(6, 6), (None, 1)])
def test_a_system_that_knows_no_parts(monkeypatch, known, count):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: known)
    assert available_cores() == count


@pytest.mark.parametrize(
    ("limit", "count"),
    [("200000 100000", 2), ("150000 100000", 2), ("10000 100000", 1), ("max 100000", 8), ("9900000 100000", 8)],
)
def test_a_share_of_time_counts(monkeypatch, groups, limit, count):
    cpus(monkeypatch, 8)
    (groups / "self").write_text("0::/\n")
    (groups / "cpu.max").write_text(f"{limit}\n")
    assert available_cores() == count


def test_a_group_has_no_more_than_those_it_is_in(monkeypatch, groups):
    cpus(monkeypatch, 8)
    (groups / "self").write_text("0::/slice/job/step\n")
    (groups / "slice" / "job" / "step").mkdir(parents=True)
    (groups / "slice" / "job" / "step" / "cpu.max").write_text("max 100000\n")
    (groups / "slice" / "job" / "cpu.max").write_text("300000 100000\n")
    (groups / "slice" / "cpu.max").write_text("500000 100000\n")
    assert available_cores() == 3


@pytest.mark.parametrize(("quota", "count"), [("250000", 3), ("-1", 8), ("0", 8)])
def test_the_first_version_of_groups(monkeypatch, groups, quota, count):
    cpus(monkeypatch, 8)
    (groups / "self").write_text("5:memory:/x\n4:cpu,cpuacct:/docker/1\n")
    (groups / "cpu").mkdir()  # in a container the group's own folder is not there under its name
    (groups / "cpu" / "cpu.cfs_quota_us").write_text(f"{quota}\n")
    (groups / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    assert available_cores() == count


@pytest.mark.parametrize(
    ("own", "limit"), [("", "1 1"), ("nonsense\n", ""), ("0::/\n", "three"), ("0::/\n", "1 0"), ("0::/\n", "")]
)
def test_what_cannot_be_read_is_no_limit(monkeypatch, groups, own, limit):
    cpus(monkeypatch, 8)
    (groups / "self").write_text(own)
    (groups / "cpu.max").write_text(limit)
    assert available_cores() == 8


@pytest.mark.parametrize(("count", "processes", "each"), [(8, 1, 8), (8, 3, 2), (2, 8, 1), (8, 0, 8)])
def test_processes_share(monkeypatch, count, processes, each):
    cpus(monkeypatch, count)
    assert cores_per_process(processes) == each
