"""The networks, their layers and their weights."""

from uniformer_video.models.build import MODELS, build_model
from uniformer_video.models.uniformer import Uniformer, uniformer_base, uniformer_small
from uniformer_video.models.weights import LoadReport, load_weights, read_weights

__all__ = [
    "MODELS",
    "LoadReport",
    "Uniformer",
    "build_model",
    "load_weights",
    "read_weights",
    "uniformer_base",
    "uniformer_small",
]
