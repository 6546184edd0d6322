"""What ``model_zoo.py`` finds out about each recipe and image network by building it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.config import KEYS, get_value, load_config
from uniformer_video.datasets import DATASETS
from uniformer_video.models.build import build_model
from uniformer_video.models.complexity import Size, measure_size
from uniformer_video.models.published import NETWORKS
from uniformer_video.video.sampling import SegmentSampler

CONFIGS = Path(__file__).resolve().parents[1] / "configs"

NETWORK_LABELS = {(3, 4, 8, 3): "S", (5, 8, 20, 7): "B", (2, 5, 8, 2): "XXS", (3, 5, 9, 3): "XS"}
"""Short names of the published video networks by their depths."""

# Settings of a network that change nothing that is counted: recipes that differ in these alone share one count.
_NOT_COUNTED = {
    "MODEL.LOSS_FUNC",
    "MODEL.USE_CHECKPOINT",
    "MODEL.CHECKPOINT_NUM",
    "UNIFORMER.PRETRAIN_NAME",
    "UNIFORMER.WEIGHTS_DIR",
    "UNIFORMER.DROP_DEPTH_RATE",
}
_sizes: dict[tuple[object, ...], Size] = {}


@dataclass(frozen=True)
class Recipe:
    """A recipe with its counted figures.

    Attributes:
        name: path below configs/ without ending.
        cfg: its configuration.
        size: parameters of its network and multiply-adds of one test view.
    """

    name: str
    cfg: CfgNode
    size: Size

    @property
    def views(self) -> tuple[int, int]:
        """Clips and crops of the test of one video."""
        return self.cfg.TEST.NUM_ENSEMBLE_VIEWS, self.cfg.TEST.NUM_SPATIAL_CROPS

    @property
    def all_views(self) -> int:
        """Multiply-adds of the test of one video."""
        return self.size.total_multiply_adds * self.views[0] * self.views[1]

    @property
    def network(self) -> str:
        """A short name such as "S" or "XXS, layer scale"; "own" for depths that are none of the published."""
        settings = self.cfg.UNIFORMER
        words = [NETWORK_LABELS.get(tuple(settings.DEPTH), "own")]
        if settings.LAYER_SCALE is True or "_ls" in self.cfg.MODEL.MODEL_NAME:
            words.append("layer scale")
        if settings.LOCAL_KERNEL != [5, 5, 5]:
            words.append("local kernel " + "x".join(str(extent) for extent in settings.LOCAL_KERNEL))
        return ", ".join(words)

    @property
    def sampling(self) -> str:
        """How test clips are taken and of how many pixels a side: "16 x 4, 224" or "16 segments, 224"."""
        data = self.cfg.DATA
        sampler = DATASETS.get(self.cfg.TEST.DATASET, "TEST.DATASET").sampler(self.cfg)
        segments = isinstance(sampler, SegmentSampler)
        frames = f"{data.NUM_FRAMES} segments" if segments else f"{data.NUM_FRAMES} x {data.SAMPLING_RATE}"
        return f"{frames}, {data.TEST_CROP_SIZE}"


def read_recipe(name: str) -> Recipe:
    """Read a recipe and count its network.

    Raises:
        UserError: the file is missing or cannot be used.
    """
    cfg = load_config(CONFIGS / f"{name}.yaml")
    clip = (3, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE)
    counted = (key for key in KEYS if key.startswith(("MODEL.", "UNIFORMER.")) and key not in _NOT_COUNTED)
    settings = tuple(str(get_value(cfg, key)) for key in counted)
    return Recipe(name, cfg, _size(lambda: build_model(cfg), clip, settings))


def image_size(name: str, pixels: int) -> Size:
    """Return parameters and multiply-adds of an image network of ``models.published.NETWORKS``."""
    return _size(NETWORKS[name].build, (3, 1, pixels, pixels), (name,))


def _size(build: Callable[[], nn.Module], clip: tuple[int, ...], key: tuple[object, ...]) -> Size:
    """Count a network for clips of a shape, once for each ``key`` and shape."""
    if (key, clip) not in _sizes:
        with torch.device("meta"):
            model = build()
        _sizes[key, clip] = measure_size(model, clip)
    return _sizes[key, clip]
