"""Frozen parts: which they are, that nothing of them moves, and that nothing is kept for their backward pass."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from uniformer_video.models.freeze import FreezeReport, freeze, freeze_norms, stays_in_evaluation_mode
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import ConfigError

SMALL = {"depths": (1, 1, 2, 1), "widths": (16, 16, 32, 32), "head_dim": 16, "mlp_ratio": 2, "num_classes": 5}
NETWORKS = [Uniformer, Hourglass]


def build(network, **options):
    torch.manual_seed(0)
    return network(**{**SMALL, **options})


def clips(batch=2, seed=1):
    return torch.randn(batch, 3, 4, 32, 32, generator=torch.Generator().manual_seed(seed))


def frozen_parts(model):
    """Return the first parts of the names of parameters without gradient; no part may be half frozen."""
    frozen = {name.partition(".")[0] for name, p in model.named_parameters() if not p.requires_grad}
    trained = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert not frozen & trained
    return frozen


FRONT = {
    1: {"patch_embed1", "blocks1"},
    2: {"patch_embed1", "blocks1", "patch_embed2", "blocks2"},
    3: {"patch_embed1", "blocks1", "patch_embed2", "blocks2", "patch_embed3", "blocks3"},
}
FRONT[4] = FRONT[3] | {"patch_embed4", "blocks4"}
OF_HOURGLASS = {1: set(), 2: set(), 3: {"cls_token"}, 4: {"cls_token", "cls_upsample"}}


@pytest.mark.parametrize("stages", [1, 2, 3, 4])
@pytest.mark.parametrize("network", NETWORKS)
def test_the_stem_and_the_first_stages(network, stages):
    model = build(network)
    report = freeze(model, stages)
    assert frozen_parts(model) == FRONT[stages] | (OF_HOURGLASS[stages] if network is Hourglass else set())
    names = {1: "stage 1"}.get(stages, f"stages 1-{stages}")
    own = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    assert report == FreezeReport(own, total, f"stem and {names}")
    assert report.summary() == f"frozen: {own:,} of {total:,} parameters (stem and {names})"
    assert 0 < own < total


@pytest.mark.parametrize(("network", "heads"), [(Uniformer, {"head"}), (Hourglass, {"head", "head_cls"})])
def test_the_backbone_is_all_but_the_heads(network, heads):
    model = build(network)
    report = freeze(model, "backbone")
    trained = {name.partition(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == heads
    assert report.total - report.frozen == len(heads) * (32 * 5 + 5)
    assert report.parts == "backbone"


def test_the_second_head_of_image_networks_stays_too():
    model = build(Uniformer, aux_head=True)
    freeze(model, "backbone")
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        f"{head}.{part}" for head in ("head", "aux_head") for part in ("weight", "bias")
    }


@pytest.mark.parametrize("network", NETWORKS)
def test_frozen_parts_stay_in_evaluation_mode_and_the_others_do_not(network):
    model = build(network)
    freeze(model, 2)
    for mode in (True, False, True):
        assert model.train(mode) is model
        assert model.training is mode
        for name, module in model.named_modules():
            frozen = name.partition(".")[0] in {*FRONT[2], "stem_dropout"}
            assert module.training is (mode and not frozen), name
    assert model.blocks1[0].train() is model.blocks1[0]
    assert not model.blocks1[0].norm1.training
    assert not any(m.training for m in model.eval().modules())


@pytest.mark.parametrize("network", NETWORKS)
def test_the_head_keeps_its_dropout_in_a_frozen_network(network):
    model = build(network, head_dropout=0.5, dropout=0.5, drop_path_rate=0.5)
    freeze(model, "backbone")
    model.train()
    assert model.head_dropout.training and model.head.training
    assert {name for name, m in model.named_modules() if m.training} >= {"", "head", "head_dropout"}
    assert not any(m.training for name, m in model.named_modules() if name and not name.startswith("head"))


def step(model, rate=0.5):
    """Do a step of gradient descent on a loss of all heads."""
    model.train()
    logits = model(clips())
    loss = sum(part.square().sum() for part in (logits if isinstance(logits, tuple) else (logits,)))
    loss.backward()
    with torch.no_grad():
        for p in model.parameters():
            if p.grad is not None:
                p -= rate * p.grad


@pytest.mark.parametrize("what", [1, 3, "backbone"])
@pytest.mark.parametrize("recomputed", [False, True])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_moves_nothing_that_is_frozen_and_all_the_rest(network, recomputed, what):
    options = {"checkpoint_blocks": (1, 1, 2, 1)} if recomputed else {}
    model = build(network, drop_path_rate=0.3, dropout=0.2, **options)
    freeze(model, what)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    step(model)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    parts = frozen_parts(model)
    for name, value in model.state_dict().items():
        if name.partition(".")[0] in parts:
            assert torch.equal(value, before[name]), name
        elif "running" in name or "num_batches" in name:
            assert not torch.equal(value, before[name]), name
    assert all(p.grad is None for name, p in model.named_parameters() if name in frozen)
    moved = [n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0]
    assert {n for n in moved if n.startswith("head")} and not set(moved) & frozen


@pytest.mark.parametrize("network", NETWORKS)
def test_the_gradients_of_the_rest_are_those_of_the_whole_network(network):
    whole, part = build(network), build(network)
    freeze(part, 2)
    # Frozen norms go by their statistics; so that both see the same, the whole network's front does too.
    for model in (whole, part):
        model.train()
        logits = None
        if model is whole:
            for name in FRONT[2]:
                getattr(model, name).eval()
        logits = model(clips())
        sum(head.square().sum() for head in (logits if isinstance(logits, tuple) else (logits,))).backward()
    grads = dict(whole.named_parameters())
    for name, p in part.named_parameters():
        if p.requires_grad and grads[name].grad is not None:
            torch.testing.assert_close(p.grad, grads[name].grad, msg=lambda m, n=name: n + m)


@pytest.mark.parametrize(("what", "stages_with_graph"), [(1, 3), (2, 2), (3, 1), (4, 0)])
def test_nothing_of_the_frozen_front_is_kept_for_the_backward_pass(what, stages_with_graph):
    model = build(Uniformer)
    freeze(model, what)
    model.train()
    features = list(model._stages(clips()))
    assert [x.requires_grad for x in features] == [False] * (4 - stages_with_graph) + [True] * stages_with_graph


def kept_bytes(model):
    """Return the bytes that a forward pass keeps for the backward pass, parameters apart."""
    kept, parameters = {}, {p.data_ptr() for p in model.parameters()}

    def note(tensor):
        if tensor.data_ptr() not in parameters:
            kept[tensor.data_ptr(), tensor.shape] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        model.train()(clips())
    return sum(kept.values())


@pytest.mark.parametrize("network", NETWORKS)
def test_the_more_is_frozen_the_less_memory_a_step_takes(network):
    sizes = []
    for what in (None, 1, 2, 3, 4, "backbone"):
        model = build(network)
        if what:
            freeze(model, what)
        sizes.append(kept_bytes(model))
    assert sizes == sorted(sizes, reverse=True) and len(set(sizes)) == len(sizes)
    assert sizes[-1] < 0.01 * sizes[0]


def test_frozen_in_training_is_frozen_in_the_score():
    model = build(Uniformer, dropout=0.5, drop_path_rate=0.5)
    freeze(model, "backbone")
    scored = model.eval()(clips())
    assert torch.equal(model.train()(clips()), scored)


def test_freezing_again_adds():
    model = build(Uniformer)
    first, second = freeze(model, 2), freeze(model, 1)
    assert (first.frozen, second.frozen) == (second.frozen, first.frozen)
    assert frozen_parts(model) == FRONT[2]
    assert freeze(model, 3).frozen > first.frozen


def test_a_copy_is_frozen_by_itself():
    model = build(Uniformer)
    freeze(model, 1)
    other = copy.deepcopy(model)
    other.train()
    assert not other.blocks1.training and other.blocks2.training
    assert other.blocks1[0].train.__self__ is other.blocks1[0]


def test_the_state_dict_is_that_of_the_network():
    plain, frozen = build(Uniformer), build(Uniformer)
    freeze(frozen, "backbone")
    assert list(frozen.state_dict()) == list(plain.state_dict())
    frozen.load_state_dict(plain.state_dict())
    assert frozen_parts(frozen) >= FRONT[4]


@pytest.mark.parametrize("what", ["", "head", 0, 5, True, 1.5])
def test_another_word(what):
    with pytest.raises(ConfigError) as raised:
        freeze(build(Uniformer), what)
    assert str(raised.value) == (
        f"MODEL.FREEZE is {what!r}; allowed: backbone, 1, 2, 3 or 4 (the stem and so many stages)"
    )


@pytest.mark.parametrize(("what", "part"), [(2, "patch_embed1"), ("backbone", "head")])
def test_a_network_of_other_parts(what, part):
    model = nn.Sequential(nn.Linear(2, 2))
    with pytest.raises(ConfigError) as raised:
        freeze(model, what)
    assert str(raised.value) == (
        f"MODEL.FREEZE names parts of a network by their attributes, but Sequential has no {part}; set MODEL.FREEZE to "
        "the empty word, or name the parts of the network so"
    )
    assert all(p.requires_grad for p in model.parameters())


class TestFrozenNorms:
    """MODEL.FROZEN_BN: statistics stay, scale and offset are trained, and a clip's gradients are its own."""

    @pytest.mark.parametrize("network", NETWORKS)
    def test_statistics_are_used_and_kept_and_parameters_are_trained(self, network):
        model = build(network).train()
        norms = {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm3d)}
        for norm in norms.values():
            norm.running_mean.normal_(0, 0.1), norm.running_var.uniform_(0.5, 2)
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        assert freeze_norms(model) == len(norms) > 4
        model.train()
        assert model.training and model.blocks1.training and not any(norm.training for norm in norms.values())
        assert all(p.requires_grad for p in model.parameters())
        out = model(clips(4))
        scores = out[0] if isinstance(out, tuple) else out
        scores.square().sum().backward()
        assert all(torch.equal(buffer, buffers[name]) for name, buffer in model.named_buffers())
        for name, norm in norms.items():
            assert norm.weight.grad.abs().sum() > 0 and norm.bias.grad.abs().sum() > 0, name
        with torch.no_grad():
            alone = model(clips(4)[:1])
        torch.testing.assert_close(alone[0] if isinstance(alone, tuple) else alone, scores[:1], rtol=1e-4, atol=1e-5)

    def test_gradients_of_parts_add_up_to_those_of_the_batch(self):
        model = build(Uniformer).double().train()
        freeze_norms(model)
        given = clips(4).double()
        model(given).square().sum().backward()
        wanted = [p.grad.clone() for p in model.parameters()]
        model.zero_grad()
        for part in (given[:1], given[1:]):
            model(part).square().sum().backward()
        for p, gradient in zip(model.parameters(), wanted, strict=True):
            torch.testing.assert_close(p.grad, gradient, rtol=1e-9, atol=1e-12)

    def test_with_a_frozen_front_and_twice(self):
        model = build(Uniformer)
        freeze(model, 2)
        count = sum(isinstance(m, nn.BatchNorm3d) for m in model.modules())
        assert freeze_norms(model) == freeze_norms(model) == count
        model.train()
        assert not model.norm.training and not model.blocks1.training and model.blocks3.training
        assert model.norm.weight.requires_grad and not model.blocks1[0].norm1.weight.requires_grad

    def test_a_network_without_batch_norms(self):
        model = nn.Sequential(nn.LayerNorm(3), nn.Linear(3, 2))
        assert freeze_norms(model) == 0
        assert all(module.training for module in model.train().modules())

    def test_who_stays_in_evaluation_mode(self):
        model = build(Uniformer)
        freeze(model, 1)
        assert stays_in_evaluation_mode(model.blocks1[0].norm1) and stays_in_evaluation_mode(model.stem_dropout)
        assert not stays_in_evaluation_mode(model.norm) and not stays_in_evaluation_mode(model.blocks2)
        assert not stays_in_evaluation_mode(model.eval().norm)
        freeze_norms(model)
        assert stays_in_evaluation_mode(model.norm)
