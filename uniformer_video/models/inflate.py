"""Kernels of an image network made into kernels of a video network.

Carreira and Zisserman, "Quo Vadis, Action Recognition?", 2017, for "average".
"""

from __future__ import annotations

import torch
from torch import Tensor

from uniformer_video.runtime.errors import UserError

MODES = ("average", "center")
"""How a 2D kernel fills its temporal extent."""


def inflation_mode(setting: str | bool | None) -> str | None:
    """Return one of :data:`MODES`, or None for no inflation.

    Args:
        setting: a mode; True, which means "average"; or None, False or "", which mean none.

    Raises:
        UserError: for another text, naming ``TRAIN.CHECKPOINT_INFLATE`` and the modes.
    """
    if not setting:
        return None
    mode = "average" if setting is True else setting
    if mode not in MODES:
        raise UserError(f"unknown inflation {mode!r} (TRAIN.CHECKPOINT_INFLATE); known: {', '.join(MODES)}")
    return mode


def inflate(weight: Tensor, time: int, mode: str) -> Tensor:
    """Return a 2D kernel with a temporal extent.

    Args:
        weight: (O, I, h, w), floating.
        time: temporal extent of the result, >= 1.
        mode: "average" repeats the kernel along time and divides by ``time``, so that a clip of identical frames gives
            the image's answer away from the clip's ends; "center" puts it at tap ``time // 2`` with zeros elsewhere,
            so that such a clip gives the image's answer everywhere.

    Returns:
        (O, I, time, h, w), a new tensor of the same dtype.

    Raises:
        UserError: for an unknown mode, naming the known ones.
    """
    assert weight.ndim == 4, f"a 2D kernel has shape (O, I, h, w), got {tuple(weight.shape)}"
    assert time >= 1, f"a temporal extent must be >= 1, got {time}"
    if inflation_mode(mode) == "average":
        return weight.unsqueeze(2).expand(-1, -1, time, -1, -1) / time
    outputs, inputs, height, width = weight.shape
    kernel = weight.new_zeros(outputs, inputs, time, height, width)
    kernel[:, :, time // 2] = weight
    return kernel


def is_time_attention(name: str) -> bool:
    """Say whether a parameter's name is one of temporal attention, which an image network cannot have."""
    return ".t_norm." in name or ".t_attn." in name


def is_layer_scale(name: str) -> bool:
    """Say whether a parameter's name is one of layer scale, which an image file may lack."""
    return name.endswith((".gamma_1", ".gamma_2"))


def identity_in_time(name: str, like: Tensor) -> Tensor:
    """Return the start value of a parameter of temporal attention, with which it changes nothing.

    Args:
        name: for which :func:`is_time_attention` holds.
        like: a tensor with the shape, dtype and device of the result.
    """
    assert is_time_attention(name), name
    return torch.ones_like(like) if name.endswith(("t_norm.weight", "t_attn.proj.weight")) else torch.zeros_like(like)
