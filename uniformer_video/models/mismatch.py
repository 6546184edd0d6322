"""Why a weight file does not fit a network: counts, first names, and the configuration keys that may be the cause."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uniformer_video.models.inflate import is_time_attention

_LOCAL_AFFINITY = re.compile(r"blocks[12]\.\d+\.attn\.weight")
_STRIDED = re.compile(r"patch_embed[234]\.proj\.weight")
_BLOCK = re.compile(r"blocks[1-4]\.\d+\.")


class Shapes(NamedTuple):
    """The shape of one parameter in a file and in the network."""

    file: tuple[int, ...]
    own: tuple[int, ...]

    def is_2d(self) -> bool:
        """Say whether the file has the 2D kernel of this very 3D kernel."""
        return len(self.file) == 4 and len(self.own) == 5 and self.file == self.own[:2] + self.own[3:]


@dataclass(frozen=True)
class Mismatch:
    """All that is wrong between a file and a network.

    Attributes:
        where: subject of the message, such as "weight file 'a.pyth'".
        matched: number of tensors that do fit.
        missing: parameters the file lacks.
        unexpected: tensors the network has no place for.
        misshaped: parameters of another shape.
        inflating: whether 2D kernels were to be inflated.
    """

    where: str
    matched: int
    missing: Sequence[str]
    unexpected: Sequence[str]
    misshaped: Mapping[str, Shapes]
    inflating: bool

    def message(self) -> str:
        """Return one line."""
        shapes = [f"{name} {list(s.file)}, here {list(s.own)}" for name, s in self.misshaped.items()]
        faults = [
            _count("missing", self.missing),
            _count("unexpected", self.unexpected),
            _count("of another shape", shapes, separator="; "),
        ]
        hints = self.hints()
        advice = f"; {'; '.join(hints)}" if hints else ""
        return f"{self.where} does not fit this network: {', '.join(faults)}{advice}; nothing was loaded"

    def hints(self) -> list[str]:
        """Return what the names and shapes say about the cause, as configuration keys to look at."""
        if not self.matched and not any(shapes.is_2d() for shapes in self.misshaped.values()):
            return ["nothing in it fits, it is of another kind of network"]
        hints = []
        other = {name: shapes for name, shapes in self.misshaped.items() if not shapes.is_2d()}
        if len(other) < len(self.misshaped) and not self.inflating:
            hints.append("2D weights need TRAIN.CHECKPOINT_INFLATE average or center")
        kernel = next((other[name] for name in other if _LOCAL_AFFINITY.fullmatch(name)), None)
        if kernel is not None and kernel.file[2:] != kernel.own[2:]:
            hints.append(
                f"the local kernel is {_times(kernel.file[2:])} in the file and {_times(kernel.own[2:])} here, "
                f"see UNIFORMER.LOCAL_KERNEL"
            )
        strided = next((other[name] for name in other if _STRIDED.fullmatch(name)), None)
        if strided is not None and strided.file[:2] == strided.own[:2]:
            hints.append("strided kernels differ, see UNIFORMER.STD")
        if any(is_time_attention(name) for name in (*self.missing, *self.unexpected)):
            hints.append("temporal attention is on one side only, see UNIFORMER.SPLIT")
        if "head.bias" in other:
            classes = other["head.bias"]
            hints.append(
                f"the head has {classes.file[0]} classes in the file and {classes.own[0]} in MODEL.NUM_CLASSES"
            )
        if any(_BLOCK.match(name) and not is_time_attention(name) for name in (*self.missing, *self.unexpected)):
            hints.append("blocks are on one side only, see UNIFORMER.DEPTH")
        return hints


def _count(what: str, items: Sequence[str], *, separator: str = ", ", limit: int = 3) -> str:
    if not items:
        return f"0 {what}"
    return f"{len(items)} {what} ({separator.join(items[:limit])}{', ...' if len(items) > limit else ''})"


def _times(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))
