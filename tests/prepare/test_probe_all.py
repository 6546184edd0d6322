"""Probing many videos: what is remembered, what is asked again, and what a crash becomes."""

from __future__ import annotations

import json
import os

import pytest

from tests.helpers import moving_square, write_video
from uniformer_video.prepare import probe_all as module
from uniformer_video.prepare.crew import Outcome
from uniformer_video.prepare.probe_all import ProbeCache, probe_all, probe_mode
from uniformer_video.runtime.errors import WriteError
from uniformer_video.video.probe import Probe

FULL, FAST = probe_mode(True), probe_mode(False)


@pytest.fixture
def asked(monkeypatch):
    """Return the paths that are really probed; each is said to be good."""
    paths = []

    def probe(path, *, full, timeout_seconds, image_template):
        paths.append(path)
        return Probe(path, ok=True, frames=7 if full else 1)

    monkeypatch.setattr(module, "probe_video", probe)
    return paths


def file(tmp_path, name, text="x"):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def test_each_path_is_probed_once(tmp_path, asked):
    a, b = file(tmp_path, "a"), file(tmp_path, "b")
    probes = probe_all([a, b, a], workers=0)
    assert asked == [a, b]
    assert probes == {a: Probe(a, ok=True, frames=7), b: Probe(b, ok=True, frames=7)}


def test_what_is_known_is_not_asked_again_until_it_changes(tmp_path, asked):
    a, b = file(tmp_path, "a"), file(tmp_path, "b")
    for _ in range(2):
        with ProbeCache(tmp_path / "cache") as cache:
            first = probe_all([a, b], workers=0, cache=cache)
    assert asked == [a, b]
    file(tmp_path, "b", "longer")
    os.utime(a, ns=(0, 0))  # same size, another time
    with ProbeCache(tmp_path / "cache") as cache:
        assert probe_all([a, b], workers=0, cache=cache) == first
    assert asked == [a, b, a, b]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_line(tmp_path, asked):
    cache_file = tmp_path / "cache"
    cache_file.symlink_to("/dev/full")
    paths = [file(tmp_path, name) for name in "ab"]
    with pytest.raises(WriteError) as error, ProbeCache(None) as cache:  # what is read of the device has no end
        cache.path = cache_file
        probe_all(paths, workers=0, cache=cache)
    assert str(error.value) == (
        f"'{cache_file}' cannot be written (No space left on device); make room there and run the same command again"
    )
    assert asked == paths[:1]


def test_a_full_probe_answers_for_headers_but_not_the_other_way_round(tmp_path, asked):
    a, b = file(tmp_path, "a"), file(tmp_path, "b")
    with ProbeCache(tmp_path / "cache") as cache:
        probe_all([a], full=True, workers=0, cache=cache)
        probe_all([b], full=False, workers=0, cache=cache)
        assert probe_all([a], full=False, workers=0, cache=cache)[a].frames == 7
        assert probe_all([b], full=True, workers=0, cache=cache)[b].frames == 7
    assert asked == [a, b, b]


def test_another_template_is_another_question(tmp_path, asked):
    a = file(tmp_path, "a")
    with ProbeCache(tmp_path / "cache") as cache:
        probe_all([a], workers=0, cache=cache)
        probe_all([a], workers=0, cache=cache, image_template="img_{:05d}.jpg")
    assert asked == [a, a]


def test_every_result_is_on_disk_at_once_and_half_a_line_does_no_harm(tmp_path, asked):
    a, b = file(tmp_path, "a"), file(tmp_path, "b")
    cache = ProbeCache(tmp_path / "cache")
    cache.add(Probe(a, ok=True, frames=7), FULL)
    cache.add(Probe(b, ok=True, frames=7), FULL)
    lines = (tmp_path / "cache").read_text()  # the cache is still open
    assert lines.count("\n") == 2
    (tmp_path / "cache").write_text(lines[:-20])
    with ProbeCache(tmp_path / "cache") as again:
        assert (again.find(a, FULL), again.find(b, FULL)) == (Probe(a, ok=True, frames=7), None)


@pytest.mark.parametrize(
    "line", ["", "nonsense", "[]", "1", '{"key": "x"}', '{"key": "x", "stamp": "", "probe": {"y": 1}}']
)
def test_lines_of_another_kind_are_passed_over(tmp_path, line):
    (tmp_path / "cache").write_text(line + "\n")
    assert ProbeCache(tmp_path / "cache").find("x", FULL) is None


def test_faults_that_may_pass_are_not_remembered(tmp_path):
    a = file(tmp_path, "a")
    with ProbeCache(tmp_path / "cache") as cache:
        for kind in ("timeout", "crash", "missing"):
            cache.add(Probe(a, reason="x", kind=kind), FULL)
            assert cache.find(a, FULL) is None
        cache.add(Probe(a, reason="x", kind="damaged"), FULL)
        assert cache.find(a, FULL).kind == "damaged"
    assert len((tmp_path / "cache").read_text().splitlines()) == 1


def test_no_cache_file_for_nothing(tmp_path):
    with ProbeCache(tmp_path / "cache"):
        pass
    assert not (tmp_path / "cache").exists()


def test_a_crash_and_a_hang_are_faults_of_their_files(tmp_path, monkeypatch):
    def crew(function, items, **_):
        yield Outcome(1, None, "took longer than 9 seconds")
        yield Outcome(0, None, "the process that read it crashed (SIGSEGV)")

    monkeypatch.setattr(module, "run_crew", crew)
    probes = probe_all(["a", "b"], workers=2)
    assert [(probes[p].ok, probes[p].kind, probes[p].reason) for p in "ab"] == [
        (False, "crash", "the process that read it crashed (SIGSEGV)"),
        (False, "timeout", "took longer than 9 seconds"),
    ]


@pytest.mark.parametrize(("seconds", "limit"), [(0, 0), (60, 100), (2, 13)])
def test_what_hangs_is_killed_after_its_own_limit(monkeypatch, seconds, limit):
    seen = []
    monkeypatch.setattr(module, "run_crew", lambda *_, limit_seconds, **__: seen.append(limit_seconds) or iter(()))
    probe_all([], timeout_seconds=seconds)
    assert seen == [limit]


def test_real_videos_by_a_process_of_its_own(tmp_path):
    for n in range(3):
        write_video(tmp_path / f"{n}.mp4", moving_square(5 + n, 32, 32))
    (tmp_path / "bad.mp4").write_bytes(b"")
    paths = [str(p) for p in sorted(tmp_path.glob("*.mp4"))]
    with ProbeCache(tmp_path / "cache") as cache:
        probes = probe_all(paths, workers=1, timeout_seconds=30, cache=cache)
    assert [probes[p].frames for p in paths] == [5, 6, 7, 0]
    assert probes[paths[3]].kind == "empty"
    assert len({json.loads(line)["key"] for line in (tmp_path / "cache").read_text().splitlines()}) == 4
