from __future__ import annotations

import inspect
from operator import attrgetter
from types import SimpleNamespace

import pytest
import torch

from uniformer_video.config import load_config
from uniformer_video.models import MODELS, build_model
from uniformer_video.models.build import HOURGLASS_KEYS, KEYS, UNIFORMER_KEYS
from uniformer_video.models.embeds import ConvStem
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.layers import DropPath
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import ConfigError, UserError


def config(model=None, uniformer=None):
    """What build_model reads of a configuration; no more, so that a key it reads beside these fails here."""
    return SimpleNamespace(
        MODEL=SimpleNamespace(
            **{
                "MODEL_NAME": "Uniformer",
                "NUM_CLASSES": 7,
                "USE_CHECKPOINT": False,
                "CHECKPOINT_NUM": [1, 1, 2, 1],
                **(model or {}),
            }
        ),
        UNIFORMER=SimpleNamespace(
            **{
                "EMBED_DIM": [8, 16, 24, 32],
                "DEPTH": [1, 2, 2, 1],
                "HEAD_DIM": 8,
                "MLP_RATIO": 3.0,
                "DROPOUT_RATE": 0.1,
                "ATTENTION_DROPOUT_RATE": 0.2,
                "DROP_DEPTH_RATE": 0.5,
                "HEAD_DROPOUT_RATE": 0.0,
                "SPLIT": False,
                "STD": False,
                "QKV_BIAS": True,
                "QKV_SCALE": None,
                "LOCAL_KERNEL": [3, 5, 5],
                "LAYER_SCALE": False,
                "INIT_VALUE": 0.1,
                "CONV_STEM": False,
                "AUX_HEAD": False,
                "IMAGE": False,
                "PRUNE_RATIO": None,
                "TRADE_OFF": None,
                **(uniformer or {}),
            }
        ),
    )


LIGHT = ("Uniformer_light", "Uniformer_light_fp32", "Uniformer_light_ls_fp32")


