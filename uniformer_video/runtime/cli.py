"""How every command line ends: a user's mistake is one line and exit code 2, a defect of ours shows its traceback."""

from __future__ import annotations

import argparse
import os
import select
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn, TextIO

from uniformer_video.runtime.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_NO_READER = 141
"""What a shell shows for a program that SIGPIPE ended."""


class ArgumentParser(argparse.ArgumentParser):
    """An ``argparse.ArgumentParser`` that keeps the layout of its help, and whose errors are one line.

    Args:
        description: what the command does.
        examples: runnable lines, shown at the end of ``--help``.
        prog: name of the command; None: that of the program.
    """

    def __init__(self, description: str | None, examples: str = "", prog: str | None = None) -> None:
        layout = argparse.RawDescriptionHelpFormatter
        super().__init__(prog=prog, description=description, epilog=examples, formatter_class=layout)

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with exit code 2."""
        print_error(UserError(f"{message}; see {self.prog} --help"))
        sys.exit(EXIT_USER_ERROR)


def print_error(error: UserError) -> None:
    """Print a user's mistake as one line on standard error."""
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr, flush=True)


def run_command(command: Callable[[], int]) -> int:
    """Return the exit code of ``command()``: its own, 2 after a ``UserError``, 130 after Ctrl-C.

    Where the reader of what it prints has gone (``| head``), 141, and nothing more is printed.
    """
    try:
        code = _ended(command)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # It may be another pipe, to a worker process: a defect of ours.
        if not (_silence_without_reader(sys.stdout) | _silence_without_reader(sys.stderr)):
            raise
        return EXIT_NO_READER


def run_named(argv: Sequence[str] | None, usage: Callable[[], str], run: Callable[[str, list[str]], int]) -> int:
    """Return the exit code of a command whose first word names what is to be done.

    Args:
        argv: the words; None: those of the program.
        usage: gives the text that is printed without a word, or where it asks for help.
        run: does what the first word names with the others.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        print(usage())
        return 0 if words else EXIT_USER_ERROR
    return run_command(lambda: run(words[0], words[1:]))


def _ended(command: Callable[[], int]) -> int:
    try:
        return command()
    except UserError as error:
        print_error(error)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return EXIT_INTERRUPTED


def _silence_without_reader(stream: TextIO) -> bool:
    """Lead a stream whose reader has gone to nowhere, so that the interpreter's last flush does not complain."""
    try:
        number = stream.fileno()
    except (OSError, ValueError):  # a stream of a test, or one that is closed
        return False
    if not hasattr(select, "poll"):  # Windows
        return False
    poll = select.poll()
    poll.register(number, select.POLLOUT)
    gone = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if gone:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
    return gone
