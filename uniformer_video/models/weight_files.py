"""Weight files, PyTorch's and safetensors: read without running what they hold."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import threading
import warnings
from collections.abc import Mapping
from typing import IO

import torch
from torch import Tensor

from uniformer_video.runtime.digest import content_digest, is_digest
from uniformer_video.runtime.errors import DamagedFile, RefusedFile, WeightError
from uniformer_video.runtime.paths import PATHS
from uniformer_video.runtime.web_cache import in_cache

WRAPPERS = ("model_state", "model", "state_dict")
"""Keys under which training programs file the parameters."""

PREFIX = "module."
"""What torch's data-parallel wrappers put before every name."""

DIGEST = "digest"
"""Key under which a checkpoint of this toolkit keeps the digest of everything else in it."""

COMPILED = "_orig_mod"
"""What ``torch.compile`` calls the module it wraps: a part of every name, or of those within a compiled part."""

INERT_CLASSES = (argparse.Namespace,)
"""Classes besides torch's own that a file may hold: a training program's arguments. Building one runs nothing."""

# Which classes may be built is torch's setting for the whole process, put back after each load.
_ONE_LOAD = threading.Lock()

_SAFETENSORS_HEADER = 100_000_000
"""Largest header of a safetensors file in bytes, by its specification."""


class MissingPackage(WeightError):
    """A file that another installation could read."""


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a weight file onto the CPU; no code that a file holds is ever run.

    Wrappers (:data:`WRAPPERS`) and what torch's own put into names (:data:`PREFIX`, :data:`COMPILED`) are taken off.

    Args:
        path: anything ``PATHS`` opens.

    Returns:
        Tensors by parameter name, as stored (dtype and shape).

    Raises:
        WeightError: one line with the path: no such file, text, a truncated file, objects other than tensors, no
            tensors.
    """
    return named_tensors(read_content(path), described(path))


def read_content(path: str | os.PathLike[str]) -> object:
    """Read all that a file holds onto the CPU: tensors, numbers, texts and containers of them, never code.

    A program's arguments (:data:`INERT_CLASSES`) may lie beside them.

    What kind of file it is shows in its content, whatever its name. A digest that this toolkit has put into it
    (:data:`DIGEST`) is compared and taken out: torch itself does not notice a byte that has changed.

    Args:
        path: anything ``PATHS`` opens.

    Returns:
        What was saved; of a safetensors file a dict of tensors, or, where it has a header of texts besides,
        ``{"state_dict": tensors, "metadata": texts}``.

    Raises:
        DamagedFile: one line with the path: empty, text, truncated, not what was written.
        RefusedFile: objects of other kinds.
        WeightError: no such file, no permission, a safetensors file without the package that reads it.
    """
    where = described(path)
    try:
        with PATHS.open(os.fspath(path), "rb") as file:
            start = file.read(64)
            file.seek(0)
            if is_safetensors(start):
                return _load_safetensors(file.read(), where)
            return _verified(_load(file, start, where), where)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise WeightError(f"{where} cannot be read ({reason}); check the path") from None
    except WeightError as error:
        cached = in_cache(path)
        if cached is None or isinstance(error, MissingPackage):
            raise
        text = str(error).removesuffix("; fetch it again")
        raise type(error)(f"{text}; remove {cached} to have it fetched again") from None


def described(path: str | os.PathLike[str]) -> str:
    """Return the file as the subject of a message."""
    return f"weight file {os.fspath(path)!r}"


def is_safetensors(start: bytes) -> bool:
    """Say whether a file that begins with ``start`` is one of safetensors: length of the header, header in JSON."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= _SAFETENSORS_HEADER


def _load_safetensors(data: bytes, where: str) -> dict[str, object]:
    try:
        from safetensors.torch import load
    except ImportError:
        raise MissingPackage(
            f"{where} is a safetensors file, and the package that reads these is not installed: "
            f'pip install "uniformer_video[safetensors]"'
        ) from None
    try:
        tensors = load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    # SafetensorError, and KeyError or AttributeError for types torch does not know.
    except Exception as error:
        reason = _first_sentence(str(error) or type(error).__name__)
        raise DamagedFile(f"{where} is truncated or damaged ({reason}); fetch it again") from None
    texts = {key: text for key, text in header.get("__metadata__", {}).items() if key != "format"}
    return {"state_dict": tensors, "metadata": texts} if texts else tensors


