"""Multiply-adds of a forward pass, counted from the operations that run and not from a formula for each network.

Every matrix product, convolution and attention kernel that reaches the dispatcher is counted by its shapes, with the
formulas of ``torch.utils.flop_counter`` (2 of its floating-point operations are 1 multiply-add). An attention kernel is
the two products it does, whichever kernel it is: torch's own ``FlopCounterMode`` passes over the one for CPUs. A
convolution counts its whole kernel at every output position, padding included.

Normalisation is a kind of its own, counted as published figures have it (fvcore's ``FlopCountAnalysis``): 2 for each
number that passes a batch norm in eval mode, 5 for each that passes another norm. Biases, activation functions,
softmax, pooling, sums and scaling are not counted.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from uniformer_video.models.kernels import plain_kernels
from uniformer_video.runtime.errors import UserError

LINEAR = "linear"
"""Products with a weight matrix: linear layers and convolutions whose kernel is 1 everywhere."""
DEPTHWISE = "depthwise convolution"
"""Convolutions that see one channel each."""
PATCH = "patch convolution"
"""All other convolutions: stems and what downsamples between stages."""
ATTENTION = "attention product"
"""Products of two activations: queries with keys, weights with values."""
NORM = "normalisation"
"""Batch and layer norms, by the convention above."""
KINDS = (LINEAR, DEPTHWISE, PATCH, ATTENTION, NORM)

Counts = Counter[tuple[str, str]]
"""Multiply-adds by (module, kind); the module by its name inside the network, empty for the network itself."""

# Attention kernels that torch's registry does not know; those of other torch versions are passed over.
_MORE_ATTENTION = (
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_fused_attention_overrideable",
    "_scaled_dot_product_attention_math_for_mps",
)
_KNOWN_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention

# Names of operations that multiply and add. What is named so and has no formula must not be passed over in silence.
_PRODUCT_NAME = re.compile(
    r"(?:^|_)(?:[a-z]*mm|[a-z]*mv|v?dot|inner|matmul|einsum|linear|bilinear|trilinear)(?:$|_)"
    r"|conv(?!ert)|attention|rnn|lstm|gru"
)


_NORM_NAME = re.compile(r"(?:batch|layer|group|instance|rms)_norm")


def count_multiply_adds(model: nn.Module, forward: Callable[[], object]) -> Counts:
    """Return the multiply-adds of one call of ``forward``, by the module that did them and by kind.

    The call is made without gradients. Tensors without memory (``meta`` or fake ones) are counted as well as real ones.

    Args:
        model: the network that is called; its modules are the names of the result.
        forward: calls it.

    Returns:
        Multiply-adds of the whole batch, by (module, kind).

    Raises:
        UserError: an operation multiplies and adds and nothing is known about how much.
    """
    mode = _CountingMode()
    # Plain, because published figures count a batch norm even where it could be folded away.
    with torch.no_grad(), plain_kernels(), _names_of_running(model) as mode.running, mode:
        forward()
    return mode.counts


class _CountingMode(TorchDispatchMode):
    """Adds up the multiply-adds of every operation that is dispatched under it."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counts = Counter()
        self.running = [""]

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        operation = func.overloadpacket
        formula = _formula(operation)
        if formula is None and _PRODUCT_NAME.search(operation.__name__):
            # Under inference mode operations that are made of others come whole.
            with self:
                result = func.decompose(*args, **kwargs)
            if result is NotImplemented:
                raise UserError(
                    f"no formula for the multiply-adds of {func}; give one with "
                    "torch.utils.flop_counter.register_flop_formula"
                )
            return result
        result = func(*args, **kwargs)
        if formula is not None:
            flops = formula(*args, **kwargs, out_val=result)
            self.counts[self.running[-1], _kind(operation.__name__, args)] += flops // 2
        elif _NORM_NAME.search(operation.__name__):
            each = 2 if "batch_norm" in operation.__name__ else 5
            self.counts[self.running[-1], NORM] += each * args[0].numel()
        return result


@contextmanager
def _names_of_running(model: nn.Module) -> Iterator[list[str]]:
    """Give a list that holds, while modules of ``model`` run, their names from the outermost to the innermost.

    (``torch.utils.module_tracker`` does so too, but not where a network passes its own parameters to a module.)
    """
    names = {module: name for name, module in model.named_modules()}
    running = [""]

    def enter(module: nn.Module, inputs: Any) -> None:
        running.append(names.get(module, running[-1]))

    def leave(module: nn.Module, inputs: Any, output: Any) -> None:
        running.pop()

    hooks = (
        register_module_forward_pre_hook(enter),
        register_module_forward_hook(leave, always_call=True),
    )
    try:
        yield running
    finally:
        for hook in hooks:
            hook.remove()


def _formula(operation: Any) -> Callable[..., int] | None:
    known = flop_registry.get(operation)
    if known is None and operation.__name__ in _MORE_ATTENTION:
        return flop_registry[_KNOWN_ATTENTION]
    return known


def _kind(operation: str, arguments: Sequence[Any]) -> str:
    if "conv" in operation:
        inputs, weight = arguments[:2]
        # Of a channels-last grid, as our own operation takes it, the second extent is not the channels.
        if "depthwise" in operation or (weight.shape[1] == 1 and inputs.shape[1] > 1):
            return DEPTHWISE
        return LINEAR if all(extent == 1 for extent in weight.shape[2:]) else PATCH
    return ATTENTION if "attention" in operation or "bmm" in operation else LINEAR