def test_every_key_reaches_the_network():
    model = build_model(
        config(
            {"USE_CHECKPOINT": True},
            {
                "SPLIT": True,
                "STD": True,
                "QKV_BIAS": False,
                "QKV_SCALE": 0.25,
                "LOCAL_KERNEL": [5, 3, 7],
                "HEAD_DROPOUT_RATE": 0.3,
            },
        )
    )
    assert isinstance(model, Uniformer)
    assert model.head.weight.shape == (7, 32)
    assert model.head_dropout.p == 0.3
    assert model.checkpoint_blocks == (1, 1, 2, 1)
    assert [len(getattr(model, f"blocks{i}")) for i in (1, 2, 3, 4)] == [1, 2, 2, 1]
    assert model.blocks1[0].attn.weight.shape == (8, 1, 5, 3, 7)
    assert model.blocks1[0].mlp.fc1.weight.shape == (24, 8, 1, 1, 1)
    assert model.patch_embed2.proj.weight.shape == (16, 8, 3, 2, 2)
    block = model.blocks4[0]
    assert (block.attn.heads, block.attn.scale, block.attn.attention_dropout) == (4, 0.25, 0.2)
    assert block.t_attn.qkv.bias is None
    assert block.mlp.dropout.p == block.attn.dropout.p == model.stem_dropout.p == 0.1
    assert [m.rate for m in model.modules() if isinstance(m, DropPath)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


def test_the_keys_of_other_forms_reach_the_network():
    model = build_model(
        config(uniformer={"MLP_RATIO": [1.0, 2.0, 3.0, 4.0], "LAYER_SCALE": [False, True, False, True]})
    )
    assert [getattr(model, f"blocks{i}")[0].mlp.fc1.weight.shape[0] for i in (1, 2, 3, 4)] == [8, 32, 72, 128]
    assert model.blocks1[0].gamma_1 is None
    assert model.blocks3[1].gamma_2 is None
    assert model.blocks2[0].gamma_1.shape == (1, 16, 1, 1, 1)
    assert model.blocks4[0].gamma_2.unique().tolist() == [pytest.approx(0.1)]
    model = build_model(config(uniformer={"IMAGE": True, "AUX_HEAD": True, "CONV_STEM": True, "LAYER_SCALE": True}))
    assert model.aux_head.weight.shape == (7, 32)
    assert isinstance(model.patch_embed1, ConvStem)
    assert model.patch_embed1.proj[0].weight.shape == (4, 3, 1, 3, 3)
    assert model.blocks1[0].attn.weight.shape == (8, 1, 1, 5, 5)
    assert model.blocks1[0].gamma_1 is not None


@pytest.mark.parametrize("name", LIGHT)
def test_every_key_reaches_the_light_network(name):
    model = build_model(
        config(
            {"MODEL_NAME": name, "USE_CHECKPOINT": True},
            {
                "STD": True,
                "QKV_BIAS": False,
                "QKV_SCALE": 0.25,
                "LOCAL_KERNEL": [5, 3, 7],
                "HEAD_DROPOUT_RATE": 0.3,
                "MLP_RATIO": [1.0, 2.0, 3.0, 4.0],
                "PRUNE_RATIO": [[], [], [1.0, 0.25], [0.75]],
                "TRADE_OFF": [[], [], [1.0, 0.5], [0.125]],
            },
        )
    )
    assert isinstance(model, Hourglass)
    assert model.head.weight.shape == model.head_cls.weight.shape == (7, 32)
    assert (model.head_dropout.p, model.stem_dropout.p) == (0.3, 0.1)
    assert model.checkpoint_blocks == (1, 1, 2, 1)
    assert [len(getattr(model, f"blocks{i}")) for i in (1, 2, 3, 4)] == [1, 2, 2, 1]
    assert model.blocks1[0].attn.weight.shape == (8, 1, 5, 3, 7)
    assert model.patch_embed2.proj.weight.shape == (16, 8, 3, 2, 2)
    assert model.patch_embed1.proj[0].weight.shape == (4, 3, 3, 3, 3)
    blocks = [*model.blocks3, *model.blocks4]
    assert [block.prune_ratio for block in blocks] == [1.0, 0.25, 0.75]
    assert [block.trade_off for block in blocks] == [1.0, 0.5, 0.125]
    assert [block.mlp.fc1.weight.shape[0] for block in blocks] == [72, 72, 128]
    attention = blocks[-1].attn
    assert (attention.heads, attention.scale, attention.attention_dropout, attention.qkv.bias) == (4, 0.25, 0.2, None)
    assert [m.rate for m in model.modules() if isinstance(m, DropPath)] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    scales = [p for n, p in model.named_parameters() if "gamma" in n]
    assert len(scales) == (12 if name.endswith("ls_fp32") else 0)
    assert all(p.unique().tolist() == [pytest.approx(0.1)] for p in scales)


def test_merging_has_the_published_defaults_for_the_depth():
    model = build_model(config({"MODEL_NAME": "Uniformer_light"}, {"DEPTH": [1, 1, 4, 2]}))
    for name in ("prune_ratio", "trade_off"):
        assert [getattr(block, name) for block in (*model.blocks3, *model.blocks4)] == [1, 0.5, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("image", [False, True])
def test_a_light_image_network(image):
    model = build_model(config({"MODEL_NAME": "Uniformer_light"}, {"IMAGE": image}))
    assert model.blocks1[0].pos_embed.weight.shape == (8, 1, 1 if image else 3, 3, 3)


def count(model):
    return sum("gamma" in name for name, _ in model.named_parameters())


def test_layer_scale_of_light_networks():
    def scaled(name, stages):
        return count(build_model(config({"MODEL_NAME": name}, {"LAYER_SCALE": stages})))

    assert scaled("Uniformer_light", True) == 12
    assert scaled("Uniformer_light", [False, False, True, False]) == 4
    for stages in (False, True, [False] * 4, [True] * 4):
        assert scaled("Uniformer_light_ls_fp32", stages) == 12
    with pytest.raises(ConfigError) as caught:
        scaled("Uniformer_light_ls_fp32", [True, True, False, False])
    assert str(caught.value) == (
        "UNIFORMER.LAYER_SCALE is [True, True, False, False], but MODEL.MODEL_NAME Uniformer_light_ls_fp32 has layer "
        "scale in all stages; set MODEL.MODEL_NAME Uniformer_light for some of them"
    )


@pytest.mark.parametrize(
    ("name", "key", "value", "off"),
    [
        ("Uniformer", "PRUNE_RATIO", [[], [], [1.0, 0.5], [0.5]], "null"),
        ("Uniformer", "TRADE_OFF", [[], [], [1.0, 0.5], [0.5]], "null"),
        *((name, key, True, "False") for name in LIGHT for key in ("SPLIT", "CONV_STEM", "AUX_HEAD")),
    ],
)
def test_a_key_the_network_has_no_use_for(name, key, value, off):
    with pytest.raises(ConfigError) as caught:
        build_model(config({"MODEL_NAME": name}, {key: value}))
    assert str(caught.value) == (
        f"UNIFORMER.{key} is {value}, but MODEL.MODEL_NAME {name} has no use for it; set UNIFORMER.{key} {off}"
    )


@pytest.mark.parametrize("name", ["Uniformer", *LIGHT])
def test_the_default_configuration_builds_under_every_name(name):
    with torch.device("meta"):
        model = build_model(load_config(None, ["MODEL.MODEL_NAME", name]))
    assert isinstance(model, Uniformer if name == "Uniformer" else Hourglass)


def test_checkpoint_numbers_count_only_with_the_switch():
    assert build_model(config()).checkpoint_blocks == (0, 0, 0, 0)


def test_the_default_configuration_is_the_default_network():
    with torch.device("meta"):
        built, plain = build_model(load_config()), Uniformer()
    shapes = [{name: tensor.shape for name, tensor in model.state_dict().items()} for model in (built, plain)]
    assert shapes[0] == shapes[1]


def test_scores_clips():
    assert build_model(config()).eval()(torch.zeros(2, 3, 4, 32, 32)).shape == (2, 7)


def test_name_is_found_in_any_case_and_an_unknown_one_lists_the_known():
    assert isinstance(build_model(config({"MODEL_NAME": "uniformer"})), Uniformer)
    assert isinstance(build_model(config({"MODEL_NAME": "UNIFORMER_LIGHT"})), Hourglass)
    with pytest.raises(UserError, match=r"^unknown model 'SlowFast' \(MODEL.MODEL_NAME\); known: .*Uniformer"):
        build_model(config({"MODEL_NAME": "SlowFast"}))
    assert "Uniformer" in MODELS


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"HEAD_DIM": 10},
            "UNIFORMER.EMBED_DIM of stages 3 and 4 must be multiples of UNIFORMER.HEAD_DIM 10, got [24, 32]",
        ),
        (
            {"IMAGE": True, "SPLIT": True},
            "UNIFORMER.IMAGE is True, which leaves no time for UNIFORMER.SPLIT: set UNIFORMER.SPLIT False",
        ),
        (
            {"IMAGE": True, "STD": True},
            "UNIFORMER.IMAGE is True, which leaves no time for UNIFORMER.STD: set UNIFORMER.STD False",
        ),
        ({"LOCAL_KERNEL": [3, 4, 4]}, "UNIFORMER.LOCAL_KERNEL must be three odd extents (T, H, W), got [3, 4, 4]"),
        (
            {"MLP_RATIO": 0.01},
            "UNIFORMER.MLP_RATIO must leave each MLP a hidden channel, got [0.01, 0.01, 0.01, 0.01] of "
            "UNIFORMER.EMBED_DIM [8, 16, 24, 32]",
        ),
        (
            {"EMBED_DIM": [1, 16, 24, 32], "CONV_STEM": True},
            "UNIFORMER.EMBED_DIM must begin with at least 2 where UNIFORMER.CONV_STEM is True: it begins with half of "
            "it",
        ),
        (
            {"LAYER_SCALE": [True, False]},
            "UNIFORMER.LAYER_SCALE must be one value or four, one for each stage, got [True, False]",
        ),
        ({"DEPTH": [1, 2, 2]}, "UNIFORMER.DEPTH must be four integers >= 0, one for each stage, got [1, 2, 2]"),
        ({"DROPOUT_RATE": 1.0}, "UNIFORMER.DROPOUT_RATE must be in [0, 1), got 1.0"),
        ({"ATTENTION_DROPOUT_RATE": 1.0}, "UNIFORMER.ATTENTION_DROPOUT_RATE must be in [0, 1), got 1.0"),
        ({"DROP_DEPTH_RATE": -1.0}, "UNIFORMER.DROP_DEPTH_RATE must be in [0, 1), got -1.0"),
        ({"HEAD_DROPOUT_RATE": 2.0}, "UNIFORMER.HEAD_DROPOUT_RATE must be in [0, 1), got 2.0"),
    ],
)
def test_settings_that_make_no_network_are_named_by_their_keys(section, message):
    with pytest.raises(ConfigError) as caught:
        build_model(config(uniformer=section))
    assert str(caught.value) == f"sections MODEL and UNIFORMER make no network: {message}"


