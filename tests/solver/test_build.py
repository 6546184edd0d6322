"""The optimizer of a configuration, against update rules written out."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from uniformer_video.config import get_cfg
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver import build
from uniformer_video.solver.build import build_optimizer, clip_gradients, set_lr


def make_cfg(**solver):
    cfg = get_cfg()
    for key, value in solver.items():
        cfg.SOLVER[key] = value
    return cfg


def network() -> nn.Module:
    torch_state = torch.random.get_rng_state()
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    torch.random.set_rng_state(torch_state)
    return model


def test_adamw_with_its_groups():
    cfg = make_cfg(OPTIMIZING_METHOD="adamw", BASE_LR=3e-4, WEIGHT_DECAY=0.07, BETAS=[0.8, 0.95], ZERO_WD_1D_PARAM=True)
    cfg.BN.WEIGHT_DECAY = 0.01
    optimizer = build_optimizer(network(), cfg)
    assert type(optimizer) is torch.optim.AdamW
    assert [(g["weight_decay"], g["names"]) for g in optimizer.param_groups] == [
        (0.01, ["1.weight", "1.bias"]),
        (0.07, ["0.weight", "2.weight"]),
        (0.0, ["0.bias", "2.bias"]),
    ]
    for group in optimizer.param_groups:
        assert (group["lr"], group["betas"], group["eps"]) == (3e-4, (0.8, 0.95), 1e-8)


def test_adamw_first_step_is_a_signed_unit_step_after_decay():
    cfg = make_cfg(OPTIMIZING_METHOD="adamw", BASE_LR=0.1, WEIGHT_DECAY=0.5)
    model = nn.Linear(2, 1, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2.0]]))
    optimizer = build_optimizer(model, cfg)
    model.weight.grad = torch.tensor([[3.0, -0.01]])
    optimizer.step()
    # w (1 - lr wd) - lr sign(g): 0.95 - 0.1 and -1.9 + 0.1, up to eps
    torch.testing.assert_close(model.weight.detach(), torch.tensor([[0.85, -1.8]]), rtol=1e-5, atol=1e-6)


def test_adam_puts_the_decay_into_the_gradient():
    cfg = make_cfg(OPTIMIZING_METHOD="adam", BASE_LR=0.1, WEIGHT_DECAY=0.5, BETAS=[0.7, 0.9])
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = build_optimizer(model, cfg)
    assert type(optimizer) is torch.optim.Adam
    assert optimizer.param_groups[0]["betas"] == (0.7, 0.9)
    model.weight.grad = torch.tensor([[-0.2]])  # with decay: -0.2 + 0.5 = +0.3, so the step goes down
    optimizer.step()
    assert model.weight.item() == pytest.approx(0.9, rel=1e-5)


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd_momentum_over_two_steps(nesterov):
    cfg = make_cfg(OPTIMIZING_METHOD="sgd", BASE_LR=0.1, MOMENTUM=0.5, NESTEROV=nesterov, WEIGHT_DECAY=0.2)
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    optimizer = build_optimizer(model, cfg)
    assert type(optimizer) is torch.optim.SGD
    weight, buffer = 1.0, None
    for gradient in (1.0, -2.0):
        model.weight.grad = torch.tensor([[gradient]])
        optimizer.step()
        total = gradient + 0.2 * weight
        buffer = total if buffer is None else 0.5 * buffer + total
        weight -= 0.1 * (total + 0.5 * buffer if nesterov else buffer)
        assert model.weight.item() == pytest.approx(weight, rel=1e-6)


def test_sgd_dampening_is_passed_on():
    optimizer = build_optimizer(network(), make_cfg(OPTIMIZING_METHOD="sgd", DAMPENING=0.25, MOMENTUM=0.9))
    assert {group["dampening"] for group in optimizer.param_groups} == {0.25}


def test_the_state_goes_through_a_file_that_holds_tensors_only(tmp_path):
    cfg = make_cfg(OPTIMIZING_METHOD="adamw")
    model = network()
    optimizer = build_optimizer(model, cfg)
    model(torch.ones(5, 3)).sum().backward()
    optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pyth")
    again = build_optimizer(model, cfg)
    again.load_state_dict(torch.load(tmp_path / "state.pyth", weights_only=True))
    assert [group["names"] for group in again.param_groups] == [group["names"] for group in optimizer.param_groups]
    assert len(again.state) == 6
    for parameter in model.parameters():
        assert torch.equal(again.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])


@pytest.mark.parametrize("method", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize(("saved", "own"), [(True, False), (False, True)])
def test_a_state_goes_on_with_the_kernel_of_the_machine_it_is_loaded_on(monkeypatch, method, saved, own):
    """torch has the kernel for CPUs too, so that one machine can play both."""
    cfg, x = make_cfg(OPTIMIZING_METHOD=method, MOMENTUM=0.9), torch.randn(5, 3)

    def step(model, optimizer):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    made = {}
    for fused in (saved, own):
        monkeypatch.setattr(build, "has_fused_step", lambda parameters, fused=fused: fused)
        torch.manual_seed(0)
        model = nn.Linear(3, 2)
        made[fused] = model, build_optimizer(model, cfg)
        assert {group["fused"] for group in made[fused][1].param_groups} == {fused or None}
    for _ in range(2):
        step(*made[saved])
    made[own][0].load_state_dict(made[saved][0].state_dict())
    made[own][1].load_state_dict(copy.deepcopy(made[saved][1].state_dict()))
    assert {group["fused"] for group in made[own][1].param_groups} == {own or None}
    for fused in (saved, own):
        step(*made[fused])
    for one, other in zip(made[saved][0].parameters(), made[own][0].parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("method", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("layouts", [(0, 1), (1, 0)])
def test_a_state_goes_on_where_parameters_lie_otherwise_in_memory(monkeypatch, method, fused, layouts):
    """A run of several processes has its kernels channels-last, one of one process has not."""
    monkeypatch.setattr(build, "has_fused_step", lambda parameters: fused)
    cfg, x = make_cfg(OPTIMIZING_METHOD=method, MOMENTUM=0.9, BASE_LR=0.01), torch.randn(2, 3, 4, 6, 6)
    formats = [(torch.contiguous_format, torch.channels_last_3d)[layout] for layout in layouts]
    made = []
    for layout in formats:
        torch.manual_seed(0)
        model = nn.Conv3d(3, 4, (3, 2, 2)).to(memory_format=layout)
        made.append((model, build_optimizer(model, cfg)))

    def step(model, optimizer):
        optimizer.zero_grad()
        model(x).square().sum().backward()
        optimizer.step()

    for _ in range(2):
        step(*made[0])
    made[1][0].load_state_dict(made[0][0].state_dict())
    made[1][1].load_state_dict(copy.deepcopy(made[0][1].state_dict()))
    assert made[0][0].weight.stride() != made[1][0].weight.stride()
    for model, optimizer in made:
        moments = [value for value in optimizer.state[model.weight].values() if value.ndim]
        assert moments and {moment.stride() for moment in moments} == {model.weight.stride()}
        step(model, optimizer)
    for one, other in zip(*(model.parameters() for model, _ in made), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_a_state_of_the_same_layout_is_not_copied():
    model = nn.Conv3d(3, 4, (3, 2, 2))
    optimizer, again = build_optimizer(model, make_cfg()), build_optimizer(model, make_cfg())
    model(torch.ones(1, 3, 4, 6, 6)).sum().backward()
    optimizer.step()
    again.load_state_dict(optimizer.state_dict())
    assert again.state[model.weight]["exp_avg"] is optimizer.state[model.weight]["exp_avg"]


def test_a_step_is_one_kernel_where_torch_has_it():
    assert {group["fused"] for group in build_optimizer(network(), make_cfg()).param_groups} == {True}
    meta = build_optimizer(network().to("meta"), make_cfg())
    assert not any(group["fused"] for group in meta.param_groups)


def test_set_lr_reaches_every_group():
    optimizer = build_optimizer(network(), make_cfg())
    set_lr(optimizer, 0.125)
    assert [group["lr"] for group in optimizer.param_groups] == [0.125] * 3


def two_blocks() -> nn.Module:
    model = nn.Module()
    model.patch_embed1, model.head = nn.Linear(2, 2), nn.Linear(2, 3)
    model.blocks1 = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    return model


def test_layer_decay_gives_every_layer_its_rate_and_the_head_the_rate_itself():
    optimizer = build_optimizer(two_blocks(), make_cfg(LAYER_DECAY=0.5, BASE_LR=0.8))
    expected = {
        "patch_embed1.weight": 0.1,
        "patch_embed1.bias": 0.1,
        "blocks1.0.weight": 0.2,
        "blocks1.1.weight": 0.4,
        "head.weight": 0.8,
        "head.bias": 0.8,
    }

    def rates():
        return {name: group["lr"] for group in optimizer.param_groups for name in group["names"]}

    assert rates() == pytest.approx(expected)
    set_lr(optimizer, 0.4)
    assert rates() == pytest.approx({name: rate / 2 for name, rate in expected.items()})
    assert rates()["head.weight"] == 0.4


def test_layer_decay_moves_each_layer_by_its_rate():
    model = two_blocks()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    cfg = make_cfg(OPTIMIZING_METHOD="sgd", LAYER_DECAY=0.5, MOMENTUM=0.0, WEIGHT_DECAY=0.0)
    optimizer = build_optimizer(model, cfg)
    set_lr(optimizer, 1.0)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    moved = {name: (before[name] - p.detach()).mean().item() for name, p in model.named_parameters()}
    assert moved == pytest.approx(
        {
            "patch_embed1.weight": 0.125,
            "patch_embed1.bias": 0.125,
            "blocks1.0.weight": 0.25,
            "blocks1.1.weight": 0.5,
            "head.weight": 1.0,
            "head.bias": 1.0,
        },
        rel=1e-5,
    )


def test_without_layer_decay_the_groups_are_those_of_the_decay_alone():
    optimizer = build_optimizer(two_blocks(), make_cfg(LAYER_DECAY=1.0))
    assert [group["names"] for group in optimizer.param_groups] == [
        ["patch_embed1.weight", "head.weight", "blocks1.0.weight", "blocks1.1.weight"],
        ["patch_embed1.bias", "head.bias"],
    ]
    assert not any("lr_scale" in group for group in optimizer.param_groups)


def test_layers_are_counted_with_the_frozen_ones():
    model = two_blocks()
    model.patch_embed1.requires_grad_(False)
    model.blocks1[0].requires_grad_(False)
    optimizer = build_optimizer(model, make_cfg(LAYER_DECAY=0.5))
    scales = {name: group["lr_scale"] for group in optimizer.param_groups for name in group["names"]}
    assert scales == {"blocks1.1.weight": 0.5, "head.weight": 1.0, "head.bias": 1.0}


def test_unknown_method_lists_the_known_ones():
    with pytest.raises(ConfigError) as raised:
        build_optimizer(network(), make_cfg(OPTIMIZING_METHOD="lamb"))
    assert str(raised.value) == "SOLVER.OPTIMIZING_METHOD 'lamb' is unknown; known: adam, adamw, sgd"


@pytest.mark.parametrize(("momentum", "dampening"), [(0.0, 0.0), (0.9, 0.1)])
def test_nesterov_without_its_momentum(momentum, dampening):
    cfg = make_cfg(OPTIMIZING_METHOD="sgd", NESTEROV=True, MOMENTUM=momentum, DAMPENING=dampening)
    with pytest.raises(ConfigError) as raised:
        build_optimizer(network(), cfg)
    assert str(raised.value) == (
        f"SOLVER.NESTEROV needs SOLVER.MOMENTUM > 0 and SOLVER.DAMPENING 0, got MOMENTUM {momentum} and "
        f"DAMPENING {dampening}; change them or set SOLVER.NESTEROV False"
    )


def test_nothing_to_train():
    with pytest.raises(ConfigError) as raised:
        build_optimizer(network().requires_grad_(False), make_cfg())
    assert str(raised.value) == (
        "the network has no trainable parameter; unfreeze some of it before building an optimizer"
    )


def with_gradients(*gradients):
    parameters = []
    for gradient in gradients:
        parameter = nn.Parameter(torch.zeros(len(gradient)))
        parameter.grad = torch.tensor(gradient)
        parameters.append(parameter)
    return parameters


def grads(parameters):
    return [parameter.grad.tolist() for parameter in parameters]


def test_norm_is_over_all_parameters_and_untouched_without_limits():
    parameters = with_gradients([3.0, 0.0], [0.0, 4.0])
    assert clip_gradients(parameters) == 5.0
    assert grads(parameters) == [[3.0, 0.0], [0.0, 4.0]]


def test_norm_limit_scales_all_gradients_alike():
    parameters = with_gradients([3.0, 0.0], [0.0, -4.0])
    assert clip_gradients(iter(parameters), max_norm=1.0) == 5.0  # an iterator is enough
    assert grads(parameters)[0] == pytest.approx([0.6, 0.0], rel=1e-5)
    assert grads(parameters)[1] == pytest.approx([0.0, -0.8], rel=1e-5)


def test_a_norm_below_the_limit_changes_nothing():
    parameters = with_gradients([3.0, 4.0])
    assert clip_gradients(parameters, max_norm=20.0) == 5.0
    assert grads(parameters) == [[3.0, 4.0]]


def test_value_limit():
    parameters = with_gradients([3.0, -0.5], [-4.0])
    assert clip_gradients(parameters, max_value=1.0) == pytest.approx(math.sqrt(9 + 0.25 + 16))
    assert grads(parameters) == [[1.0, -0.5], [-1.0]]


def test_values_first_then_the_norm_of_what_is_left():
    parameters = with_gradients([30.0, -40.0])
    assert clip_gradients(parameters, max_norm=0.5, max_value=1.0) == pytest.approx(50.0)
    assert grads(parameters)[0] == pytest.approx([0.5 / math.sqrt(2), -0.5 / math.sqrt(2)], rel=1e-5)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_unusable_gradients_are_left_for_the_caller(bad):
    parameters = with_gradients([bad, 1.0], [2.0])
    total = clip_gradients(parameters, max_norm=1.0, max_value=1.0)
    assert not math.isfinite(total)
    assert grads(parameters)[0][1] == 1.0
    assert grads(parameters)[1] == [2.0]


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_a_norm_limit_alone_leaves_them_too(bad):
    parameters = with_gradients([bad, 1.0], [2.0])
    assert not math.isfinite(clip_gradients(parameters, max_norm=1.0))
    assert str(grads(parameters)) == str([[bad, 1.0], [2.0]])


# ------------------------------------------------------------------------------- parameters that processes share


@pytest.fixture
def mesh():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def cut_up(model, mesh):
    """Return ``model`` with DTensors as parameters, and as gradients where there are any."""
    for module in model.modules():
        for name, own in list(module.named_parameters(recurse=False)):
            made = nn.Parameter(distribute_tensor(own.detach().clone(), mesh, [Shard(0)]))
            if own.grad is not None:
                made.grad = distribute_tensor(own.grad.clone(), mesh, [Shard(0)])
            setattr(module, name, made)
    return model


@pytest.mark.parametrize(("method", "fused"), [("adamw", True), ("adam", True), ("sgd", None)])
def test_steps_of_sharded_parameters_are_those_of_whole_ones(mesh, method, fused):
    cfg, x = make_cfg(OPTIMIZING_METHOD=method, MOMENTUM=0.9, NESTEROV=False), torch.randn(5, 3)
    torch.manual_seed(0)
    plain = network()
    model = cut_up(copy.deepcopy(plain), mesh)
    optimizers = [build_optimizer(made, cfg) for made in (plain, model)]
    assert {group["fused"] for group in optimizers[1].param_groups} == {fused}
    for _ in range(3):
        plain(x).square().sum().backward()
        for own, part in zip(plain.parameters(), model.parameters(), strict=True):
            part.grad = distribute_tensor(own.grad.clone(), mesh, [Shard(0)])
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    for own, part in zip(plain.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(part.full_tensor(), own)


@pytest.mark.parametrize("limits", [(None, None), (1.0, None), (100.0, None), (None, 0.7), (0.5, 0.7)])
@pytest.mark.parametrize("values", [(3.0, -4.0), (math.inf, 1.0), (math.nan, 1.0)])
def test_sharded_gradients_are_clipped_as_whole_ones(mesh, limits, values):
    plain, model = nn.Linear(2, 2), nn.Linear(2, 2)
    for made in (plain, model):
        made.weight.grad, made.bias.grad = torch.tensor([values, (1.0, 0.5)]), torch.tensor([2.0, 0.1])
    cut_up(model, mesh)
    norms = [clip_gradients(made.parameters(), *limits) for made in (plain, model)]
    assert type(norms[1]) is torch.Tensor and norms[1].shape == ()
    torch.testing.assert_close(norms[1], norms[0], equal_nan=True)
    for own, part in zip(plain.parameters(), model.parameters(), strict=True):
        assert isinstance(part.grad, DTensor)
        torch.testing.assert_close(part.grad.full_tensor(), own.grad, equal_nan=True)


def test_parameters_without_gradient():
    unused = nn.Parameter(torch.zeros(2))
    assert clip_gradients([unused], max_norm=1.0) == 0.0
    assert clip_gradients([unused, *with_gradients([2.0])], max_norm=10.0) == 2.0
    assert unused.grad is None
