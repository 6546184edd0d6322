from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uniformer_video.models.embeds import ConvEmbed, ConvStem
from uniformer_video.models.kernels import plain_kernels
from uniformer_video.models.layers import (
    Depthwise,
    DropPath,
    Linear,
    Mlp,
    Pointwise,
    VolumeConv,
    apply_to_volume,
    layer_scale_parameter,
    scale_channels,
    to_grid,
    to_volume,
)


def test_views_are_inverse_and_copy_nothing():
    x = torch.randn(2, 3, 4, 5, 6)
    volume = to_volume(x)
    assert volume.shape == (2, 6, 3, 4, 5)
    assert volume.is_contiguous(memory_format=torch.channels_last_3d)
    assert volume.data_ptr() == x.data_ptr()
    assert to_grid(volume).data_ptr() == x.data_ptr()
    assert volume[1, 5, 2, 3, 4] == x[1, 2, 3, 4, 5]


def test_to_grid_of_contiguous_volume_is_contiguous():
    volume = torch.randn(2, 3, 4, 5, 6)
    grid = to_grid(volume)
    assert grid.is_contiguous()
    assert torch.equal(grid, volume.movedim(1, -1))


@pytest.mark.parametrize("layer", [nn.BatchNorm3d(6), Depthwise(6, (3, 5, 5)), nn.Conv3d(6, 4, 2)])
def test_apply_to_volume_is_the_layer_and_stays_contiguous(layer):
    x = torch.randn(2, 3, 5, 5, 6)
    layer.eval()
    got = apply_to_volume(layer, x)
    assert got.is_contiguous()
    torch.testing.assert_close(got, layer(x.movedim(-1, 1).contiguous()).movedim(1, -1))


def test_pointwise_is_a_1x1x1_convolution():
    layer = Pointwise(6, 4)
    assert layer.weight.shape == (4, 6, 1, 1, 1)
    x = torch.randn(2, 3, 4, 5, 6)
    wanted = F.conv3d(x.movedim(-1, 1), layer.weight, layer.bias).movedim(1, -1)
    torch.testing.assert_close(layer(x), wanted)


def test_pointwise_starts_as_a_convolution_does():
    torch.manual_seed(3)
    ours = Pointwise(6, 4)
    torch.manual_seed(3)
    assert torch.equal(ours.weight, nn.Conv3d(6, 4, 1).weight)


@pytest.mark.parametrize("kernel", [(1, 1, 1), (3, 3, 3), (3, 5, 5), (5, 1, 7)])
def test_depthwise_keeps_the_grid(kernel):
    layer = Depthwise(4, kernel)
    assert layer.weight.shape == (4, 1, *kernel)
    assert layer(torch.randn(1, 4, 2, 9, 3)).shape == (1, 4, 2, 9, 3)


def test_depthwise_refuses_an_even_kernel():
    with pytest.raises(AssertionError, match=r"even kernel \(3, 4, 5\)"):
        Depthwise(4, (3, 4, 5))


