from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tests.tools import test_benchmark  # puts the tools where they can be imported
from uniformer_video.config import load_config

import benchmark_memory  # noqa: E402, isort: skip
import benchmark_model  # noqa: E402, isort: skip


def test_each_side_is_a_process_of_its_own(monkeypatch):
    asked = []

    class Pool:
        def __init__(self, workers, mp_context):
            assert (workers, mp_context.get_start_method()) == (1, "spawn")

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def submit(self, function, settings, batch, side, threads):
            assert function is benchmark_memory.step_in_process
            asked.append((side, batch, load_config(None, []).__class__.load_cfg(settings).MODEL.NUM_CLASSES))
            return type("Future", (), {"result": staticmethod({"plain": 8.0, "ours": 3.0}.__getitem__(side).__float__)})

    monkeypatch.setattr(benchmark_memory, "ProcessPoolExecutor", Pool)
    row = benchmark_memory.peak_memory(load_config(None, test_benchmark.TINY), batch=7, name="x")
    assert asked == [("plain", 7, 5), ("ours", 7, 5)]
    assert row == benchmark_memory.PeakMemory("x", 8.0, 3.0, 0.375)
    assert row.line().split() == ["x,", "peak", "memory", "8.00", "GiB", "3.00", "GiB", "0.38x"]


@pytest.mark.parametrize("side", ["ours", "plain"])
def test_a_process_steps_its_side_alone(side, monkeypatch):
    stepped = []

    class Bench(benchmark_model.ModelBench):
        def step(self, model, precision="fp32"):
            stepped.append(type(model).__name__)
            assert (self.ours is None) == (side == "plain")
            assert list(self.optimizers) == [id(model)]
            super().step(model, precision)

    monkeypatch.setattr(benchmark_model, "ModelBench", Bench)
    settings = load_config(None, test_benchmark.TINY).dump()
    assert 0 < benchmark_memory.step_in_process(settings, 2, side, 1) < 100
    assert stepped == [{"ours": "Uniformer", "plain": "PlainUniformer"}[side]] * benchmark_memory.STEPS


def test_memory_beside_the_times(capsys, monkeypatch):
    row = benchmark_memory.PeakMemory("m", 2.0, 1.0, 0.5)
    monkeypatch.setattr(benchmark_model, "peak_memory", lambda cfg, batch, name: row)
    arguments = ["model", *test_benchmark.TINY, *test_benchmark.FP32, "--repeats", "1", "--memory"]
    assert test_benchmark.benchmark.main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-1] == row.line()


def test_the_peak_is_that_of_this_program_alone():
    """A process that a large one starts does not begin with the large one's peak."""
    ballast = torch.ones(2**28)
    code = f"import sys; sys.path[:0] = {[*sys.path]!r}; import benchmark_memory as m; print(m.own_peak_gib())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ballast.nbytes == 2**30
    assert 0.05 < float(done.stdout) < 0.9
