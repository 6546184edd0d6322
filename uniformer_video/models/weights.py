"""Weights into a network: whole or not at all, and a report of what a file gave."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor, nn

from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.inflate import identity_in_time, inflation_mode, is_layer_scale, is_time_attention
from uniformer_video.models.inflate import inflate as inflate_kernel
from uniformer_video.models.mismatch import Mismatch, Shapes
from uniformer_video.models.weight_files import described, named_tensors, read_content, read_weights
from uniformer_video.runtime.errors import WeightError

__all__ = ["HEADS", "LoadReport", "load_weights", "named_tensors", "read_content", "read_weights"]

HEADS = ("head.", "head_cls.", "aux_head.")
"""Prefixes of the only parameters that a load may leave out: the heads, which go with the classes."""

_COUNTER = "num_batches_tracked"


@dataclass
class LoadReport:
    """What a weight file gave to a network, by parameter name.

    Attributes:
        path: the file, or "the state dict".
        loaded: taken as they are.
        inflated: 2D kernels that got a temporal extent.
        adapted: taken with another view of the shape (trailing ones, a temporal extent of 1), and temporal attention
            that an image file cannot hold, set to its start value, which changes nothing.
        missing: parameters the file lacks; empty after a successful load.
        unexpected: tensors the network has no place for; empty after a successful load.
        left_out_head: the heads' parameters in a file with other classes, where the network keeps its own start, and
            those of a second head that the network lacks.
        new_head: the heads' parameters that the file lacks, where the network keeps its own start.
        started: layer scales that an inflated image file lacks; they keep the value they have in the network.
        start_value: that value, where it is one.
        inflation: "average" or "center" where kernels were to be inflated.
    """

    path: str
    loaded: list[str] = field(default_factory=list)
    inflated: list[str] = field(default_factory=list)
    adapted: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    left_out_head: list[str] = field(default_factory=list)
    new_head: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    start_value: float | None = None
    inflation: str | None = None

    def summary(self) -> str:
        """Return one line: how many tensors came which way, and whether the head starts anew."""
        parts = [f"{len(self.loaded)} tensors loaded"]
        if self.inflated:
            parts.append(f"{len(self.inflated)} inflated ({self.inflation})")
        if self.adapted:
            parts.append(f"{len(self.adapted)} adapted")
        if self.started:
            value = "their own values" if self.start_value is None else f"{self.start_value:.6g}"
            parts.append(f"{len(self.started)} layer scales start at {value}")
        if self.left_out_head:
            only_second = all(name.startswith("aux_head.") for name in self.left_out_head)
            what = "second head left out" if only_second else "head left out, it starts anew"
            parts.append(f"{what} ({', '.join(self.left_out_head)})")
        if self.new_head:
            first = self.new_head[0].split(".")[0]
            parts.append(f"no {first} in the file, it starts anew ({', '.join(self.new_head)})")
        return f"{self.path}: {', '.join(parts)}"


def load_weights(
    model: nn.Module,
    state_or_path: Mapping[str, Tensor] | str | os.PathLike[str],
    *,
    inflate: str | bool | None = None,
    allow_new_head: bool = False,
    origin: str | os.PathLike[str] = "",
) -> LoadReport:
    """Load every parameter and buffer of ``model``, or raise and leave it as it was.

    Args:
        model: a network with the published names, on any device.
        state_or_path: tensors by name, or a file for :func:`read_weights`.
        inflate: "average" or "center" to give 2D kernels their temporal extent; None (also "" or False) refuses them
            wherever that extent is above 1; True means "average".
        allow_new_head: leave out all heads' parameters (:data:`HEADS`) where one has another size, and those of a
            second head for token labelling (``aux_head``) where the network has none; and do without a head of which
            the file has nothing, without ``aux_head`` only where the file has no head at all.
        origin: the file that tensors given by name were read from, for the report and for messages.

    Returns:
        What came from where. Counters of batches seen that an older file lacks stay as they are and are in no list.

    Raises:
        WeightError: a file that cannot be read, or a parameter missing, unexpected or of another shape: counts, first
            names and the configuration keys that may be the cause.
    """
    mode = inflation_mode(inflate)
    if isinstance(state_or_path, Mapping):
        path = os.fspath(origin) or "the state dict"
        where = described(origin) if origin else path
        state = named_tensors(state_or_path, where)
    else:
        path = os.fspath(state_or_path)
        where = described(path)
        state = read_weights(path)
    target = model.state_dict()
    anatomy = Anatomy.of({name: tensor.shape for name, tensor in state.items()})
    report = LoadReport(path, inflation=mode)
    if allow_new_head:
        report.left_out_head = _heads_to_leave_out(state, target)
        report.new_head = _heads_to_begin(state, target)
    report.unexpected = [name for name in state if name not in target and name not in report.left_out_head]

    values: dict[str, Tensor] = {}
    misshaped: dict[str, Shapes] = {}
    for name, own in target.items():
        if name in report.left_out_head or name in report.new_head:
            continue
        if name in state:
            value, how = _fit(state[name], own, mode, anatomy.image)
            if value is None:
                misshaped[name] = Shapes(tuple(state[name].shape), tuple(own.shape))
            else:
                values[name] = value
                getattr(report, how).append(name)
        elif not name.endswith(_COUNTER):
            report.missing.append(name)
    if report.inflated:
        _start_what_images_lack(report, target, values)
    if report.missing or report.unexpected or misshaped:
        mismatch = Mismatch(
            where=where,
            matched=len(values),
            missing=report.missing,
            unexpected=report.unexpected,
            misshaped=misshaped,
            inflating=mode is not None,
            file=anatomy,
            own=Anatomy.of({name: tensor.shape for name, tensor in target.items()}),
        )
        raise WeightError(mismatch.message())
    model.load_state_dict({**target, **values})
    return report


def _heads_to_leave_out(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Return the names in ``state`` of all heads if one does not fit, else of a second head without a place."""
    heads = [name for name in state if name.startswith(HEADS)]
    if any(name in target and _fit(state[name], target[name], None, False)[0] is None for name in heads):
        return heads
    return [name for name in heads if name.startswith("aux_head.") and name not in target]


