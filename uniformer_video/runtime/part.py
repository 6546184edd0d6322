"""A partial file that one process writes at a time, and a note of where its bytes came from."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.transfer import Origin

try:
    import fcntl
except ImportError:  # Windows: there every process downloads for itself
    fcntl = None

logger = get_logger(__name__)

_LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Part:
    """A partial file that this process alone writes.

    Args:
        path: of the file.
        file: open for reading and appending, unbuffered.
        kept: whether it may be left for a later call to go on from.
    """

    path: Path
    file: IO[bytes]
    kept: bool

    @property
    def notes(self) -> Path:
        """Return where the note of the bytes' origin lies."""
        return self.path.with_name(self.path.name + ".json")

    def length(self) -> int:
        """Return the bytes there are."""
        return os.fstat(self.file.fileno()).st_size

    def origin(self) -> Origin | None:
        """Return what the bytes are of; None where no note says it."""
        return read_note(self.notes)

    def note(self, origin: Origin) -> None:
        """Write down what the bytes are of. Half a note, of a killed process, is no JSON and counts as none."""
        self.notes.write_text(json.dumps(asdict(origin)), encoding="utf-8")

    def finish(self, path: Path, note_to: Path | None = None) -> None:
        """Rename the file to ``path``, once its bytes are on the disk, and its note to ``note_to``, where given."""
        os.fsync(self.file.fileno())
        os.replace(self.path, path)
        if note_to is not None and self.notes.exists():
            os.replace(self.notes, note_to)
        self.notes.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the file and its note."""
        self.path.unlink(missing_ok=True)
        self.notes.unlink(missing_ok=True)


def read_note(path: Path) -> Origin | None:
    """Return the origin that a note tells; None where there is none, or half of one."""
    try:
        return Origin(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def part_path(path: Path) -> Path:
    """Return where the bytes of ``path`` gather that all processes share."""
    return path.with_name(path.name + ".part")


@contextmanager
def claimed_part(path: Path, patience_seconds: float) -> Iterator[Part | None]:
    """Yield the partial file of ``path`` (:func:`part_path`) for this process alone.

    The lock is the system's, on the partial file itself: it ends with the process that has it, so none is ever stale.
    Another process or thread that holds it is waited for. Where that one shows no sign of life, or the disk knows no
    locks, this one works on a file of its own, which a later call does not find.

    Args:
        path: the file in the making; its folder exists.
        patience_seconds: how long a partial file that another process holds may stay as it is.

    Yields:
        The partial file, or None when another process finished ``path`` meanwhile.
    """
    shared = part_path(path)
    seen, since, waited = -1, time.monotonic(), False
    while True:
        with open(shared, "a+b", buffering=0) as file:
            locked = _lock(file)
            # Between opening and locking another process may have renamed or removed it.
            if locked and _is_still(shared, file):
                done = waited and path.exists()
                with _tidied(Part(shared, file, kept=True)) as part:
                    yield None if done else part
                return
            size = os.fstat(file.fileno()).st_size
        if locked:
            continue
        if size != seen:
            seen, since = size, time.monotonic()
        if locked is None or time.monotonic() - since > patience_seconds:
            break
        if not waited:
            logger.info("another process downloads %s; waiting for it", path.name)
            waited = True
        time.sleep(_LOOK_SECONDS)
    own = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    with open(own, "x+b", buffering=0) as file, _tidied(Part(own, file, kept=False)) as part:
        yield part


@contextmanager
def _tidied(part: Part) -> Iterator[Part]:
    """Leave no partial file that is empty, or that nobody would find."""
    try:
        yield part
    finally:
        if _is_still(part.path, part.file) and not (part.kept and part.length()):
            part.remove()


def _lock(file: IO[bytes]) -> bool | None:
    """Return whether this process now holds ``file`` alone; None where the disk, or the system, knows no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _is_still(path: Path, file: IO[bytes]) -> bool:
    """Say whether the open ``file`` is what lies at ``path``."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    return False
