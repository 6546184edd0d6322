"""The benchmark's measurements of video readers: what is compared, what is timed, and what counts as growth."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
import torch

from tests.helpers import barcode_frames, write_empty, write_text, write_video
from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_openings as openings  # noqa: E402
import benchmark_readers as readers  # noqa: E402

from uniformer_video.runtime.errors import UserError  # noqa: E402
from uniformer_video.video.open import VideoOpener  # noqa: E402


@pytest.fixture(autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two videos that every reader takes, one that decord leaves to PyAV, two broken files and a text."""
    folder = tmp_path_factory.mktemp("videos")
    write_video(folder / "a.mp4", barcode_frames(20), gop=10)
    (folder / "sub").mkdir()
    write_video(folder / "sub" / "b.mkv", barcode_frames(30), gop=10)
    write_video(folder / "c.mp4", barcode_frames(12), pix_fmt="yuv422p")
    write_empty(folder / "d.mp4")
    write_text(folder / "e.mp4")
    write_text(folder / "README.md")
    (folder / ".hidden.mp4").write_bytes(b"x")
    return folder


# ------------------------------------------------------------------------------------------------- readers


def test_what_is_read_of_a_video():
    sets = readers.index_sets(300)
    assert list(sets) == ["clip 16x4", "4 clips 16x4", "all frames"]
    assert sets["clip 16x4"].tolist() == [118 + int(i * 63 / 15) for i in range(16)]
    assert sets["4 clips 16x4"].shape == (64,)
    assert (sets["4 clips 16x4"].min(), sets["4 clips 16x4"].max()) == (0, 297)
    assert sets["all frames"].tolist() == list(range(300))
    assert all(len(indices) for indices in readers.index_sets(1).values())


def test_prints_and_writes_medians_and_ratios(folder, tmp_path, capsys):
    out = tmp_path / "times.json"
    assert benchmark.main(["readers", "--videos", str(folder), "--repeats", "1", "--json", str(out)]) == 0
    text = capsys.readouterr().out
    assert f"left out: {folder / 'd.mp4'}: the file is empty" in text
    assert f"left out: {folder / 'e.mp4'}: not a video file" in text
    assert f"{folder / 'c.mp4'} (to pyav: " in text
    assert f"{folder / 'sub' / 'b.mkv'}\n" in text or "to pyav: torchcodec" in text
    entries = {entry["name"]: entry for entry in json.loads(out.read_text())}
    assert {name.split(".")[1] for name in entries if "sum" not in name} == {"a", "b", "c"}
    for name, entry in entries.items():
        assert set(entry) == {"name", "seconds", "cpu_seconds", "ratio", "cpu_ratio"}
        assert entry["cpu_ratio"]["pyav"] == 1.0
        assert entry["cpu_seconds"].keys() == entry["cpu_ratio"].keys() == entry["seconds"].keys()
        assert entry["ratio"]["pyav"] == 1.0
        assert entry["ratio"].keys() == entry["seconds"].keys()
        assert ("decord" in entry["seconds"]) is ("c.mp4" not in name)
        for side, seconds in entry["seconds"].items():
            assert seconds > 0
            assert entry["ratio"][side] == pytest.approx(seconds / entry["seconds"]["pyav"])
    total = next(e for n, e in entries.items() if n.startswith("readers.sum of 2 files.clip"))
    parts = [entries[f"readers.{n}.clip 16x4"]["seconds"]["decord"] for n in ("a.mp4", "b.mkv")]
    assert total["seconds"]["decord"] == pytest.approx(sum(parts))


