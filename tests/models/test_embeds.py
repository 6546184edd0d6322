"""What heads the stages: shapes, norms, and the ways of computing it against each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uniformer_video.models import embeds
from uniformer_video.models.embeds import ConvEmbed, ConvStem, PatchEmbed, patch_linear
from uniformer_video.models.kernels import plain_kernels
from uniformer_video.models.layers import apply_to_volume


def settle(module):
    """Give batch norms statistics that a forgotten fold would not get away with."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm3d):
            nn.init.uniform_(norm.weight, 0.5, 2)
            nn.init.normal_(norm.bias)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.3, 3)
    return module.eval()


@pytest.mark.parametrize(
    ("kernel", "stride", "grid", "wanted"),
    [
        ((3, 4, 4), (2, 4, 4), (8, 32, 32), (4, 8, 8)),
        ((3, 4, 4), (2, 4, 4), (7, 35, 34), (4, 8, 8)),
        ((3, 4, 4), (2, 4, 4), (1, 32, 36), (1, 8, 9)),
        ((1, 2, 2), (1, 2, 2), (3, 7, 8), (3, 3, 4)),
        ((3, 2, 2), (1, 2, 2), (3, 7, 8), (3, 3, 4)),
    ],
)
def test_patch_embed_shapes(kernel, stride, grid, wanted):
    layer = PatchEmbed(3, 6, kernel, stride)
    assert layer(torch.randn(2, *grid, 3)).shape == (2, *wanted, 6)


def test_patch_embed_normalises_over_channels():
    layer = PatchEmbed(3, 64, (1, 2, 2), (1, 2, 2))
    assert layer.norm.eps == 1e-5
    out = layer(torch.randn(2, 3, 4, 4, 3))
    torch.testing.assert_close(out.mean(-1), torch.zeros(2, 3, 2, 2), atol=1e-5, rtol=0)


