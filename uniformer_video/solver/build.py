"""The optimizer of a configuration, and the two things done to it in every step."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.sharded import is_sharded, total_norm
from uniformer_video.solver.layer_decay import layer_scales
from uniformer_video.solver.param_groups import param_groups

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, solver: Any, fused: bool) -> torch.optim.Optimizer:
    if solver.NESTEROV and (solver.MOMENTUM <= 0 or solver.DAMPENING != 0):
        raise ConfigError(
            f"SOLVER.NESTEROV needs SOLVER.MOMENTUM > 0 and SOLVER.DAMPENING 0, got MOMENTUM {solver.MOMENTUM} and "
            f"DAMPENING {solver.DAMPENING}; change them or set SOLVER.NESTEROV False"
        )
    # Of sharded parameters torch has Adam's one kernel alone (2.13).
    fused = fused and not any(is_sharded(parameter) for group in groups for parameter in group["params"])
    return torch.optim.SGD(
        groups,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        dampening=solver.DAMPENING,
        nesterov=solver.NESTEROV,
        fused=fused or None,
    )


def _adam(groups: Groups, solver: Any, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS), fused=fused or None)


def _adamw(groups: Groups, solver: Any, fused: bool) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS), fused=fused or None)


OPTIMIZERS: dict[str, Callable[[Groups, Any, bool], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adam": _adam,
    "sgd": _sgd,
}
"""The optimizers by their name in ``SOLVER.OPTIMIZING_METHOD``; the last argument asks for one kernel for a step."""


def build_optimizer(model: nn.Module, cfg: Any) -> torch.optim.Optimizer:
    """Return the optimizer of ``cfg`` over the trainable parameters of ``model``.

    Reads SOLVER.OPTIMIZING_METHOD, BASE_LR, LAYER_DECAY, BETAS, MOMENTUM, DAMPENING, NESTEROV, WEIGHT_DECAY,
    ZERO_WD_1D_PARAM and BN.WEIGHT_DECAY. Every parameter is in exactly one group of :func:`param_groups`, split by
    layers where LAYER_DECAY is below 1. A step is one kernel where torch has it (``fused``); a state saved by
    another kernel can be loaded. The rate of each step comes from a schedule through :func:`set_lr`; until then it is
    BASE_LR (times the factor of the layer).

    Raises:
        ConfigError: an unknown method, Nesterov momentum without momentum, nothing to train, or LAYER_DECAY on a
            network whose layers are not known.
    """
    solver = cfg.SOLVER
    if solver.OPTIMIZING_METHOD not in OPTIMIZERS:
        raise ConfigError(
            f"SOLVER.OPTIMIZING_METHOD {solver.OPTIMIZING_METHOD!r} is unknown; known: {', '.join(sorted(OPTIMIZERS))}"
        )
    decay = solver.LAYER_DECAY
    groups = param_groups(
        model,
        weight_decay=solver.WEIGHT_DECAY,
        norm_weight_decay=cfg.BN.WEIGHT_DECAY,
        zero_decay_1d=solver.ZERO_WD_1D_PARAM,
        lr_scales=None if decay == 1 else layer_scales((name for name, _ in model.named_parameters()), decay),
    )
    if not groups:
        raise ConfigError("the network has no trainable parameter; unfreeze some of it before building an optimizer")
    fused = has_fused_step(parameter for group in groups for parameter in group["params"])
    optimizer = OPTIMIZERS[solver.OPTIMIZING_METHOD](groups, solver, fused)
    optimizer.register_load_state_dict_pre_hook(_keep_kernel)
    optimizer.register_load_state_dict_post_hook(_keep_layout)
    set_lr(optimizer, solver.BASE_LR)
    return optimizer


def has_fused_step(parameters: Iterable[nn.Parameter]) -> bool:
    """Return whether torch has one kernel for a step of these parameters: on CUDA, and on a CPU.

    AdamW of the base network's 50 million parameters took 31 ms instead of 102 with it, on one core (torch 2.13).
    """
    return all(parameter.device.type in ("cuda", "cpu") and parameter.is_floating_point() for parameter in parameters)


def _keep_kernel(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """Return a saved state as one of this optimizer's kernel: torch would take the kernel from the file.

    A file of before has none named. The two kinds of kernels keep the count of steps on different devices, and torch
    goes by the groups of the state.
    """
    if len(state["param_groups"]) != len(optimizer.param_groups):
        return state  # torch refuses it with its own words
    pairs = zip(state["param_groups"], optimizer.param_groups, strict=True)
    groups = [{**saved, **{key: own[key] for key in ("fused", "foreach") if key in own}} for saved, own in pairs]
    return {**state, "param_groups": groups}


@torch.no_grad()
def _keep_layout(optimizer: torch.optim.Optimizer) -> None:
    """Give loaded moments the layout in memory of their parameters.

    torch takes them as they lie in the file, and its kernel for a step on CPUs goes through the memory of both from end
    to end (torch 2.13): where one is channels-last and the other is not, every number would meet another's moments.
    """
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if not torch.is_tensor(value) or is_sharded(value) or value.shape != parameter.shape:
                continue
            if value.stride() != parameter.stride():
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group of ``optimizer`` to ``lr``, times the group's ``lr_scale`` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def clip_gradients(
    parameters: Iterable[nn.Parameter], max_norm: float | None = None, max_value: float | None = None
) -> torch.Tensor:
    """Clip gradients in place, first each value, then the norm of all together.

    Gradients whose norm is infinite or NaN are left as they are: no factor makes them usable, and the caller can tell
    from the returned norm that the step was none. Without ``max_value`` nothing waits for the device. Of a sharded
    network every process must call it, and gets the norm of the whole gradient.

    Args:
        parameters: those without a gradient are passed over.
        max_norm: largest Euclidean norm of all gradients together, > 0; None for no limit.
        max_value: largest absolute value of a single gradient, > 0; None for no limit.

    Returns:
        The Euclidean norm of all gradients before any clipping, a single number on their device; 0 where there are
        none.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    total = norm = total_norm([parameter.grad for parameter in parameters])
    if not parameters:
        return total
    if max_value is not None:
        if not total.isfinite():
            return total
        nn.utils.clip_grad_value_(parameters, max_value)
        norm = total_norm([parameter.grad for parameter in parameters])
    if max_norm is not None:
        # Of a norm of 0 the factor is 1, with which even an infinite gradient stays what it is.
        nn.utils.clip_grads_with_norm_(parameters, max_norm, torch.where(norm.isfinite(), norm, 0))
    return total
