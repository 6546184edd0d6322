"""Weight-decay groups against the published ones and hand-made networks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from uniformer_video.models.uniformer import uniformer_base
from uniformer_video.solver.layer_decay import layer_scales
from uniformer_video.solver.param_groups import param_groups

REFERENCE = json.loads((Path(__file__).parent.parent / "data" / "optimizer.json").read_text())


def names_of(groups):
    return [set(group["names"]) for group in groups]


def plant(root: nn.Module, name: str, batch_norms: set[str]) -> None:
    """Create the modules on the way to a dotted parameter name, and the parameter, in ``root``."""
    *path, leaf = name.split(".")
    module = root
    for depth, part in enumerate(path, start=1):
        if part not in module._modules:
            prefix = ".".join(path[:depth])
            module.add_module(part, nn.BatchNorm3d(1) if prefix in batch_norms else nn.Module())
        module = module._modules[part]
    if leaf not in module._parameters:
        # What the published networks have: 1-D norms and biases, everything else of two dimensions or more.
        one_dimensional = leaf == "bias" or "norm" in path[-1]
        module.register_parameter(leaf, nn.Parameter(torch.zeros(1) if one_dimensional else torch.zeros(1, 1)))


def test_published_groups_on_a_tree_with_the_published_names():
    batch_norms = {name.rpartition(".")[0] for name in REFERENCE["groups"][0]["names"]}
    root = nn.Module()
    every_name = [name for group in REFERENCE["groups"] for name in group["names"]]
    for name in every_name:
        plant(root, name, batch_norms)
    assert {name for name, _ in root.named_parameters()} == set(every_name)

    groups = param_groups(root, weight_decay=0.05, norm_weight_decay=0.0, zero_decay_1d=True)

    assert names_of(groups) == [set(group["names"]) for group in REFERENCE["groups"]]
    assert [group["weight_decay"] for group in groups] == [group["wd"] for group in REFERENCE["groups"]]


def test_published_groups_on_the_base_network():
    with torch.device("meta"):
        model = uniformer_base()

    groups = param_groups(model, weight_decay=0.05, norm_weight_decay=0.0, zero_decay_1d=True)

    assert names_of(groups) == [set(group["names"]) for group in REFERENCE["groups"]]
    assert [group["weight_decay"] for group in groups] == [group["wd"] for group in REFERENCE["groups"]]


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 4, 1)
        self.bn = nn.BatchNorm3d(4)
        self.ln = nn.LayerNorm(4)
        self.gamma = nn.Parameter(torch.ones(4))
        self.temperature = nn.Parameter(torch.ones(()))
        self.token = nn.Parameter(torch.ones(1, 1, 4))
        self.head = nn.Linear(4, 2)


def test_three_groups_in_order_with_matching_names_and_parameters():
    model = Toy()
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.2, zero_decay_1d=True)

    assert [group["weight_decay"] for group in groups] == [0.2, 0.1, 0.0]
    assert [group["names"] for group in groups] == [
        ["bn.weight", "bn.bias"],
        ["token", "conv.weight", "head.weight"],
        ["gamma", "temperature", "conv.bias", "ln.weight", "ln.bias", "head.bias"],
    ]
    by_name = dict(model.named_parameters())
    for group in groups:
        assert len(group["params"]) == len(group["names"])
        assert all(by_name[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True))


def test_without_zero_decay_everything_outside_batch_norm_decays():
    groups = param_groups(Toy(), weight_decay=0.1, norm_weight_decay=0.0, zero_decay_1d=False)

    assert [group["weight_decay"] for group in groups] == [0.0, 0.1]
    assert groups[0]["names"] == ["bn.weight", "bn.bias"]
    assert set(groups[1]["names"]) == {name for name, _ in Toy().named_parameters()} - {"bn.weight", "bn.bias"}


def test_frozen_parameters_are_left_out_and_empty_groups_dropped():
    model = Toy()
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name in ("conv.weight", "head.weight")
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.0, zero_decay_1d=True)
    assert [group["names"] for group in groups] == [["conv.weight", "head.weight"]]

    model.requires_grad_(False)
    assert param_groups(model, weight_decay=0.1, norm_weight_decay=0.0, zero_decay_1d=True) == []


def test_a_shared_parameter_is_in_one_group_once():
    model = Toy()
    model.twin = nn.Linear(4, 2)
    model.twin.weight = model.head.weight
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.0, zero_decay_1d=True)
    parameters = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(parameters) == len(set(parameters)) == len(list(model.parameters()))
    assert "twin.weight" not in groups[1]["names"]


@pytest.mark.parametrize("kind", [nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm])
def test_every_batch_norm_of_torch_is_known(kind):
    (group,) = param_groups(kind(4), weight_decay=0.1, norm_weight_decay=0.3, zero_decay_1d=True)
    assert (group["weight_decay"], group["names"]) == (0.3, ["weight", "bias"])


def test_a_batch_norm_of_another_class_is_known_by_its_statistics():
    class LastDimBatchNorm(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(4))
            self.bias = nn.Parameter(torch.zeros(4))
            self.register_buffer("running_mean", torch.zeros(4))
            self.register_buffer("running_var", torch.ones(4))

    model = nn.Sequential(LastDimBatchNorm(), nn.LayerNorm(4))
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.3, zero_decay_1d=True)
    assert [(group["weight_decay"], group["names"]) for group in groups] == [
        (0.3, ["0.weight", "0.bias"]),
        (0.0, ["1.weight", "1.bias"]),
    ]


def test_a_multidimensional_bias_does_not_decay():
    model = nn.Module()
    model.bias = nn.Parameter(torch.zeros(2, 3))
    model.not_a_bias_at_all = nn.Parameter(torch.zeros(2, 3))
    model.unbias = nn.Parameter(torch.zeros(2, 3))
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.3, zero_decay_1d=True)
    assert [group["names"] for group in groups] == [["not_a_bias_at_all", "unbias"], ["bias"]]


@pytest.mark.parametrize("zero_decay_1d", [True, False])
def test_a_class_token_does_not_decay_whatever_its_shape(zero_decay_1d):
    model = nn.Module()
    model.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
    model.stage = nn.Module()
    model.stage.cls_token = nn.Parameter(torch.zeros(1, 1, 4))
    model.cls_token_scale = nn.Parameter(torch.zeros(1, 4))
    model.cls_upsample = nn.Linear(4, 8, bias=False)
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.3, zero_decay_1d=zero_decay_1d)
    assert [(group["weight_decay"], group["names"]) for group in groups] == [
        (0.1, ["cls_token_scale", "cls_upsample.weight"]),
        (0.0, ["cls_token", "stage.cls_token"]),
    ]


def test_layer_scale_decays_where_it_has_more_than_one_dimension_as_published():
    # Local blocks keep it as (1, C, 1, 1, 1), global ones as (C,); the published rule counts dimensions alone.
    model = nn.Module()
    model.local, model.attending = nn.Module(), nn.Module()
    model.local.gamma_1 = nn.Parameter(torch.zeros(1, 4, 1, 1, 1))
    model.attending.gamma_1 = nn.Parameter(torch.zeros(4))
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.3, zero_decay_1d=True)
    assert [group["names"] for group in groups] == [["local.gamma_1"], ["attending.gamma_1"]]


def test_rates_split_each_group_smallest_first():
    model = Toy()
    scales = {name: 0.25 if name.startswith(("conv", "bn")) else 1.0 for name, _ in model.named_parameters()}
    scales["gamma"] = 0.5
    groups = param_groups(model, weight_decay=0.1, norm_weight_decay=0.2, zero_decay_1d=True, lr_scales=scales)
    assert [(group["weight_decay"], group["lr_scale"], group["names"]) for group in groups] == [
        (0.2, 0.25, ["bn.weight", "bn.bias"]),
        (0.1, 0.25, ["conv.weight"]),
        (0.1, 1.0, ["token", "head.weight"]),
        (0.0, 0.25, ["conv.bias"]),
        (0.0, 0.5, ["gamma"]),
        (0.0, 1.0, ["temperature", "ln.weight", "ln.bias", "head.bias"]),
    ]
    by_name = dict(model.named_parameters())
    for group in groups:
        assert all(by_name[name] is parameter for name, parameter in zip(group["names"], group["params"], strict=True))


def test_without_rates_no_group_has_one():
    groups = param_groups(Toy(), weight_decay=0.1, norm_weight_decay=0.2, zero_decay_1d=True)
    assert [set(group) for group in groups] == [{"params", "weight_decay", "names"}] * 3


def test_rates_of_the_base_network_leave_its_decay_as_published():
    with torch.device("meta"):
        model = uniformer_base()
    scales = layer_scales((name for name, _ in model.named_parameters()), 0.75)
    groups = param_groups(model, weight_decay=0.05, norm_weight_decay=0.0, zero_decay_1d=True, lr_scales=scales)
    assert len({group["lr_scale"] for group in groups}) == 5 + 8 + 20 + 7 + 2
    decays = {name: group["weight_decay"] for group in groups for name in group["names"]}
    assert decays == {name: group["wd"] for group in REFERENCE["groups"] for name in group["names"]}
    # One group for each weight decay and layer; batch norms are in the local blocks and at the end.
    assert len({(group["weight_decay"], group["lr_scale"]) for group in groups}) <= len(groups)
    assert all(scales[name] == group["lr_scale"] for group in groups for name in group["names"])
