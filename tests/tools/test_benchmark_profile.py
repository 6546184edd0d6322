from __future__ import annotations

import json

import pytest
import torch

from tests.tools import test_benchmark  # puts the tools where they can be imported

import benchmark_profile  # noqa: E402, isort: skip

main = test_benchmark.benchmark.main


@pytest.mark.parametrize(
    ("operation", "kind"),
    [
        ("aten::addmm", "linear maps"),
        ("mkldnn::_linear_pointwise", "linear maps"),
        ("aten::mm", "linear maps"),
        ("aten::addmm_", "linear maps"),
        ("aten::bmm", "products of activations"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", "attention kernel"),
        ("aten::convolution_backward", "convolution, backward"),
        ("aten::mkldnn_convolution", "convolution, forward"),
        ("aten::_softmax", "softmax"),
        ("aten::gelu_backward", "GELU"),
        ("aten::native_layer_norm_backward", "norms"),
        ("aten::add", "sums, factors, filling"),
        ("aten::_fused_adamw_", "optimizer"),
        ("aten::_foreach_add_", "optimizer"),
        ("aten::copy_", "copies and layouts"),
        ("aten::address", "other"),
        ("_MlpBackward", "other"),
    ],
)
def test_kinds(operation, kind):
    assert benchmark_profile.kind_of(operation) == kind


def test_a_product_is_found_in_the_profile():
    one = torch.randn(300, 300)
    seconds = benchmark_profile.profile_side(lambda: one @ one)
    assert next(iter(seconds)) == "linear maps"
    (first, *_), total = benchmark_profile.shares("x", seconds), sum(seconds.values())
    assert (first.name, first.side, first.share) == ("linear maps", "x", pytest.approx(first.seconds / total))


@pytest.mark.parametrize("step", [False, True])
def test_all_sides_are_printed_and_written(step, tmp_path, capsys):
    out = tmp_path / "profile.json"
    arguments = ["profile", "--json", str(out), *test_benchmark.TINY, *(["--step"] if step else [])]
    assert main(arguments) == 0
    text = capsys.readouterr().out
    rows = json.loads(out.read_text())
    sides = dict.fromkeys(row["side"] for row in rows)
    assert list(sides)[:2] == ["plain fp32", "ours fp32"]
    for side in sides:
        assert f"\n{side}: " in text
        assert sum(row["share"] for row in rows if row["side"] == side) == pytest.approx(1)
    assert any(row["name"] == "convolution, backward" for row in rows) == step


def test_batch_is_checked(capsys):
    assert main(["profile", "--batch", "0"]) == 2
    assert capsys.readouterr().err == "error: --batch must be 1 or more, got 0\n"
