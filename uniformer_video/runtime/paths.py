"""Paths: reading through iopath, writing beside and renaming."""

from __future__ import annotations

import io
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from iopath.common.file_io import PathManager

from uniformer_video.runtime.errors import UserError, write_error
from uniformer_video.runtime.web_cache import WebHandler

PATHS = PathManager()
"""Opens configurations, weight files and checkpoints; web addresses by way of the cache. More handlers (S3, ...) can be
registered on it, also for the addresses of one host."""
PATHS.register_handler(WebHandler())

_LEFTOVER = re.compile(r"\..+\.[a-z0-9_]{8}\.part")
"""Names of :func:`atomic_write`'s temporary files; the eight letters are ``tempfile``'s."""

# Of a name in the temporary one: with 60 characters that stays below the 255 bytes that file systems take.
_KEPT_OF_NAME = 60


class _Raw(io.FileIO):
    """A file that remembers the system's first refusal to write, whatever a library makes of the exception."""

    refusal: OSError | None = None

    def write(self, data: bytes | memoryview) -> int | None:
        try:
            return super().write(data)
        except OSError as error:
            self.refusal = self.refusal or error
            raise


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO]:
    """Open a temporary file beside ``path`` and rename it over ``path`` on a clean exit.

    A reader sees the old file or the whole new one, after a crash of the machine too: the file and its folder are
    flushed to the disk. On an exception the temporary file is removed and ``path`` stays as it was.

    Args:
        path: the file to write; its folder must exist.
        mode: ``"w"`` for UTF-8 text or ``"wb"`` for bytes.

    Raises:
        WriteError: one line with the file, the system's reason and what to do, where it cannot be written. An
            ``OSError`` from inside the ``with`` block counts as one, unless it names another file.
    """
    path = Path(path)
    raw: _Raw | None = None
    file: IO | None = None
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=_prefix(path), suffix=".part")
        raw = _Raw(handle, "wb")
        # mkstemp makes the file private; give it what a plain open() would have.
        umask = os.umask(0)
        os.umask(umask)
        os.fchmod(handle, 0o666 & ~umask)
        file = io.BufferedWriter(raw)
        if "b" not in mode:
            file = io.TextIOWrapper(file, encoding="utf-8", newline="")
        yield file
        file.flush()
        os.fsync(handle)
        file.close()
        os.replace(temporary, path)
    except BaseException as error:
        # Closing tries to write what is still held back: its failure must not hide why we are here.
        for opened in (file, raw):
            if opened is not None:
                with suppress(OSError):
                    opened.close()
        if temporary:
            with suppress(OSError):
                os.unlink(temporary)
        refusal = _refusal(error, raw, {str(path), temporary})
        if refusal is None:
            raise
        raise write_error(path, refusal) from error
    _flush_folder(path.parent)


def _prefix(path: Path) -> str:
    return f".{path.name[:_KEPT_OF_NAME]}."


def _refusal(error: BaseException, raw: _Raw | None, ours: set[str]) -> OSError | None:
    """Return the system's refusal behind an exception; None where there is none, or the run is to end anyway."""
    if not isinstance(error, Exception):
        return None
    if raw is not None and raw.refusal is not None:
        return raw.refusal  # torch and zipfile put errors of their own on top
    if not isinstance(error, OSError):
        return None
    named = [os.fspath(name) for name in (error.filename, error.filename2) if isinstance(name, str | os.PathLike)]
    # mkstemp names a file of its own that was not made.
    return error if not named or raw is None or ours & set(named) else None


def _flush_folder(folder: Path) -> None:
    """Have the new name on the disk too; where a system cannot flush a folder, the rename alone must do."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def leftovers(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the temporary files that killed runs left in ``folder`` itself, by name; none where it is missing.

    Files that are being written at the moment look the same: for folders that one run writes.
    """
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    found = (Path(folder) / name for name in names if _LEFTOVER.fullmatch(name))
    return [path for path in found if path.is_file() and not path.is_symlink()]


def make_folder(path: str | os.PathLike[str]) -> Path:
    """Create the folder ``path``, and those above it, where they are missing.

    Raises:
        WriteError: as :func:`atomic_write`.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise write_error(path, error) from None
    return Path(path)


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
