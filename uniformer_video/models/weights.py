"""Weight files: read without running what they hold, loaded whole or not at all, and a report of what they gave."""

from __future__ import annotations

import errno
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import IO

import torch
from torch import Tensor, nn

from uniformer_video.models.inflate import identity_in_time, inflation_mode, is_time_attention
from uniformer_video.models.inflate import inflate as inflate_kernel
from uniformer_video.models.mismatch import Mismatch, Shapes
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.paths import PATHS

WRAPPERS = ("model_state", "model", "state_dict")
"""Keys under which training programs file the parameters."""

PREFIX = "module."
"""What torch's data-parallel wrappers put before every name."""

HEAD = ("head.weight", "head.bias")
"""The only parameters a load may leave out."""

_COUNTER = "num_batches_tracked"


@dataclass
class LoadReport:
    """What a weight file gave to a network, by parameter name.

    Attributes:
        path: the file, or "the state dict".
        loaded: taken as they are.
        inflated: 2D kernels that got a temporal extent.
        adapted: taken with another view of the shape (trailing ones), and temporal attention that an image file cannot
            hold, set to its start value, which changes nothing.
        missing: parameters the file lacks; empty after a successful load.
        unexpected: tensors the network has no place for; empty after a successful load.
        left_out_head: the head's parameters, of another number of classes; they keep the network's own start.
        inflation: "average" or "center" where kernels were inflated.
    """

    path: str
    loaded: list[str] = field(default_factory=list)
    inflated: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    left_out_head: list[str] = field(default_factory=list)
    inflation: str | None = None

    def summary(self) -> str:
        """Return one line: how many tensors came which way, and whether the head starts anew."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.inflated:
            parts.append(f"{len(self.inflated)} inflated ({self.inflation})")
        if self.adapted:
            parts.append(f"{len(self.adapted)} adapted")
        if self.left_out_head:
            parts.append(f"head left out, it starts anew ({', '.join(self.left_out_head)})")
        return f"{self.path}: {', '.join(parts)}"


def read_weights(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """Read the tensors of a weight file onto the CPU; nothing else a file holds is ever built or run.

    Wrappers (:data:`WRAPPERS`) and a ``module.`` prefix are taken off.

    Args:
        path: anything ``PATHS`` opens.

    Returns:
        Tensors by parameter name, as stored (dtype and shape).

    Raises:
        WeightError: one line with the path: no such file, text, a truncated file, objects other than tensors, no
            tensors.
    """
    return named_tensors(read_content(path), _named(path))


def read_content(path: str | os.PathLike[str]) -> object:
    """Read all that a file holds onto the CPU: tensors, numbers, texts and containers of them, never code.

    Args:
        path: anything ``PATHS`` opens.

    Raises:
        WeightError: one line with the path: no such file, text, a truncated file, objects of other kinds.
    """
    where = _named(path)
    try:
        with PATHS.open(os.fspath(path), "rb") as file:
            start = file.read(64)
            file.seek(0)
            return _load(file, start, where)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise WeightError(f"{where} cannot be read ({reason}); check the path") from None


def _named(path: str | os.PathLike[str]) -> str:
    return f"weight file {os.fspath(path)!r}"


def _load(file: IO[bytes], start: bytes, where: str) -> object:
    if not start:
        raise WeightError(f"{where} is empty; fetch or write it again")
    if _is_text(start):
        first = start.decode("utf-8", "replace").strip().split("\n")[0][:40]
        raise WeightError(f"{where} is text, not a PyTorch file (it begins {first!r}); fetch it again")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols: whatever matters ends as an exception
            return torch.load(file, map_location="cpu", weights_only=True)
    except OSError as error:
        # In a truncated archive torch seeks to before the start, which the system calls an invalid argument.
        if error.errno != errno.EINVAL:
            raise
        raise WeightError(_why_unreadable(where, "EOF")) from None
    # A damaged file can make the unpickler raise anything: KeyError, struct.error, UnicodeDecodeError, RuntimeError...
    except Exception as error:
        raise WeightError(_why_unreadable(where, str(error) or type(error).__name__)) from None


def _is_text(start: bytes) -> bool:
    """Tell text from a zip archive or a pickle, which have control bytes among the first few dozen."""
    return start[0] != 0x80 and not any(byte < 9 or 13 < byte < 32 for byte in start)


def _why_unreadable(where: str, reason: str) -> str:
    foreign = re.search(r"GLOBAL (\S+)", reason)
    if foreign:
        return (
            f"{where} holds an object that is not a tensor ({foreign[1]}) and was not loaded, because "
            f"building it could run code; save a plain state dict, torch.save(model.state_dict(), path)"
        )
    if any(word in reason for word in ("EOF", "central directory", "magic number")):
        return f"{where} is truncated or not a PyTorch file; fetch it again"
    return f"{where} is damaged or holds more than tensors ({_first_sentence(reason)})"


def _first_sentence(reason: str) -> str:
    return reason.split("WeightsUnpickler error:")[-1].strip().split("\n")[0].split(". ")[0][:120]


def named_tensors(content: object, where: str) -> dict[str, Tensor]:
    """Return the parameters within what a file held: wrappers and the ``module.`` prefix taken off.

    Args:
        content: what was read.
        where: subject of an error message.

    Raises:
        WeightError: if there is no dict of named tensors in ``content``, or something else beside the tensors.
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
            f"{where} holds no tensors (keys: {_some(others) or 'none'}); looked at the top and under "
            f"{', '.join(sorted(WRAPPERS))}"
        )
    if others:
        raise WeightError(f"{where} holds more than tensors: {_some(others)}")
    if all(name.startswith(PREFIX) for name in content):
        return {name[len(PREFIX) :]: tensor for name, tensor in content.items()}
    return dict(content)