def _load(file: IO[bytes], start: bytes, where: str) -> object:
    if not start:
        raise DamagedFile(f"{where} is empty; fetch or write it again")
    if _is_text(start):
        first = start.decode("utf-8", "replace").strip().split("\n")[0][:40]
        raise DamagedFile(f"{where} is text, not a PyTorch file (it begins {first!r}); fetch it again")
    try:
        with _ONE_LOAD, _inert_classes_allowed(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: whatever matters ends as an exception
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        # In a truncated archive torch seeks to before the start, which the system calls an invalid argument.
        if error.errno != errno.EINVAL:
            raise
        raise _unreadable(where, "EOF") from None
    except MemoryError:
        raise WeightError(f"{where} cannot be read (it needs more memory than there is)") from None
    # A damaged file can make the unpickler raise anything: KeyError, struct.error, UnicodeDecodeError, RuntimeError...
    except Exception as error:
        raise _unreadable(where, str(error) or type(error).__name__) from None


def _verified(content: object, where: str) -> object:
    """Return what a file holds without its digest, once that is found to be right; files of others have none."""
    if not isinstance(content, dict) or not is_digest(content.get(DIGEST)):
        return content
    written = content.pop(DIGEST)
    try:
        sound = content_digest(content) == written
    except (TypeError, RecursionError):  # what no checkpoint is written with
        sound = False
    if not sound:
        raise DamagedFile(f"{where} is damaged (its content is not what its digest says was written); fetch it again")
    return content


def _inert_classes_allowed() -> torch.serialization.safe_globals:
    # What the program has allowed of itself is not ours to take back.
    return torch.serialization.safe_globals(
        [cls for cls in INERT_CLASSES if cls not in torch.serialization.get_safe_globals()]
    )


def _is_text(start: bytes) -> bool:
    """Tell text from a zip archive or a pickle, which have control bytes among the first few dozen."""
    return start[0] != 0x80 and not any(byte < 9 or 13 < byte < 32 for byte in start)


def _unreadable(where: str, reason: str) -> WeightError:
    if "allocate memory" in reason:  # torch's MemoryError
        return WeightError(f"{where} cannot be read (it needs more memory than there is)")
    foreign = re.search(r"GLOBAL (\S+)", reason)
    if foreign:
        return RefusedFile(
            f"{where} holds an object that is not a tensor ({foreign[1]}) and was not loaded, because "
            f"building it could run code; save a plain state dict, torch.save(model.state_dict(), path)"
        )
    if any(word in reason for word in ("EOF", "central directory", "magic number")):
        return DamagedFile(f"{where} is truncated or not a PyTorch file; fetch it again")
    return DamagedFile(f"{where} is damaged or holds more than tensors ({_first_sentence(reason)})")


def _first_sentence(reason: str) -> str:
    return reason.split("WeightsUnpickler error:")[-1].strip().split("\n")[0].split(". ")[0][:120]


def named_tensors(content: object, where: str) -> dict[str, Tensor]:
    """Return the parameters within what a file held: wrappers and what they put into names taken off.

    Args:
        content: what was read.
        where: subject of an error message.

    Raises:
        WeightError: if there is no dict of named tensors in ``content``, something else beside the tensors, or two
            of one name.
    """
    wrapper = None
    while isinstance(content, Mapping):
        wrapper = next((key for key in WRAPPERS if isinstance(content.get(key), Mapping)), None)
        if wrapper is None:
            break
        content = content[wrapper]
    if not isinstance(content, Mapping):
        raise WeightError(f"{where} holds a {type(content).__name__}, not a dict of tensors by name")
    others = [str(key) for key, value in content.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if len(others) == len(content):
        raise WeightError(
            f"{where} holds no tensors (keys: {listed(others) or 'none'}); looked at the top and under "
            f"{', '.join(sorted(WRAPPERS))}"
        )
    if others:
        raise WeightError(f"{where} holds more than tensors: {listed(others)}")
    names = _unwrapped(list(content))
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise WeightError(f"{where} holds {twice} twice, in the network and in its compiled form ({COMPILED})")
    return dict(zip(names, content.values(), strict=True))


def _unwrapped(names: list[str]) -> list[str]:
    """Return parameters' names without what wrappers put into them, of any number and order."""
    names = [".".join(part for part in name.split(".") if part != COMPILED) for name in names]
    while names and all(name.startswith(PREFIX) for name in names):
        names = [name[len(PREFIX) :] for name in names]
    return names


def listed(names: list[str], limit: int = 3) -> str:
    """Return the first names, and dots where there are more."""
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
