"""The image networks are the video network with temporal extents 1: against an independent 2D implementation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.fill import clip, fill
from tests.models.plain_image import PlainImage
from tests.models.published import TINY, relative, state_keys
from uniformer_video.models.published import NETWORKS
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.models.weights import load_weights

PLAIN = {**TINY, "ratios": (4, 4, 4, 4), "scaled": (False,) * 4, "conv_stem": False, "aux_head": False}
OPTIONS = {
    "small": ({}, {}),
    "conv stem": ({"conv_stem": True}, {"conv_stem": True}),
    "base with layer scale": (
        {"layer_scale": (False, False, True, True)},
        {"scaled": (False, False, True, True)},
    ),
    "large": ({"layer_scale": True, "aux_head": True}, {"scaled": (True,) * 4, "aux_head": True}),
    "all": (
        {"layer_scale": True, "aux_head": True, "conv_stem": True, "mlp_ratio": (2, 3, 2.5, 1), "head_dim": 4},
        {"scaled": (True,) * 4, "aux_head": True, "conv_stem": True, "ratios": (2, 3, 2.5, 1), "head_dim": 4},
    ),
}


def pair(ours, plain):
    """Our image network and the plain one with the same weights, in double precision."""
    reference = PlainImage(**{**PLAIN, **plain})
    reference.load_state_dict(fill(reference.state_dict()))
    model = Uniformer(**{**TINY, "image": True, **ours})
    report = load_weights(model, reference.state_dict())
    kernels = [name for name, tensor in reference.state_dict().items() if tensor.ndim == 4]
    assert report.adapted == kernels
    assert report.loaded == [name for name in reference.state_dict() if name not in kernels]
    return model.double(), reference.double()


@pytest.mark.parametrize("name", [n for n, network in NETWORKS.items() if n.startswith("image") and "x" not in n])
def test_the_plain_network_has_the_published_names_and_shapes(name):
    """So what ours is compared with is an image network as published."""
    kwargs = NETWORKS[name].kwargs
    scaled = kwargs.get("layer_scale", False)
    with torch.device("meta"):
        plain = PlainImage(
            **{key: kwargs[key] for key in ("num_classes", "depths", "widths", "head_dim")},
            ratios=(kwargs["mlp_ratio"],) * 4,
            scaled=(scaled,) * 4 if isinstance(scaled, bool) else scaled,
            conv_stem=kwargs.get("conv_stem", False),
            aux_head=kwargs.get("aux_head", False),
        )
    wanted = state_keys()[name]["state"]
    assert {n: list(tensor.shape) for n, tensor in plain.state_dict().items()} == wanted
    assert list(plain.state_dict()) == list(wanted)


@pytest.mark.parametrize("size", [(64, 64), (39, 50), (32, 33)], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_eval_equals_plain(options, size):
    model, plain = pair(*options)
    images = clip((2, 3, *size)).double()
    with torch.no_grad():
        assert relative(model.eval()(images), plain.eval()(images)) < 1e-12


@pytest.mark.parametrize("size", [(64, 64), (39, 50)], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_train_equals_plain_with_gradients_and_statistics(options, size):
    model, plain = pair(*options)
    images = [clip((3, 3, *size)).double().requires_grad_() for _ in range(2)]
    logits = [network.train()(x) for network, x in zip((model, plain), images, strict=True)]
    for scores in logits:
        F.cross_entropy(scores, torch.arange(3)).backward()
    assert relative(logits[0], logits[1]) < 1e-12
    assert relative(images[0].grad, images[1].grad) < 1e-9
    wanted = dict(plain.named_parameters())
    assert [n for n, p in model.named_parameters() if p.grad is None] == (
        ["aux_head.weight", "aux_head.bias"] if model.aux_head else []
    )
    largest = max(float(p.grad.abs().max()) for p in wanted.values() if p.grad is not None)
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            difference = parameter.grad - wanted[name].grad.reshape(parameter.shape)
            assert float(difference.abs().max()) < 1e-9 * largest, name
    for name, buffer in model.named_buffers():
        assert torch.allclose(buffer, plain.get_buffer(name), rtol=1e-10, atol=1e-12), name


def test_the_gradient_of_eval_mode_equals_plain():
    model, plain = pair(*OPTIONS["all"])
    images = [clip((2, 3, 40, 48)).double().requires_grad_() for _ in range(2)]
    for network, x in zip((model, plain), images, strict=True):
        network.eval()(x).square().sum().backward()
    assert relative(images[0].grad, images[1].grad) < 1e-9
    assert relative(model.aux_head.weight.grad, plain.aux_head.weight.grad) < 1e-9


def test_an_image_is_a_clip_of_one_frame():
    model, _ = pair(*OPTIONS["all"])
    images = clip((2, 3, 48, 40)).double()
    assert torch.equal(model.eval()(images), model(images.unsqueeze(2)))
    maps = model.forward_features(images)
    assert [tuple(m.shape) for m in maps] == [
        (2, 8, 1, 12, 10),
        (2, 16, 1, 6, 5),
        (2, 24, 1, 3, 3),
        (2, 32, 1, 2, 2),
    ]


def test_frames_of_a_longer_clip_meet_in_attention_alone():
    model = Uniformer(**TINY, image=True)
    model.load_state_dict(fill(model.state_dict()))
    model.eval()
    clips = clip((1, 3, 3, 64, 64))
    moved = clips.clone()
    moved[:, :, 1] += 1
    for stage, (was, now) in enumerate(zip(model.forward_features(clips), model.forward_features(moved), strict=True)):
        assert was.shape[2] == 3, "no frame is dropped"
        changed = [not torch.equal(was[:, :, t], now[:, :, t]) for t in range(3)]
        assert changed == ([False, True, False] if stage < 2 else [True] * 3)
    still = clips[:, :, :1].expand(-1, -1, 3, -1, -1)
    torch.testing.assert_close(model(still), model(clips[:, :, 0]), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert model(clip((1, 3, 2, 33, 47))).isfinite().all()


def test_no_kernel_of_an_image_network_has_a_temporal_extent():
    model = Uniformer(**TINY, image=True, local_kernel=(7, 5, 5), conv_stem=True)
    extents = {tensor.shape[2] for tensor in model.state_dict().values() if tensor.ndim == 5}
    assert extents == {1}
