"""Per-class accuracy by hand."""

from __future__ import annotations

import math

import pytest
import torch

from uniformer_video.metrics.per_class import per_class_accuracy


def scores_for(predictions, num_classes):
    return torch.eye(num_classes)[torch.tensor(predictions)]


def test_by_hand():
    labels = torch.tensor([0, 0, 0, 0, 1, 3, 3])
    report = per_class_accuracy(scores_for([0, 0, 0, 2, 0, 3, 3], 4), labels, 4)
    assert report.counts.tolist() == [4, 1, 0, 2]
    assert report.correct.tolist() == [3, 0, 0, 2]
    assert report.accuracy[[0, 1, 3]].tolist() == [75.0, 0.0, 100.0]
    assert math.isnan(report.accuracy[2])
    assert report.mean_class_accuracy == pytest.approx((75 + 0 + 100) / 3)


def test_counts_add_up_to_the_samples():
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, 6, generator=generator)
    labels = torch.randint(0, 6, (50,), generator=generator)
    report = per_class_accuracy(scores, labels, 6)
    assert int(report.counts.sum()) == 50
    assert int(report.correct.sum()) == int((scores.argmax(1) == labels).sum())


def test_nan_rows_are_wrong():
    scores = scores_for([0, 1], 2)
    scores[1, 0] = math.nan
    report = per_class_accuracy(scores, torch.tensor([0, 1]), 2)
    assert (report.counts.tolist(), report.correct.tolist()) == ([1, 1], [1, 0])


def test_no_samples_at_all():
    report = per_class_accuracy(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), 3)
    assert report.counts.tolist() == report.correct.tolist() == [0, 0, 0]
    assert report.accuracy.isnan().all()
    assert math.isnan(report.mean_class_accuracy)


def test_another_number_of_classes_is_a_defect():
    with pytest.raises(AssertionError, match="scores have 3 classes, not 4"):
        per_class_accuracy(torch.zeros(2, 3), torch.tensor([0, 1]), 4)
