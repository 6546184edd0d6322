"""The state of a training, whole, whether the network is sharded or not: one checkpoint serves any number of processes.

Of a network that is not sharded these are torch's own calls, and nothing is copied.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from uniformer_video.runtime.sharded import is_sharded, put, whole


def whole_model_state(model: nn.Module, *, keep: bool = True) -> dict[str, Tensor]:
    """Return ``model.state_dict()`` with whole plain tensors; every process must call it.

    Args:
        model: the network, not what wraps it.
        keep: whether this process has a use for the state. Without, it only takes part and spares the memory: what was
            sharded is not in what it gets.

    Returns:
        Tensors by name. What was sharded is a copy on the CPU; other tensors are the network's own.
    """
    found = {name: _gathered(tensor, keep) for name, tensor in model.state_dict().items()}
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def whole_optimizer_state(optimizer: torch.optim.Optimizer, *, keep: bool = True) -> dict[str, Any]:
    """Return ``optimizer.state_dict()`` with whole plain tensors; every process must call it.

    Args:
        optimizer: of a network that is sharded or not.
        keep: as for :func:`whole_model_state`.
    """
    state = optimizer.state_dict()
    # In the order of parameters, which is the same on every process: each tensor is a collective.
    numbers = sorted(state["state"])
    gathered = {number: _mapped(state["state"][number], lambda tensor: _gathered(tensor, keep)) for number in numbers}
    return {**state, "state": gathered}


def load_optimizer_state(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Do ``optimizer.load_state_dict(state)`` of a whole state, of which a sharded optimizer takes its part.

    Nothing is communicated: every process has the state.

    Args:
        optimizer: of a network that is sharded or not.
        state: of :func:`whole_optimizer_state` or an optimizer's own ``state_dict()``, on any device; not changed.

    Raises:
        ValueError: it has other groups, or groups of other sizes, than the optimizer; or a tensor of another shape
            than its sharded parameter.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    saved = [number for group in state["param_groups"] for number in group["params"]]
    if len(saved) == len(parameters) and any(is_sharded(parameter) for parameter in parameters):
        owners = dict(zip(saved, parameters, strict=True))
        parts = {number: _parts(values, owners.get(number)) for number, values in state["state"].items()}
        state = {**state, "state": parts}
    optimizer.load_state_dict(state)


def _mapped(values: dict[str, Any], function: Callable[[Tensor], Tensor | None]) -> dict[str, Any]:
    """Return the values of one parameter with ``function`` done to its tensors."""
    return {name: function(value) if isinstance(value, Tensor) else value for name, value in values.items()}


def _gathered(tensor: Tensor, keep: bool) -> Tensor | None:
    if not is_sharded(tensor):
        return tensor
    found = whole(tensor)
    return found.cpu() if keep else None


def _parts(values: dict[str, Any], owner: Tensor | None) -> dict[str, Any]:
    """Return the parts of a parameter's whole values that go with it where it is sharded; single numbers stay whole."""

    def part(tensor: Tensor) -> Tensor:
        if owner is None or not is_sharded(owner) or tensor.ndim == 0:
            return tensor
        made = torch.zeros_like(owner, dtype=tensor.dtype, requires_grad=False)
        put(made, tensor)
        return made

    return _mapped(values, part)
