"""Whether the content of a file is what its name says, where no hash of the published file is known."""

from __future__ import annotations

import os
from collections.abc import Callable

from uniformer_video.models.inspect import inspect_content
from uniformer_video.models.weight_files import MissingPackage, described, named_tensors, read_content
from uniformer_video.models.zoo_table import ZooEntry
from uniformer_video.runtime.errors import WeightError


def wanted(entry: ZooEntry) -> str:
    """Return what the file of an entry is, in words."""
    return f"{entry.network} with {entry.classes} classes"


def no_weights(path: str | os.PathLike[str]) -> str:
    """Return why a file holds no weights, as a sentence about it; empty: it does.

    Raises:
        MissingPackage: another installation could read it.
    """

    def look(content: object) -> str:
        named_tensors(content, "it")
        return ""

    return _fault(path, look)


def other_network(path: str | os.PathLike[str], entry: ZooEntry) -> str:
    """Return why a file is not the network of ``entry``, as a sentence about it; empty: it is.

    Names and shapes of its tensors are compared, and the file's own settings where it has them; values are not.

    Raises:
        MissingPackage: another installation could read it.
    """

    def compare(content: object) -> str:
        found = inspect_content(content, "it")
        if entry.network in found.networks and found.classes == entry.classes:
            return ""
        return f"it is {found.network} with {found.classes or 'no'} classes, not {wanted(entry)}"

    return _fault(path, compare)


def _fault(path: str | os.PathLike[str], look: Callable[[object], str]) -> str:
    try:
        return look(read_content(path))
    except MissingPackage:
        raise
    except WeightError as error:
        return str(error).replace(described(path), "it", 1).removesuffix("; fetch it again")
