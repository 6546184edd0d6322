"""Why a weight file does not fit a network: counts, first names, and the configuration keys that may be the cause."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.inflate import is_layer_scale

_AFFINITY = re.compile(r"blocks[12]\.\d+\.attn\.weight")
_BLOCK = re.compile(r"(blocks([1-4])\.(\d{1,9}))\.(.*)", re.DOTALL)
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
            # What is there may all have its place here: the end of a file that was cut.
            cut = any(self.file.depths) and not self.unexpected
            return [*(self._incomplete() if cut else ()), *self._classes()]
        incomplete = list(self._incomplete())
        if incomplete:
            # Whatever else such a file lacks says nothing of its network.
            return [*self._kind(), *incomplete, *self._size(), *self._classes()][:MOST_HINTS]
        hints = [*self._kind(), *self._depth(), *self._size(), *self._form(), *self._classes(), *self._no_head()]
        return hints[:MOST_HINTS]

    def _incomplete(self) -> Iterator[str]:
        """Yield why the file cannot be the whole of any network that this one could be set to."""
        advice = "fetch or write it again"
        stages = zip(self.file.depths, self.own.depths, strict=True)
        empty = [str(stage) for stage, (there, here) in enumerate(stages, start=1) if here and not there]
        if empty:
            yield f"the file is incomplete, it has no block of stage{_s(empty)} {', '.join(empty)}: {advice}"
            return
        missing = set(self.missing)
        for name in self.file.lacking:
            block, stage, index, part = _BLOCK.fullmatch(name).groups()
            if name in missing or int(index) >= self.own.depths[int(stage) - 1]:
                yield f"the file is incomplete, its {block} has no {part}, which other blocks have: {advice}"
                return

    def _kind(self) -> Iterator[str]:
        """Yield the differences that no other one explains."""
        file, own = self.file, self.own
        if file.kind != own.kind:
            token = "a class token" if file.kind == "Hourglass" else "no class token"
            yield f"the file has {token}, it is of another network: set {self._name_keys()}"
        if own.image and not file.image:
            yield "its kernels have a temporal extent, it is of a video network: set UNIFORMER.IMAGE False"
        elif any(map(self._flat, self.misshaped.values())) and not self.inflating:
            yield (
                "2D weights need TRAIN.CHECKPOINT_INFLATE average or center, or an image network (UNIFORMER.IMAGE True)"
            )

    def _depth(self) -> Iterator[str]:
        file, own = self.file, self.own
        if file.depths != own.depths and 0 not in file.widths:
            yield (
                f"the stages have {list(file.depths)} blocks in the file and {list(own.depths)} here: "
                f"set UNIFORMER.DEPTH {list(file.depths)}"
            )

    def _size(self) -> Iterator[str]:
        """Yield differences in width and the extents of kernels."""
        file, own = self.file, self.own
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
        # An image network has a temporal extent of 1 whatever is set.
        extents = 2 if self.file.image or self.own.image else 3
        return self.file.local_kernel[-extents:] != self.own.local_kernel[-extents:]

    def _form(self) -> Iterator[str]:
        """Yield what is on one side only."""
        file, own = self.file, self.own
        names = [*self.missing, *self.unexpected]
        if file.conv_stem != own.conv_stem:
            yield f"the convolutional stem is {_side(file.conv_stem)}: set UNIFORMER.CONV_STEM {file.conv_stem}"
        # An image file may lack layer scale and temporal attention: inflation lets them start.
        may_lack = file.image and not own.image
        # The advice on the name of a light network names its layer scale too.
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
        if None not in (file.qkv_bias, own.qkv_bias) and file.qkv_bias != own.qkv_bias:
            yield f"attention's qkv has a bias {_side(file.qkv_bias)}: set UNIFORMER.QKV_BIAS {file.qkv_bias}"
        if any(name.startswith("aux_head.") for name in names):
            yield f"a second head, aux_head, is {_side(file.aux_head)}: set UNIFORMER.AUX_HEAD {file.aux_head}"

    def _name_keys(self) -> str:
        """Return the name of the file's network, and its layer scale where that is to be set as well."""
        name, scaled = self.file.settings()["MODEL.MODEL_NAME"], self.file.layer_scale_setting()
        here = self.own.layer_scale_setting()
        # Beside the name that means layer scale in all stages either word will do, but not one for each stage.
        fine = isinstance(here, bool) if scaled is True else here == scaled
        silent = fine or self.file.kind != "Hourglass"
        return f"MODEL.MODEL_NAME {name}" + ("" if silent else f" and UNIFORMER.LAYER_SCALE {scaled}")

    def _layer_scale_keys(self) -> str:
        scaled = f"UNIFORMER.LAYER_SCALE {self.file.layer_scale_setting()}"
        if self.own.kind != "Hourglass":
            return scaled
        return f"MODEL.MODEL_NAME {self.file.settings()['MODEL.MODEL_NAME']} and {scaled}"

    def _classes(self) -> Iterator[str]:
        if "head.bias" in self.misshaped:
            classes = self.misshaped["head.bias"]
            yield f"the head has {classes.file[0]} classes in the file and {classes.own[0]} in MODEL.NUM_CLASSES"

    def _no_head(self) -> Iterator[str]:
        heads = ("head", "head_cls") if self.file.kind == "Hourglass" else ("head",)
        absent = [head for head in heads if {f"{head}.weight", f"{head}.bias"} <= set(self.missing)]
        if absent:
            yield (
                f"the file has no {absent[0]}, so it cannot score classes: "
                "train from it first (TRAIN.CHECKPOINT_FILE_PATH), which starts one"
            )


def _side(in_file: bool) -> str:
    return "in the file only" if in_file else "here only"


def _scaled(anatomy: Anatomy) -> str:
    stages = [str(stage) for stage, on in enumerate(anatomy.layer_scale, start=1) if on]
    if len(stages) in (0, 4):
        return "in all stages" if stages else "in no stage"
    return f"in stage{_s(stages)} {', '.join(stages)}"


def _s(items: Sequence[str]) -> str:
    return "s" * (len(items) > 1)


def _number(ratio: float | list[float] | None) -> str:
    return f"[{', '.join(map(_number, ratio))}]" if isinstance(ratio, list) else f"{ratio:.15g}" if ratio else "unknown"


def _count(what: str, items: Sequence[str], *, separator: str = ", ", limit: int = 3) -> str:
    if not items:
        return f"0 {what}"
    return f"{len(items)} {what} ({separator.join(items[:limit])}{', ...' if len(items) > limit else ''})"


def _times(extents: Sequence[int]) -> str:
    return "x".join(map(str, extents))
