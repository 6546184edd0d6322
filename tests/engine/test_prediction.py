"""Classes of one video, best first."""

from __future__ import annotations

import pytest
import torch

from uniformer_video.engine.prediction import ClassScore, Prediction, top_classes

NAMES = ("red", "green", "blue")


def test_the_best_come_first_and_equal_scores_by_number():
    scores = torch.tensor([0.2, 0.4, 0.4])
    assert top_classes(scores, 5, NAMES) == [
        (1, "green", pytest.approx(0.4)),
        (2, "blue", pytest.approx(0.4)),
        (0, "red", pytest.approx(0.2)),
    ]
    assert [best.name for best in top_classes(scores, 2, None)] == ["class 1", "class 2"]
    many = torch.zeros(1000)
    assert [best.number for best in top_classes(many, 4, None)] == [0, 1, 2, 3]


def test_one_label():
    found = Prediction("a.mp4", torch.tensor([0.1, 0.7, 0.2]), NAMES)
    assert (found.label, found.labels) == ("green", ["green"])
    assert found.score == pytest.approx(0.7)
    assert isinstance(found.top()[0], ClassScore)
    assert len(found.top()) == 3
    assert str(found) == "a.mp4: green 70.0 %, blue 20.0 %, red 10.0 %"
    assert found.features is None


def test_several_labels():
    scores = torch.tensor([0.5, 0.1, 0.9])
    assert Prediction("a", scores, NAMES, multi_label=True).labels == ["blue", "red"]
    assert Prediction("a", scores, NAMES, multi_label=True, threshold=0.95).labels == []
    assert Prediction("a", scores, None, multi_label=True, threshold=0.0).labels == ["class 2", "class 0", "class 1"]
