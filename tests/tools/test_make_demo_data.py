"""The command line of the demonstration set, run as a user runs it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).resolve().parents[2] / "tools" / "make_demo_data.py"


def run(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


def test_writes_a_set_from_any_folder_over_processes_and_keeps_it(tmp_path):
    arguments = ("--out", "demo", "--train", 5, "--val", 1, "--test", 1, "--seed", 5)
    done = run(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "70 videos of 10 classes in demo (DATA.PATH_TO_DATA_DIR demo)\n")
    assert "writing videos: 100%" in done.stderr
    assert len(list((tmp_path / "demo").rglob("*.mp4"))) == 70  # enough for two processes

    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*")}
    again = run(*arguments, cwd=tmp_path)
    assert (again.returncode, again.stderr) == (0, "")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "demo").rglob("*")} == stamps


def test_help_shows_examples(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "python tools/make_demo_data.py --out data/demo" in done.stdout
    for option in ("--out DIR", "--train N", "--val N", "--test N", "--seed S"):
        assert option in done.stdout


@pytest.fixture
def tool():
    spec = importlib.util.spec_from_file_location("make_demo_data", TOOL)
    module = importlib.util.module_from_spec(spec)
    path = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = path
    return module


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train", "0"], "0 train videos per class: it must be from 1 to 9999"),
        (["--seed", "-1"], "seed -1: it must be 0 or more"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(tool, tmp_path, capsys, arguments, message):
    assert tool.main(["--out", str(tmp_path / "set"), *arguments]) == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", f"error: {message}\n")


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    done = run("--out", "file/set", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: folder 'file/set' cannot be written")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [[], ["--out"], ["--out", "x", "--train", "many"]])
def test_a_wrong_command_line(tool, capsys, arguments):
    with pytest.raises(SystemExit) as raised:
        tool.main(arguments)
    assert raised.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.endswith("--help\n")
    assert error.count("\n") == 1


def test_default_size(tool):
    options = tool.parse(["--out", "x"])
    assert (options.train, options.val, options.test, options.seed) == (40, 10, 10, 0)
