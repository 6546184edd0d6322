"""A toy set and a toy network: 3 classes told apart by colour, an epoch of training in about a second.

``tests/<room>/conftest.py`` imports the fixtures of this module, so that every test of the room can name them.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import simplejson
import torch
from fvcore.common.config import CfgNode

from tests.helpers import moving_square, write_text, write_video
from uniformer_video.config import load_config
from uniformer_video.runtime.logging import LOGGER_NAME

CLASSES = ("red", "green", "blue")
COLORS = ((200, 40, 40), (40, 180, 60), (40, 60, 200))
PER_CLASS = {"train": 4, "val": 2, "test": 2}
LENGTHS = (9, 12, 16, 21)

YAML = """\
DATA:
  NUM_FRAMES: 4
  SAMPLING_RATE: 2
  TRAIN_CROP_SIZE: 32
  TEST_CROP_SIZE: 32
  TRAIN_JITTER_SCALES: [36, 48]
  TRAIN_JITTER_SCALES_RELATIVE: [0.3, 1.0]
DATA_LOADER: {NUM_WORKERS: 0}
AUG: {NUM_SAMPLE: 2}
MODEL: {NUM_CLASSES: 3}
UNIFORMER:
  DEPTH: [1, 1, 1, 1]
  EMBED_DIM: [16, 16, 32, 32]
  HEAD_DIM: 16
  MLP_RATIO: 2
SOLVER: {BASE_LR: 2.0e-3, MAX_EPOCH: 2}
TRAIN: {BATCH_SIZE: 4}
TEST: {NUM_ENSEMBLE_VIEWS: 2, NUM_SPATIAL_CROPS: 3, BATCH_SIZE: 12}
NUM_GPUS: 0
LOG_PERIOD: 2
RNG_SEED: 7
"""

FULL_AUGMENTATION = (
    *("AUG.ENABLE", "True", "AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1", "AUG.RE_PROB", "0.5"),
    *("MIXUP.ENABLE", "True", "UNIFORMER.DROP_DEPTH_RATE", "0.2", "SOLVER.CLIP_GRAD_L2NORM", "20"),
)
"""Overrides that turn on everything a training step can draw."""


def write_toy_set(folder: Path) -> Path:
    """Write 24 videos (64x48 and 48x64, 9 to 21 frames), their three lists, class names and ``toy.yaml``."""
    (folder / "videos").mkdir(parents=True)
    for split, count in PER_CLASS.items():
        lines = []
        for number in range(count):
            for label, color in enumerate(COLORS):
                name = f"videos/{split} {CLASSES[label]} {number}.mp4"
                height, width = (48, 64) if number % 2 == 0 else (64, 48)
                length = LENGTHS[(number + label) % len(LENGTHS)]
                light = tuple(min(c + 40 + 10 * number, 255) for c in color)
                frames = moving_square(length, height, width, color=light, background=color, reverse=number > 1)
                write_video(folder / name, frames, crf=23)
                lines.append(f"{name} {label}")
        (folder / f"{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "classes.json").write_text(simplejson.dumps(CLASSES))
    (folder / "toy.yaml").write_text(YAML)
    return folder


def toy_cfg(data: Path, output: Path, *overrides: str) -> CfgNode:
    """Return the toy configuration on the lists in ``data``, with ``KEY VALUE`` overrides."""
    paths = ["DATA.PATH_TO_DATA_DIR", str(data), "OUTPUT_DIR", str(output)]
    file = data / "toy.yaml"
    return load_config(file if file.exists() else data.parent / "toy.yaml", [*paths, *overrides])


def rewrite(source: Path, folder: Path, **lists: Sequence[str]) -> Path:
    """Make ``folder`` a set on the videos of ``source`` (absolute paths), with some lists replaced.

    Args:
        source: a folder of :func:`write_toy_set`.
        folder: the new set.
        **lists: lines of ``train``, ``val`` or ``test``; a split that is not named keeps its records.
    """
    folder.mkdir()
    for split in PER_CLASS:
        lines = lists.get(split)
        if lines is None:
            lines = [str(source / line) for line in (source / f"{split}.csv").read_text().splitlines()]
        (folder / f"{split}.csv").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for name in ("classes.json", "toy.yaml"):
        (folder / name).write_text((source / name).read_text())
    return folder


def entries(source: Path, split: str) -> list[str]:
    """Return the lines of a list of the toy set with absolute paths."""
    return [str(source / line) for line in (source / f"{split}.csv").read_text().splitlines()]


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Tell whether two state dicts hold the same names and the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="session")
def toy_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the toy set, made once a session; tests must not write into it."""
    return write_toy_set(tmp_path_factory.mktemp("toy") / "set")


@pytest.fixture
def broken_video(tmp_path: Path) -> str:
    """Return the path of a text file under a video's name."""
    return str(write_text(tmp_path / "broken.mp4"))


class _Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.levelname}: {record.getMessage()}")


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the list that the package's log lines go to, each as ``LEVEL: message``."""
    handler, logger = _Lines(), logging.getLogger(LOGGER_NAME)
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler.lines
    logger.removeHandler(handler)


@contextmanager
def restoring_logger() -> Iterator[None]:
    """Undo what ``setup_logging`` does to the package's logger."""
    logger = logging.getLogger(LOGGER_NAME)
    before = list(logger.handlers), logger.propagate, logger.level
    yield
    for handler in set(logger.handlers) - set(before[0]):
        handler.close()
    logger.handlers[:], logger.propagate = before[0], before[1]
    logger.setLevel(before[2])


@pytest.fixture
def logger_restored() -> Iterator[None]:
    """Undo what ``setup_logging`` does to the package's logger."""
    with restoring_logger():
        yield


@pytest.fixture
def random_state_unchanged() -> Iterator[None]:
    """Fail a test that draws from, or seeds, a global generator."""
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    yield
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == before
