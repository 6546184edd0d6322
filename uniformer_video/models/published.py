"""The networks whose weights the authors published, as the arguments that build them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import UserError

KINDS: dict[str, type[nn.Module]] = {"Uniformer": Uniformer, "Hourglass": Hourglass}
"""Classes of networks by the word that :class:`Network` has for them."""


@dataclass(frozen=True)
class Network:
    """How to build a network.

    Attributes:
        kind: one of :data:`KINDS`.
        kwargs: arguments of that class.
    """

    kind: str
    kwargs: Mapping[str, Any]

    def build(self, **changes: Any) -> nn.Module:
        """Return a new network with its start weights; ``changes`` replace or add to the arguments."""
        return KINDS[self.kind](**{**self.kwargs, **changes})


_VIDEO = {"num_classes": 400, "local_kernel": (5, 5, 5)}
_IMAGE = {"num_classes": 1000, "local_kernel": (5, 5, 5), "image": True}

_WIDTHS = {"widths": (64, 128, 320, 512), "head_dim": 64, "mlp_ratio": 4.0}
_SMALL = {"depths": (3, 4, 8, 3), **_WIDTHS}
_SMALL_PLUS = {"depths": (3, 5, 9, 3), **_WIDTHS, "conv_stem": True}
_BASE = {"depths": (5, 8, 20, 7), **_WIDTHS}
_LARGE = {"depths": (5, 10, 24, 7), "widths": (128, 192, 448, 640), "head_dim": 64, "mlp_ratio": 4.0}
_XXS = {"depths": (2, 5, 8, 2), "widths": (56, 112, 224, 448), "head_dim": 28, "mlp_ratio": 3.0}
_XS = {"depths": (3, 5, 9, 3), "widths": (64, 128, 256, 512), "head_dim": 32, "mlp_ratio": 3.0}
_GLOBAL_STAGES = (False, False, True, True)

NETWORKS: dict[str, Network] = {
    "video_small": Network("Uniformer", {**_VIDEO, **_SMALL}),
    "video_base": Network("Uniformer", {**_VIDEO, **_BASE}),
    "video_small_split": Network("Uniformer", {**_VIDEO, **_SMALL, "split": True}),
    "video_small_std": Network("Uniformer", {**_VIDEO, **_SMALL, "std": True}),
    "video_xxs_layer_scale": Network("Hourglass", {**_VIDEO, **_XXS, "layer_scale": True}),
    "video_xxs": Network("Hourglass", {**_VIDEO, **_XXS}),
    "video_xs": Network("Hourglass", {**_VIDEO, **_XS}),
    "image_small": Network("Uniformer", {**_IMAGE, **_SMALL}),
    "image_small_plus": Network("Uniformer", {**_IMAGE, **_SMALL_PLUS, "head_dim": 32}),
    "image_small_plus_dim64": Network("Uniformer", {**_IMAGE, **_SMALL_PLUS}),
    "image_base": Network("Uniformer", {**_IMAGE, **_BASE}),
    "image_base_ls": Network("Uniformer", {**_IMAGE, **_BASE, "layer_scale": _GLOBAL_STAGES}),
    "image_xxs_128": Network("Hourglass", {**_IMAGE, **_XXS}),
    "image_xs_192": Network("Hourglass", {**_IMAGE, **_XS}),
    "image_large_ls": Network("Uniformer", {**_IMAGE, **_LARGE, "layer_scale": True, "aux_head": True}),
}
"""Networks by name. Weights of small-plus do not show the width of its attention heads, 32 or 64: the name must."""


def build_published(name: str, **changes: Any) -> nn.Module:
    """Return a new network with the published names, with its start weights.

    Args:
        name: a key of :data:`NETWORKS`.
        changes: arguments that replace the published ones, such as ``num_classes``.

    Raises:
        UserError: for an unknown name, with the known ones.
    """
    if name not in NETWORKS:
        raise UserError(f"unknown network {name!r}; known: {', '.join(NETWORKS)}")
    return NETWORKS[name].build(**changes)
