"""chaos.py numbers: the injection does what it says at the step it says, and the list of videos is checked."""

from __future__ import annotations

import csv
import math

import pytest
import torch

from tests.tools.chaos_path import TOOLS

assert TOOLS
import chaos_inject  # noqa: E402
import chaos_numbers  # noqa: E402
from chaos_inject import Injection  # noqa: E402
from chaos_numbers import PLAN, listed  # noqa: E402
from chaos_set import BATCH, STEPS, VIDEOS  # noqa: E402

from uniformer_video.runtime.seed import Stream  # noqa: E402

PATHS = [f"/v/{number}.mp4" for number in range(VIDEOS["train"])]


def rows_of(plan):
    videos = [video for step in plan for video in chaos_numbers._videos_of(step, PATHS)]
    return [[epoch, step, "nan", "nan", path, "0"] for epoch, step, path in videos]


def write(path, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file).writerows([["epoch", "step", "loss", "grad_norm", "path", "label"], *rows])
    return path


def test_the_videos_of_the_bad_steps_and_no_others(tmp_path):
    rows = rows_of(PLAN)
    assert len(rows) == len(PLAN) * BATCH
    assert {(row[0], row[1]) for row in rows} == {((s - 1) // STEPS + 1, (s - 1) % STEPS + 1) for s in PLAN}
    assert listed(write(tmp_path / "a.csv", rows), PLAN, PATHS) == []
    assert listed(write(tmp_path / "a.csv", rows[::-1]), PLAN, PATHS) == []


def test_a_list_that_is_not_right(tmp_path):
    rows = rows_of(PLAN)
    assert listed(tmp_path / "none.csv", PLAN, PATHS) == ["none.csv is missing"]
    (short,) = listed(write(tmp_path / "a.csv", rows + rows[:1]), PLAN, PATHS)
    assert "25 rows, not 24" in short
    problems = listed(write(tmp_path / "a.csv", rows[1:]), PLAN, PATHS)
    assert len(problems) == 2 and "lacks" in problems[1]
    other = [rows[0][:4] + ["/v/other.mp4", "0"], *rows[1:]]
    problems = listed(write(tmp_path / "a.csv", other), PLAN, PATHS)
    assert len(problems) == 2 and "/v/other.mp4" in problems[1]
    late = [[rows[0][0], rows[0][1] + 1, *rows[0][2:]], *rows[1:]]
    assert len(listed(write(tmp_path / "a.csv", late), PLAN, PATHS)) == 2


def at(injection, epoch, step):
    seen = []
    injection.seeding(lambda *position: seen.append(position))(7, Stream.NETWORK, epoch, step, 0)
    assert seen == [(7, Stream.NETWORK, epoch, step, 0)], "it seeds as before"


def gradient_of(injection, requires_grad=True):
    weight = torch.tensor(3.0, requires_grad=requires_grad)
    loss = injection.loss(lambda value: value * 2)(weight)
    if requires_grad:
        loss.backward()
    return loss.item(), weight.grad if weight.grad is None else weight.grad.item()


@pytest.mark.parametrize(
    ("kind", "loss", "gradient"),
    [
        ("loss-nan", math.nan, math.nan),
        ("loss-inf", math.inf, math.inf),
        ("gradient-nan", 6.0, math.nan),
        ("gradient-inf", 6.0, math.inf),
        ("activation-nan", 6.0, 2.0),
    ],
)
def test_what_is_injected_and_when(kind, loss, gradient):
    injection = Injection.parse(f"{kind}:{STEPS + 3}")
    at(injection, 1, 1)
    assert gradient_of(injection) == (6.0, 2.0)
    at(injection, 1, 2)
    assert injection.kind == kind
    assert gradient_of(injection) == pytest.approx((loss, gradient), nan_ok=True)
    assert gradient_of(injection, requires_grad=False) == (6.0, None), "a validation is left alone"
    injection.seeding(lambda *position: None)(7, Stream.WEIGHTS)
    assert injection.kind == kind, "other seeds are of other things"
    at(injection, 1, 3)
    assert injection.kind == ""


def test_activations_are_spoilt_in_training_alone():
    injection = Injection.parse("activation-nan:1,loss-nan:2")
    forward = injection.forward(lambda network, clips: clips)
    network, clips = torch.nn.Identity(), torch.ones(2)
    at(injection, 0, 0)
    assert forward(network, clips).isnan().all()
    assert forward(network.eval(), clips).equal(clips)
    at(injection, 0, 1)
    assert forward(network.train(), clips).equal(clips)


def test_a_plan_that_cannot_be_read():
    with pytest.raises(AssertionError):
        Injection.parse("nonsense:3")
    assert Injection.parse("").plan == {}


def test_wraps_reach_every_module_that_has_imported_what_they_wrap(monkeypatch):
    from uniformer_video.engine import step
    from uniformer_video.models import uniformer
    from uniformer_video.solver import losses

    before = losses.mean_over_heads
    for module in (step, losses):
        monkeypatch.setattr(module, "mean_over_heads", before)
    for module in (step, chaos_inject.seed):
        monkeypatch.setattr(module, "seed_everything", module.seed_everything)
    monkeypatch.setattr(uniformer.Uniformer, "forward", uniformer.Uniformer.forward)
    others = {
        name: vars(module).copy()
        for name, module in chaos_inject.sys.modules.items()
        if name.startswith("uniformer_video")
    }
    try:
        chaos_inject.inject(Injection({1: "loss-nan"}))
        assert step.mean_over_heads is losses.mean_over_heads is not before
        assert step.seed_everything is chaos_inject.seed.seed_everything
        step.seed_everything(7, Stream.NETWORK, 0, 0, 0)
        weight = torch.ones(1, requires_grad=True)
        assert step.mean_over_heads(lambda a, b: (a - b).sum(), weight, torch.zeros(1)).isnan()
    finally:
        for name, values in others.items():
            for key in ("mean_over_heads", "seed_everything"):
                if key in values:
                    setattr(chaos_inject.sys.modules[name], key, values[key])
