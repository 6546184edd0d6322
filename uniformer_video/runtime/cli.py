"""How every command line ends: a user's mistake is one line and exit code 2, a defect of ours shows its traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from uniformer_video.runtime.errors import UserError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def print_error(error: UserError) -> None:
    """Print a user's mistake as one line on standard error."""
    sys.stdout.flush()
    print(f"error: {error}", file=sys.stderr, flush=True)


def run_command(command: Callable[[], int]) -> int:
    """Return the exit code of ``command()``: its own, 2 after a ``UserError``, 130 after Ctrl-C."""
    try:
        return command()
    except UserError as error:
        print_error(error)
        return EXIT_USER_ERROR
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        return EXIT_INTERRUPTED