def litter_memory_with_nan():
    sizes = (8, 16, 24, 32, 64, 128, 256, 512, 1000, 2000, 5000, 9000, 20_000, 100_000)
    return sum(torch.full((size,), float("nan")).numel() for size in sizes for _ in range(6))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        lambda: Depthwise(16, (3, 3, 3)),
        lambda: Depthwise(16, (3, 5, 5)),
        lambda: VolumeConv(16, 24, (3, 2, 2), (1, 2, 2), (1, 0, 0)),
        lambda: VolumeConv(16, 24, (1, 2, 2), (1, 2, 2)),
        lambda: VolumeConv(16, 24, (3, 4, 4), (2, 4, 4), (1, 0, 0), bias=False),
        lambda: ConvStem(16, 24).proj[0],
        lambda: ConvStem(16, 24).proj[3],
        lambda: ConvEmbed(16, 24).proj[0],
        lambda: ConvEmbed(16, 24, time_kernel=3).proj[0],
    ],
    ids=["dw333", "dw355", "322", "122", "344", "stem1", "stem2", "133", "333"],
)
def test_convolution_gradients_in_bf16_are_right(make, autocast):
    """Catches oneDNN's reading of memory nobody wrote, see :class:`VolumeConv`."""
    layer = make()
    x = torch.randn(2, 2, 4, 4, layer.in_channels).bfloat16().float()
    out = apply_to_volume(layer, x)
    upward = torch.randn(out.shape).bfloat16().float()
    wanted = torch.autograd.grad(out, tuple(layer.parameters()), upward)
    if not autocast:
        layer, x = layer.bfloat16(), x.bfloat16()
    for _ in range(5):
        litter_memory_with_nan()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            out = apply_to_volume(layer, x)
        assert out.dtype == torch.bfloat16
        litter_memory_with_nan()
        got = torch.autograd.grad(out, tuple(layer.parameters()), upward.bfloat16())
        for gradient, reference in zip(got, wanted, strict=True):
            assert (gradient.float() - reference).abs().max() < 1e-2 * reference.abs().max()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("learns", [False, True])
def test_depthwise_is_the_plain_one(autocast, learns):
    layer = Depthwise(16, (3, 5, 5)).requires_grad_(learns)
    x = torch.randn(2, 3, 6, 7, 16)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = apply_to_volume(layer, x)
        with plain_kernels():
            wanted = apply_to_volume(layer, x)
    assert out.dtype == wanted.dtype
    assert out.requires_grad == wanted.requires_grad == learns
    assert (out.float() - wanted.float()).norm() < (6e-3 if autocast else 1e-6) * wanted.float().norm()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("kind", [Linear, Pointwise])
def test_linear_layers_are_the_plain_ones(kind, autocast, gradients):
    layer, x = kind(12, 20), torch.randn(2, 3, 4, 5, 12)
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = layer(x)
        with plain_kernels():
            wanted = layer(x)
    assert out.dtype == wanted.dtype
    assert out.requires_grad == wanted.requires_grad == gradients
    assert (out.float() - wanted.float()).norm() < (6e-3 if autocast else 1e-6) * wanted.float().norm()


@pytest.mark.parametrize("autocast", [False, True])
def test_mlp_learns_as_the_plain_one_does(autocast):
    mlp, x = Mlp(8, 32, 0.0, Pointwise), torch.randn(2, 3, 4, 5, 8)
    upward, results = torch.randn(2, 3, 4, 5, 8), []
    for plain in (False, True):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            if plain:
                with plain_kernels():
                    out = mlp(given)
            else:
                out = mlp(given)
        results.append([out, *torch.autograd.grad(out, [given, *mlp.parameters()], upward.to(out.dtype))])
    for got, wanted in zip(*results, strict=True):
        assert got.shape == wanted.shape
        assert got.dtype == wanted.dtype
        assert (got.float() - wanted.float()).norm() < (1e-2 if autocast else 1e-6) * wanted.float().norm()


def test_depthwise_scores_in_bf16_without_gradients():
    layer = Depthwise(16, (3, 5, 5))
    x = torch.randn(2, 2, 6, 6, 16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        out = apply_to_volume(layer, x)
    assert out.dtype == torch.bfloat16
    assert (out.float() - apply_to_volume(layer, x)).abs().max() < 2e-2


@pytest.mark.parametrize("shape", [(4,), (1, 4, 1, 1, 1)])
def test_layer_scale_is_a_factor_for_each_channel(shape):
    gamma = layer_scale_parameter(shape, 0.5)
    assert isinstance(gamma, nn.Parameter)
    assert gamma.shape == shape
    assert gamma.eq(0.5).all()
    x = torch.randn(2, 3, 5, 6, 4)
    with torch.no_grad():
        gamma.copy_(torch.tensor([1.0, 2.0, 0.0, -1.0]).view(shape))
    assert torch.equal(scale_channels(x, gamma), x * torch.tensor([1.0, 2.0, 0.0, -1.0]))


def test_no_layer_scale_is_none_and_nothing():
    assert layer_scale_parameter((4,), None) is None
    x = torch.randn(2, 4)
    assert scale_channels(x, None) is x


def test_layer_scale_of_half_precision_branches_is_float32():
    gamma = layer_scale_parameter((4,), 1e-6)
    out = scale_channels(torch.ones(2, 4, dtype=torch.float16), gamma)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.full((2, 4), 1e-6))