def test_sides_take_turns_and_the_first_rounds_do_not_count(folder, monkeypatch):
    clock, calls = [0.0], []
    costs = {"pyav": iter([90.0, 90.0, 4.0, 5.0, 70.0]), "decord": iter([80.0, 80.0, 9.0, 10.0, 11.0])}

    def read(opener, path, indices):
        calls.append(opener)
        clock[0] += next(costs[opener])

    monkeypatch.setattr(readers.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(readers.time, "process_time", lambda: clock[0] / 2)
    monkeypatch.setattr(readers, "_read", read)
    monkeypatch.setattr(readers, "index_sets", lambda count: {"x": np.arange(count)})
    (timing,) = readers.measure(str(folder / "a.mp4"), {"pyav": "pyav", "decord": "decord"}, 3)
    assert calls == ["pyav", "decord"] * 5
    ratio = {"pyav": 1.0, "decord": 2.0}
    wall, cpu = {"pyav": 5.0, "decord": 10.0}, {"pyav": 2.5, "decord": 5.0}
    assert timing == readers.ReaderTiming("readers.a.mp4.x", wall, cpu, ratio, ratio)


def test_sums_are_over_files_that_all_sides_read():
    def timing(name, what, **seconds):
        return readers.timing_of(
            f"readers.{name}.{what}", seconds, {side: value + 1 for side, value in seconds.items()}
        )

    found = readers.summary(
        [
            timing("a", "all frames", pyav=2.0, decord=3.0),
            timing("b", "all frames", pyav=4.0),
            timing("c", "all frames", pyav=1.0, decord=6.0),
            timing("b", "clip 16x4", pyav=1.0),
        ],
        ["pyav", "decord"],
    )
    (total,) = found
    assert total.name == "readers.sum of 2 files.all frames"
    assert (total.seconds, total.ratio) == ({"pyav": 3.0, "decord": 9.0}, {"pyav": 1.0, "decord": 3.0})
    assert (total.cpu_seconds, total.cpu_ratio) == ({"pyav": 5.0, "decord": 11.0}, {"pyav": 1.0, "decord": 2.2})


def test_readers_that_differ_are_not_timed(folder):
    class Wrong(VideoOpener):
        def __call__(self, path):
            reader = super().__call__(path)
            frames_at = reader.frames_at
            reader.frames_at = lambda indices: 255 - frames_at(indices)
            return reader

    path = str(folder / "a.mp4")
    with pytest.raises(UserError, match="^decord and pyav give different pixels in .*a.mp4; not comparable$"):
        readers.takers(path, {"pyav": VideoOpener("pyav"), "decord": Wrong("decord")})


def test_backends_that_are_not_installed_are_left_out(monkeypatch, capsys):
    for name in ("decord", "torchcodec"):
        monkeypatch.setitem(sys.modules, name, None)
    assert list(readers.installed()) == ["pyav", "auto+limit"]
    assert capsys.readouterr().out.count("left out: the video backend ") == 2


@pytest.mark.parametrize("what", ["readers", "openings"])
def test_mistakes_are_one_line(what, folder, tmp_path, capsys):
    for arguments, message in (
        (["--videos", str(tmp_path / "none")], f"--videos '{tmp_path / 'none'}' is no folder; name one with videos"),
        (["--videos", str(tmp_path)], f"--videos '{tmp_path}' holds no file"),
        ([], f"the following arguments are required: --videos; see benchmark.py {what} --help"),
        (["--videos", str(folder), "DATA.X", "1"], None),
        (["--videos", str(folder), "--repeats", "0"], "--repeats must be 1 or more, got 0"),
    ):
        try:
            code = benchmark.main([what, *arguments])
        except SystemExit as end:
            code = end.code
        error = capsys.readouterr().err
        assert code == 2
        assert error.count("\n") == 1
        assert error == f"error: {message}\n" if message else "unrecognized arguments: DATA.X 1" in error


def test_a_folder_of_broken_files(tmp_path, capsys):
    write_text(tmp_path / "x.mp4")
    assert benchmark.main(["readers", "--videos", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"error: --videos '{tmp_path}' holds no video that can be read\n"


# ------------------------------------------------------------------------------------------------- openings


@pytest.mark.parametrize("timeout", ["0", "30"])
def test_openings_of_good_and_broken_files_are_counted(folder, capsys, tmp_path, timeout):
    out = tmp_path / "memory.json"
    arguments = ["--videos", str(folder), "--count", "60", "--every", "25", "--timeout", timeout, "--json", str(out)]
    assert benchmark.main(["openings", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"5 files, backend auto, limit {timeout} s"
    assert [line.split()[0] for line in lines[1:4]] == ["25", "50", "60"]
    assert "not read, 12 times: d.mp4: the file is empty" in lines
    assert any(line.startswith("not read, 12 times: e.mp4: not a video file") for line in lines)
    assert lines[-1].startswith("flat: memory grew by no more than 32 MiB")
    entries = json.loads(out.read_text())
    assert [entry["openings"] for entry in entries] == [25, 50, 60]
    assert all(entry["memory_mib"] > 10 and entry["threads"] >= 1 for entry in entries)


def test_clips_change_from_turn_to_turn(folder, monkeypatch):
    asked = []

    class Reader:
        num_frames = 300

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def frames_at(self, indices):
            asked.append(indices.tolist())

    for turn in range(6):
        assert openings.open_one(lambda path: Reader(), "x", turn) == ""
    assert len({tuple(indices) for indices in asked}) == 5
    assert asked[0] == asked[5]


def reading(count, memory=100.0, threads=1, files=5):
    return openings.Reading(count, memory, threads, files)


@pytest.mark.parametrize(
    ("last", "faults"),
    [
        (reading(1000), []),
        (reading(1000, memory=131.9), []),
        (reading(1000, memory=50.0), []),
        (reading(1000, memory=132.5), ["memory grew by 32.5 MiB, more than 32 MiB"]),
        (reading(1000, threads=2), ["threads grew from 1 to 2"]),
        (reading(1000, files=9), ["open files grew from 5 to 9"]),
        (
            reading(1000, 200.0, 3, 6),
            ["memory grew by 100.0 MiB, more than 32 MiB", "threads grew from 1 to 3", "open files grew from 5 to 6"],
        ),
    ],
)
def test_what_counts_as_growth(last, faults):
    """What comes before a fifth of the openings is warm-up."""
    assert openings.verdict([reading(100, 10.0, 0, 0), reading(200), last], 1000) == faults


def test_growth_ends_with_1(folder, monkeypatch, capsys):
    memory = iter([100.0, 100.0, 180.0])
    monkeypatch.setattr(openings, "read_process", lambda count: reading(count, next(memory)))
    assert benchmark.main(["openings", "--videos", str(folder), "--count", "30", "--every", "10"]) == 1
    out = capsys.readouterr().out
    assert out.endswith("memory grew by 80.0 MiB, more than 32 MiB\n")
    assert "slope after 10 openings: +4000.00 MiB for 1000 openings" in out


def test_slope():
    assert openings.slope_mib([reading(500, 100.0), reading(1000, 101.0), reading(1500, 102.0)]) == pytest.approx(2.0)
    assert openings.slope_mib([reading(500)]) == 0.0


def test_this_process():
    found = openings.read_process(7)
    assert found.openings == 7
    assert found.memory_mib > 20
    assert found.threads >= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--count", "0"], "--count must be 1 or more, got 0"),
        (["--every", "0"], "--every must be 1 or more, got 0"),
        (["--timeout", "-1"], "--timeout must be 0 or more, got -1"),
    ],
)
def test_numbers_of_openings(folder, arguments, message, capsys):
    assert benchmark.main(["openings", "--videos", str(folder), *arguments]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
