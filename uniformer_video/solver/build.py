"""The optimizer of a configuration, and the two things done to it in every step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.layer_decay import layer_scales
from uniformer_video.solver.param_groups import param_groups

Groups = list[dict[str, Any]]


def _sgd(groups: Groups, solver: Any) -> torch.optim.Optimizer:
    if solver.NESTEROV and (solver.MOMENTUM <= 0 or solver.DAMPENING != 0):
        raise ConfigError(
            f"SOLVER.NESTEROV needs SOLVER.MOMENTUM > 0 and SOLVER.DAMPENING 0, got MOMENTUM {solver.MOMENTUM} and "
            f"DAMPENING {solver.DAMPENING}; change them or set SOLVER.NESTEROV False"
        )
    return torch.optim.SGD(
        groups,
        lr=solver.BASE_LR,
        momentum=solver.MOMENTUM,
        dampening=solver.DAMPENING,
        nesterov=solver.NESTEROV,
    )


def _adam(groups: Groups, solver: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS))


def _adamw(groups: Groups, solver: Any) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=solver.BASE_LR, betas=tuple(solver.BETAS))


OPTIMIZERS: dict[str, Callable[[Groups, Any], torch.optim.Optimizer]] = {"adamw": _adamw, "adam": _adam, "sgd": _sgd}
"""The optimizers by their name in ``SOLVER.OPTIMIZING_METHOD``."""


def build_optimizer(model: nn.Module, cfg: Any) -> torch.optim.Optimizer:
    """Return the optimizer of ``cfg`` over the trainable parameters of ``model``.

    Reads SOLVER.OPTIMIZING_METHOD, BASE_LR, LAYER_DECAY, BETAS, MOMENTUM, DAMPENING, NESTEROV, WEIGHT_DECAY,
    ZERO_WD_1D_PARAM and BN.WEIGHT_DECAY. Every parameter is in exactly one group of :func:`param_groups`, split by
    layers where LAYER_DECAY is below 1. The rate of each step comes from a schedule through :func:`set_lr`; until then
    it is BASE_LR (times the factor of the layer).

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
    optimizer = OPTIMIZERS[solver.OPTIMIZING_METHOD](groups, solver)
    set_lr(optimizer, solver.BASE_LR)
    return optimizer


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of every group of ``optimizer`` to ``lr``, times the group's ``lr_scale`` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)


def clip_gradients(
    parameters: Iterable[nn.Parameter], max_norm: float | None = None, max_value: float | None = None
) -> float:
    """Clip gradients in place, first each value, then the norm of all together.

    Gradients whose norm is infinite or NaN are left as they are: no factor makes them usable, and the caller can tell
    from the returned norm that the step must be skipped.

    Args:
        parameters: those without a gradient are passed over.
        max_norm: largest Euclidean norm of all gradients together, > 0; None for no limit.
        max_value: largest absolute value of a single gradient, > 0; None for no limit.

    Returns:
        The Euclidean norm of all gradients before any clipping; 0.0 where there are none.
    """
    parameters = [parameter for parameter in parameters if parameter.grad is not None]
    norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    total = float(norm)
    if not parameters or not math.isfinite(total):
        return total
    if max_value is not None:
        nn.utils.clip_grad_value_(parameters, max_value)
        norm = nn.utils.get_total_norm([parameter.grad for parameter in parameters])
    if max_norm is not None:
        nn.utils.clip_grads_with_norm_(parameters, max_norm, norm)
    return total
