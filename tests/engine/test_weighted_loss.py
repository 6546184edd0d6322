"""The loss of a configuration on its data."""

from __future__ import annotations

import pytest
import torch

from uniformer_video.config import load_config
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.engine.weighted_loss import build_loss
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.solver.losses import LOSSES

CPU = torch.device("cpu")


def data(labels, names=None):
    several = any(isinstance(label, tuple) for label in labels)
    records = [VideoRecord(f"{n}.mp4", label) for n, label in enumerate(labels)]
    return VideoDataset(records, None, None, num_classes=3, multi_label=several, class_names=names)


def cfg(*overrides):
    return load_config(None, ["MODEL.NUM_CLASSES", "3", *map(str, overrides)])


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_without_weights_it_is_the_loss_itself(log, name):
    assert build_loss(cfg("MODEL.LOSS_FUNC", name), data([0, 1, 1]), CPU) is LOSSES[name]
    assert log == []


def test_balanced_weights_are_counted_and_said(log):
    loss = build_loss(cfg("MODEL.CLASS_WEIGHTS", "balanced"), data([0, 1, 1, 1, 2, 2], ["run", "jump", "sit"]), CPU)
    assert loss.func is LOSSES["soft_cross_entropy"]
    assert loss.keywords["weights"].tolist() == pytest.approx([2, 2 / 3, 1])
    assert log == ["INFO: class weights from 0.667 (jump, 3 training videos) to 2 (run, 1)"]


def test_each_label_of_a_video_counts(log):
    labels = [(0, 1), (1,), (), (1, 2)]
    loss = build_loss(cfg("MODEL.CLASS_WEIGHTS", "balanced", "MODEL.LOSS_FUNC", "bce_logit"), data(labels), CPU)
    assert loss.keywords["weights"].tolist() == pytest.approx([5 / 3, 5 / 9, 5 / 3])
    assert log == ["INFO: class weights from 0.556 (class 1, 3 training videos) to 1.67 (class 0, 1)"]


def test_given_weights(log):
    loss = build_loss(cfg("MODEL.CLASS_WEIGHTS", "[1, 0.5, 4]"), data([0, 1, 2]), CPU)
    assert loss.keywords["weights"].tolist() == [1, 0.5, 4]
    assert log == ["INFO: class weights from 0.5 (class 1, 1 training videos) to 4 (class 2, 1)"]


def test_weights_that_do_not_fit():
    with pytest.raises(ConfigError, match="^MODEL.CLASS_WEIGHTS has 2 weights"):
        build_loss(cfg("MODEL.CLASS_WEIGHTS", "[1, 1]"), data([0]), CPU)
