"""A forward pass that computes nothing: the network runs on fake tensors, with shapes, dtypes, a device, no memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)

T = TypeVar("T")

_NEEDS_VALUES = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException)


def dry_run(
    model: nn.Module,
    clips: Sequence[int],
    device: torch.device,
    measure: Callable[[Callable[[], object], Sequence[Tensor]], T],
) -> T:
    """Return ``measure(run, own)``, where ``run()`` calls the network on tensors that stand in for its own.

    They are fake; for a network that asks for values they are zeros. ``own`` are the parameters and buffers.
    """

    def attempt(mode: AbstractContextManager) -> T:
        with mode:
            state = {
                name: torch.zeros(tensor.shape, dtype=tensor.dtype, device=device).requires_grad_(tensor.requires_grad)
                for name, tensor in (*model.named_parameters(), *model.named_buffers())
            }
            dtype = next((p.dtype for p in model.parameters()), torch.float32)
            batch = torch.zeros(tuple(clips), dtype=dtype, device=device)
            return measure(lambda: torch.func.functional_call(model, state, (batch,)), [*state.values()])

    try:
        return attempt(FakeTensorMode(allow_non_fake_inputs=True))
    except _NEEDS_VALUES:
        return attempt(nullcontext())


@contextmanager
def in_mode(model: nn.Module, *, training: bool) -> Iterator[None]:
    """Put every module into train or eval mode, and back."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was in before:
            module.training = was


def autocast(device: torch.device, precision: torch.dtype) -> AbstractContextManager:
    """Return automatic mixed precision in ``precision``; nothing for ``torch.float32``."""
    return nullcontext() if precision == torch.float32 else torch.autocast(device.type, precision)
