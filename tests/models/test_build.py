from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from uniformer_video.config import load_config
from uniformer_video.models import MODELS, build_model
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
                "DROPOUT_RATE": 0.0,
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
                "SPLIT": False,
                "STD": False,
                "QKV_BIAS": True,
                "QKV_SCALE": None,
                "LOCAL_KERNEL": [3, 5, 5],
                **(uniformer or {}),
            }
        ),
    )


def test_every_key_reaches_the_network():
    model = build_model(
        config(
            {"DROPOUT_RATE": 0.3, "USE_CHECKPOINT": True},
            {"SPLIT": True, "STD": True, "QKV_BIAS": False, "QKV_SCALE": 0.25, "LOCAL_KERNEL": [5, 3, 7]},
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
    with pytest.raises(UserError, match=r"^unknown model 'SlowFast' \(MODEL.MODEL_NAME\); known: .*Uniformer"):
        build_model(config({"MODEL_NAME": "SlowFast"}))
    assert "Uniformer" in MODELS


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"HEAD_DIM": 10}, r"widths of stages 3 and 4 must be multiples of head_dim 10, got \[24, 32\]"),
        ({"LOCAL_KERNEL": [3, 4, 4]}, r"local_kernel must be three odd extents \(T, H, W\), got \[3, 4, 4\]"),
    ],
)
def test_settings_that_make_no_network(section, message):
    with pytest.raises(ConfigError, match=f"^sections MODEL and UNIFORMER make no network: {message}$"):
        build_model(config(uniformer=section))
