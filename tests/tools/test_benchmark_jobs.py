"""Whole jobs: what must agree before a time counts, and what is reported."""

from __future__ import annotations

import json

import pytest
import torch

from tests.tools.job_settings import TINY
from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_jobs as jobs  # noqa: E402
from benchmark_job_runs import Outcome  # noqa: E402
from benchmark_timing import Timing  # noqa: E402

from uniformer_video.runtime.errors import UserError  # noqa: E402

SCORES = torch.eye(4).double() * 3 + 1


def outcome_of_test(scores):
    return Outcome(1.0, scores, ())


def outcome_of_training(*losses):
    return Outcome(1.0, None, losses)


def test_sides_that_agree():
    (line,) = jobs.check("test", {"ours": outcome_of_test(SCORES * 1.001), "plain": outcome_of_test(SCORES)})
    assert line == (
        "test, ours: same highest class in 100% of 4 videos (4 classes), scores differ by 1.0e-03, less their mean "
        "over videos by 1.0e-03"
    )
    both = {
        "ours": outcome_of_training(2.0, 3.0),
        "plain": outcome_of_training(2.001, 3.3),
        "ours bf16": outcome_of_training(2.01, 3.3),
    }
    assert jobs.check("train", both) == [
        "train, ours: losses differ by 5.0e-04 in the first of 2 steps, by 9.1e-02 in the last",
        "train, ours bf16: losses differ by 4.5e-03 in the first of 2 steps, by 0.0e+00 in the last",
    ]


@pytest.mark.parametrize(
    ("job", "ours", "plain", "message"),
    [
        (
            "test",
            outcome_of_test(SCORES * 1.02),
            outcome_of_test(SCORES),
            r"fp32 differ by 0\.02 \(allowed: 0\.01\), .* in 100% of",
        ),
        ("test", outcome_of_test(SCORES * float("nan")), outcome_of_test(SCORES), "differ by nan"),
        (
            "test",
            outcome_of_test(SCORES),
            outcome_of_test(SCORES + torch.tensor([0, 3.2, 0, 0]) * torch.eye(4)[0][:, None]),
            r"the highest class is the same in 75% of the videos \(at least 100%\): not comparable",
        ),
        (
            "train",
            outcome_of_training(2.0),
            outcome_of_training(2.01),
            "is 2 and 2.01, further apart than 0.001: not comparable",
        ),
        ("train", outcome_of_training(float("nan")), outcome_of_training(2.0), "is nan and 2"),
        ("train", outcome_of_training(2.0), outcome_of_training(2.0, 2.0), "not comparable"),
    ],
)
def test_sides_that_differ_are_not_compared(job, ours, plain, message, monkeypatch):
    with pytest.raises(UserError, match=message):
        if "75%" in message:
            monkeypatch.setitem(jobs.SCORE_TOLERANCE, "fp32", 1.0)
        jobs.check(job, {"ours": ours, "plain": plain})


def test_a_tie_may_go_either_way():
    plain = SCORES + torch.tensor([0, 3.001, 0, 0]) * torch.eye(4)[0][:, None]
    ours = plain - torch.tensor([0, 0.002, 0, 0]) * torch.eye(4)[0][:, None]
    assert ours.argmax(1).tolist() != plain.argmax(1).tolist()
    (line,) = jobs.check("test", {"ours": outcome_of_test(ours), "plain": outcome_of_test(plain)})
    assert line.startswith("test, ours: same highest class in 100% of 4 videos (3 classes)")


class FakeBench:
    """Jobs that take as long as is written here."""

    def __init__(self, times):
        self.times, self.calls = {side: iter(each) for side, each in times.items()}, []

    def config(self, *_):
        from benchmark_job_runs import RECIPE

        from uniformer_video.config import load_config

        return load_config(str(RECIPE), [])

    def run(self, job, side, videos=None):
        self.calls.append((side, videos))
        return Outcome(next(self.times[side]), SCORES, (2.0, 1.0))


