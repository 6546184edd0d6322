"""Validation: shares and loss over all videos, each once."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch
from torch import nn

from uniformer_video.datasets.dataset import Failure
from uniformer_video.datasets.loader import Batch
from uniformer_video.engine.device import Precision
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.validator import Validation, validate
from uniformer_video.metrics.average_precision import average_precision
from uniformer_video.runtime import distributed, stopping

CPU = torch.device("cpu")


class Scores(nn.Module):
    """A network whose logits are the first K values of a clip; notes how it was called."""

    def __init__(self, classes):
        super().__init__()
        self.classes, self.calls = classes, []
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, clips):
        self.calls.append((self.training, torch.is_grad_enabled(), torch.is_autocast_enabled("cpu")))
        return clips.flatten(1)[:, : self.classes] * self.weight


def make(values, labels, *, sizes, failures=None):
    """Return batches of ``sizes`` videos with pixel values (N, 12)."""
    batches, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        clips = torch.as_tensor(values)[part].to(torch.uint8).view(-1, 3, 1, 2, 2) if size else None
        label = torch.as_tensor(labels)[part]
        batches.append(Batch(clips, label, torch.arange(start, start + size), torch.zeros(size, dtype=torch.int64)))
        start += size
    if failures:
        batches[-1].failures = failures
    return batches


def inputs_of(classes, **options):
    return DeviceInputs(mean=[0.0] * 3, std=[1 / 255] * 3, num_classes=classes, **options)  # logits are pixel values


def run(values, labels, *, sizes, classes, failures=None, mode=False, **options):
    model = Scores(classes)
    inputs = inputs_of(classes, **options)
    log = FailureLog(None, "val")
    batches = make(values, labels, sizes=sizes, failures=failures)
    return validate(model, batches, inputs, Precision(mode, CPU), log), model, log


def values_of(seed, count):
    return torch.randint(0, 12, (count, 12), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("sizes", [(11,), (4, 4, 3), (1,) * 11])
@pytest.mark.parametrize("classes", [12, 7, 3])
def test_values(sizes, classes):
    values = values_of(classes, 11)
    labels = torch.arange(11) % classes
    result, _, _ = run(values, labels, sizes=sizes, classes=classes)
    top1 = top5 = loss = 0.0
    for row, label in zip(values[:, :classes].double(), labels.tolist(), strict=True):
        ranked = sorted(range(classes), key=lambda k: (-float(row[k]), k))
        top1 += ranked[0] == label
        top5 += label in ranked[:5]
        loss -= float(torch.log_softmax(row, 0)[label])
    assert result.videos == 11
    assert result.top1 == pytest.approx(100 * top1 / 11)
    assert result.top5 == pytest.approx(100 * top5 / 11)
    assert result.loss == pytest.approx(loss / 11, rel=1e-5)
    assert result.top5 == 100 or classes > 5


def test_the_network_is_in_evaluation_mode_without_gradients():
    _, model, _ = run(values_of(0, 4), [0, 1, 2, 3], sizes=(2, 2), classes=4)
    assert model.calls == [(False, False, False)] * 2
    _, model, _ = run(values_of(0, 4), [0, 1, 2, 3], sizes=(4,), classes=4, mode="bf16")
    assert model.calls == [(False, False, True)]


def test_unreadable_videos_are_noted_and_left_out(log):
    failure = Failure(4, "x.mp4", "empty")
    values = torch.eye(12)[:4] * 200
    result, model, failures = run(values, [0, 1, 2, 9], sizes=(4, 0), classes=12, failures=[failure])
    assert (result.top1, result.videos) == (75.0, 4)
    assert len(model.calls) == 1
    assert failures.by_record == {4: failure}
    assert log == ["WARNING: unreadable val video x.mp4: empty"]


def test_no_readable_video_at_all():
    result, _, _ = run(torch.zeros(0, 12), [], sizes=(0,), classes=12, failures=[Failure(0, "x", "y")])
    assert result.videos == 0
    assert all(math.isnan(v) for v in (result.top1, result.top5, result.loss))


def test_processes_add_up_their_counts(monkeypatch):
    others = [2, 0, 1, 6.0, 0.0]
    monkeypatch.setattr(
        distributed, "sum_floats", lambda own, device: [a + b for a, b in zip(own, others, strict=True)]
    )
    values = torch.eye(12)[:2] * 200  # both right, with a loss of 0
    result, _, _ = run(values, [0, 1], sizes=(2,), classes=12)
    assert (result.top1, result.top5, result.loss, result.videos) == (50.0, 75.0, pytest.approx(1.5), 4)


def test_a_signal_to_any_process_ends_it_without_a_result(monkeypatch):
    monkeypatch.setattr(distributed, "sum_floats", lambda own, device: [*own[:4], own[4] + 1.0])
    assert run(torch.eye(12)[:2], [0, 1], sizes=(2,), classes=12)[0] is None


def test_after_a_signal_no_batch_is_looked_at(monkeypatch):
    monkeypatch.setattr(stopping, "requested", lambda: "SIGTERM")
    result, model, _ = run(torch.eye(12)[:2], [0, 1], sizes=(1, 1), classes=12)
    assert result is None and model.calls == []


def test_a_signal_ends_the_wait_for_a_batch():
    class Waits:
        def __len__(self):
            return 2

        def __iter__(self):
            yield make(torch.eye(12)[:1], [0], sizes=(1,))[0]
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("went on to wait")

    model = Scores(12)
    with stopping.listening(), pytest.raises(stopping.StopWaiting):
        validate(model, Waits(), inputs_of(12), Precision(False, CPU), FailureLog(None, "val"))
    assert len(model.calls) == 1


# -------------------------------------------------------------------------------------------------- several labels


def several(seed, count, classes):
    """Return values (count, 12) and multi-hot labels (count, classes), float32, some rows without any label."""
    generator = torch.Generator().manual_seed(seed)
    return values_of(seed, count), (torch.rand(count, classes, generator=generator) < 0.4).float()


@pytest.mark.parametrize("sizes", [(11,), (4, 4, 3), (4, 0, 7)])
def test_several_labels(sizes):
    values, labels = several(3, 11, 5)
    result, _, _ = run(values, labels, sizes=sizes, classes=5, multi_label=True)
    scores = values[:, :5].double()
    assert result.mean_ap == pytest.approx(100 * average_precision(scores, labels).nanmean().item())
    loss = -(labels * scores.sigmoid().log() + (1 - labels) * (1 - scores.sigmoid()).log()).mean()
    assert result.loss == pytest.approx(loss.item(), rel=1e-4)
    assert result.videos == 11 and math.isnan(result.top1) and math.isnan(result.top5)


def test_one_label_has_no_map():
    result, _, _ = run(values_of(0, 4), [0, 1, 2, 3], sizes=(4,), classes=4)
    assert math.isnan(result.mean_ap)


def test_no_readable_video_of_several_labels():
    failures = [Failure(0, "x", "y")]
    result, _, _ = run(
        torch.zeros(0, 12), torch.zeros(0, 3), sizes=(0,), classes=3, failures=failures, multi_label=True
    )
    assert result.videos == 0 and math.isnan(result.mean_ap) and math.isnan(result.loss)


def test_no_label_of_any_class_is_no_number():
    result, _, _ = run(values_of(1, 4), torch.zeros(4, 3), sizes=(4,), classes=3, multi_label=True)
    assert result.videos == 4 and math.isnan(result.mean_ap) and math.isfinite(result.loss)


@pytest.mark.parametrize("main", [True, False])
def test_map_is_over_the_videos_of_all_processes(monkeypatch, main):
    values, labels = several(5, 8, 4)
    clips = values.to(torch.uint8).view(-1, 3, 1, 2, 2)
    theirs = [inputs_of(4).normalized(clips[4:], CPU).flatten(1)[:, :4], labels[4:] != 0]
    whole = 100 * average_precision(values[:, :4], labels).nanmean().item()
    monkeypatch.setattr(distributed, "gather_on_main", lambda own: [own, theirs] if main else [])
    # The main process tells all the others.
    monkeypatch.setattr(distributed, "gather_objects", lambda own: [own if main else whole, own])
    result, _, _ = run(values[:4], labels[:4], sizes=(4,), classes=4, multi_label=True)
    assert result.mean_ap == pytest.approx(whole)


@pytest.mark.parametrize(
    ("classes", "multi_label", "figures"),
    [
        (6, False, {"val_top1": 1.0, "val_top5": 2.0, "val_loss": 3.0}),
        (5, False, {"val_top1": 1.0, "val_loss": 3.0}),
        (2, False, {"val_top1": 1.0, "val_loss": 3.0}),
        (6, True, {"val_map": 4.0, "val_loss": 3.0}),
        (1, True, {"val_map": 4.0, "val_loss": 3.0}),
    ],
)
def test_what_a_history_keeps(classes, multi_label, figures):
    validation = Validation(1.0, 2.0, 3.0, 9, mean_ap=4.0)
    assert validation.figures(inputs_of(classes, multi_label=multi_label)) == figures
