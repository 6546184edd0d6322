from __future__ import annotations

import os

import pytest

from uniformer_video.runtime.cores import available_cores


@pytest.mark.parametrize(("allowed", "cores"), [({0, 3, 5}, 3), ({7}, 1), (set(), 1)])
def test_the_part_of_the_machine_that_is_ours_counts(monkeypatch, allowed, cores):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: allowed, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert available_cores() == cores


@pytest.mark.parametrize(("count", "cores"), [(6, 6), (None, 1)])
def test_a_system_that_knows_no_parts(monkeypatch, count, cores):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: count)
    assert available_cores() == cores
