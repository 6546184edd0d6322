"""What chaos.py makes of its cases: verdicts, the table, results.json."""

from __future__ import annotations

import json

from tests.tools.chaos_path import bench

# isort: split
import chaos_bench
from chaos_cases import Case, Skipped, all_held, case_name, describe, run_case, table, write_results


def something_done(bench, case):
    """Something is done,
    over two lines.

    More about it.
    """
    case.fact("seen 3", number=3)
    (bench.case / "file").touch()


def goes_wrong(bench, case):
    """It goes wrong."""
    assert not case.require(False, "one")
    assert not case.require_none(["two", "three"], "place")
    assert case.require(True, "not told") and case.require_none([], "place")
    case.require(False, "four")
    case.fact("seen")


def breaks(bench, case):
    """The harness breaks."""
    raise RuntimeError("a defect")


def cannot(bench, case):
    """It cannot be tried."""
    raise Skipped("no mounts here")


def leaves_a_process(bench, case):
    """A process is left."""
    bench.launch(["sleep", "100"])


def test_a_case_that_held_leaves_nothing(tmp_path):
    made, said = bench(tmp_path)
    case = run_case("sub", something_done, made)
    assert (case.subcommand, case.name, case.done) == ("sub", "something-done", "Something is done, over two lines")
    assert (case.verdict, case.found, case.figures) == ("held", "seen 3", {"number": 3})
    assert case.seconds > 0
    assert not (tmp_path / "sub-something-done").exists()
    assert said[0] == "sub something-done: Something is done, over two lines"
    assert "held after" in said[1]


def test_a_case_that_failed_tells_the_first_problems_and_keeps_its_folder(tmp_path):
    made, _ = bench(tmp_path)
    case = run_case("sub", goes_wrong, made)
    assert case.verdict == "FAILED"
    assert case.problems == ["one", "place: two", "place: three", "four"]
    assert case.found == "one; place: two; place: three; and 1 more; seen"
    assert (tmp_path / "sub-goes-wrong").is_dir()


def test_a_defect_of_the_harness_is_no_success_and_shows_its_traceback(tmp_path):
    made, said = bench(tmp_path)
    case = run_case("sub", breaks, made)
    assert (case.verdict, case.found) == ("FAILED", "RuntimeError: a defect")
    assert any("Traceback" in text for text in said)


def test_what_cannot_be_tried_neither_held_nor_failed(tmp_path):
    made, _ = bench(tmp_path)
    case = run_case("sub", cannot, made)
    assert (case.verdict, case.found) == ("skipped", "no mounts here")
    assert not all_held([case])
    held = run_case("sub", something_done, made)
    assert all_held([case, held])
    assert not all_held([held, run_case("sub", breaks, made)])
    assert not all_held([])


def test_a_process_that_is_left_is_a_problem(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos_bench, "END_S", 0.2)
    made, _ = bench(tmp_path)
    case = run_case("sub", leaves_a_process, made)
    assert case.verdict == "FAILED" and "1 processes were left" in case.found


def test_draws_of_a_case_depend_on_its_name_and_the_seed_alone(tmp_path):
    def drawn(seed, *before):
        made, _ = bench(tmp_path, seed=seed)
        for name in before:
            made.begin(name)
            made.random.random()
        made.begin("last")
        return made.random.random()

    assert drawn(0) == drawn(0, "first") != drawn(1)
    made, _ = bench(tmp_path)
    made.begin("other")
    assert made.random.random() != drawn(0)


def test_table_and_results(tmp_path):
    cases = [
        Case("kills", "kills", "runs are killed", facts=["100 kills"]),
        Case("files", "full-disk", "no room", problems=["lost"]),
        Case("files", "read-only", "no right", skipped="root"),
        Case("files", "quiet", "nothing"),
    ]
    lines = table(cases).splitlines()
    assert lines[0] == "held     kills kills      runs are killed"
    assert lines[1].strip() == "-> 100 kills"
    assert lines[2].startswith("FAILED   files full-disk") and lines[3].strip() == "-> lost"
    assert lines[4].startswith("skipped  files read-only") and lines[5].strip() == "-> root"
    assert lines[7].strip() == "-> nothing to tell"
    assert lines[-1] == "2 held, 1 FAILED, 1 skipped"
    assert table([]) == "no case"
    write_results(tmp_path / "results.json", cases, {"seed": 3})
    content = json.loads((tmp_path / "results.json").read_text())
    assert (content["seed"], content["held"]) == (3, False)
    assert [entry["verdict"] for entry in content["cases"]] == ["held", "FAILED", "skipped", "held"]
    assert content["cases"][1]["problems"] == ["lost"]


def test_names():
    assert case_name(leaves_a_process) == "leaves-a-process"
    assert describe(breaks) == "The harness breaks"
