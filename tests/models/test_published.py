"""The 15 published networks: names, shapes and parameters, golden logits, and files that come back."""

from __future__ import annotations

import pytest
import torch

from tests.fill import clip, fill
from tests.models.published import filled_state, golden, relative, saved, state_keys
from uniformer_video.models.published import KINDS, NETWORKS, Network, build_published
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.models.weights import load_weights
from uniformer_video.runtime.errors import UserError

NAMES = list(state_keys())
LARGE = [name for name in NAMES if state_keys()[name]["params"] > 30e6]
PARAMETERS = {
    "video_small": 21_400_400,
    "video_base": 49_813_200,
    "video_small_split": 27_847_504,
    "video_small_std": 23_104_336,
    "video_xxs_layer_scale": 9_840_616,
    "video_xxs": 9_833_896,
    "video_xs": 16_099_552,
    "image_small": 21_545_256,
    "image_small_plus": 24_032_552,
    "image_small_plus_dim64": 24_032_552,
    "image_base": 49_776_552,
    "image_base_ls": 49_796_520,
    "image_xxs_128": 10_215_280,
    "image_xs_192": 16_509_264,
    "image_large_ls": 100_103_888,
}


def empty(name, **changes):
    """A published network with whatever the memory holds: it costs no random numbers."""
    with torch.device("meta"):
        model = build_published(name, **changes)
    return model.to_empty(device="cpu")


def test_the_table_has_the_published_networks_and_no_others():
    assert list(NETWORKS) == NAMES == list(PARAMETERS)
    assert {network.kind for network in NETWORKS.values()} == set(KINDS)


@pytest.mark.parametrize("name", NAMES)
def test_names_and_shapes_are_the_published_ones(name):
    with torch.device("meta"):
        model = build_published(name)
    wanted = state_keys()[name]
    shapes = {n: list(tensor.shape) for n, tensor in model.state_dict().items()}
    assert list(shapes) == list(wanted["state"]), "optimizer states are matched by order"
    if name.startswith("image"):
        assert all(len(shape) < 5 or shape[2] == 1 for shape in shapes.values())
        shapes = {n: shape[:2] + shape[3:] if len(shape) == 5 else shape for n, shape in shapes.items()}
    assert shapes == wanted["state"]
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == wanted["params"] == PARAMETERS[name], "parameters alone, without the norms' statistics"


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("video_small", "video_small_8x112", (2, 3, 8, 112, 112)),
        ("video_xxs_layer_scale", "video_xxs_layer_scale_4x128", (2, 3, 4, 128, 128)),
        ("image_small", "image_small_224", (2, 3, 224, 224)),
    ],
)
def test_golden_logits(name, key, shape):
    model = empty(name).eval()
    load_weights(model, filled_state(name))
    with torch.inference_mode():
        assert relative(model(clip(shape)), golden(key)) < 1e-5


def test_image_small_inflated_by_average_has_the_golden_features():
    model = empty("video_small").eval()
    load_weights(model, filled_state("image_small"), inflate="average", allow_new_head=True)
    with torch.inference_mode():
        features = model.forward_features(clip((1, 3, 8, 224, 224)))[-1].mean((2, 3, 4))
    assert relative(features, golden("inflate_small_features_8x224")) < 1e-5


def round_trip(name, state, tmp_path, **changes):
    """From a file in the published form into a network, into a file of ours, into another network."""
    model, other = empty(name, **changes).eval(), empty(name, **changes).eval()
    report = load_weights(model, saved({"model": state}, tmp_path / "published.pth"))
    flat = [n for n, tensor in state.items() if tensor.ndim == 4]
    assert report.adapted == (flat if name.startswith("image") else [])
    assert report.loaded == [n for n in state if n not in report.adapted]
    assert not (report.inflated or report.missing or report.unexpected or report.left_out_head or report.started)

    again = load_weights(other, saved(model.state_dict(), tmp_path / "ours.pyth"))
    assert again.loaded == list(state)
    clips = clip((2, 3, 32, 32)) if name.startswith("image") else clip((1, 3, 2, 32, 32))
    with torch.inference_mode():
        logits = model(clips)
        assert logits.isfinite().all()
        assert logits.std() > 0.1
        assert torch.equal(other(clips), logits)


@pytest.mark.parametrize("name", [n if n not in LARGE else pytest.param(n, marks=pytest.mark.slow) for n in NAMES])
def test_a_published_file_comes_back_from_a_file_of_ours_with_the_same_logits(name, tmp_path):
    round_trip(name, filled_state(name), tmp_path)


@pytest.mark.parametrize("name", LARGE)
def test_large_networks_with_fewer_blocks_come_back_too(name, tmp_path):
    changes = {"depths": (1, 1, 2, 1)}
    state = fill(empty(name, **changes).state_dict())
    if name.startswith("image"):
        state = {n: tensor.squeeze(2) if tensor.ndim == 5 else tensor for n, tensor in state.items()}
    round_trip(name, state, tmp_path, **changes)


def test_the_width_of_a_head_is_in_the_table_for_it_is_in_no_file(tmp_path):
    narrow, wide = empty("image_small_plus").eval(), empty("image_small_plus_dim64").eval()
    state = filled_state("image_small_plus")
    for model in (narrow, wide):
        load_weights(model, state)
    assert (narrow.blocks3[0].attn.heads, wide.blocks3[0].attn.heads) == (10, 5)
    images = clip((1, 3, 64, 64))
    with torch.inference_mode():
        assert relative(narrow(images), wide(images)) > 1e-4


def test_arguments_can_be_replaced():
    with torch.device("meta"):
        model = build_published("video_small", num_classes=7, local_kernel=(3, 5, 5))
    assert model.head.weight.shape == (7, 512)
    assert model.blocks1[0].attn.weight.shape == (64, 1, 3, 5, 5)
    assert NETWORKS["video_small"].kwargs["num_classes"] == 400


def test_a_network_of_ones_own():
    model = Network("Uniformer", {"depths": (1, 1, 1, 1), "widths": (8, 8, 8, 8), "head_dim": 8}).build(num_classes=3)
    assert isinstance(model, Uniformer)
    assert model.head.weight.shape == (3, 8)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(UserError) as caught:
        build_published("video_large")
    assert str(caught.value) == f"unknown network 'video_large'; known: {', '.join(NAMES)}"
