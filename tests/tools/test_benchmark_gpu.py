"""The benchmark for a GPU: its arithmetic, and small runs of everything on the CPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from tests.tools.test_benchmark import TINY, benchmark
from uniformer_video.config import load_config
from uniformer_video.engine import compiled
from uniformer_video.models.complexity import measure_size
from uniformer_video.models.counting import DEPTHWISE, NORM
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import UserError

import benchmark_gpu  # isort: skip
import benchmark_gpu_depthwise as kernels  # isort: skip
import benchmark_gpu_rates as rates  # isort: skip
from benchmark_timing import Timing  # isort: skip

CPU = torch.device("cpu")


@pytest.fixture
def cfg():
    return load_config(None, [*TINY, "UNIFORMER.DROP_DEPTH_RATE", "0.1"])


@pytest.fixture
def bench(cfg, monkeypatch):
    """Both sides and ours compiled, to the graph itself."""
    monkeypatch.setattr(compiled.OneShape.__init__, "__kwdefaults__", {"mode": "default", "backend": "eager"})
    torch._dynamo.reset()
    yield benchmark_gpu.GpuBench(cfg, batch=2, device=CPU, compile_mode="default")
    torch._dynamo.reset()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_in_one_line(capsys):
    assert benchmark.main(["gpu"]) == 2
    error = capsys.readouterr().err.strip()
    assert "needs a CUDA device, and torch sees none here" in error and "\n" not in error


@pytest.mark.parametrize("option", ["--batch", "--depthwise-batch"])
def test_a_batch_of_nothing(capsys, option):
    assert benchmark.main(["gpu", option, "0"]) == 2
    assert f"{option} must be 1 or more, got 0" in capsys.readouterr().err


def test_dropout_is_refused():
    with pytest.raises(UserError, match=r"set UNIFORMER.DROPOUT_RATE 0$"):
        cfg = load_config(None, [*TINY, "UNIFORMER.DROPOUT_RATE", "0.5"])
        benchmark_gpu.GpuBench(cfg, batch=2, device=CPU, compile_mode=None)


def test_the_sides_agree_and_a_difference_is_found(bench):
    assert list(bench.sides) == ["plain", "ours", "compiled"]
    line = bench.check()
    assert line.startswith("relative differences from plain: logits of ours ") and "gradients of compiled" in line
    with torch.no_grad():
        bench.sides["plain"].model.head.weight.mul_(1.5)
    with pytest.raises(UserError, match=r"^logits of ours and plain differ by .+: not comparable$"):
        bench.check()


def test_a_step_moves_the_weights_of_its_side(bench):
    before = {name: side.model.head.weight.clone() for name, side in bench.sides.items()}
    bench._step("ours")
    moved = {name: not torch.equal(side.model.head.weight, before[name]) for name, side in bench.sides.items()}
    assert moved == {"plain": False, "ours": True, "compiled": True}  # the last two are one network
    numbers = sum(p.numel() for p in bench.sides["ours"].model.parameters())
    buffers = sum(b.nbytes for b in bench.sides["ours"].model.buffers())
    steps = 4 * len(list(bench.sides["ours"].model.parameters()))
    assert bench.sides["ours"].state_bytes() == 12 * numbers + buffers + steps


def test_the_limit_is_the_products_at_the_matrix_rate(bench):
    size = measure_size(bench.sides["ours"].model, bench.clips.shape[1:])
    assert bench.flops == 2 * 2 * (size.total_multiply_adds - size.at(kind=DEPTHWISE) - size.at(kind=NORM))
    assert bench.peaks(bench._step) == dict.fromkeys(bench.sides)
    timings = bench.times(1, rate=bench.flops)  # so that a forward pass is one second
    names = [f"{kind} bf16 x2{end}" for kind in ("training step", "inference") for end in ("", " compiled")]
    assert [timing.name for timing in timings] == names
    assert [timing.limit_s for timing in timings] == [3, 3, 1, 1]
    assert all(timing.ours_clips == pytest.approx(2 / timing.ours_s) for timing in timings)


def test_a_timing_and_its_line():
    seconds, peaks = {"plain": 0.5, "ours": 0.2}, {"plain": 8.0, "ours": 3.0}
    timing = benchmark_gpu.gpu_timing("training step", seconds, peaks, "ours", 16, limit_s=0.08)
    assert (timing.ratio, timing.share) == (2.5, pytest.approx(0.4))
    assert (timing.plain_clips, timing.ours_clips) == (32, 80)
    line = benchmark_gpu.describe(timing)
    assert line.endswith("2.50x       80 ms    40%   32.0 -> 80.0 clips/s   8.00 -> 3.00 GiB")
    assert benchmark_gpu.describe(Timing("x", 2, 1, 2.0)).split() == ["x", "2", "s", "1", "s", "2.00x", "-", "-"]


def test_memory_is_what_a_run_makes_and_what_the_side_holds(bench, monkeypatch):
    bench.device = torch.device("cuda")
    calls = []
    for name, value in {"memory_allocated": 2**30, "max_memory_allocated": 3 * 2**30}.items():
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda device: None)
    peaks = bench.peaks(calls.append)
    assert calls == ["plain", "plain", "ours", "ours", "compiled", "compiled"]  # the first makes the optimizer's state
    assert peaks["plain"] == 2 + bench.sides["plain"].state_bytes() / 2**30


def test_rates_are_measured():
    assert rates.matrix_rate(CPU, side=16, repeats=1, runs=2) > 0
    assert rates.copy_rate(CPU, repeats=1) > 0


def test_cases_are_those_of_the_network():
    cfg = load_config(benchmark_gpu.RECIPE, [])
    assert kernels.depthwise_cases(cfg) == [
        ((8, 56, 56, 64), (3, 3, 3)),
        ((8, 56, 56, 64), tuple(cfg.UNIFORMER.LOCAL_KERNEL)),
        ((8, 28, 28, 128), (3, 3, 3)),
        ((8, 28, 28, 128), tuple(cfg.UNIFORMER.LOCAL_KERNEL)),
        ((8, 14, 14, 320), (3, 3, 3)),
        ((8, 7, 7, 512), (3, 3, 3)),
    ]


def test_a_network_that_does_not_tell_its_grids(cfg, monkeypatch):
    monkeypatch.delattr(Uniformer, "forward_features")
    with pytest.raises(UserError, match="does not tell its grids; set MODEL.MODEL_NAME Uniformer"):
        kernels.depthwise_cases(cfg)


@pytest.mark.parametrize("dtype", kernels.TOLERANCE)
def test_kernels_are_checked_against_float64(dtype, monkeypatch):
    bench = kernels.DepthwiseBench((1, 2, 3, 4, 5), (3, 3, 3), device=CPU, dtype=dtype)
    bench.check()
    names = [timing.name for timing in bench.times(1, bandwidth=1.0)]
    assert names == [f"{what} 1x2x3x4x5 3x3x3" for what in ("forward", "input", "weight")]
    monkeypatch.setattr(kernels, "depthwise_gradients", lambda x, grad, weight: (weight.float(), None))
    with pytest.raises(UserError, match=r"^depthwise weight of \(1, 2, 3, 4, 5\) with kernel \(3, 3, 3\) differs from"):
        bench.check()


def test_a_whole_run_on_the_cpu(cfg, capsys, monkeypatch):
    monkeypatch.setattr(kernels, "RUNS", 1)
    args = SimpleNamespace(batch=2, depthwise_batch=1, compile="none", repeats=1)
    timings = benchmark_gpu.measure(cfg, args, CPU, rate=1e12)
    assert [timing.name for timing in timings[:2]] == ["training step bf16 x2", "inference bf16 x2"]
    assert len(timings) == 2 + 3 * len(kernels.depthwise_cases(cfg))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("bf16 products 1 TFLOP/s") and len(lines) == 5 + len(timings)