def load_weights(
    model: nn.Module,
    state_or_path: Mapping[str, Tensor] | str | os.PathLike[str],
    *,
    inflate: str | bool | None = None,
    allow_new_head: bool = False,
) -> LoadReport:
    """Load every parameter and buffer of ``model``, or raise and leave it as it was.

    Args:
        model: a network with the published names, on any device.
        state_or_path: tensors by name, or a file for :func:`read_weights`.
        inflate: "average" or "center" to give 2D kernels their temporal extent; None (also "" or False) refuses them;
            True means "average".
        allow_new_head: leave out ``head.weight`` and ``head.bias`` where their sizes differ.

    Returns:
        What came from where. Counters of batches seen that an older file lacks stay as they are and are in no list.

    Raises:
        WeightError: a file that cannot be read, or a parameter missing, unexpected or of another shape: counts, first
            names and the configuration keys that may be the cause.
    """
    mode = inflation_mode(inflate)
    if isinstance(state_or_path, Mapping):
        path = where = "the state dict"
        state = named_tensors(state_or_path, where)
    else:
        path = os.fspath(state_or_path)
        where = _named(path)
        state = read_weights(path)
    target = model.state_dict()
    report = LoadReport(path, inflation=mode)
    new_head = allow_new_head and any(n in state and n in target and state[n].shape != target[n].shape for n in HEAD)
    report.left_out_head = [name for name in HEAD if new_head and name in state]
    report.unexpected = [name for name in state if name not in target]

    values: dict[str, Tensor] = {}
    misshaped: dict[str, Shapes] = {}
    for name, own in target.items():
        if name in report.left_out_head:
            continue
        if name in state:
            value, how = _fit(state[name], own, mode)
            if value is None:
                misshaped[name] = Shapes(tuple(state[name].shape), tuple(own.shape))
            else:
                values[name] = value
                getattr(report, how).append(name)
        elif not name.endswith(_COUNTER):
            report.missing.append(name)
    _start_time_attention(report, target, values)
    if report.missing or report.unexpected or misshaped:
        mismatch = Mismatch(
            where=where,
            matched=len(values),
            missing=report.missing,
            unexpected=report.unexpected,
            misshaped=misshaped,
            inflating=mode is not None,
        )
        raise WeightError(mismatch.message())
    model.load_state_dict({**target, **values})
    return report


def _fit(value: Tensor, own: Tensor, mode: str | None) -> tuple[Tensor | None, str]:
    """Return ``value`` in the shape of ``own`` and the report's list it belongs to, or None if it does not fit."""
    if value.shape == own.shape:
        return value, "loaded"
    if value.ndim == 4 and own.ndim == 5:
        if mode and value.shape == own.shape[:2] + own.shape[3:]:
            return inflate_kernel(value, own.shape[2], mode), "inflated"
        return None, ""
    longer, shorter = sorted((tuple(value.shape), tuple(own.shape)), key=len, reverse=True)
    if len(shorter) >= 2 and longer == shorter + (1,) * (len(longer) - len(shorter)):
        return value.reshape(own.shape), "adapted"
    return None, ""


def _start_time_attention(report: LoadReport, target: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
    """Set temporal attention to its start in ``values`` where an image file was inflated: it cannot hold any."""
    if not report.inflated:
        return
    started = [name for name in report.missing if is_time_attention(name)]
    values.update((name, identity_in_time(name, target[name])) for name in started)
    report.adapted += started
    report.missing = [name for name in report.missing if not is_time_attention(name)]


def _some(names: list[str], limit: int = 3) -> str:
    return ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