def by_hand(layers, x):
    """What strided convolutions, norms and GELUs of a Sequential give, with torch's functions on volumes."""
    volume = x.movedim(-1, 1)
    for layer in layers:
        if isinstance(layer, nn.Conv3d):
            reach = [k // 2 for k in layer.kernel_size]
            volume = F.conv3d(volume, layer.weight, layer.bias, stride=layer.stride, padding=reach)
        elif isinstance(layer, nn.BatchNorm3d):
            mean, variance = volume.mean((0, 2, 3, 4), keepdim=True), volume.var((0, 2, 3, 4), False, keepdim=True)
            volume = (volume - mean) / (variance + 1e-5).sqrt()
        else:
            volume = 0.5 * volume * (1 + torch.erf(volume / 2**0.5))
    return volume.movedim(1, -1)


@pytest.mark.parametrize(
    ("options", "kernel", "strides"),
    [
        ({}, (3, 3, 3), [(1, 2, 2), (2, 2, 2)]),
        ({"time_kernel": 1, "time_stride": 1}, (1, 3, 3), [(1, 2, 2), (1, 2, 2)]),
    ],
    ids=["video", "image"],
)
def test_conv_stem(options, kernel, strides):
    stem = ConvStem(3, 10, **options).train()
    assert [type(layer).__name__ for layer in stem.proj] == [
        "VolumeConv",
        "BatchNorm3d",
        "GELU",
        "VolumeConv",
        "BatchNorm3d",
    ]
    convolutions = [stem.proj[0], stem.proj[3]]
    assert [layer.weight.shape for layer in convolutions] == [(5, 3, *kernel), (10, 5, *kernel)]
    assert [layer.stride for layer in convolutions] == strides
    assert {n.split(".")[0] for n in stem.state_dict()} == {"proj"}
    x = torch.randn(2, 5, 14, 17, 3)
    got = stem(x)
    assert got.shape == (2, 3 if not options else 5, 4, 5, 10)
    assert got.is_contiguous()
    torch.testing.assert_close(got, by_hand(stem.proj, x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("time_kernel", [1, 3])
def test_conv_embed(time_kernel):
    layer = ConvEmbed(6, 10, time_kernel=time_kernel).train()
    assert layer.proj[0].weight.shape == (10, 6, time_kernel, 3, 3)
    x = torch.randn(2, 3, 7, 8, 6)
    got = layer(x)
    assert got.shape == (2, 3, 4, 4, 10)
    assert got.is_contiguous()
    torch.testing.assert_close(got, by_hand(layer.proj, x), rtol=1e-4, atol=1e-5)


def test_conv_layers_refuse_what_has_no_centre_or_no_half():
    with pytest.raises(AssertionError, match="even temporal kernel 2"):
        ConvEmbed(3, 8, time_kernel=2)
    with pytest.raises(AssertionError, match="half of 1 channels"):
        ConvStem(3, 1)


@pytest.mark.parametrize(
    ("kernel", "grid"), [((1, 2, 2), (3, 8, 6)), ((1, 2, 2), (2, 7, 9)), ((2, 4, 4), (5, 9, 8)), ((1, 1, 1), (2, 3, 4))]
)
def test_patch_linear_is_the_convolution(kernel, grid):
    convolution = nn.Conv3d(5, 7, kernel, kernel)
    x = torch.randn(2, *grid, 5)
    wanted = apply_to_volume(convolution, x)
    torch.testing.assert_close(patch_linear(x, convolution.weight, convolution.bias), wanted)
    assert patch_linear(x, convolution.weight, None).shape == wanted.shape


def test_a_training_step_in_bf16_takes_patches_as_one_product(monkeypatch):
    calls = []
    monkeypatch.setattr(embeds, "patch_linear", lambda *given: calls.append(1) or patch_linear(*given))
    layer = PatchEmbed(4, 6, (1, 2, 2), (1, 2, 2))
    x = torch.randn(2, 3, 6, 6, 4)
    upward = torch.randn(2, 3, 3, 3, 6)
    results = []
    for own in (True, False):
        with torch.autocast("cpu", torch.bfloat16):
            if own:
                out = layer(x)
            else:
                with plain_kernels():
                    out = layer(x)
        results.append([out, *torch.autograd.grad(out, tuple(layer.parameters()), upward)])
    assert len(calls) == 1, "not in the plain way"
    for got, wanted in zip(*results, strict=True):
        assert (got.float() - wanted.float()).norm() < 2e-2 * wanted.float().norm()
    layer(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        layer(x)
    assert len(calls) == 1, "oneDNN's convolution is the faster one in float32 and without gradients"


def test_an_overlapping_patch_is_a_convolution_always():
    layer = PatchEmbed(4, 6, (3, 2, 2), (1, 2, 2))
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(torch.randn(2, 3, 6, 6, 4)).shape == (2, 3, 3, 3, 6)


@pytest.mark.parametrize(
    "make", [lambda: ConvStem(3, 8), lambda: ConvEmbed(3, 8, time_kernel=3)], ids=["stem", "embed"]
)
def test_batch_norms_are_folded_where_nothing_is_learned(make, monkeypatch):
    layer = settle(make())
    x = torch.randn(2, 4, 9, 10, 3)
    with torch.no_grad():
        with plain_kernels():
            wanted = layer(x)
        calls = []
        monkeypatch.setattr(nn.BatchNorm3d, "forward", lambda *given: calls.append(1))
        torch.testing.assert_close(layer(x), wanted, rtol=1e-5, atol=1e-5)
    assert not calls


def test_a_watched_stem_is_not_folded():
    layer = settle(ConvStem(3, 8))
    seen = []
    layer.proj[1].register_forward_hook(lambda module, given, out: seen.append(out.shape))
    with torch.no_grad():
        layer(torch.randn(1, 4, 8, 8, 3))
    assert seen == [(1, 4, 4, 4, 4)]
