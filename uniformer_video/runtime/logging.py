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

T = TypeVar("T")

LOGGER_NAME = "uniformer_video"
STATS_PREFIX = "json_stats: "


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module of the package (pass ``__name__``)."""
    return logging.getLogger(name)


class _ConsoleHandler(logging.Handler):
    """Prints above a progress bar that may be on the screen; leaves json_stats lines to the file."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith(STATS_PREFIX)

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


def setup_logging(output_dir: Path | None, *, main: bool = True, rank: int = 0) -> None:
    """Send the package's log to the console and to ``output_dir/stdout.log``.

    Calling it again replaces what an earlier call set up. Other libraries' loggers are left alone.

    Args:
        output_dir: folder of the log file, which is appended to; None: console only.
        main: the process that writes to the console and ``stdout.log``; the others write warnings and errors to
            ``stdout.rank<N>.log``.
        rank: number of the process.
    """
    logger = logging.getLogger(LOGGER_NAME)
    logger.propagate = False
    logger.setLevel(logging.INFO)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    handlers: list[logging.Handler] = []
    if main:
        handlers.append(_ConsoleHandler())
    if output_dir is not None:
        name = "stdout.log" if main else f"stdout.rank{rank}.log"
        handlers.append(logging.FileHandler(output_dir / name, encoding="utf-8", delay=not main))
    for handler in handlers:
        handler.setFormatter(logging.Formatter("[%(asctime)s %(levelname).1s] %(message)s", "%m-%d %H:%M:%S"))
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


def progress(items: Iterable[T], *, total: int, label: str, unit: str = "it") -> Iterator[T]:
    """Yield ``items``, behind a progress bar where standard error is a terminal and this is the main process."""
    silent = not (on_terminal() and distributed.is_main())
    bar = tqdm(items, total=total, desc=label, unit=unit, leave=False, dynamic_ncols=True, disable=silent)
    try:
        yield from bar
    finally:
        bar.close()


def on_terminal() -> bool:
    """Return whether standard error is a terminal."""
    return sys.stderr.isatty()
