"""Which parameter decays, and which has a rate of its own: one network split into groups for an optimizer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

UNDECAYED = frozenset({"cls_token"})
"""Last parts of the names of parameters that never decay, whatever their shape: the published recipes exempt learned
tokens by name."""


def param_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    norm_weight_decay: float,
    zero_decay_1d: bool,
    lr_scales: Mapping[str, float] | None = None,
) -> list[dict[str, Any]]:
    """Split a network's trainable parameters into up to three weight-decay groups.

    In this order: the parameters of batch normalisations; the rest that decays; what does not decay, which are the
    class token (:data:`UNDECAYED`) and, with ``zero_decay_1d`` (else they are in the second group), biases and
    parameters of at most one dimension. Within a group, parameters stand in the order of ``model.named_parameters()``,
    so a saved optimizer state fits a rebuilt network.

    Args:
        model: the network. Parameters with ``requires_grad=False`` are left out; a parameter shared by several modules
            is taken once, under its first name.
        weight_decay: decay of the second group, >= 0.
        norm_weight_decay: decay of batch-norm parameters, >= 0.
        zero_decay_1d: whether biases and 1-D parameters outside batch normalisations are free of decay.
        lr_scales: factor on the learning rate of each parameter, by name. Each group is then split by it, the smallest
            factor first. None: one rate for all.

    Returns:
        Dicts with ``params`` (list of parameters), ``weight_decay`` (float), ``names`` (list of str, one for each
        parameter) and, with ``lr_scales``, ``lr_scale`` (float). A group with no member is dropped, so the list is
        empty for a network with nothing to train.
    """
    in_batch_norm = {
        id(parameter)
        for module in model.modules()
        if _is_batch_norm(module)
        for parameter in module.parameters(recurse=False)
    }
    norm, decayed, undecayed = (
        {"params": [], "weight_decay": decay, "names": []} for decay in (norm_weight_decay, weight_decay, 0.0)
    )
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        leaf = name.rpartition(".")[2]
        if id(parameter) in in_batch_norm:
            group = norm
        elif leaf in UNDECAYED or (zero_decay_1d and (parameter.ndim <= 1 or leaf == "bias")):
            group = undecayed
        else:
            group = decayed
        group["params"].append(parameter)
        group["names"].append(name)
    groups = [group for group in (norm, decayed, undecayed) if group["params"]]
    return groups if lr_scales is None else [part for group in groups for part in _split(group, lr_scales)]


def _split(group: dict[str, Any], lr_scales: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the parts of a group that share a rate, each in the group's order."""
    parts: dict[float, dict[str, Any]] = {}
    for name, parameter in zip(group["names"], group["params"], strict=True):
        scale = lr_scales[name]
        start = {"params": [], "weight_decay": group["weight_decay"], "names": [], "lr_scale": scale}
        part = parts.setdefault(scale, start)
        part["params"].append(parameter)
        part["names"].append(name)
    return [parts[scale] for scale in sorted(parts)]


def _is_batch_norm(module: nn.Module) -> bool:
    """Tell a batch normalisation, also one that is not torch's own class, by the statistics it keeps."""
    return isinstance(module, _BatchNorm) or (
        getattr(module, "running_mean", None) is not None and getattr(module, "running_var", None) is not None
    )