def test_drop_path_is_nothing_in_eval_or_at_rate_zero():
    x = torch.randn(4, 3)
    assert DropPath(0.5).eval()(x) is x
    assert DropPath(0.0).train()(x) is x


def test_drop_path_draws_whole_samples_and_keeps_the_mean():
    torch.manual_seed(0)
    out = DropPath(0.25).train()(torch.ones(4000, 2, 3))
    per_sample = out.flatten(1)
    assert torch.equal(per_sample.min(1).values, per_sample.max(1).values), "a sample is dropped or kept as one"
    torch.testing.assert_close(per_sample.unique(), torch.tensor([0.0, 4 / 3]))
    assert abs((per_sample[:, 0] == 0).float().mean() - 0.25) < 0.03
    assert abs(out.mean() - 1) < 0.03


def test_drop_path_keeps_the_dtype():
    assert DropPath(0.5).train()(torch.ones(8, 2, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_drop_path_says_its_rate():
    assert repr(DropPath(0.1)) == "DropPath(rate=0.1)"


@pytest.mark.parametrize("linear", [Linear, Pointwise])
def test_mlp_is_two_maps_around_exact_gelu(linear):
    mlp = Mlp(3, 12, 0.0, linear)
    x = torch.randn(2, 5, 3)
    hidden = x @ mlp.fc1.weight.flatten(1).T + mlp.fc1.bias
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / 2**0.5))
    torch.testing.assert_close(mlp(x), hidden @ mlp.fc2.weight.flatten(1).T + mlp.fc2.bias)


def test_mlp_dropout_acts_in_training_only():
    mlp = Mlp(8, 16, 0.5, Linear)
    x = torch.randn(4, 8)
    mlp.train()
    assert (mlp(x) == 0).any()
    mlp.eval()
    assert torch.equal(mlp(x), mlp(x))
    assert not (mlp(x) == 0).any()


class Adapted(nn.Module):
    """A layer that stands in for another one, shows its weight and adds to what it gives, as adapters do."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    weight = property(lambda self: self.layer.weight)
    bias = property(lambda self: self.layer.bias)

    def forward(self, x):
        return self.layer(x) + 1


def test_mlp_calls_layers_that_are_observed():
    mlp, seen = Mlp(4, 8, 0.0, Linear), []
    mlp.fc2.register_forward_hook(lambda *given: seen.append("fc2"))
    mlp(torch.randn(3, 4))
    assert seen == ["fc2"]


@pytest.mark.parametrize("name", ["fc1", "fc2"])
def test_mlp_calls_what_stands_in_for_its_layers(name):
    mlp, x = Mlp(4, 8, 0.0, Linear), torch.randn(3, 4)
    setattr(mlp, name, Adapted(getattr(mlp, name)))
    with plain_kernels():
        wanted = mlp(x)
    torch.testing.assert_close(mlp(x), wanted)


def test_mlp_learns_through_a_normalised_weight():
    mlp, x = Mlp(4, 8, 0.0, Linear), torch.randn(3, 4)
    nn.utils.weight_norm(mlp.fc1)
    mlp(x).sum().backward()
    assert mlp.fc1.weight_g.grad is not None and mlp.fc1.weight_v.grad is not None


def test_mlp_dropout_may_be_at_work_alone():
    mlp = Mlp(4, 8, 0.5, Linear).eval()
    mlp.dropout.train()
    assert not torch.equal(mlp(torch.ones(3, 4)), mlp(torch.ones(3, 4)))