def test_sides_take_turns_and_few_videos_warm_up(tmp_path, monkeypatch):
    fake = FakeBench({"ours": [90, 2, 3, 1], "plain": [90, 9, 8, 7], "ours bf16": [90, 1, 1, 4]})
    monkeypatch.setattr(jobs, "JobBench", lambda *_: fake)
    monkeypatch.setattr(jobs, "make_videos", lambda *_, **__: None)
    monkeypatch.setattr(jobs, "has_bf16", lambda _: True)
    said = []
    timings = jobs.measure(repeats=3, videos=6, jobs=["test"], folder=tmp_path, say=said.append)
    assert timings == [
        Timing("test 6 videos 4x3 views fp32", plain_s=8, ours_s=2, ratio=4.0),
        Timing("test 6 videos 4x3 views bf16", plain_s=8, ours_s=1, ratio=8.0),
    ]
    sides = ["ours", "plain", "ours bf16"]
    assert fake.calls == [(side, 4) for side in sides] + [(side, None) for side in sides] * 3
    assert said[0].startswith("6 videos, H.264; uniformer_s8x8, clips 8x8, 224 pixels, workers auto; a training step")
    assert len(said) == 3 and said[1].startswith("test, ours: same highest class in 100% of 4 videos")


def test_bf16_is_left_out_where_it_is_imitated(tmp_path, monkeypatch):
    fake = FakeBench({"ours": [1, 1], "plain": [1, 2]})
    monkeypatch.setattr(jobs, "JobBench", lambda *_: fake)
    monkeypatch.setattr(jobs, "make_videos", lambda *_, **__: None)
    monkeypatch.setattr(jobs, "has_bf16", lambda _: False)
    said = []
    (timing,) = jobs.measure(jobs=["test"], folder=tmp_path, say=said.append)
    assert timing.name == "test 40 videos 4x3 views fp32" and timing.ratio == 2
    assert said[0] == "bf16 is left out: this processor only imitates it"


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setitem(benchmark.SUBCOMMANDS, "jobs", jobs.JOBS)
    # The smallest network's scores differ more, by the bytes that ours resizes to.
    for table, value in ((jobs.SCORE_TOLERANCE, 0.1), (jobs.TOP1_AGREEMENT, 0.5), (jobs.LOSS_TOLERANCE, 0.05)):
        for precision in table:
            monkeypatch.setitem(table, precision, value)
    return lambda *arguments: benchmark.main(["jobs", *arguments])


def test_a_row_for_each_job_and_precision(tmp_path, monkeypatch):
    fake = FakeBench({"ours": [1] * 4, "plain": [2] * 4, "ours bf16": [1] * 4})
    monkeypatch.setattr(jobs, "JobBench", lambda *_: fake)
    monkeypatch.setattr(jobs, "make_videos", lambda *_, **__: None)
    monkeypatch.setattr(jobs, "has_bf16", lambda _: True)
    said = []
    timings = jobs.measure(folder=tmp_path, say=said.append)
    assert [timing.name for timing in timings] == [
        "test 40 videos 4x3 views fp32",
        "test 40 videos 4x3 views bf16",
        "train an epoch of 40 videos fp32",
        "train an epoch of 40 videos bf16",
    ]
    assert [line.split(":")[0] for line in said[1:]] == [
        "test, ours",
        "test, ours bf16",
        "train, ours",
        "train, ours bf16",
    ]


def test_the_command_prints_and_writes_its_rows(command, tmp_path, capsys, monkeypatch):
    out = tmp_path / "times.json"
    monkeypatch.setattr(jobs, "has_bf16", lambda _: False)
    options = [
        "--count",
        "4",
        "--seconds",
        "0.5",
        "--jobs",
        "test",
        "--videos",
        str(tmp_path / "v"),
        "--json",
        str(out),
    ]
    code = command(*options, *TINY)
    text = capsys.readouterr().out
    assert code == 0, text
    entries = json.loads(out.read_text())
    assert [entry["name"] for entry in entries] == ["test 4 videos 4x3 views fp32"]
    for entry in entries:
        assert entry["ratio"] == pytest.approx(entry["plain_s"] / entry["ours_s"])
        assert any(line.startswith(entry["name"] + " ") for line in text.splitlines())
    assert len(list((tmp_path / "v").glob("*.mp4"))) == 4
    assert "uniformer_s8x8, clips 2x8, 32 pixels, workers 0" in text


def test_mistakes_are_one_line(command, capsys):
    assert command("--count", "3") == 2
    assert capsys.readouterr().err == "error: --count must be 4 (a training step) or more, got 3\n"
    with pytest.raises(SystemExit):
        command("--jobs", "rest")
    assert "argument --jobs: invalid choice: 'rest'" in capsys.readouterr().err


def test_one_round_is_the_default(command, capsys):
    with pytest.raises(SystemExit):
        command("--help")
    assert "rounds of which the median counts (default 1)" in " ".join(capsys.readouterr().out.split())
