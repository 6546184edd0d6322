"""The measurement of long lists: what is written, what both sides read, and when a bound is broken."""

from __future__ import annotations

import json

import pytest
import torch

from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_lists as lists  # noqa: E402
import benchmark_timing  # noqa: E402
from benchmark_plain_lists import PlainVideos  # noqa: E402

from uniformer_video.runtime.errors import UserError  # noqa: E402


@pytest.fixture
def path(tmp_path):
    return lists.write_list(tmp_path / "videos", 50)


def test_a_list_is_a_function_of_its_length(path, tmp_path):
    lines = path.read_text().splitlines()
    assert len(lines) == 50 and len(set(lines)) == 50
    assert lists.write_list(tmp_path / "again", 50).read_text() == path.read_text()
    first, label = lines[0].rsplit(" ", 1)
    assert (path.parent / first).is_file() and first.startswith(f"train/class {int(label):03d}/")
    assert all(0 <= int(line.rsplit(" ", 1)[1]) < lists.CLASSES for line in lines)


def test_both_sides_read_the_same(path):
    plain = PlainVideos(path)
    _, ours = lists.our_loader(path, workers=0, batch_size=2, first=1)
    assert [ours(n) for n in range(50)] == list(zip(plain.paths, plain.labels, strict=True))
    assert plain[7][1] == plain.labels[7]
    total = sum(map(len, plain.paths)) + sum(plain.labels)
    assert plain[-1][0].flatten().tolist() == [total % 251] * 3


def test_each_worker_reads_everything(path):
    loader, _ = lists.our_loader(path, workers=1, batch_size=4, first=2)
    plain = PlainVideos(path)
    batches = list(loader)
    assert [batch.epoch for batch in batches] == [0, 0, lists.WALK]
    total = sum(map(len, plain.paths)) + sum(plain.labels)
    assert batches[-1].clips.flatten().tolist() == [total % 251] * 3
    assert len(set(torch.cat([batch.records for batch in batches[:2]]).tolist())) == 8


def test_one_measurement(path):
    for side in ("ours", "plain"):
        found = lists.measure(side, path, workers=1)
        assert found.seconds > 0 and found.pss_mib > 10 and found.peak_mib > 10
        assert len(found.digest) == 50 and found.digest[0][0].startswith(str(path.parent))


def test_a_side_that_fails_says_why(tmp_path):
    with pytest.raises(UserError, match="^the plain side failed: FileNotFoundError"):
        lists.measure("plain", tmp_path / "train.csv", workers=1)


def fake(monkeypatch, seconds, memory, other=()):
    """Let measurements of ours with the large list take so much, of the plain side twice of it; return the calls."""
    calls = []

    def measure(side, path, workers):
        calls.append((side, path.parent.name, workers))
        large, times = path.parent.name == "large", 2 if side == "plain" else 1
        digest = [("a.mp4", 1)] if (side, path.parent.name) not in other else []
        return lists.ListRun(seconds * times, 100 + memory * times * large, 50 + 10 * times * large, digest)

    monkeypatch.setattr(lists, "measure", measure)
    return calls


@pytest.mark.parametrize(
    ("seconds", "memory", "code", "last"),
    [
        (9.0, 280.0, 0, "within bounds: 286 MiB (300 MB) and 10 s"),
        (11.0, 280.0, 1, "11.0 s to the first batch, more than 10 s"),
        (9.0, 290.0, 1, "290 MiB, more than 286 MiB"),
        (11.0, 290.0, 1, "11.0 s to the first batch, more than 10 s; 290 MiB, more than 286 MiB"),
    ],
)
def test_bounds_and_table(monkeypatch, capsys, tmp_path, seconds, memory, code, last):
    calls, out = fake(monkeypatch, seconds, memory), tmp_path / "lists.json"
    arguments = ["lists", "--records", "200", "--workers", "3", "--repeats", "2", "--json", str(out)]
    assert benchmark.main(arguments) == code
    sides = [(side, size, 3) for size in ("tiny", "large") for side in ("ours", "plain")]
    assert calls == sides * 2
    heading, timed, kept, peak, verdict = capsys.readouterr().out.splitlines()
    assert heading == benchmark_timing.HEADING and verdict == last
    assert timed.startswith("lists.200 records, 3 workers, to the first batch") and " 2.00x" in timed
    assert kept.startswith("lists.200 records, 3 workers, PSS of all") and f"{memory:.0f} MiB   2.00x" in kept
    assert peak == "highest of the main process, above a tiny list: plain 20 MiB, ours 10 MiB"
    timing, kept = json.loads(out.read_text())
    assert (timing["ours_s"], timing["plain_s"], timing["ratio"]) == (seconds, 2 * seconds, 2)
    assert (kept["ours_mib"], kept["plain_mib"], kept["ratio"]) == (memory, 2 * memory, 0.5)
    assert kept["allowed_mib"] == pytest.approx(286.1, abs=0.1)


def test_two_sides_that_differ_are_a_fault(monkeypatch, capsys):
    fake(monkeypatch, 1, 1, other=[("plain", "large")])
    assert benchmark.main(["lists", "--records", "200", "--workers", "1"]) == 2
    assert capsys.readouterr().err.strip().endswith("both sides read different records of one list")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--records", "0"], "--records must be 1 or more, got 0"),
        (["--workers", "0"], "--workers must be 1 or more, got 0"),
        (["--records", "20"], "--records must be 64 or more for 4 workers"),
    ],
)
def test_wrong_arguments(capsys, arguments, message):
    assert benchmark.main(["lists", *arguments]) == 2
    assert capsys.readouterr().err.strip().endswith(message)
