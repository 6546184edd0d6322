"""Blocks whose inner activations are computed again in the backward pass instead of kept in memory.

Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from uniformer_video.models.kernels import kernels_are_own, plain_kernels
from uniformer_video.models.rows import Rows, rows_in_hand, these_rows


def recompute(block: nn.Module, *inputs: Any) -> Any:
    """Return ``block(*inputs)`` without keeping its inner activations.

    The backward pass runs the block again with the same draws, on the same kernels, and without moving its batch norms'
    statistics twice.

    Args:
        block: a module; what it returns is a tensor or a tuple of them.
        inputs: its positional arguments.
    """
    # The compiler traces a block once and knows no contexts; statistics leave its graph as values, from the first pass.
    if torch.compiler.is_compiling():
        return checkpoint(block, *inputs, use_reentrant=False)

    own, rows = kernels_are_own(), rows_in_hand()

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        return nullcontext(), _second_pass(block, own, rows)

    return checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _second_pass(block: nn.Module, own: bool, rows: Rows | None) -> Iterator[None]:
    """Let a second pass over a block move copies of its batch norms' running statistics, which are thrown away.

    Args:
        block: whose buffers are kept.
        own: whether the first pass was on kernels of this room; a backward pass may run in another thread, and later.
        rows: those that the first pass drew for.
    """
    kept = [(module, dict(module._buffers)) for module in block.modules() if module._buffers]
    for module, buffers in kept:
        module._buffers.update((name, None if own is None else own.clone()) for name, own in buffers.items())
    try:
        with nullcontext() if own else plain_kernels(), these_rows(rows):
            yield
    finally:
        for module, buffers in kept:
            module._buffers.update(buffers)
