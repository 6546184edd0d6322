"""What a user did wrong, told apart from what we did wrong.

Command lines catch :class:`UserError` alone, print it as one line and exit with code 2. Every other exception is a
defect of this project and shows its traceback.
"""

from __future__ import annotations

import errno
import os

_NO_ROOM = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)}


class UserError(ValueError):
    """A mistake in a user's configuration, file, list or command line.

    The message is one line: what is wrong, where (file and line, configuration key), what is allowed, what to do.
    Line breaks in ``message`` (for example from a library's own error text) become spaces.
    """

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(str(message).split()))


class ConfigError(UserError):
    """A configuration file, key or value that cannot be used."""


class DataError(UserError):
    """An annotation file, a folder or a data set that cannot be used."""


class WeightError(UserError):
    """A weight file or checkpoint that cannot be used."""


class DamagedFile(WeightError):
    """A weight file or checkpoint that was not written or copied whole: empty, cut off, or changed since."""


class RefusedFile(WeightError):
    """A weight file or checkpoint that holds objects whose building could run code; nothing of it was built."""


class WriteError(UserError):
    """A file that the system does not let us write: a full disk, a folder that is missing or not ours, a fault."""


def write_error(path: str | os.PathLike[str], error: OSError) -> WriteError:
    """Return the line for a user whose ``path`` cannot be written: file, the system's reason, what to do."""
    reason = error.strerror or str(error) or type(error).__name__
    # Without a number it is numpy's word for a short write.
    if error.errno in _NO_ROOM or error.errno is None:
        advice = "make room there and run the same command again"
    else:
        advice = f"check the folder {os.path.dirname(path) or '.'!r} and run the same command again"
    return WriteError(f"{os.fspath(path)!r} cannot be written ({reason}); {advice}")