def _heads_to_begin(state: Mapping[str, Tensor], target: Mapping[str, Tensor]) -> list[str]:
    """Return the names in ``target`` of heads of which ``state`` has nothing; ``aux_head`` only if it has no head."""
    there = tuple(head for head in HEADS if any(name.startswith(head) for name in state))
    begun = tuple(head for head in HEADS if head not in there and not (there and head == "aux_head."))
    return [name for name in target if name.startswith(begun)]


def _fit(value: Tensor, own: Tensor, mode: str | None, image: bool) -> tuple[Tensor | None, str]:
    """Return ``value`` in the shape of ``own`` and the report's list it belongs to, or None if it does not fit.

    ``image`` says that ``value`` is of an image network, whose kernels may have a temporal extent of 1.
    """
    if value.shape == own.shape:
        return value, "loaded"
    if value.ndim == 5 and own.ndim == 5 and image:
        value = value.squeeze(2)
    if value.ndim == 4 and own.ndim == 5 and value.shape == own.shape[:2] + own.shape[3:]:
        if own.shape[2] == 1:
            return value.unsqueeze(2), "adapted"
        return (inflate_kernel(value, own.shape[2], mode), "inflated") if mode else (None, "")
    longer, shorter = sorted((tuple(value.shape), tuple(own.shape)), key=len, reverse=True)
    if len(shorter) >= 2 and longer == shorter + (1,) * (len(longer) - len(shorter)):
        return value.reshape(own.shape), "adapted"
    return None, ""


def _start_what_images_lack(report: LoadReport, target: Mapping[str, Tensor], values: dict[str, Tensor]) -> None:
    """Take what an inflated image file cannot hold or lacks off ``report.missing``, with its start in ``values``.

    Temporal attention is set to a start that changes nothing; layer scale keeps the value it has.
    """
    timed = [name for name in report.missing if is_time_attention(name)]
    values.update((name, identity_in_time(name, target[name])) for name in timed)
    report.adapted += timed
    # A whole stage or nothing of it: a file with layer scale in some blocks of a stage has lost the others.
    scaled = {name.split(".")[0] for name in values if is_layer_scale(name)}
    report.started = [name for name in report.missing if is_layer_scale(name) and name.split(".")[0] not in scaled]
    report.start_value = _common_value(target[name] for name in report.started)
    report.missing = [name for name in report.missing if name not in {*timed, *report.started}]


def _common_value(tensors: Iterable[Tensor]) -> float | None:
    """Return the one value that all elements have, or None."""
    values = {value for tensor in tensors for value in tensor.unique().tolist()}
    return values.pop() if len(values) == 1 else None
