"""A published network with its weights, by the name of the weights."""

from __future__ import annotations

import inspect
import os
from typing import Any

from torch import nn

from uniformer_video.models.published import KINDS, NETWORKS, build_published
from uniformer_video.models.weights import load_weights
from uniformer_video.models.zoo import ZOO, resolve
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.registry import nearest

logger = get_logger(__name__)


def load_published(name: str, *, folder: str | os.PathLike[str] = "", **changes: Any) -> nn.Module:
    """Return a published network with its published weights, on the CPU, in eval mode.

    Args:
        name: of weights, a key of :data:`zoo.ZOO` (``python tools/zoo.py list`` shows them), found on this machine or
            downloaded once as :func:`zoo.resolve` says.
        folder: of weight files, looked in first.
        changes: arguments of the network in place of the published ones, such as ``drop_path_rate``. With another
            ``num_classes`` the head starts anew, drawn from torch's global generator; nothing else does.

    Returns:
        A network that scores normalised clips (B, 3, T, H, W), image networks also (B, 3, H, W), by logits
        (B, num_classes), which are in the order of the label set of ``ZOO[name]`` unless the head is new.

    Raises:
        UserError: one line: an unknown name, with the nearest ones; an argument that the network has not, or that
            weights for another ``head_dim`` cannot take; what failed in a download and where to put the file by hand;
            weights that do not fit the changed network.
        ValueError: arguments that make no network.
    """
    if name not in ZOO:
        near = ", ".join(nearest(name, ZOO))
        shown = (
            f"nearest: {near} (python tools/zoo.py list shows all)" if near else "python tools/zoo.py list shows all"
        )
        raise UserError(f"no published weights have the name {name!r}; {shown}; load_weights loads a file of your own")
    entry = ZOO[name]
    _check_changes(name, changes)
    model = build_published(entry.network, **{"num_classes": entry.classes, **changes})  # before a download
    found = resolve(name, os.fspath(folder))
    # Nothing but another head is left out: weights that lack what a change adds are refused.
    report = load_weights(model, found.path, allow_new_head=model.num_classes != entry.classes)
    logger.info("%s", report.summary())
    return model.eval()


def _check_changes(name: str, changes: dict[str, Any]) -> None:
    """Raise ``UserError`` for arguments that the network has not, and for one that no tensor would show to be wrong."""
    network = NETWORKS[ZOO[name].network]
    known = inspect.signature(KINDS[network.kind]).parameters
    for argument in changes:
        if argument not in known:
            near = nearest(argument, known)
            shown = f"nearest: {', '.join(near)}" if near else f"known: {', '.join(known)}"
            raise UserError(f"the network of {name}, {network.kind}, has no argument {argument!r}; {shown}")
    width = network.kwargs["head_dim"]
    if changes.get("head_dim", width) != width:
        raise UserError(
            f"{name} have attention heads of {width} channels, got head_dim {changes['head_dim']}, with which every "
            "score would be wrong; leave head_dim out"
        )
