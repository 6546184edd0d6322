"""The channels-last network against an independent plain one, in eval and in train mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.fill import clip
from tests.models.plain import plain_uniformer
from tests.models.published import TINY, relative, tiny

OPTIONS = {
    "joint": {},
    "split": {"split": True},
    "std": {"std": True},
    "kernel": {"local_kernel": (5, 3, 7)},
    "wide heads": {"head_dim": 4, "mlp_ratio": 2.5},
    "ratios": {"mlp_ratio": (1, 2.5, 3, 0.5)},
    "layer scale": {"layer_scale": (True, False, True, True)},
    "conv stem": {"conv_stem": True},
    "conv stem, std, split, layer scale": {"conv_stem": True, "std": True, "split": True, "layer_scale": True},
    "image": {"image": True},
}
SHAPES = [(2, 3, 4, 64, 64), (3, 3, 5, 39, 50), (2, 3, 1, 32, 33)]


def arguments(options):
    return {
        "depths": TINY["depths"],
        "head_dim": options.get("head_dim", TINY["head_dim"]),
        "split": options.get("split", False),
    }


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_eval_equals_plain(options, shape):
    model = tiny(**options).eval()
    with torch.no_grad():
        logits, maps = plain_uniformer(clip(shape), model.state_dict(), **arguments(options))
        assert relative(model(clip(shape)), logits) < 1e-5
        for ours, wanted in zip(model.forward_features(clip(shape)), maps, strict=True):
            assert relative(ours, wanted) < 1e-5


@pytest.mark.parametrize("shape", SHAPES[:2], ids=str)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_train_equals_plain_with_gradients_and_statistics(options, shape):
    # In double precision, so that only a real difference can show.
    model = tiny(**options).double().train()
    params = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, _ in model.named_parameters():
        params[name].requires_grad_()
    clips = clip(shape).double()
    labels = torch.arange(shape[0])

    logits = model(clips)
    F.cross_entropy(logits, labels).backward()
    wanted, _ = plain_uniformer(clips, params, training=True, **arguments(options))
    F.cross_entropy(wanted, labels).backward()

    assert relative(logits, wanted) < 1e-10
    largest = max(float(params[name].grad.abs().max()) for name, _ in model.named_parameters())
    for name, parameter in model.named_parameters():
        difference = float((parameter.grad - params[name].grad).abs().max())
        assert difference < 1e-9 * largest, name
    for name, buffer in model.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert buffer == 1
        else:
            assert relative(buffer, params[name]) < 1e-10, name


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_single_precision_kernels_give_the_gradients_of_double(options):
    """Other kernels run in float32 than in float64; the steep start of a filled network allows 1e-3 of the largest."""
    gradients = []
    for dtype in (torch.float32, torch.float64):
        model = tiny(**options).to(dtype).train()
        F.cross_entropy(model(clip(SHAPES[1]).to(dtype)), torch.arange(3)).backward()
        gradients.append({name: parameter.grad.double() for name, parameter in model.named_parameters()})
    single, double = gradients
    largest = max(float(gradient.abs().max()) for gradient in double.values())
    for name in double:
        assert float((single[name] - double[name]).abs().max()) < 1e-3 * largest, name


def test_gradient_of_the_clip_equals_plain():
    model = tiny().double().eval()
    ours, wanted = (clip((2, 3, 4, 48, 48)).double().requires_grad_() for _ in range(2))
    model(ours).square().sum().backward()
    plain_uniformer(wanted, model.state_dict(), **arguments({}))[0].square().sum().backward()
    assert relative(ours.grad, wanted.grad) < 1e-10
