"""How a command line ends."""

from __future__ import annotations

import pytest

from uniformer_video.runtime.cli import EXIT_INTERRUPTED, EXIT_USER_ERROR, ArgumentParser, print_error, run_command
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
