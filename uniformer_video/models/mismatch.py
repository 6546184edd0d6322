"""Why a weight file does not fit a network: counts, first names, and the configuration keys that may be the cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.inflate import is_layer_scale

_AFFINITY = re.compile(r"blocks[12]\.\d+\.attn\.weight")
MOST_HINTS = 3
"""Hints in one message: those behind them are mostly consequences of the first."""


class Shapes(NamedTuple):
    """The shape of one parameter in a file and in the network."""

    file: tuple[int, ...]
    own: tuple[int, ...]

    def is_2d(self) -> bool:
        """Say whether the file has the 2D kernel, or that with a temporal extent of 1, of this very 3D kernel."""
        if len(self.own) != 5:
            return False
        flat = self.own[:2] + self.own[3:]
        return self.file == flat or (self.own[2] > 1 and self.file == (*flat[:2], 1, *flat[2:]))


@dataclass(frozen=True)
class Mismatch:
    """All that is wrong between a file and a network.

    Attributes:
        where: subject of the message, such as "weight file 'a.pyth'".
        matched: number of tensors that do fit.
        missing: parameters the file lacks.
        unexpected: tensors the network has no place for.
        misshaped: parameters of another shape, in the network's order.
        inflating: whether 2D kernels were to be inflated.
        file: the build of the network the file is of.
        own: the build of the network.
    """

    where: str
    matched: int
    missing: Sequence[str]
    unexpected: Sequence[str]
    misshaped: Mapping[str, Shapes]
    inflating: bool
    file: Anatomy
    own: Anatomy

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
        """Return what names and shapes say about the cause, the most telling first, as configuration keys to set."""
        if not self.matched and not self.misshaped:
            return ["nothing in it fits, it is of another kind of network"]
        if self.file.kind is None:
            return list(self._head())
        return [*self._kind(), *self._size(), *self._form(), *self._head()][:MOST_HINTS]

    def _kind(self) -> Iterator[str]:
        """Yield the differences that no other one explains."""
        file, own = self.file, self.own
        if file.kind != own.kind:
            token = "a class token" if file.kind == "Hourglass" else "no class token"
            name = file.settings()["MODEL.MODEL_NAME"]
            yield f"the file has {token}, it is of another network: set MODEL.MODEL_NAME {name}"
        if own.image and not file.image:
            yield "its kernels have a temporal extent, it is of a video network: set UNIFORMER.IMAGE False"
        elif any(map(self._flat, self.misshaped.values())) and not self.inflating:
            yield (
                "2D weights need TRAIN.CHECKPOINT_INFLATE average or center, or an image network (UNIFORMER.IMAGE True)"
            )

    def _size(self) -> Iterator[str]:
        """Yield differences in depth, width and the extents of kernels."""
        file, own = self.file, self.own
        if file.depths != own.depths and 0 not in file.widths:
            yield (
                f"the stages have {list(file.depths)} blocks in the file and {list(own.depths)} here: "
                f"set UNIFORMER.DEPTH {list(file.depths)}"
            )
        first = next((name for name, shapes in self.misshaped.items() if not self._flat(shapes)), None)
        if file.widths != own.widths and 0 not in file.widths and first:
            shapes = self.misshaped[first]
            yield (
                f"the first tensor of another width is {first}, {list(shapes.file)} in the file and "
                f"{list(shapes.own)} here: set UNIFORMER.EMBED_DIM {list(file.widths)}"
            )
        if self._kernels_differ():
            kernel = list(file.kernel(own.kernel(1)[0]))
            yield (
                f"the local kernel is {_times(file.local_kernel)} in the file and {_times(own.local_kernel)} here: "
                f"set UNIFORMER.LOCAL_KERNEL {kernel}"
            )
        if file.mlp_ratio() not in (None, own.mlp_ratio()) and any(".mlp." in name for name in self.misshaped):
            yield (
                f"the MLPs are {_number(file.mlp_ratio())} times as wide as their stage in the file and "
                f"{_number(own.mlp_ratio())} times here: set UNIFORMER.MLP_RATIO {_number(file.mlp_ratio())}"
            )

    def _flat(self, shapes: Shapes) -> bool:
        """Say whether a tensor would fit if it were inflated."""
        return self.file.image and shapes.is_2d()

    def _kernels_differ(self) -> bool:
        if not (self.file.local_kernel and self.own.local_kernel):
            return False
        if not any(_AFFINITY.fullmatch(name) and not self._flat(shapes) for name, shapes in self.misshaped.items()):
            return False
        extents = 2 if self.file.image else 3
        return self.file.local_kernel[-extents:] != self.own.local_kernel[-extents:]

    def _form(self) -> Iterator[str]:
        """Yield what is on one side only."""
        file, own = self.file, self.own
        names = [*self.missing, *self.unexpected]
        if file.conv_stem != own.conv_stem:
            yield f"the convolutional stem is {_side(file.conv_stem)}: set UNIFORMER.CONV_STEM {file.conv_stem}"
        # An image file may lack layer scale and temporal attention: inflation lets them start.
        may_lack = file.image and not own.image
        # The name of a light network says whether it has layer scale.
        named = file.kind == "Hourglass" != own.kind
        scales = filter(is_layer_scale, self.unexpected if may_lack else names)
        if file.layer_scale != own.layer_scale and any(scales) and not named:
            yield f"layer scale is {_scaled(file)} in the file and {_scaled(own)} here: set {self._layer_scale_keys()}"
        if file.split != own.split and not (may_lack and own.split):
            yield f"temporal attention is {_side(file.split)}: set UNIFORMER.SPLIT {file.split}"
        if file.std != own.std and not file.image and not own.image:
            frames = ("one frame", "three frames")
            yield (
                f"strided convolutions see {frames[file.std]} in the file and {frames[own.std]} here: "
                f"set UNIFORMER.STD {file.std}"
            )
        if any(name.startswith("aux_head.") for name in names):
            yield f"a second head, aux_head, is {_side(file.aux_head)}: set UNIFORMER.AUX_HEAD {file.aux_head}"

    def _layer_scale_keys(self) -> str:
        scaled = self.file.settings().get("UNIFORMER.LAYER_SCALE", any(self.file.layer_scale))
        if self.own.kind != "Hourglass":
            return f"UNIFORMER.LAYER_SCALE {scaled}"
        return f"MODEL.MODEL_NAME {self.file.settings()['MODEL.MODEL_NAME']} and UNIFORMER.LAYER_SCALE {scaled}"

    def _head(self) -> Iterator[str]:
        if "head.bias" in self.misshaped:
            classes = self.misshaped["head.bias"]
            yield f"the head has {classes.file[0]} classes in the file and {classes.own[0]} in MODEL.NUM_CLASSES"


def _side(in_file: bool) -> str:
    return "in the file only" if in_file else "here only"


def _scaled(anatomy: Anatomy) -> str:
    stages = [str(stage) for stage, on in enumerate(anatomy.layer_scale, start=1) if on]
    if len(stages) in (0, 4):
        return "in all stages" if stages else "in no stage"
    return f"in stage{'s' * (len(stages) > 1)} {', '.join(stages)}"


def _number(ratio: float | list[float] | None) -> str:
    return f"[{', '.join(map(_number, ratio))}]" if isinstance(ratio, list) else f"{ratio:g}" if ratio else "unknown"


def _count(what: str, items: Sequence[str], *, separator: str = ", ", limit: int = 3) -> str:
    if not items:
        return f"0 {what}"
    return f"{len(items)} {what} ({separator.join(items[:limit])}{', ...' if len(items) > limit else ''})"


def _times(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))
