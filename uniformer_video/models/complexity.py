"""What a network costs: parameters and multiply-adds, counted without computing anything, and measured seconds."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uniformer_video.models.counting import KINDS, count_multiply_adds
from uniformer_video.models.dry_run import autocast, dry_run, in_mode

WARM_UP = 2
"""Forward passes that are run first and not timed."""

_STAGES = (
    (re.compile(r"patch_embed1\b"), "stem"),
    (re.compile(r"(?:patch_embed|blocks)(\d)\b"), r"stage\1"),
    (re.compile(r"cls_token\b"), "stage3"),
    (re.compile(r"cls_upsample\b"), "stage4"),
    (re.compile(r"(?:norm|norm_cls|head|head_cls|aux_head)\b"), "head"),
)


@dataclass(frozen=True)
class Size:
    """Parameters and multiply-adds of one clip.

    Args:
        parameters: by stage, see :func:`stage_of`.
        multiply_adds: of one clip in eval mode, by (stage, kind); the kinds are ``counting.KINDS``.
    """

    parameters: dict[str, int]
    multiply_adds: dict[tuple[str, str], int]

    @property
    def total_parameters(self) -> int:
        """Trained numbers in the network; those of batch-norm statistics are not among them."""
        return sum(self.parameters.values())

    @property
    def total_multiply_adds(self) -> int:
        """Multiply-adds of one clip."""
        return sum(self.multiply_adds.values())

    @property
    def stages(self) -> list[str]:
        """Names of the stages in the order a clip meets them; what is no stage by name follows."""
        found = dict.fromkeys([*self.parameters, *(stage for stage, _ in self.multiply_adds)])
        known = ["stem", "stage1", "stage2", "stage3", "stage4", "head"]
        return [stage for stage in known if stage in found] + [stage for stage in found if stage not in known]

    @property
    def kinds(self) -> list[str]:
        """The kinds of operations there are."""
        return [kind for kind in KINDS if self.at(kind=kind)]

    def at(self, stage: str | None = None, kind: str | None = None) -> int:
        """Return the multiply-adds of one stage, of one kind, or of both; None means all."""
        return sum(n for (s, k), n in self.multiply_adds.items() if (stage is None or s == stage) and kind in (None, k))


def stage_of(name: str) -> str:
    """Return the stage of a module or parameter by its name: stem, stage1 to stage4, head; else its first word.

    The downsampling convolution at the head of a stage counts to the stage, that of the first is the stem.
    """
    for pattern, stage in _STAGES:
        match = pattern.match(name)
        if match:
            return match.expand(stage)
    return name.partition(".")[0] or "other"


def measure_size(model: nn.Module, clip: Sequence[int]) -> Size:
    """Count parameters and the multiply-adds of one clip.

    Args:
        model: called on (1, 3, T, H, W); on any device, ``meta`` included. It is left as it was.
        clip: (3, T, H, W).

    Raises:
        UserError: the network has an operation of which nothing is known, see :func:`counting.count_multiply_adds`.
    """
    parameters: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        parameters[stage_of(name)] += parameter.numel()
    with in_mode(model, training=False):
        counts = dry_run(model, (1, *clip), torch.device("cpu"), lambda run, _: count_multiply_adds(model, run))
    by_stage: Counter[tuple[str, str]] = Counter()
    for (module, kind), number in counts.items():
        by_stage[stage_of(module), kind] += number
    return Size(dict(parameters), dict(by_stage))


def measure_latency(
    model: nn.Module, clips: Tensor, *, repeats: int = 10, precision: torch.dtype = torch.float32
) -> float:
    """Return the median seconds of a forward pass in eval mode, after passes that warm up.

    Args:
        model: on the device of ``clips``.
        clips: (B, 3, T, H, W).
        repeats: passes that count, >= 1.
        precision: ``torch.float32``, or the type of automatic mixed precision.
    """
    seconds = []
    synchronize = torch.cuda.synchronize if clips.device.type == "cuda" else (lambda: None)
    with in_mode(model, training=False), torch.inference_mode(), autocast(clips.device, precision):
        for turn in range(WARM_UP + repeats):
            synchronize()
            start = time.perf_counter()
            model(clips)
            synchronize()
            if turn >= WARM_UP:
                seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
