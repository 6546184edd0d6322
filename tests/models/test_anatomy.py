from __future__ import annotations

import pytest
import torch

from tests.models.published import state_keys, tiny
from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.build import hourglass_arguments_from_config, uniformer_arguments_from_config
from uniformer_video.models.published import NETWORKS

SMALL, BASE = (3, 4, 8, 3), (5, 8, 20, 7)
WIDTHS = (64, 128, 320, 512)
NONE, ALL = (False,) * 4, (True,) * 4
# kind, depths, widths, MLP ratio, layer scale, classes
PUBLISHED = {
    "video_small": ("Uniformer", SMALL, WIDTHS, 4, NONE, 400),
    "video_base": ("Uniformer", BASE, WIDTHS, 4, NONE, 400),
    "video_small_split": ("Uniformer", SMALL, WIDTHS, 4, NONE, 400),
    "video_small_std": ("Uniformer", SMALL, WIDTHS, 4, NONE, 400),
    "video_xxs_layer_scale": ("Hourglass", (2, 5, 8, 2), (56, 112, 224, 448), 3, ALL, 400),
    "video_xxs": ("Hourglass", (2, 5, 8, 2), (56, 112, 224, 448), 3, NONE, 400),
    "video_xs": ("Hourglass", (3, 5, 9, 3), (64, 128, 256, 512), 3, NONE, 400),
    "image_small": ("Uniformer", SMALL, WIDTHS, 4, NONE, 1000),
    "image_small_plus": ("Uniformer", (3, 5, 9, 3), WIDTHS, 4, NONE, 1000),
    "image_small_plus_dim64": ("Uniformer", (3, 5, 9, 3), WIDTHS, 4, NONE, 1000),
    "image_base": ("Uniformer", BASE, WIDTHS, 4, NONE, 1000),
    "image_base_ls": ("Uniformer", BASE, WIDTHS, 4, (False, False, True, True), 1000),
    "image_xxs_128": ("Hourglass", (2, 5, 8, 2), (56, 112, 224, 448), 3, NONE, 1000),
    "image_xs_192": ("Hourglass", (3, 5, 9, 3), (64, 128, 256, 512), 3, NONE, 1000),
    "image_large_ls": ("Uniformer", (5, 10, 24, 7), (128, 192, 448, 640), 4, ALL, 1000),
}


def of(model) -> Anatomy:
    return Anatomy.of({name: tensor.shape for name, tensor in model.state_dict().items()})


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_by_names_and_shapes_alone(name):
    got = Anatomy.of(state_keys()[name]["state"])
    image = name.startswith("image")
    kind, depths, widths, ratio, layer_scale, classes = PUBLISHED[name]
    assert got == Anatomy(
        kind=kind,
        image=image,
        depths=depths,
        widths=widths,
        mlp_ratios=(ratio,) * 4,
        local_kernel=(5, 5) if image else (5, 5, 5),
        layer_scale=layer_scale,
        conv_stem="plus" in name,
        split=name.endswith("split"),
        std=name.endswith("std"),
        aux_head="large" in name,
        classes=classes,
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_settings_build_the_network_they_are_of(name):
    """All but the width of a head, which no shape shows, and with the 5 that a 2D kernel leaves open."""
    with torch.device("meta"):
        wanted = NETWORKS[name].build()
    settings = of(wanted).settings()
    cfg = config({**settings, "UNIFORMER.HEAD_DIM": NETWORKS[name].kwargs["head_dim"]})
    arguments = hourglass_arguments_from_config if "light" in settings["MODEL.MODEL_NAME"] else None
    kwargs = (arguments or uniformer_arguments_from_config)(cfg)
    if settings["MODEL.MODEL_NAME"] == "Uniformer_light_ls_fp32":
        kwargs["layer_scale"] = True
    with torch.device("meta"):
        got = type(wanted)(**kwargs)
    shapes = [{n: tuple(t.shape) for n, t in model.state_dict().items()} for model in (got, wanted)]
    assert shapes[0] == shapes[1]


def config(settings):
    from tests.models.test_build import config as plain

    cfg = plain({"NUM_CLASSES": settings["MODEL.NUM_CLASSES"]}, {"MLP_RATIO": 4.0})
    for key, value in settings.items():
        section, name = key.split(".")
        setattr(getattr(cfg, section), name, value)
    return cfg


def test_settings_in_words_of_the_configuration():
    assert Anatomy.of(state_keys()["image_base_ls"]["state"]).settings() == {
        "MODEL.MODEL_NAME": "Uniformer",
        "MODEL.NUM_CLASSES": 1000,
        "UNIFORMER.IMAGE": True,
        "UNIFORMER.DEPTH": [5, 8, 20, 7],
        "UNIFORMER.EMBED_DIM": [64, 128, 320, 512],
        "UNIFORMER.MLP_RATIO": 4.0,
        "UNIFORMER.LOCAL_KERNEL": [1, 5, 5],
        "UNIFORMER.STD": False,
        "UNIFORMER.LAYER_SCALE": [False, False, True, True],
        "UNIFORMER.CONV_STEM": False,
        "UNIFORMER.SPLIT": False,
        "UNIFORMER.AUX_HEAD": False,
    }
    light = Anatomy.of(state_keys()["video_xxs_layer_scale"]["state"]).settings()
    assert light["MODEL.MODEL_NAME"] == "Uniformer_light_ls_fp32"
    assert "UNIFORMER.LAYER_SCALE" not in light
    assert "UNIFORMER.SPLIT" not in light
    assert light["UNIFORMER.LOCAL_KERNEL"] == [5, 5, 5]


def test_ratios_of_each_stage_and_stages_without_blocks():
    assert of(tiny(mlp_ratio=(1, 2.5, 3, 0.5))).mlp_ratio() == [1, 2.5, 3, 0.5]
    got = of(tiny(depths=(0, 2, 1, 0), mlp_ratio=(7, 2, 3, 7)))
    assert got.depths == (0, 2, 1, 0)
    assert got.mlp_ratios == (None, 2, 3, None)
    assert got.mlp_ratio() == [3, 2, 3, 3]
    assert of(tiny(depths=(0, 0, 1, 1))).mlp_ratio() == 4
    assert of(tiny(depths=(0, 0, 1, 1))).local_kernel is None


def test_an_image_network_saved_with_temporal_extents_of_1_is_one():
    got = of(tiny(image=True, local_kernel=(3, 5, 7)))
    assert got.image
    assert got.local_kernel == (1, 5, 7)
    assert got.kernel(3) == (1, 5, 7)
    assert not of(tiny()).image


@pytest.mark.parametrize(
    "shapes",
    [{}, {"fc.weight": (3, 4), "fc.bias": (3,)}, {"head.weight": (3, 4)}, {"conv1.weight": (8, 3, 7, 7)}, {"a": ()}],
)
def test_names_of_no_network_here(shapes):
    got = Anatomy.of(shapes)
    assert got.kind is None
    assert (got.depths, got.widths, got.local_kernel, got.mlp_ratio()) == ((0,) * 4, (0,) * 4, None, None)
    assert got.classes == (3 if "head.weight" in shapes else None)
