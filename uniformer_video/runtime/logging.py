"""Console and log file, one JSON line for each period, progress bars."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import simplejson
from tqdm import tqdm

from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import write_error

T = TypeVar("T")

LOGGER_NAME = "uniformer_video"
STATS_PREFIX = "json_stats: "
OF_THIS_PROCESS = {"of_this_process": True}
"""``extra`` of a warning that no other process of the run gives: ``logger.warning(text, extra=OF_THIS_PROCESS)``."""


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module of the package (pass ``__name__``)."""
    return logging.getLogger(name)


class _Steady(logging.Handler):
    """A handler that a full disk does not stop, nor bring to print a traceback for every line."""

    place = "the log"
    complained = False

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say once what is wrong; a mistake in a logging call of ours shows as ever."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.complained:
            self.complained = True
            with suppress(OSError):  # standard error may lie on the same disk
                reason = error.strerror or str(error)
                print(f"warning: {self.place} cannot be written ({reason}); going on", file=sys.stderr, flush=True)


class _ConsoleHandler(_Steady):
    """Prints above a progress bar that may be on the screen; leaves json_stats lines to the file."""

    place = "standard output"

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(STATS_PREFIX)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            tqdm.write(self.format(record), file=sys.stdout)
            sys.stdout.flush()
        except BrokenPipeError:  # the reader has gone (| head): the command ends by itself
            raise
        except Exception:
            self.handleError(record)


class _FileHandler(_Steady, logging.FileHandler):
    """Appends to a file; what a full disk did not take is lost."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, encoding="utf-8")
        self.place = f"the log file {str(path)!r}"

    def close(self) -> None:
        with suppress(OSError):  # of lines that a full disk does not take at the end either
            super().close()


class _ErrorHandler(_Steady):
    """Prints errors, and warnings that are of one process alone, to what is standard error at the time.

    All processes of a run warn of the same settings and files; the main one says it for all.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.ERROR or getattr(record, "of_this_process", False)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            print(self.format(record), file=sys.stderr, flush=True)
        except Exception:
            self.handleError(record)


def setup_logging(output_dir: Path | None, *, main: bool = True, rank: int = 0) -> None:
    """Send the package's log to the console and to ``output_dir/stdout.log``.

    Calling it again replaces what an earlier call set up. Other libraries' loggers are left alone.

    Args:
        output_dir: folder of the log file, which is appended to; None: console only.
        main: the process that writes to the console and ``stdout.log``. The others write no file: their errors,
            and the warnings that are theirs alone, go to standard error, with ``[rank N ...]`` in front.
        rank: number of the process.

    Raises:
        WriteError: the log file cannot be opened.
    """
    logger = logging.getLogger(LOGGER_NAME)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = [_ConsoleHandler() if main else _ErrorHandler()]
    if main and output_dir is not None:
        path = output_dir / "stdout.log"
        try:
            handlers.append(_FileHandler(path))
        except OSError as error:
            raise write_error(path, error) from None
    who = "" if main else f"rank {rank} "
    for handler in handlers:
        handler.setFormatter(logging.Formatter(f"[{who}%(asctime)s %(levelname).1s] %(message)s", "%m-%d %H:%M:%S"))
        handler.setLevel(logging.INFO if main else logging.WARNING)
        logger.addHandler(handler)


@cache
def log_once(logger: logging.Logger, text: str) -> None:
    """Log ``text`` as information, once in a process however often it is asked for."""
    logger.info("%s", text)


def log_json_stats(logger: logging.Logger, stats: dict[str, Any]) -> None:
    """Log ``stats`` as one ``json_stats`` line; numbers that JSON has no word for (NaN, infinity) become null.

    Numbers are rounded to eight significant digits, so that a small learning rate stays itself.
    """
    rounded = {k: float(f"{v:.8g}") if isinstance(v, float) else v for k, v in stats.items()}
    logger.info(STATS_PREFIX + simplejson.dumps(rounded, sort_keys=True, ignore_nan=True))


def read_json_stats(path: Path) -> list[dict[str, Any]]:
    """Return the ``json_stats`` entries of a log file, in order; none where the file is missing.

    A line that a killed run left unfinished is passed over.
    """
    if not path.exists():
        return []
    entries = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if STATS_PREFIX in line:
            with suppress(simplejson.JSONDecodeError):
                entries.append(simplejson.loads(line.split(STATS_PREFIX, 1)[1]))
    return entries


def progress(items: Iterable[T], *, total: int, label: str, unit: str = "it", start: int = 0) -> Iterator[T]:
    """Yield ``items``, behind a progress bar where standard error is a terminal and this is the main process."""
    silent = not (on_terminal() and distributed.is_main())
    bar = tqdm(
        items, total=total, initial=start, desc=label, unit=unit, leave=False, dynamic_ncols=True, disable=silent
    )
    try:
        yield from bar
    finally:
        bar.close()


def on_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()
