"""What a network does in eval mode without gradients, against its plain path."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.fill import fill
from uniformer_video.models import blocks
from uniformer_video.models.blocks import GlobalBlock, LocalBlock, SplitBlock
from uniformer_video.models.inference import (
    add_mlp_,
    batch_norm_factors,
    fold_into_next,
    fold_into_previous,
    folds,
    is_scoring,
    normed_linear,
)
from uniformer_video.models.kernels import plain_kernels
from uniformer_video.models.layers import Linear, Mlp, Pointwise, apply_to_volume
from uniformer_video.models.uniformer import Uniformer

TOLERANCE = {False: 2e-6, True: 1e-2}
"""By whether autocast to bfloat16 is on."""


def settled_norm(channels, **options):
    norm = nn.BatchNorm3d(channels, **options)
    for part in (norm.weight, norm.bias, norm.running_mean):
        if part is not None:
            nn.init.normal_(part)
    norm.running_var.uniform_(0.2, 4)
    return norm.eval()


def filled(module):
    module.load_state_dict(fill(module.state_dict()))
    return module.eval()


def both_ways(module, *inputs, autocast=False):
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        got = module(*(part.clone() for part in inputs))
        with plain_kernels():
            return got, module(*(part.clone() for part in inputs))


@pytest.mark.parametrize("options", [{}, {"affine": False}, {"eps": 0.5}])
def test_factors_are_the_norm(options):
    norm, x = settled_norm(6, **options), torch.randn(2, 6, 3, 4, 5)
    factor, offset = batch_norm_factors(norm)
    torch.testing.assert_close(x * factor.view(-1, 1, 1, 1) + offset.view(-1, 1, 1, 1), norm(x))


@pytest.mark.parametrize("has_bias", [True, False])
def test_folding_into_what_follows(has_bias):
    norm, linear, x = settled_norm(6), nn.Linear(6, 9, bias=has_bias), torch.randn(4, 6, 1, 1, 1)
    weight, bias = fold_into_next(norm, linear.weight, linear.bias)
    torch.testing.assert_close(nn.functional.linear(x.flatten(1), weight, bias), linear(norm(x).flatten(1)))


@pytest.mark.parametrize("has_bias", [True, False])
def test_folding_into_what_came_before(has_bias):
    convolution, norm = nn.Conv3d(3, 6, 3, 2, 1, bias=has_bias), settled_norm(6)
    x = torch.randn(2, 3, 5, 6, 7)
    got = convolution._conv_forward(x, *fold_into_previous(convolution, norm))
    torch.testing.assert_close(got, norm(convolution(x)), rtol=1e-5, atol=1e-5)


def test_normed_linear_is_norm_and_pointwise():
    norm, pointwise, x = settled_norm(6), Pointwise(6, 9), torch.randn(2, 3, 4, 5, 6)
    with torch.no_grad():
        torch.testing.assert_close(normed_linear(norm, pointwise, x), pointwise(apply_to_volume(norm, x)))


def test_which_norms_fold():
    assert folds(settled_norm(3))
    assert not folds(settled_norm(3).train())
    assert not folds(nn.BatchNorm3d(3, track_running_stats=False).eval()), "it takes the batch's own statistics"
    assert not folds(nn.LayerNorm(3))


def test_scoring_is_eval_mode_without_gradients_and_unobserved():
    block = nn.Sequential(nn.Linear(2, 2))
    assert not is_scoring(block)
    with torch.no_grad():
        assert not is_scoring(block), "it trains"
        block.eval()
        assert is_scoring(block)
        with plain_kernels():
            assert not is_scoring(block)
        with block[0].register_forward_pre_hook(lambda module, given: None):
            assert not is_scoring(block)
        assert is_scoring(block)
    with torch.inference_mode():
        assert is_scoring(block)
    assert not is_scoring(block)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("gamma", [None, torch.tensor([0.5, -2.0, 0.0, 3.0, 1.0, 0.1])])
@pytest.mark.parametrize("normed", ["batch", "layer"])
def test_the_mlp_branch_in_place(autocast, gamma, normed):
    norm = settled_norm(6) if normed == "batch" else nn.LayerNorm(6, eps=1e-2)
    mlp = Mlp(6, 24, 0.0, Pointwise if normed == "batch" else Linear).eval()
    x = torch.randn(2, 3, 4, 5, 6)
    inner = apply_to_volume(norm, x) if normed == "batch" else norm(x)
    branch = mlp(inner)
    wanted = x + (branch if gamma is None else branch * gamma)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        got = add_mlp_(x, norm, mlp, gamma)
    assert got is x
    assert (got - wanted).norm() < TOLERANCE[autocast] * wanted.norm()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("layer_scale", [None, 0.3])
@pytest.mark.parametrize("kind", [LocalBlock, GlobalBlock, SplitBlock])
def test_blocks(kind, layer_scale, autocast, monkeypatch):
    calls = []
    monkeypatch.setattr(blocks, "add_mlp_", lambda *given: calls.append(1) or add_mlp_(*given))
    options = {"mlp_ratio": 4.0, "dropout": 0.1, "drop_path": 0.2, "layer_scale": layer_scale}
    if kind is LocalBlock:
        options["kernel"] = (3, 5, 5)
    else:
        options.update(heads=2, qkv_bias=True, qk_scale=None, attention_dropout=0.1)
    block, x = filled(kind(16, **options)), torch.randn(2, 3, 6, 5, 16)
    got, wanted = both_ways(block, x, autocast=autocast)
    assert got.dtype == wanted.dtype
    assert (got.float() - wanted.float()).norm() < TOLERANCE[autocast] * wanted.float().norm()
    assert len(calls) == 1, "not in the plain way"


def test_a_block_leaves_what_it_is_given_alone():
    block = filled(LocalBlock(8, kernel=(3, 5, 5), mlp_ratio=4.0, dropout=0.0, drop_path=0.0))
    x = torch.randn(1, 2, 5, 5, 8)
    before = x.clone()
    with torch.inference_mode():
        block(x)
    assert torch.equal(x, before)


NETWORKS = {
    "joint": {},
    "split": {"split": True},
    "std": {"std": True, "local_kernel": (5, 5, 5)},
    "layer scale": {"layer_scale": True, "layer_scale_init": 0.5},
    "conv stem": {"conv_stem": True},
    "auxiliary head": {"aux_head": True},
    "image": {"image": True},
}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
def test_networks(options, autocast):
    network = filled(Uniformer(num_classes=7, depths=(1, 2, 2, 1), widths=(8, 16, 24, 32), head_dim=8, **options))
    x = torch.randn(16 if autocast else 2, 3, 4, 64, 64)  # many clips: errors of a few are as large as chance has it
    got, plain = both_ways(network, x)
    assert (got - plain).norm() < TOLERANCE[False] * plain.norm()
    if autocast:
        own_error, its_error = ((half.float() - plain).norm() for half in both_ways(network, x, autocast=True))
        assert own_error < 1.5 * its_error, "no further from float32 than the plain way"


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("checkpointed", [False, True])
def test_a_training_step_of_the_whole_network(autocast, checkpointed):
    again = {"checkpoint_blocks": (1, 1, 1, 1)} if checkpointed else {}
    options = {"depths": (1, 2, 2, 1), "widths": (8, 16, 24, 32), "head_dim": 8, "drop_path_rate": 0.3, **again}
    network = filled(Uniformer(num_classes=7, **options)).train()
    start = {name: part.clone() for name, part in network.state_dict().items()}
    x, results = torch.randn(2, 3, 4, 64, 64), []

    def step():
        network.load_state_dict(start)
        network.zero_grad()
        torch.manual_seed(3)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = nn.functional.cross_entropy(network(x), torch.tensor([1, 4]))
        loss.backward()
        gradients = torch.cat([part.grad.flatten() for part in network.parameters()])
        statistics = torch.cat([part.flatten() for name, part in network.state_dict().items() if "running" in name])
        results.append((loss.detach()[None], gradients, statistics))

    step()
    with plain_kernels():
        step()
    for got, wanted in zip(*results, strict=True):
        assert (got - wanted).norm() < (5e-2 if autocast else 1e-5) * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("norms", ["float32", "half"])
@pytest.mark.parametrize("options", [{}, {"conv_stem": True}], ids=["patches", "conv stem"])
def test_networks_in_half_precision(dtype, norms, options):
    network = filled(Uniformer(num_classes=7, depths=(1, 1, 1, 1), widths=(8, 16, 24, 32), head_dim=8, **options))
    x = torch.randn(16, 3, 4, 64, 64)
    with torch.no_grad():
        exact = network(x)
    network.to(dtype)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d) and norms == "float32":
            module.float()
    got, plain = both_ways(network, x.to(dtype))
    assert got.dtype is dtype
    assert (got.float() - exact).norm() < 1.5 * (plain.float() - exact).norm()


@pytest.mark.parametrize("kind", [LocalBlock, GlobalBlock])
def test_blocks_take_grids_of_any_order_in_memory(kind):
    options = {"mlp_ratio": 4.0, "dropout": 0.0, "drop_path": 0.0}
    if kind is LocalBlock:
        options["kernel"] = (3, 5, 5)
    else:
        options.update(heads=2, qkv_bias=True, qk_scale=None, attention_dropout=0.0)
    block, x = filled(kind(16, **options)), torch.randn(2, 16, 3, 6, 5).permute(0, 2, 3, 4, 1)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block(x.contiguous()))


def test_dropout_alone_at_work_is_not_passed_over():
    block = filled(LocalBlock(8, kernel=(3, 5, 5), mlp_ratio=4.0, dropout=0.5, drop_path=0.0))
    block.mlp.dropout.train()
    x = torch.randn(1, 2, 5, 5, 8)
    with torch.no_grad():
        assert not is_scoring(block)
        assert not torch.equal(block(x), block(x))


@pytest.mark.parametrize("name", ["conv1", "mlp", "norm2"])
def test_what_stands_in_for_a_layer_is_called(name):
    block = filled(LocalBlock(8, kernel=(3, 5, 5), mlp_ratio=4.0, dropout=0.0, drop_path=0.0))
    given = getattr(block, name)
    setattr(block, name, nn.Sequential(given, nn.Tanh()))
    for kept in ("weight", "bias", "fc1", "fc2"):  # an adapter shows what it adapts
        if hasattr(given, kept):
            setattr(getattr(block, name), kept, getattr(given, kept))
    got, wanted = both_ways(block.eval(), torch.randn(1, 2, 5, 5, 8))
    torch.testing.assert_close(got, wanted)


def test_a_small_layer_scale_in_float16_is_not_lost():
    mlp, x = filled(Mlp(16, 64, 0.0, Linear)), torch.zeros(2, 3, 4, 5, 16)
    norm, gamma = nn.LayerNorm(16), torch.full((16,), 1e-6)
    nn.init.normal_(norm.bias)
    wanted = mlp(norm(x)) * gamma
    with torch.no_grad(), torch.autocast("cpu", torch.float16):
        got = add_mlp_(x, norm, mlp, gamma)
    assert (got - wanted).norm() < 3e-3 * wanted.norm()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_channels_far_from_zero_keep_their_digits_in_half_precision(dtype):
    block = LocalBlock(16, kernel=(3, 5, 5), mlp_ratio=4.0, dropout=0.0, drop_path=0.0).eval()
    x = torch.randn(2, 3, 6, 5, 16)
    for part in (block.pos_embed.weight, block.pos_embed.bias):
        nn.init.zeros_(part)
    for norm in (block.norm1, block.norm2):
        norm.running_mean.fill_(30.0)
    with torch.no_grad():
        x += 30
        exact = block(x)
        with torch.autocast("cpu", dtype):
            got = block(x)
    assert (got - exact).norm() < 1e-2 * (exact - x).norm()
