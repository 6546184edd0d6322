"""When one reader gives way to another: the error that says so, and the one line in the log."""

from __future__ import annotations

from uniformer_video.runtime.logging import get_logger
from uniformer_video.video.reader import DecodeError

_LOGGER = get_logger(__name__)
# Kinds of files of which this process has said that another reader takes them.
_TOLD: set[str] = set()


class UnsupportedByBackendError(DecodeError):
    """A file that PyAV reads and a backend cannot, or not to the same bits.

    Attributes:
        kind: the reason without what is this one file's, so that files of one kind have it in common.
    """

    def __init__(self, path: str, cause: str, kind: str = "") -> None:
        super().__init__(path, cause)
        self.kind = kind or self.cause


def tell_once(backend: str, error: DecodeError, kind: str, instead: str = "pyav") -> None:
    """Log that another reader steps in for ``backend``, once for each kind of file."""
    if kind not in _TOLD:
        _TOLD.add(kind)
        line = "%s cannot read %s (%s); such files are read with %s"
        _LOGGER.warning(line, backend, error.path, error.cause, instead)
