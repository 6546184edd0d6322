"""What the names and shapes of a network's tensors say about it, in configuration keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

from uniformer_video.models.inflate import is_layer_scale, is_time_attention

_BLOCK = re.compile(r"blocks([1-4])\.(\d{1,9})\.")
_LAYER_SCALE = re.compile(r"blocks([1-4])\.\d+\.gamma_1")
_STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class Anatomy:
    """The build of a network as far as its weights show it; the width of an attention head is not among it.

    Attributes:
        kind: "Uniformer", "Hourglass", or None where the names are of neither.
        image: whether no kernel has a temporal extent above 1.
        depths: blocks of each stage.
        widths: channels of each stage; 0 where unknown.
        mlp_ratios: of each stage a number r for which int(channels * r) is the hidden width of its MLPs, with few
            decimals and the same for all stages where there is such a one; None for a stage without blocks.
        local_kernel: extents of the local affinity, (T, H, W), or (H, W) where the weights are 2D; None without blocks.
        layer_scale: which stages have it.
        conv_stem: whether all stages begin with overlapping convolutions and BatchNorm (Hourglass, where only the
            first does, has False).
        split: whether there is attention over time of its own.
        std: whether the strided convolutions after the first see several frames.
        aux_head: whether there is a head for token labelling.
        classes: outputs of the head; None without one.
        qkv_bias: whether attention's fused projection has a bias; None without one.
        lacking: tensors that other blocks of the same kind have, as a file has that was cut or put together badly.
    """

    kind: str | None
    image: bool
    depths: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]
    mlp_ratios: tuple[float | None, ...]
    local_kernel: tuple[int, ...] | None
    layer_scale: tuple[bool, bool, bool, bool]
    conv_stem: bool
    split: bool
    std: bool
    aux_head: bool
    classes: int | None
    qkv_bias: bool | None = None
    lacking: tuple[str, ...] = ()

    @classmethod
    def of(cls, shapes: Mapping[str, Sequence[int]]) -> Anatomy:
        """Return the build of the network whose state dict has these names and shapes."""
        blocks = {(int(m[1]), int(m[2])) for m in map(_BLOCK.match, shapes) if m}
        widths = tuple(_width(shapes, stage) for stage in _STAGES)
        scaled = {int(m[1]) for m in map(_LAYER_SCALE.match, shapes) if m}
        second = _first(shapes, "patch_embed2.proj.weight", "patch_embed2.proj.0.weight")
        affinity = _first(shapes, "blocks1.0.attn.weight", "blocks2.0.attn.weight")
        head = _first(shapes, "head.weight")
        kernels = [shape for shape in shapes.values() if len(shape) in (4, 5)]
        uniformer = "patch_embed1.proj.weight" in shapes or "patch_embed1.proj.0.weight" in shapes
        return cls(
            kind="Hourglass" if uniformer and "cls_token" in shapes else "Uniformer" if uniformer else None,
            image=bool(kernels) and all(len(shape) == 4 or shape[2] == 1 for shape in kernels),
            depths=tuple(1 + max((i for s, i in blocks if s == stage), default=-1) for stage in _STAGES),
            widths=widths,
            mlp_ratios=_mlp_ratios(shapes, widths),
            local_kernel=tuple(affinity[2:]) if affinity and len(affinity) > 3 else None,
            layer_scale=tuple(stage in scaled for stage in _STAGES),
            conv_stem="patch_embed2.proj.0.weight" in shapes,
            split=any(map(is_time_attention, shapes)),
            std=second is not None and len(second) == 5 and second[2] > 1,
            aux_head="aux_head.weight" in shapes,
            classes=head[0] if head else None,
            qkv_bias=_qkv_bias(shapes),
            lacking=tuple(_lacking(shapes)),
        )

    def settings(self) -> dict[str, object]:
        """Return the configuration keys that build this network, with the values they need.

        ``UNIFORMER.HEAD_DIM``, which weights do not show, is not among them; nor is what this kind has no use for.
        """
        light = self.kind == "Hourglass"
        scaled = self.layer_scale_setting()
        # Only the whole network's layer scale has a name.
        named = light and scaled is True
        keys: dict[str, object] = {
            "MODEL.MODEL_NAME": "Uniformer" if not light else "Uniformer_light" + "_ls_fp32" * named,
            "MODEL.NUM_CLASSES": self.classes,
            "UNIFORMER.IMAGE": self.image,
            "UNIFORMER.DEPTH": list(self.depths),
            "UNIFORMER.EMBED_DIM": list(self.widths),
            "UNIFORMER.MLP_RATIO": self.mlp_ratio(),
            "UNIFORMER.LOCAL_KERNEL": list(self.kernel(1)) if self.local_kernel else None,
            "UNIFORMER.STD": self.std,
            "UNIFORMER.QKV_BIAS": False if self.qkv_bias is False else None,
            "UNIFORMER.LAYER_SCALE": None if named else scaled,
        }
        if not light:
            keys |= {
                "UNIFORMER.CONV_STEM": self.conv_stem,
                "UNIFORMER.SPLIT": self.split,
                "UNIFORMER.AUX_HEAD": self.aux_head,
            }
        return {key: value for key, value in keys.items() if value is not None}

    def layer_scale_setting(self) -> bool | list[bool]:
        """Return which stages have layer scale: one word where all that have blocks agree, else one for each."""
        words = {on for on, depth in zip(self.layer_scale, self.depths, strict=True) if depth}
        return list(self.layer_scale) if len(words) > 1 else words == {True}

    def kernel(self, time: int) -> tuple[int, int, int]:
        """Return the local kernel (T, H, W), with ``time`` for the T that 2D weights lack."""
        assert self.local_kernel is not None
        return (time, *self.local_kernel)[-3:]

    def mlp_ratio(self) -> float | list[float] | None:
        """Return the MLP ratio: one number where all stages with blocks agree, else one for each; None if unknown."""
        known = {ratio for ratio in self.mlp_ratios if ratio is not None}
        if len(known) < 2:
            return next(iter(known), None)
        # A stage without blocks takes any.
        return [max(known) if ratio is None else ratio for ratio in self.mlp_ratios]


def _first(shapes: Mapping[str, Sequence[int]], *names: str) -> Sequence[int] | None:
    return next((shapes[name] for name in names if name in shapes), None)


def _width(shapes: Mapping[str, Sequence[int]], stage: int) -> int:
    ends = ("norm.weight", "proj.4.weight", "proj.1.weight", "proj.weight")
    shape = _first(shapes, *(f"patch_embed{stage}.{end}" for end in ends))
    return shape[0] if shape else 0


def _mlp_ratios(shapes: Mapping[str, Sequence[int]], widths: Sequence[int]) -> tuple[float | None, ...]:
    hidden = [_first(shapes, f"blocks{stage}.0.mlp.fc1.weight") for stage in _STAGES]
    pairs = zip(widths, hidden, strict=True)
    sizes = [(width, shape[0]) if width and shape and shape[0] else None for width, shape in pairs]
    common = _shortest_ratio([size for size in sizes if size])
    return tuple(size and (common or _shortest_ratio([size])) for size in sizes)


def _shortest_ratio(sizes: Sequence[tuple[int, int]]) -> float | None:
    """Return the number r of the fewest decimals with int(width * r) == hidden of all (width, hidden), or None.

    The quotient itself will not do: 80 / 24 cut after some decimals gives 79, as may a float that is exact to the eye.
    """
    least = max((Fraction(hidden, width) for width, hidden in sizes), default=None)
    for decimals in range(16 if least else 0):
        unit = 10**decimals
        first = ceil(least * unit)
        # The second for where width * r falls short by rounding: 100 * 0.29 is 28.999999999999996.
        for ratio in (first / unit, (first + 1) / unit):
            if all(int(width * ratio) == hidden for width, hidden in sizes):
                return ratio
    return None


def _qkv_bias(shapes: Mapping[str, Sequence[int]]) -> bool | None:
    ends = {name.rsplit(".", 1)[1] for name in shapes if ".attn.qkv." in name}
    return "bias" in ends if "weight" in ends else None


def _lacking(shapes: Mapping[str, Sequence[int]]) -> Iterator[str]:
    """Yield what blocks lack that others of their kind have, local (stages 1, 2) or global; the first gap is a block.

    Layer scale is a matter of the stage, not of the kind.
    """
    stages: dict[int, dict[int, set[str]]] = {stage: {} for stage in _STAGES}
    for name in shapes:
        block = _BLOCK.match(name)
        if block and not name.endswith("num_batches_tracked"):
            stages[int(block[1])].setdefault(int(block[2]), set()).add(name[block.end() :])
    for stage, blocks in stages.items():
        other = stages[{1: 2, 2: 1, 3: 4, 4: 3}[stage]]
        wanted = set().union(*blocks.values())
        wanted |= {part for part in set().union(*other.values()) if not is_layer_scale(f".{part}")}
        gap = next(index for index in range(len(blocks) + 1) if index not in blocks)
        for index in sorted({*blocks, gap} if any(index > gap for index in blocks) else blocks):
            yield from (f"blocks{stage}.{index}.{part}" for part in sorted(wanted - blocks.get(index, set())))
