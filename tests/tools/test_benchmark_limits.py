from __future__ import annotations

import pytest
import torch

from tests.tools import test_benchmark  # puts the tools where they can be imported
from uniformer_video.config import load_config
from uniformer_video.models.build import build_model

import benchmark_limits  # noqa: E402, isort: skip

TINY = test_benchmark.TINY


def test_rate_is_the_best_run_of_all_ways_and_sizes(monkeypatch):
    clock = [0.0]
    # Seconds of each product: sides 10 and 20, two ways, two runs of each; the best is the last but one.
    costs = iter([8.0, 4.0, 2.0, 5.0, 8.0, 4.0, 2.0, 9.0])

    def now():
        return clock[0]

    def product(a, b):
        clock[0] += next(costs)

    monkeypatch.setattr(benchmark_limits.time, "perf_counter", now)
    monkeypatch.setattr(benchmark_limits, "cpu_linear", product)
    monkeypatch.setattr(torch.Tensor, "__matmul__", product)
    benchmark_limits.cpu_matrix_rate.cache_clear()
    assert benchmark_limits.cpu_matrix_rate(torch.float32, sides=(10, 20), repeats=2) == 2 * 20**3 / 2.0
    benchmark_limits.cpu_matrix_rate.cache_clear()


def test_flops_are_the_products_of_the_whole_batch():
    model = build_model(load_config(None, TINY))
    one, three = (benchmark_limits.product_flops(model, (batch, 3, 2, 32, 32)) for batch in (1, 3))
    assert three == 3 * one
    # The stem: 3x4x4 patches of 3 channels at 1 x 8 x 8 places, to 8 channels; there is more than that.
    assert one > 2 * 64 * 144 * 8
    head = build_model(load_config(None, [*TINY, "MODEL.NUM_CLASSES", "105"]))
    assert benchmark_limits.product_flops(head, (1, 3, 2, 32, 32)) - one == 2 * 32 * 100


def test_limit_is_flops_by_rate(monkeypatch):
    monkeypatch.setattr(benchmark_limits, "cpu_matrix_rate", lambda dtype: {torch.float32: 100.0}[dtype])
    assert benchmark_limits.cpu_limit(250, torch.float32) == pytest.approx(2.5)