def test_settings_of_the_section_model_that_make_no_network():
    with pytest.raises(ConfigError, match=r"make no network: MODEL\.NUM_CLASSES must be >= 1, got 0$"):
        build_model(config({"NUM_CLASSES": 0}))
    with pytest.raises(ConfigError, match=r"make no network: MODEL\.CHECKPOINT_NUM must be four integers >= 0, one"):
        build_model(config({"USE_CHECKPOINT": True, "CHECKPOINT_NUM": [1]}))


def test_every_argument_of_both_networks_has_a_key_that_there_is():
    for network, own in ((Uniformer, UNIFORMER_KEYS), (Hourglass, HOURGLASS_KEYS)):
        keys = {**KEYS, **own}
        assert set(keys) == set(inspect.signature(network).parameters)
        assert all(attrgetter(key)(load_config()) is not Ellipsis for key in keys.values())
        assert len(set(keys.values())) == len(keys)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (
            {"HEAD_DIM": 10},
            "UNIFORMER.EMBED_DIM of stages 3 and 4 must be multiples of UNIFORMER.HEAD_DIM 10, got [24, 32]",
        ),
        (
            {"PRUNE_RATIO": [[], [], [1.0], [0.5]]},
            "UNIFORMER.PRUNE_RATIO of stage 3 must be 2 numbers, one for each of its blocks, got [1.0]",
        ),
        (
            {"PRUNE_RATIO": [[], [], [0.5, 0.5], [0.5]]},
            "UNIFORMER.PRUNE_RATIO of stage 3 must begin with 1, as its first block has no scores yet to choose tokens "
            "by, got 0.5",
        ),
        (
            {"TRADE_OFF": [[], [], [1.0, 2.0], [0.5]]},
            "UNIFORMER.TRADE_OFF of stage 3 must be numbers in [0, 1], got [1.0, 2.0]",
        ),
        (
            {"IMAGE": True, "STD": True},
            "UNIFORMER.IMAGE is True, which leaves no time for UNIFORMER.STD: set UNIFORMER.STD False",
        ),
        (
            {"EMBED_DIM": [1, 16, 24, 32]},
            "UNIFORMER.EMBED_DIM must begin with at least 2 for the two convolutions of the stem, got 1",
        ),
    ],
)
def test_settings_that_make_no_light_network(section, message):
    with pytest.raises(ConfigError) as caught:
        build_model(config({"MODEL_NAME": "Uniformer_light"}, section))
    assert str(caught.value) == f"sections MODEL and UNIFORMER make no network: {message}"


@pytest.mark.parametrize("name", ["Uniformer", "Uniformer_light", "Uniformer_light_ls_fp32"])
def test_classes_that_data_should_tell_are_none_here(name):
    cfg = load_config(None, ["MODEL.NUM_CLASSES", "auto", "MODEL.MODEL_NAME", name])
    with pytest.raises(ConfigError, match=r"^MODEL\.NUM_CLASSES is auto, .*; set MODEL\.NUM_CLASSES to a number$"):
        build_model(cfg)
