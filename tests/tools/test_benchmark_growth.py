"""How time grows: what is measured where, the file of numbers, and drawing again from it."""

from __future__ import annotations

import json
from functools import partial

import pytest
from PIL import Image

from tests.tools.job_settings import SMALL, TINY
from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_growth as growth  # noqa: E402
import benchmark_jobs as jobs  # noqa: E402
from benchmark_job_runs import JobBench  # noqa: E402
from benchmark_videos import make_videos  # noqa: E402

from uniformer_video.runtime.errors import UserError  # noqa: E402

POINTS = growth.Points(clips=(1, 2), frames=(2, 4), sizes=(32, 64), workers=(0, 1), videos=(1, 2), worker_videos=2)
SIDES = ("ours", "plain")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("growth")
    make_videos(folder, 2, 0.5, 30, SMALL)
    return growth.GrowthBench(JobBench(folder, TINY), POINTS, repeats=1, sides=SIDES)


@pytest.fixture(autouse=True)
def small_networks_differ_more(monkeypatch):
    """The scores of the smallest network differ more, by the bytes that ours resizes to."""
    monkeypatch.setitem(jobs.SCORE_TOLERANCE, "fp32", 0.1)
    monkeypatch.setitem(jobs.TOP1_AGREEMENT, "fp32", 0.5)


def test_every_point_of_every_quantity(bench):
    said = []
    found, timings = growth.measure(bench, said.append)
    assert [panel["x_label"] for panel in found.panels] == [
        "views (clips x 3 crops)",
        "frames in a clip",
        "side of a clip, pixels",
        "loader workers",
        "videos",
    ]
    wanted = [[3, 6], [2, 4], [32, 64], [0, 1], [1, 2]]
    for panel, xs in zip(found.panels, wanted, strict=True):
        assert panel["y_label"] == "seconds"
        assert list(panel["series"]) == ["ours, float32", "plain, float32"]
        for line in panel["series"].values():
            assert [x for x, _ in line] == xs
            assert all(seconds > 0 for _, seconds in line)
    assert [panel["title"] for panel in found.panels] == [
        "test item: ours bytes, plain floats",
        "forward pass, 32 pixels",
        "forward pass, 2 frames",
        "test of 2 videos, 1x3 views",
        "test, 1x3 views",
    ]
    assert [timing.name for timing in timings][:3] == [
        "growth views 3 fp32",
        "growth views 6 fp32",
        "growth frames 2 fp32",
    ]
    assert len(timings) == len(said) == 10
    assert timings[0].ratio == pytest.approx(timings[0].plain_s / timings[0].ours_s)


def test_a_job_is_tested_with_its_workers_and_videos(bench, monkeypatch):
    calls = []

    def run(job, side, videos, settings):
        calls.append((job, side, videos, dict(zip(settings[::2], settings[1::2], strict=True))))
        return real(job, side, videos, settings)

    real = bench.jobs.run
    monkeypatch.setattr(bench.jobs, "run", run)
    list(bench.workers())
    views = {"TEST.NUM_ENSEMBLE_VIEWS": "1"}
    assert calls == [
        ("test", side, 2, {**views, "DATA_LOADER.NUM_WORKERS": str(workers)}) for workers in (0, 1) for side in SIDES
    ]
    calls.clear()
    list(bench.videos())
    assert calls == [("test", side, videos, views) for videos in (1, 2) for side in SIDES]


@pytest.mark.parametrize(("what", "table"), [("test views", "views"), (r"logits \(plain\)", "frames")])
def test_sides_that_differ_are_not_timed(what, table, bench, monkeypatch):
    monkeypatch.setattr(growth, "PIXEL_TOLERANCE", -1.0)
    monkeypatch.setitem(growth.LOGIT_TOLERANCE, "fp32", -1.0)
    quick = growth.GrowthBench(bench.jobs, POINTS, repeats=1, sides=("plain",))
    with pytest.raises(UserError, match=f"^{what} of the two sides differ by .*, more than -1: not comparable$"):
        list(getattr(quick, table)())


def run_with(monkeypatch, points=POINTS):
    monkeypatch.setitem(
        benchmark.SUBCOMMANDS,
        "growth",
        growth.Subcommand("h", growth.add_growth_arguments, partial(growth.run_growth, points=points), repeats=1),
    )
    monkeypatch.setattr(growth, "make_videos", lambda folder, count: make_videos(folder, count, 0.5, 30, SMALL))
    monkeypatch.setattr(growth, "has_bf16", lambda _: False)
    return lambda *arguments: benchmark.main(["growth", *arguments])


def test_the_command_writes_numbers_and_a_picture_and_draws_again(tmp_path, monkeypatch, capsys):
    command = run_with(monkeypatch)
    out = tmp_path / "new"
    assert command("--out", str(out), "--json", str(tmp_path / "times.json"), *TINY) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"plot: {out / 'growth.png'}" and len(lines) == 11
    assert len(json.loads((tmp_path / "times.json").read_text())) == 10
    content = json.loads((out / "growth.json").read_text())
    assert set(content) == {"hardware", "torch", "panels"} and len(content["panels"]) == 5
    picture = (out / "growth.png").read_bytes()
    with Image.open(out / "growth.png") as drawn:
        assert drawn.size == (1155, 655)
    (out / "growth.png").unlink()
    numbers = (out / "growth.json").read_bytes()
    assert command("--draw-only", "--out", str(out)) == 0
    assert (out / "growth.png").read_bytes() == picture and (out / "growth.json").read_bytes() == numbers
    assert sorted(p.name for p in out.iterdir()) == ["growth.json", "growth.png"]


def test_drawing_what_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    command = run_with(monkeypatch)
    advice = "run benchmark.py growth without --draw-only"
    assert command("--draw-only", "--out", str(tmp_path)) == 2
    cause = "No such file or directory"
    assert capsys.readouterr().err == f"error: {tmp_path / 'growth.json'} cannot be used: {cause}; {advice}\n"
    for text in ("{", "[]", "{}", '{"panels": [{"title": 1}], "hardware": "a", "torch": "b"}'):
        (tmp_path / "growth.json").write_text(text)
        assert command("--draw-only", "--out", str(tmp_path)) == 2
        assert f"it is not what this tool writes; {advice}" in capsys.readouterr().err


def test_the_default_points_need_what_they_say():
    points = growth.Points()
    assert points.most_videos() == 40
    for values in (points.clips, points.frames, points.sizes, points.workers, points.videos):
        assert list(values) == sorted(values) and len(values) >= 4


def test_the_picture_of_the_documents_is_that_of_their_numbers(tmp_path):
    if not (growth.FOLDER / growth.NUMBERS).exists():
        pytest.skip("not measured yet")
    (tmp_path / growth.NUMBERS).write_bytes((growth.FOLDER / growth.NUMBERS).read_bytes())
    with Image.open(growth.draw(tmp_path)) as drawn, Image.open(growth.FOLDER / growth.PICTURE) as kept:
        assert drawn.size == kept.size
    assert (growth.FOLDER / growth.PICTURE).stat().st_size < 300_000
