"""Which kernels the layers of this room run on: the one place where device, precision and mode decide.

A layer has a plain path, torch's own operations, which runs everywhere, is compiled, traced and counted. Beside it may
stand a faster one for one kind of device, with the same results up to rounding. ``plain_kernels`` turns all of these
off, to compare the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.modules.module import _has_any_global_hook

_PLAIN: ContextVar[bool] = ContextVar("plain_kernels", default=False)


@contextmanager
def plain_kernels() -> Iterator[None]:
    """Let every layer take its plain path inside the ``with`` block."""
    token = _PLAIN.set(True)
    try:
        yield
    finally:
        _PLAIN.reset(token)


def kernels_are_own() -> bool:
    """Return whether no :func:`plain_kernels` is in force; what is compiled never has one."""
    return torch.compiler.is_compiling() or not _PLAIN.get()


def own_kernels() -> bool:
    """Return whether a layer may leave torch's own operations for faster ones that the compiler does not know.

    Not while the compiler traces (it makes its own kernels), while ``torch.jit`` does, under ``torch.func`` transforms
    and forward-mode differentiation (which need rules for each operation), or inside :func:`plain_kernels`.
    """
    if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    return not (_PLAIN.get() or torch.jit.is_tracing())


def own_cpu_kernels(x: Tensor) -> bool:
    """Return whether a layer that gets ``x`` runs on this room's kernels for CPUs."""
    return x.device.type == "cpu" and x.is_floating_point() and own_kernels()


def observed(*modules: nn.Module) -> bool:
    """Return whether a call of one of ``modules`` does more than its class says: by hooks or a forward of its own.

    Then it has to be called: someone looks at what it gets or gives, or makes its weight (``nn.utils.weight_norm``).
    """
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return _has_any_global_hook() or any(
        "forward" in module.__dict__ or any(getattr(module, kind) for kind in hooks) for module in modules
    )


def compute_dtype(x: Tensor) -> torch.dtype:
    """Return the type in which matrix products and convolutions of ``x`` are computed: autocast's, or that of ``x``."""
    kind = x.device.type
    # Tensors without memory are of a device that autocast does not know.
    if x.dtype is not torch.float64 and torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        return torch.get_autocast_dtype(kind)
    return x.dtype


def differentiates(*tensors: Tensor | None) -> bool:
    """Return whether a backward pass may follow through any of ``tensors``."""
    return torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors)
