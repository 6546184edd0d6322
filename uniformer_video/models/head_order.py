"""The classes of a weight file's heads in another order, or fewer of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from uniformer_video.models.weights import HEADS


def head_size(state: Mapping[str, Tensor]) -> int | None:
    """Return how many classes the weights have, or None for weights without a head."""
    head = state.get("head.weight")
    return None if head is None or head.ndim == 0 else head.shape[0]


def select_classes(state: Mapping[str, Tensor], rows: Sequence[int]) -> dict[str, Tensor]:
    """Return ``state`` with output k of every head being what its output ``rows[k]`` was.

    Args:
        state: tensors by parameter name; heads have a row for each class: weight ``(classes, C, ...)``, bias
            ``(classes,)``.
        rows: class numbers of ``state``, from 0. None at all leaves heads of no class, which no network has: a load
            that may begin a head anew does so.

    Returns:
        A new dict; heads are copies, all other tensors the same ones. A second head of another number of classes
        stays as it is.
    """
    size = head_size(state)
    index = torch.tensor(rows, dtype=torch.long)
    return {
        name: tensor.index_select(0, index.to(tensor.device))
        if name.startswith(HEADS) and tensor.ndim and tensor.shape[0] == size
        else tensor
        for name, tensor in state.items()
    }
