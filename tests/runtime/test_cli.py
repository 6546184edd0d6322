"""How a command line ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from uniformer_video.runtime.cli import (
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    ArgumentParser,
    print_error,
    run_command,
    run_named,
)
from uniformer_video.runtime.errors import ConfigError, DataError, UserError, WeightError


def raising(error: BaseException):
    def command() -> int:
        raise error

    return command


@pytest.mark.parametrize("code", [0, 1, 7])
def test_a_command_gives_its_own_exit_code_and_prints_nothing(code, capfd):
    assert run_command(lambda: code) == code
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", [UserError, ConfigError, DataError, WeightError])
def test_a_mistake_of_the_user_is_one_line_on_standard_error_and_code_2(kind, capfd):
    assert run_command(raising(kind("a.csv:3: no label;\n write `path label`"))) == EXIT_USER_ERROR == 2
    assert capfd.readouterr() == ("", "error: a.csv:3: no label; write `path label`\n")


@pytest.mark.parametrize("error", [ValueError("x"), AssertionError("x"), OSError("x"), SystemExit(3)])
def test_everything_else_goes_through_with_its_traceback(error, capfd):
    with pytest.raises(type(error)) as caught:
        run_command(raising(error))
    assert caught.value is error
    assert capfd.readouterr() == ("", "")


def test_ctrl_c_is_one_word_and_code_130(capfd):
    assert run_command(raising(KeyboardInterrupt())) == EXIT_INTERRUPTED == 130
    assert capfd.readouterr() == ("", "interrupted\n")


WRITERS = {
    "many lines": "for i in range(100000): print(i)",
    "few lines": "print(1)",
    "the log": "from tqdm import tqdm\n for i in range(9): tqdm.write('x', file=sys.stdout); sys.stdout.flush()",
    "errors": "for i in range(9): print('x', file=sys.stderr)",
    "a mistake": "from uniformer_video.runtime.errors import UserError\n raise UserError('x')",
}


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_reader_that_goes_ends_it_without_a_word(writer, unbuffered):
    program = f"""
import sys
from uniformer_video.runtime.cli import run_command
def command():
 sys.stdin.readline()  # the reader is gone then
 {WRITERS[writer]}
 return 0
sys.exit(run_command(command))
"""
    # Standard error too where that is what is written, as in `2>&1 | head`.
    both = writer in ("errors", "a mistake")
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if both else subprocess.PIPE,
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
        text=True,
    )
    process.stdout.close()
    process.stdin.write("go\n")
    process.stdin.close()
    error = "" if both else process.stderr.read()
    if not both:
        process.stderr.close()
    assert (process.wait(30), error) == (141, "")


def test_a_pipe_of_ours_that_breaks_is_a_defect(capfd):
    with pytest.raises(BrokenPipeError):
        run_command(raising(BrokenPipeError(32, "Broken pipe")))
    print("still there")
    assert capfd.readouterr() == ("still there\n", "")


def test_what_was_printed_before_stands_before_the_error(capfd):
    print("first")
    print_error(UserError("then"))
    out, err = capfd.readouterr()
    assert (out, err) == ("first\n", "error: then\n")


def test_a_wrong_command_line_is_one_line_and_code_2(capfd):
    parser = ArgumentParser("Does it.", "examples:\n  it --n 3", prog="it")
    parser.add_argument("--n", type=int)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(["--n", "three"])
    assert ended.value.code == 2
    assert capfd.readouterr() == ("", "error: argument --n: invalid int value: 'three'; see it --help\n")


def test_help_keeps_the_lines_of_its_examples():
    text = ArgumentParser("Does it.", "examples:\n  it --n 3\n  it --n 4", prog="it").format_help()
    assert "Does it." in text
    assert text.endswith("examples:\n  it --n 3\n  it --n 4\n")


@pytest.mark.parametrize(("words", "code"), [([], 2), (["-h"], 0), (["--help", "x"], 0)])
def test_a_command_of_many_tells_how_it_is_used(words, code, capsys):
    assert run_named(words, lambda: "usage: x", lambda *_: pytest.fail("ran")) == code
    assert capsys.readouterr() == ("usage: x\n", "")


def test_the_first_word_names_what_is_done(monkeypatch, capsys):
    seen = []
    assert run_named(["one", "a", "b"], str, lambda *given: seen.append(given) or 1) == 1
    monkeypatch.setattr(sys, "argv", ["x.py", "two"])
    assert run_named(None, str, lambda *given: seen.append(given) or 0) == 0
    assert seen == [("one", ["a", "b"]), ("two", [])]

    def wrong(*_):
        raise UserError("no such thing")

    assert run_named(["three"], str, wrong) == 2
    assert capsys.readouterr().err == "error: no such thing\n"
