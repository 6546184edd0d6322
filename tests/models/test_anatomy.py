from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.models.published import TINY, state_keys, tiny
from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.build import build_model, hourglass_arguments_from_config, uniformer_arguments_from_config
from uniformer_video.models.hourglass import Hourglass
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


def shapes_of(model) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def of(model) -> Anatomy:
    return Anatomy.of(shapes_of(model))


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
        qkv_bias=True,
        lacking=(),
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
    assert shapes_of(got) == shapes_of(wanted)


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


def light(**kwargs) -> Hourglass:
    return Hourglass(**{**TINY, **kwargs})


@pytest.mark.parametrize(
    ("options", "name", "scaled"),
    [
        ({}, "Uniformer_light", False),
        ({"layer_scale": True}, "Uniformer_light_ls_fp32", None),
        ({"layer_scale": (False, False, True, True)}, "Uniformer_light", [False, False, True, True]),
        ({"layer_scale": (True, False, True, True)}, "Uniformer_light", [True, False, True, True]),
        # A stage without blocks takes either.
        ({"layer_scale": True, "depths": (1, 0, 2, 1)}, "Uniformer_light_ls_fp32", None),
    ],
)
def test_the_name_of_a_light_network_says_layer_scale_only_where_all_stages_have_it(options, name, scaled):
    wanted = light(**options)
    settings = of(wanted).settings()
    assert (settings["MODEL.MODEL_NAME"], settings.get("UNIFORMER.LAYER_SCALE")) == (name, scaled)
    built = build_model(config({**settings, "UNIFORMER.HEAD_DIM": 8}))
    assert shapes_of(built) == shapes_of(wanted)


def test_layer_scale_of_a_network_with_a_stage_without_blocks():
    got = of(tiny(layer_scale=True, depths=(1, 0, 2, 1)))
    assert got.layer_scale == (True, False, True, True)
    assert got.layer_scale_setting() is True
    assert of(tiny(depths=(1, 0, 2, 1))).layer_scale_setting() is False


@pytest.mark.parametrize("make", [tiny, light])
@pytest.mark.parametrize("bias", [True, False])
def test_a_bias_of_qkv_that_is_not_there_is_a_setting(make, bias):
    wanted = make(qkv_bias=bias)
    got = of(wanted)
    assert got.qkv_bias is bias
    assert got.settings().get("UNIFORMER.QKV_BIAS", "unsaid") == ("unsaid" if bias else False)
    assert shapes_of(build_model(config({**got.settings(), "UNIFORMER.HEAD_DIM": 8}))) == shapes_of(wanted)
    assert of(make(depths=(1, 1, 0, 0))).qkv_bias is None


def test_ratios_of_each_stage_and_stages_without_blocks():
    assert of(tiny(mlp_ratio=(1, 2.5, 3, 0.5))).mlp_ratio() == [1, 2.5, 3, 0.5]
    got = of(tiny(depths=(0, 2, 1, 0), mlp_ratio=(7, 2, 3, 7)))
    assert got.depths == (0, 2, 1, 0)
    assert got.mlp_ratios == (None, 2, 3, None)
    assert got.mlp_ratio() == [3, 2, 3, 3]
    assert of(tiny(depths=(0, 0, 1, 1))).mlp_ratio() == 4
    assert of(tiny(depths=(0, 0, 1, 1))).local_kernel is None


@pytest.mark.parametrize(
    ("width", "hidden", "ratio"),
    [
        (24, 80, 3.34),  # 80 / 24 to four decimals is 3.3333, which gives 79
        (24, 96, 4),
        (24, 60, 2.5),
        (56, 28, 0.5),
        (64, 170, 2.66),
        (100, 29, 0.291),  # 100 * 0.29 is 28.999999999999996
        (3, 1, 0.4),
        (512, 1, 0.002),
    ],
)
def test_the_mlp_ratio_is_the_shortest_that_gives_the_hidden_width(width, hidden, ratio):
    got = of_mlps([width], [hidden])
    assert got.mlp_ratio() == ratio
    assert int(width * ratio) == hidden


