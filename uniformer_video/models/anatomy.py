"""What the names and shapes of a network's tensors say about it, in configuration keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uniformer_video.models.inflate import is_time_attention

_BLOCK = re.compile(r"blocks([1-4])\.(\d+)\.")
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
        mlp_ratios: hidden width of the MLPs / channels, of each stage; None for a stage without blocks.
        local_kernel: extents of the local affinity, (T, H, W), or (H, W) where the weights are 2D; None without blocks.
        layer_scale: which stages have it.
        conv_stem: whether all stages begin with overlapping convolutions and BatchNorm (Hourglass, where only the
            first does, has False).
        split: whether there is attention over time of its own.
        std: whether the strided convolutions after the first see several frames.
        aux_head: whether there is a head for token labelling.
        classes: outputs of the head; None without one.
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
            mlp_ratios=tuple(_mlp_ratio(shapes, stage, widths[stage - 1]) for stage in _STAGES),
            local_kernel=tuple(affinity[2:]) if affinity and len(affinity) > 3 else None,
            layer_scale=tuple(stage in scaled for stage in _STAGES),
            conv_stem="patch_embed2.proj.0.weight" in shapes,
            split=any(map(is_time_attention, shapes)),
            std=second is not None and len(second) == 5 and second[2] > 1,
            aux_head="aux_head.weight" in shapes,
            classes=head[0] if head else None,
        )

    def settings(self) -> dict[str, object]:
        """Return the configuration keys that build this network, with the values they need.

        ``UNIFORMER.HEAD_DIM``, which weights do not show, is not among them; nor is what this kind has no use for.
        """
        light = self.kind == "Hourglass"
        scaled = self.layer_scale[0] if len(set(self.layer_scale)) == 1 else list(self.layer_scale)
        keys: dict[str, object] = {
            "MODEL.MODEL_NAME": "Uniformer" if not light else "Uniformer_light" + "_ls_fp32" * any(self.layer_scale),
            "MODEL.NUM_CLASSES": self.classes,
            "UNIFORMER.IMAGE": self.image,
            "UNIFORMER.DEPTH": list(self.depths),
            "UNIFORMER.EMBED_DIM": list(self.widths),
            "UNIFORMER.MLP_RATIO": self.mlp_ratio(),
            "UNIFORMER.LOCAL_KERNEL": list(self.kernel(1)) if self.local_kernel else None,
            "UNIFORMER.STD": self.std,
        }
        if not light:
            keys |= {
                "UNIFORMER.LAYER_SCALE": scaled,
                "UNIFORMER.CONV_STEM": self.conv_stem,
                "UNIFORMER.SPLIT": self.split,
                "UNIFORMER.AUX_HEAD": self.aux_head,
            }
        return {key: value for key, value in keys.items() if value is not None}

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


def _mlp_ratio(shapes: Mapping[str, Sequence[int]], stage: int, width: int) -> float | None:
    hidden = _first(shapes, f"blocks{stage}.0.mlp.fc1.weight")
    return round(hidden[0] / width, 4) if hidden and width else None
