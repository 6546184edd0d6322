"""The networks, their layers and their weights."""

from uniformer_video.models.build import MODELS, build_model
from uniformer_video.models.hourglass import Hourglass, hourglass_xs, hourglass_xxs
from uniformer_video.models.hub import load_published
from uniformer_video.models.published import NETWORKS, build_published
from uniformer_video.models.uniformer import Uniformer, uniformer_base, uniformer_small
from uniformer_video.models.weights import LoadReport, load_weights, read_weights

__all__ = [
    "MODELS",
    "NETWORKS",
    "Hourglass",
    "LoadReport",
    "Uniformer",
    "build_model",
    "build_published",
    "hourglass_xs",
    "hourglass_xxs",
    "load_published",
    "load_weights",
    "read_weights",
    "uniformer_base",
    "uniformer_small",
]