def of_mlps(widths, hidden) -> Anatomy:
    shapes = {f"patch_embed{stage}.norm.weight": (width,) for stage, width in enumerate(widths, start=1)}
    mlps = {f"blocks{stage}.0.mlp.fc1.weight": (size, 1) for stage, size in enumerate(hidden, start=1)}
    return Anatomy.of({**shapes, **mlps})


@given(st.integers(1, 3000), st.integers(1, 20000))
def test_any_hidden_width_is_built_again(width, hidden):
    ratio = of_mlps([width], [hidden]).mlp_ratio()
    assert int(width * ratio) == hidden
    decimals = len(f"{ratio:.15g}".partition(".")[2])
    units = 10 ** max(decimals - 1, 0)
    shorter = [number / units for number in range(hidden * units // width, hidden * units // width + 3)]
    assert decimals == 0 or not any(int(width * number) == hidden for number in shorter)


@given(st.lists(st.integers(1, 2000), min_size=4, max_size=4), st.floats(0.01, 20))
def test_stages_of_one_ratio_are_said_to_have_one(widths, ratio):
    hidden = [int(width * ratio) for width in widths]
    if min(hidden) < 1:
        return
    got = of_mlps(widths, hidden).mlp_ratio()
    assert isinstance(got, float)
    assert [int(width * got) for width in widths] == hidden


def test_the_mlp_ratio_builds_the_network_again():
    wanted = tiny(mlp_ratio=(3.34, 10 / 3, 10 / 3, 2.66))
    assert [getattr(wanted, f"blocks{stage}")[0].mlp.fc1.weight.shape[0] for stage in (1, 2, 3, 4)] == [26, 53, 80, 85]
    got = of(wanted)
    assert got.mlp_ratio() == [3.3, 3.32, 3.34, 2.66]
    assert shapes_of(tiny(mlp_ratio=got.mlp_ratio())) == shapes_of(wanted)


def lacking(model, *without: str) -> tuple[str, ...]:
    return Anatomy.of({name: s for name, s in shapes_of(model).items() if not name.startswith(without)}).lacking


def test_what_blocks_lack_that_others_of_their_kind_have():
    # A block of the same stage, of the other stage of its kind, a whole block.
    assert lacking(tiny(), "blocks2.1.norm1.weight") == ("blocks2.1.norm1.weight",)
    assert lacking(tiny(), "blocks4.0.attn.proj") == ("blocks4.0.attn.proj.bias", "blocks4.0.attn.proj.weight")
    parts = sorted(name for name in shapes_of(tiny()) if name.startswith("blocks2.0.") and "num_batches" not in name)
    assert lacking(tiny(), "blocks2.0.") == tuple(parts)
    # Layer scale is compared within its stage alone.
    scaled = tiny(layer_scale=(False, True, False, True))
    assert lacking(scaled, "blocks2.1.gamma_2") == ("blocks2.1.gamma_2",)


@pytest.mark.parametrize(
    ("make", "without"),
    [
        (tiny, "none"),
        (light, "none"),
        (lambda: tiny(split=True), "none"),
        (lambda: tiny(layer_scale=(False, True, True, False)), "none"),
        (tiny, "head."),
        (tiny, "blocks3.1."),  # a network of fewer blocks
        (tiny, ("blocks3.", "blocks4.")),
        (tiny, "blocks2.1.norm1.num_batches_tracked"),
    ],
)
def test_a_whole_file_lacks_nothing(make, without):
    assert lacking(make(), *([without] if isinstance(without, str) else without)) == ()


def test_a_block_of_a_number_out_of_this_world_is_no_million_gaps():
    shapes = {**shapes_of(tiny()), "blocks1.999999999.norm1.weight": (8,)}
    got = Anatomy.of(shapes).lacking
    assert {name.rsplit(".", 1)[0].split(".")[1] for name in got} == {"1", "999999999"}


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
