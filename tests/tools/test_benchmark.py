"""The benchmark's command line, its timing and its plain network."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fill import clip, fill
from tests.models.plain import plain_uniformer

TOOL = Path(__file__).resolve().parents[2] / "tools" / "benchmark.py"
TINY = [
    "UNIFORMER.EMBED_DIM",
    "[8,16,24,32]",
    "UNIFORMER.DEPTH",
    "[1,1,2,1]",
    "UNIFORMER.HEAD_DIM",
    "8",
    "DATA.NUM_FRAMES",
    "2",
    "DATA.TRAIN_CROP_SIZE",
    "32",
    "MODEL.NUM_CLASSES",
    "5",
]


FP32 = ["--precision", "fp32"]


def load_tool():
    spec = importlib.util.spec_from_file_location("benchmark", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


benchmark = load_tool()
import benchmark_model  # noqa: E402
import benchmark_timing  # noqa: E402
from benchmark_plain import PlainUniformer  # noqa: E402

from uniformer_video.config import load_config  # noqa: E402
from uniformer_video.runtime.errors import UserError  # noqa: E402


@pytest.fixture(autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def bench(*overrides, batch=2, precisions=("fp32",)):
    return benchmark_model.ModelBench(load_config(None, [*TINY, *overrides]), batch=batch, precisions=precisions)


# ------------------------------------------------------------------------------------------------- command line


def test_model_prints_and_writes_what_it_measured(tmp_path, capsys):
    out = tmp_path / "new" / "times.json"
    code = benchmark.main(
        ["model", "--batch", "3", "--repeats", "2", "--threads", "1", "--json", str(out), *TINY, *FP32]
    )
    text = capsys.readouterr().out
    assert code == 0
    first, second, same, heading, forward, train = text.splitlines()
    assert first.startswith("hardware: ") and f", 1 threads; torch {torch.__version__}; matrix products reach " in first
    assert second.startswith("Uniformer, 0.0") and second.endswith("clips (3, 3, 2, 32, 32); plain side: float32")
    assert same.startswith("fp32: same logits (relative difference ") and ", same gradients (" in same
    assert heading == benchmark_timing.HEADING
    entries = json.loads(out.read_text())
    assert [entry["name"] for entry in entries] == ["model inference fp32", "model training step fp32"]
    for line, entry in zip((forward, train), entries, strict=True):
        assert set(entry) == {"name", "plain_s", "ours_s", "ratio", "limit_s"}
        assert entry["plain_s"] > 0 and entry["ours_s"] > 0 and entry["limit_s"] > 0
        assert entry["ratio"] == pytest.approx(entry["plain_s"] / entry["ours_s"])
        assert line == benchmark_timing.table_line(benchmark_timing.Timing(**entry))
    assert entries[1]["limit_s"] == pytest.approx(3 * entries[0]["limit_s"])
    assert [p.name for p in out.parent.iterdir()] == ["times.json"]


def test_short_options_and_settings_in_any_order(capsys):
    arguments = [*TINY, "model", "--size", "33", "--frames", "3", "--classes", "4", "--repeats", "1"]
    arguments.insert(0, arguments.pop(arguments.index("model")))
    assert benchmark.main(arguments) == 0
    assert "clips (2, 3, 3, 33, 33); plain" in capsys.readouterr().out


def test_bf16(capsys):
    assert benchmark.main(["model", *TINY, "--precision", "bf16", "--repeats", "1", "DATA.TRAIN_CROP_SIZE", "64"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].startswith("bf16: same logits ")
    assert [line.split("  ")[0] for line in lines[4:]] == ["model inference bf16", "model training step bf16"]


def test_a_configuration_file(tmp_path, capsys):
    (tmp_path / "a.yaml").write_text(
        "UNIFORMER: {EMBED_DIM: [8, 16, 24, 32], DEPTH: [1, 1, 1, 1], HEAD_DIM: 8, DROP_DEPTH_RATE: 0.2}\n"
        "DATA: {NUM_FRAMES: 2, TRAIN_CROP_SIZE: 40}\n"
    )
    assert benchmark.main(["model", "--cfg", str(tmp_path / "a.yaml"), "--repeats", "1", *FP32]) == 0
    assert "clips (2, 3, 2, 40, 40)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["modell"], f"unknown measurement 'modell'; known: {', '.join(benchmark.SUBCOMMANDS)}"),
        (["model", "--repeats", "0"], "--repeats must be 1 or more, got 0"),
        (["model", "--threads", "0"], "--threads must be 1 or more, got 0"),
        (["model", "--batch", "0"], "--batch must be 1 or more, got 0"),
        (["model", "--json", "."], "--json '.' is a folder; name a file"),
        (["model", *TINY, "--batch", "1"], "a batch norm cannot train on one position; set --batch 2 or more"),
        (
            ["model", *TINY, "UNIFORMER.DROPOUT_RATE", "0.1"],
            "dropout makes the two sides' gradients differ; set UNIFORMER.DROPOUT_RATE 0",
        ),
        (
            ["model", *TINY, "UNIFORMER.HEAD_DROPOUT_RATE", "0.1"],
            "dropout makes the two sides' gradients differ; set UNIFORMER.HEAD_DROPOUT_RATE 0",
        ),
        (
            ["model", *TINY, "MODEL.MODEL_NAME", "Uniformer_light"],
            "there is no plain Uniformer_light to compare with; set MODEL.MODEL_NAME Uniformer",
        ),
        (
            ["model", *TINY, "UNIFORMER.CONV_STEM", "True"],
            "the plain network has no conv_stem; set UNIFORMER.CONV_STEM False",
        ),
        (
            ["model", *TINY, "UNIFORMER.LAYER_SCALE", "[False, False, True, True]"],
            "the plain network has no layer_scale; set UNIFORMER.LAYER_SCALE False",
        ),
        (
            ["model", *TINY, "UNIFORMER.MLP_RATIO", "[4, 4, 3, 3]"],
            "the plain network has one MLP ratio for all stages; set UNIFORMER.MLP_RATIO to one number",
        ),
    ],
)
def test_mistakes_are_one_line(arguments, message, capsys):
    assert benchmark.main(arguments) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


def test_missing_file_and_unknown_key_are_one_line(capsys):
    for arguments, word in (
        (["--cfg", "none.yaml"], "none.yaml"),
        (["UNIFORMER.DEPHT", "[1,1,1,1]"], "UNIFORMER.DEPTH"),
    ):
        assert benchmark.main(["model", *arguments]) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1 and word in error


def test_help_names_the_measurements(capsys):
    assert benchmark.main(["--help"]) == 0
    text = capsys.readouterr().out
    assert "model    forward pass and training step" in text
    assert "python tools/benchmark.py model --cfg" in text
    assert benchmark.main([]) == 2


def test_runs_as_a_program_from_any_folder(tmp_path):
    done = subprocess.run(
        [sys.executable, str(TOOL), "model", *TINY, "--repeats", "1", "--threads", "1", "--json", "a.json", *FP32],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(json.loads((tmp_path / "a.json").read_text())) == 2


# ------------------------------------------------------------------------------------------------- timing


def test_sides_take_turns_and_warm_up_does_not_count(monkeypatch):
    clock, calls = [0.0], []
    # Rounds by side; the first two are warm-up. Medians of the last three: plain 6, ours 3.
    cost = {"ours": iter([90.0, 90.0, 3.0, 2.0, 4.0]), "plain": iter([80.0, 80.0, 5.0, 6.0, 70.0])}

    def side(name):
        calls.append(name)
        clock[0] += next(cost[name])

    monkeypatch.setattr(benchmark_timing.time, "perf_counter", lambda: clock[0])
    waits = []
    timing = benchmark_timing.time_alternating(
        "x", lambda: side("plain"), lambda: side("ours"), repeats=3, synchronize=lambda: waits.append(len(calls))
    )
    assert timing == benchmark_timing.Timing("x", plain_s=6.0, ours_s=3.0, ratio=2.0, limit_s=None)
    assert calls == ["ours", "plain"] * 5
    assert waits == [n for i in range(10) for n in (i, i + 1)], "before and after every call"


def test_relative_difference():
    difference = benchmark_timing.relative_difference
    assert difference(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)
    assert difference(torch.ones(3), torch.ones(3)) == 0
    nan = difference(torch.tensor([float("nan")]), torch.ones(1))
    assert nan != nan


# ------------------------------------------------------------------------------------------------- model


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["UNIFORMER.SPLIT", "True"],
        ["UNIFORMER.STD", "True"],
        ["UNIFORMER.DROP_DEPTH_RATE", "0.5"],
        ["UNIFORMER.QKV_BIAS", "False", "UNIFORMER.QKV_SCALE", "0.2"],
        ["MODEL.USE_CHECKPOINT", "True", "MODEL.CHECKPOINT_NUM", "[1,1,2,1]", "UNIFORMER.DROP_DEPTH_RATE", "0.5"],
    ],
    ids=["joint", "split", "std", "drop path", "scale", "checkpoint"],
)
def test_both_sides_are_one_network(overrides):
    both = bench(*overrides, batch=4)
    state = fill(both.ours.state_dict())
    both.ours.load_state_dict(state)
    both.plain.load_state_dict(state)
    (line,) = both.check()
    assert line.startswith("fp32: same logits (relative difference ")


@pytest.mark.parametrize("split", [False, True])
def test_plain_side_is_the_independent_reference(split):
    options = {"depths": (1, 1, 2, 1), "head_dim": 8, "split": split}
    model = PlainUniformer(
        num_classes=5,
        widths=(8, 16, 24, 32),
        mlp_ratio=4,
        local_kernel=(3, 5, 5),
        std=False,
        qkv_bias=True,
        qk_scale=None,
        drop_path_rate=0.0,
        checkpoint_blocks=(0, 0, 0, 0),
        **options,
    ).eval()
    model.load_state_dict(fill(model.state_dict()))
    with torch.no_grad():
        wanted, _ = plain_uniformer(clip((2, 3, 4, 48, 33)), model.state_dict(), **options)
        torch.testing.assert_close(model(clip((2, 3, 4, 48, 33))), wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("what", ["logits", "gradients"])
def test_sides_that_differ_are_not_timed(what, monkeypatch):
    both = bench()
    if what == "logits":
        torch.nn.init.ones_(both.plain.head.bias)
    else:
        gradients = both.gradients
        monkeypatch.setattr(both, "gradients", lambda m, p="fp32": gradients(m, p) * (3 if m is both.plain else 1))
    with pytest.raises(UserError, match=rf"^{what} of the two sides differ by \S+ in fp32, more than \S+: not comp"):
        both.check()


def test_another_best_class_is_not_comparable(monkeypatch):
    both = bench()
    score = both.score
    monkeypatch.setitem(benchmark_model.LOGIT_TOLERANCE, "fp32", 10)
    monkeypatch.setattr(both, "score", lambda m, p="fp32": score(m, p) * (-1 if m is both.plain else 1))
    with pytest.raises(UserError, match=r"^the best classes of the two sides differ in fp32: not comparable$"):
        both.check()


def test_all_scores_are_taken_before_statistics_move():
    both = bench("DATA.TRAIN_CROP_SIZE", "64", precisions=("fp32", "bf16"))
    first, second = both.check()
    assert first.startswith("fp32: ") and second.startswith("bf16: ")


def test_times_leave_both_sides_trained():
    both = bench()
    before = [m.head.weight.clone() for m in (both.ours, both.plain)]
    forward, train = both.times(1, name="tiny")
    assert (forward.name, train.name) == ("tiny inference fp32", "tiny training step fp32")
    for model, weight in zip((both.ours, both.plain), before, strict=True):
        assert not torch.equal(model.head.weight, weight), "a training step moves the weights"
    torch.testing.assert_close(both.ours.head.weight, both.plain.head.weight, rtol=1e-3, atol=1e-5)


def test_every_precision_of_ours_against_one_plain_side(monkeypatch):
    both = bench(precisions=("fp32", "bf16"))
    calls = []
    monkeypatch.setattr(both, "score", lambda m, p="fp32": calls.append((m is both.ours, p)))
    monkeypatch.setattr(both, "step", lambda m, p="fp32": calls.append(("step", m is both.ours, p)))
    names = [row.name for row in both.times(1, train_repeats=2)]
    kinds = ("inference fp32", "inference bf16", "training step fp32", "training step bf16")
    assert names == [f"model {kind}" for kind in kinds]
    assert calls[:9] == [(True, "fp32"), (True, "bf16"), (False, "fp32")] * 3, "two rounds to warm up, one that counts"
    assert len(calls) == 9 + 6, "the check has warmed up training steps"


def test_which_precisions(monkeypatch):
    for has, wanted in ((True, ("fp32", "bf16")), (False, ("fp32",))):
        monkeypatch.setattr(benchmark_model, "has_bf16", lambda device, has=has: has)
        assert benchmark_model.chosen_precisions("both") == wanted
        assert benchmark_model.chosen_precisions("bf16") == ("bf16",)


def test_the_limit_and_its_share_in_a_line():
    line = benchmark_timing.table_line(benchmark_timing.compare("a", 3.0, 0.5, 0.25))
    assert line.split() == ["a", "3", "s", "500", "ms", "6.00x", "250", "ms", "50%"]
    assert benchmark_timing.table_line(benchmark_timing.compare("b", 3.0, 2.0)).split()[-3:] == ["1.50x", "-", "-"]
    assert len(line) == len(benchmark_timing.HEADING)
