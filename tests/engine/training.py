"""Training the toy set in a test: fixtures and comparisons for the test files of the trainer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fvcore.common.config import CfgNode

from tests.toy import same_bits, toy_cfg
from uniformer_video.config import with_values
from uniformer_video.datasets import VideoDataset, build_dataset
from uniformer_video.datasets.batches import Batch
from uniformer_video.engine import summary, tester, trainer
from uniformer_video.engine.checkpoint import Checkpoint, checkpoint_path, read_checkpoint
from uniformer_video.engine.step import Outcome, TrainStep
from uniformer_video.engine.trainer import Trainer

CPU = torch.device("cpu")
draw_curves = trainer.draw_curves


@pytest.fixture(autouse=True)
def curves(monkeypatch: pytest.MonkeyPatch) -> list:
    """Keep what would be drawn instead of drawing it; drawing takes longer than the training."""
    drawn = []
    for module in (trainer, summary):
        monkeypatch.setattr(module, "draw_curves", lambda history, path: drawn.append((list(history), path)))
    return drawn


@pytest.fixture
def train(toy_set: Path, tmp_path: Path) -> Callable[..., Trainer]:
    """Return a function that trains with overrides into tmp_path/<out> and gives the trainer."""

    def run(*overrides: object, out: str = "out", data: Path = toy_set) -> Trainer:
        cfg = toy_cfg(data, tmp_path / out, *map(str, overrides))
        (tmp_path / out).mkdir(exist_ok=True)
        made = Trainer(cfg, CPU)
        made.run()
        return made

    return run


class Killed(BaseException):
    """The process is gone, as after SIGKILL."""


@contextmanager
def killed_at(monkeypatch: pytest.MonkeyPatch, place: tuple[int, int]) -> Iterator[None]:
    """End the training inside the ``with`` block at the step ``place``, (epoch, step) from 0, before it is done."""
    step = TrainStep.__call__

    def stop(self: TrainStep, batch: Batch, **options: object) -> Outcome:
        if (options["epoch"], options["step"]) == place:
            raise Killed
        return step(self, batch, **options)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(TrainStep, "__call__", stop)
        yield


def last(trainer: Trainer) -> Checkpoint:
    """Return the newest checkpoint of a finished run."""
    return read_checkpoint(checkpoint_path(trainer.output, trainer.epoch))


def assert_same_run(one: Checkpoint, other: Checkpoint) -> None:
    """Two checkpoints hold the same bits: weights, optimizer, history."""
    assert same_bits(one.model_state, other.model_state)
    states = [c.optimizer_state["state"] for c in (one, other)]
    assert states[0].keys() == states[1].keys() and states[0]
    assert all(same_bits(states[0][n], states[1][n]) for n in states[0])
    assert one.optimizer_state["param_groups"] == other.optimizer_state["param_groups"]
    assert (one.epoch, one.history, one.best) == (other.epoch, other.history, other.best)


SEVERAL = ((0,), (0, 1), (2,))
"""The labels of red, green and blue videos in the multi-label toy set."""

MULTI_LABEL = ("DATA.MULTI_LABEL", True, "MODEL.LOSS_FUNC", "bce_logit")


def several_labels(name: str, cfg: CfgNode, split: str) -> VideoDataset:
    """Return the toy set with the labels of :data:`SEVERAL`; stands in for ``build_dataset``."""
    single = {"DATA.MULTI_LABEL": False, "MODEL.LOSS_FUNC": "soft_cross_entropy"}
    made = build_dataset(name, with_values(cfg, single, "a test"), split)
    return VideoDataset(
        [replace(record, label=SEVERAL[record.label]) for record in made.records],
        made.clips,
        made.opener,
        replace=made.replace,
        seed=made.seed,
        num_classes=3,
        multi_label=True,
        class_names=made.class_names,
    )


@pytest.fixture
def several(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the toy set's videos several labels, in training and in the test."""
    for module in (trainer, tester):
        monkeypatch.setattr(module, "build_dataset", several_labels)
