"""Precise batch norm against statistics computed from all activations at once."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist
from torch import nn

from uniformer_video.datasets.loader import Batch
from uniformer_video.engine.device import Precision
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.precise_bn import recompute_batch_norm
from uniformer_video.runtime import distributed, stopping

PRECISION = Precision(False, torch.device("cpu"))
INPUTS = DeviceInputs(mean=[0.45] * 3, std=[0.225] * 3, num_classes=3)


def batches(sizes, epoch=0):
    """Return batches of uint8 clips that are brighter from one to the next, so that no batch is like another."""
    generator = torch.Generator().manual_seed(1)
    made = []
    for number, size in enumerate(sizes):
        clips = torch.randint(0, 60 + 60 * number, (size, 3, 2, 4, 4), generator=generator, dtype=torch.uint8)
        zeros = torch.zeros(size, dtype=torch.int64)
        made.append(Batch(clips if size else None, zeros, zeros, zeros, epoch))
    return made


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.BatchNorm3d(3), nn.Conv3d(3, 5, 1), nn.BatchNorm3d(5), nn.Flatten(), nn.LazyLinear(3))


def direct(model, used):
    """Return mean and population variance of what each norm sees, every norm on batch statistics."""
    x = [INPUTS.normalized(batch.clips, PRECISION.device) for batch in used]
    statistics = []
    for layer in model[:3]:
        if isinstance(layer, nn.BatchNorm3d):
            rows = torch.cat([v.transpose(0, 1).flatten(1) for v in x], 1).double()
            statistics.append((rows.mean(1), rows.var(1, unbiased=False)))
            normalize = nn.functional.batch_norm
            x = [normalize(v, None, None, layer.weight, layer.bias, training=True) for v in x]
        else:
            x = [layer(v) for v in x]
    return statistics


@pytest.mark.parametrize(("sizes", "wanted", "count"), [((4, 4, 4), 3, 3), ((6, 2, 1), 200, 3), ((4, 4, 4), 2, 2)])
def test_statistics_are_those_of_all_clips_together(sizes, wanted, count):
    model, loader = network(), batches(sizes)
    model(INPUTS.normalized(loader[0].clips, PRECISION.device))  # there is something to replace
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    buffers = list(model.buffers())
    assert recompute_batch_norm(model, loader, INPUTS, PRECISION, wanted) == count
    assert all(one is other for one, other in zip(buffers, model.buffers(), strict=True))  # others may hold them
    norms = [model[0], model[2]]
    assert [norm.num_batches_tracked.item() for norm in norms] == [1, 1]  # training steps alone are counted
    for norm, (mean, variance) in zip(norms, direct(model, loader[:count]), strict=True):
        torch.testing.assert_close(norm.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), variance, atol=1e-5, rtol=1e-4)
        assert norm.momentum == 0.1  # as before
    assert all(torch.equal(weights[name], p) for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_it_differs_from_the_running_average():
    model, loader = network(), batches((4, 4, 4))
    for batch in loader:
        model(INPUTS.normalized(batch.clips, PRECISION.device))
    average = model[0].running_mean.clone()
    recompute_batch_norm(model, loader, INPUTS, PRECISION, 3)
    assert not torch.allclose(model[0].running_mean, average, atol=0.05)


def test_it_sees_what_training_sees():
    maker = DeviceInputs(mean=[0.45] * 3, std=[0.225] * 3, num_classes=3, erase_probability=1.0, erase_mode="const")
    model, loader = network(), batches((4,))
    recompute_batch_norm(model, loader, maker, PRECISION, 1)
    seen = maker.train(loader[0], PRECISION.device)[0].transpose(0, 1).flatten(1).mean(1)
    torch.testing.assert_close(model[0].running_mean, seen, atol=1e-5, rtol=1e-5)


def test_processes_average_what_each_saw(monkeypatch):
    other = {3: 10.0, 5: 20.0}

    def all_reduce(statistic):
        statistic += other[len(statistic)]

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "sum_floats", lambda own, device: own)
    monkeypatch.setattr(dist, "all_reduce", all_reduce)
    model, loader = network(), batches((4, 4))
    recompute_batch_norm(model, loader, INPUTS, PRECISION, 2)
    norms = [model[0], model[2]]
    for norm, (mean, variance) in zip(norms, direct(model, loader), strict=True):
        add = other[len(mean)]
        torch.testing.assert_close(norm.running_mean.double(), (mean + add) / 2, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), (variance + add) / 2, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("sizes", [(4, 0, 4), (0, 4, 4), (4, 4, 0), (0, 0, 4)])
def test_a_batch_that_cannot_be_read_has_the_one_before_in_its_place(sizes):
    model, loader = network(), batches(sizes)
    model(INPUTS.normalized(next(b for b in loader if b.clips is not None).clips, PRECISION.device))
    assert recompute_batch_norm(model, loader, INPUTS, PRECISION, 3) == 3
    used = [batch for batch in loader if batch.clips is not None]
    used = {(4, 0, 4): [0, 0, 1], (0, 4, 4): [0, 1, 1], (4, 4, 0): [0, 1, 1], (0, 0, 4): [0, 0, 0]}[sizes], used
    stood_in = [used[1][number] for number in used[0]]
    for norm, (mean, variance) in zip([model[0], model[2]], direct(model, stood_in), strict=True):
        torch.testing.assert_close(norm.running_mean.double(), mean, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(norm.running_var.double(), variance, atol=1e-5, rtol=1e-4)


def test_nothing_at_all_can_be_read():
    model = network()
    before = {name: value.clone() for name, value in model[0].state_dict().items()}
    assert recompute_batch_norm(model, batches((0, 0)), INPUTS, PRECISION, 2) == 0
    assert all(torch.equal(before[name], value) for name, value in model[0].state_dict().items())
    assert model[0].momentum == 0.1


def test_where_another_process_can_read_nothing_none_takes_part(monkeypatch):
    model = network()
    before = model[0].running_mean.clone()
    monkeypatch.setattr(distributed, "sum_floats", lambda own, device: [own[0] + 1.0])
    assert recompute_batch_norm(model, batches((4, 4)), INPUTS, PRECISION, 2) == 0
    assert torch.equal(model[0].running_mean, before)


def test_frozen_statistics_stay():
    model, loader = network(), batches((4, 4))
    model(INPUTS.normalized(loader[0].clips, PRECISION.device))
    model[0].train = lambda mode=True: model[0]  # as models.freeze does
    model[0].training = False
    before = model[0].running_mean.clone(), model[2].running_mean.clone()
    assert recompute_batch_norm(model, loader, INPUTS, PRECISION, 2) == 2
    assert torch.equal(model[0].running_mean, before[0]) and not torch.equal(model[2].running_mean, before[1])
    model[2].train = lambda mode=True: model[2]
    model[2].training = False
    after = model[2].running_mean.clone()
    assert recompute_batch_norm(model, loader, INPUTS, PRECISION, 2) == 0
    assert torch.equal(model[2].running_mean, after)


def test_a_signal_ends_it_between_two_batches_and_leaves_the_norms_their_tensors(monkeypatch):
    model = network()
    model(INPUTS.normalized(batches((4,))[0].clips, PRECISION.device))
    buffers, calls = list(model.buffers()), []
    model.register_forward_hook(lambda *_: calls.append(1))
    monkeypatch.setattr(stopping, "requested", lambda: "SIGTERM" if len(calls) == 2 else "")
    with pytest.raises(stopping.StopWaiting, match="SIGTERM"):
        recompute_batch_norm(model, batches((4, 4, 4)), INPUTS, PRECISION, 3)
    assert len(calls) == 2
    assert all(one is other for one, other in zip(buffers, model.buffers(), strict=True))
    assert model[0].num_batches_tracked.item() == 1


def test_a_signal_to_another_process_ends_it_too(monkeypatch):
    told = []

    def sum_floats(values, device):
        told.append(values)
        return [values[0] + (len(told) == 3)]  # the first asks whether all have a batch

    monkeypatch.setattr(distributed, "sum_floats", sum_floats)
    model = network()
    model(INPUTS.normalized(batches((4,))[0].clips, PRECISION.device))
    with pytest.raises(stopping.StopWaiting):
        recompute_batch_norm(model, batches((4, 4, 4)), INPUTS, PRECISION, 3)
    assert told == [[0.0]] * 3
