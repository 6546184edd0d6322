"""Paths: reading through iopath, writing beside and renaming."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from iopath.common.file_io import PathManager

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.web_cache import WebHandler

PATHS = PathManager()
"""Opens configurations, weight files and checkpoints; web addresses by way of the cache. More handlers (S3, ...) can be
registered on it, also for the addresses of one host."""
PATHS.register_handler(WebHandler())


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it over ``path`` on a clean exit.

    A reader sees the old file or the whole new one. On an exception the temporary file is removed and ``path`` stays
    as it was.

    Args:
        path: the file to write; its folder must exist.
        mode: ``"w"`` for UTF-8 text or ``"wb"`` for bytes.
    """
    path = Path(path)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    try:
        # mkstemp makes the file private; give it what a plain open() would have.
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        with os.fdopen(handle, mode, **({} if "b" in mode else {"encoding": "utf-8", "newline": ""})) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def make_output_dir(path: str | os.PathLike[str], key: str = "OUTPUT_DIR") -> Path:
    """Create the folder ``path`` if needed and prove by a trial file that it can be written.

    Raises:
        UserError: naming ``key`` and the system's reason.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".trial."):
            pass
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{key} {str(folder)!r} cannot be written ({reason}); set {key} to a folder of yours") from None
    return folder
