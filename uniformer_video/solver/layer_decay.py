"""Layer-wise decay of the learning rate: the nearer a layer is to the input, the less it is changed.

Clark et al., "ELECTRA: Pre-training Text Encoders as Discriminators Rather Than Generators", ICLR 2020; for vision
transformers Bao et al., "BEiT: BERT Pre-Training of Image Transformers", ICLR 2022, whose numbering of layers this is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from uniformer_video.runtime.errors import ConfigError

_BLOCK = re.compile(r"blocks([1-9])\.(\d+)\.")
_EMBED = re.compile(r"patch_embed([1-9])\.")

# The class token of the hourglass networks enters with stage 3 and is widened for stage 4.
_ENTERS = {"cls_token": 3, "cls_upsample": 4}
_ENDS = ("norm", "norm_cls", "head", "head_cls", "aux_head")


def layer_numbers(names: Iterable[str]) -> dict[str, int]:
    """Return the layer of each parameter of a network, by its name.

    The stem (``patch_embed1``) is layer 0, the n blocks of all stages are 1 to n in their order, the final norms and
    the heads are n + 1. What heads a later stage (``patch_embed2`` and so on, the class token, its projection) is of
    the layer of the first block behind it.

    Args:
        names: of all parameters, frozen ones too: the blocks are counted by them.

    Raises:
        ConfigError: names of a network whose layers cannot be told from them.
    """
    names = list(names)
    blocks = sorted({(int(m[1]), int(m[2])) for m in map(_BLOCK.match, names) if m})
    if not blocks:
        raise ConfigError(
            "SOLVER.LAYER_DECAY counts the blocks of a network by the names of its parameters (blocks1.0 and so on), "
            "but this network has none; set SOLVER.LAYER_DECAY 1"
        )
    number = {block: index for index, block in enumerate(blocks, start=1)}
    last = len(blocks) + 1

    def first_of(stage: int) -> int:
        return min((n for block, n in number.items() if block[0] >= stage), default=last)

    def layer(name: str) -> int:
        if block := _BLOCK.match(name):
            return number[int(block[1]), int(block[2])]
        if embed := _EMBED.match(name):
            return 0 if embed[1] == "1" else first_of(int(embed[1]))
        part = name.partition(".")[0]
        if part in _ENTERS:
            return first_of(_ENTERS[part])
        if part in _ENDS:
            return last
        raise ConfigError(
            f"SOLVER.LAYER_DECAY finds no layer for the parameter {name!r} of this network; set SOLVER.LAYER_DECAY 1"
        )

    return {name: layer(name) for name in names}


def layer_scales(names: Iterable[str], decay: float) -> dict[str, float]:
    """Return the factor on the learning rate of each parameter: ``decay`` to the number of layers behind its own.

    Args:
        names: of all parameters of a network, as for :func:`layer_numbers`.
        decay: in (0, 1]; the head's factor is 1, the last block's ``decay``, the stem's ``decay ** (n + 1)``.
    """
    assert 0 < decay <= 1, decay
    numbers = layer_numbers(names)
    last = max(numbers.values(), default=0)
    return {name: decay ** (last - number) for name, number in numbers.items()}
