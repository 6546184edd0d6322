"""One whole job of ``benchmark.py jobs``: a test or a training epoch, run in this process by either side."""

from __future__ import annotations

import io
import logging
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmark_plain_jobs import plain_parts
from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.config import load_config
from uniformer_video.datasets import build_dataset
from uniformer_video.engine import launch
from uniformer_video.engine.results import FOLDER
from uniformer_video.models.build import build_model
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import LOGGER_NAME, read_json_stats
from uniformer_video.runtime.paths import atomic_write
from uniformer_video.transforms.clip import normalize

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "Kinetics" / "uniformer_s8x8.yaml"
STEP_VIDEOS = 4
"""Videos of a training step."""
SIZE = 112
"""Side of a clip in pixels, half of the recipe's: there, the network alone takes minutes on two cores."""
KINDS = ("test", "train")
"""What a job does."""
SIDES = {"ours": "fp32", "plain": "fp32", "ours bf16": "bf16"}
"""The precision of each side; every round runs them in this order."""


@dataclass(frozen=True)
class Outcome:
    """What one job took and gave.

    Args:
        seconds: wall-clock, from the configuration to the last file.
        scores: float ``(videos, classes)`` of a test; None of a training.
        losses: of each training step; empty of a test.
    """

    seconds: float
    scores: torch.Tensor | None
    losses: tuple[float, ...]


class JobBench:
    """Runs jobs of both sides on one set of videos, from one file of weights.

    Args:
        folder: of the videos and their lists; takes the file of weights and what the jobs write.
        settings: pairs ``KEY VALUE`` over :data:`RECIPE` at :data:`SIZE`.
    """

    def __init__(self, folder: Path, settings: Sequence[str] = ()) -> None:
        self.folder, self.settings = folder, list(settings)
        self.weights = folder / "weights.pyth"
        make_weights(self.config("test", "fp32"), self.weights)

    def config(self, job: str, precision: str, settings: Sequence[str] = ()) -> CfgNode:
        """Return the configuration of a job; both sides have the same.

        Args:
            job: of :data:`KINDS`.
            precision: "fp32" or "bf16".
            settings: pairs ``KEY VALUE`` over those of the bench.
        """
        mode, train = ("bf16" if precision == "bf16" else "False"), job == "train"
        pairs = {
            "DATA.PATH_TO_DATA_DIR": self.folder,
            "DATA.PATH_PREFIX": self.folder,
            "DATA.TRAIN_CROP_SIZE": SIZE,
            "DATA.TEST_CROP_SIZE": SIZE,
            "NUM_GPUS": 0,
            "TRAIN.ENABLE": train,
            "TRAIN.BATCH_SIZE": STEP_VIDEOS,
            "TRAIN.MIXED_PRECISION": mode,
            "TRAIN.CHECKPOINT_FILE_PATH": self.weights if train else "",
            "UNIFORMER.PRETRAIN_NAME": "",
            "SOLVER.MAX_EPOCH": 1,
            "SOLVER.WARMUP_EPOCHS": 0.0,
            "LOG_PERIOD": 1,
            "TEST.ENABLE": not train,
            "TEST.NUM_ENSEMBLE_VIEWS": 4,
            "TEST.NUM_SPATIAL_CROPS": 3,
            "TEST.BATCH_SIZE": 12,
            "TEST.MIXED_PRECISION": mode,
            "TEST.CHECKPOINT_FILE_PATH": "" if train else self.weights,
            "OUTPUT_DIR": self.folder / "output",
        }
        texts = [str(text) for pair in pairs.items() for text in pair]
        return load_config(str(RECIPE), [*texts, *self.settings, *settings])

    def run(self, job: str, side: str, videos: int | None = None, settings: Sequence[str] = ()) -> Outcome:
        """Run one job as ``run_net.py`` does, in this process, and throw its files away.

        Args:
            job: of :data:`KINDS`.
            side: of :data:`SIDES`.
            videos: how many of the videos, the first ones; None: all.
            settings: pairs ``KEY VALUE`` over those of the bench.

        Raises:
            UserError: the job fails.
        """
        with tempfile.TemporaryDirectory(dir=self.folder) as output:
            lists = Path(output) / "lists"
            lists.mkdir()
            for split in ("train", "val", "test"):
                lines = (self.folder / f"{split}.csv").read_text(encoding="utf-8").splitlines(keepends=True)
                (lists / f"{split}.csv").write_text("".join(lines[:videos]), encoding="utf-8")
            places = ["DATA.PATH_TO_DATA_DIR", str(lists), "OUTPUT_DIR", output]
            cfg = self.config(job, SIDES[side], [*settings, *places])
            with plain_parts() if side == "plain" else nullcontext(), _silent():
                start = time.perf_counter()
                code = launch.run(cfg)
                seconds = time.perf_counter() - start
            if code:
                raise UserError(f"the {job} job of the {side} side ended with exit code {code}")
            return _outcome(Path(output), seconds, job)


def _outcome(output: Path, seconds: float, job: str) -> Outcome:
    if job == "test":
        with np.load(output / FOLDER / "predictions.npz") as saved:
            return Outcome(seconds, torch.from_numpy(saved["scores"]).double(), ())
    stats = read_json_stats(output / "stdout.log")
    return Outcome(seconds, None, tuple(entry["loss"] for entry in stats if entry["_type"] == "train_iter"))


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the console out of a job; its log file is written as ever, and closed at the end."""
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.propagate, logger.level, list(logger.handlers)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "This DataLoader will create")  # more workers than cores, on purpose
            yield
    finally:
        for handler in list(logger.handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.propagate = before[0]
        logger.setLevel(before[1])
        for handler in before[2]:
            logger.addHandler(handler)


@torch.no_grad()
def make_weights(cfg: CfgNode, path: Path) -> None:
    """Write weights whose scores depend on the video: random, with activations of the size a trained network has.

    A new network's weights are so small that all videos get nearly the same scores, which would agree too easily.

    Args:
        cfg: of a test; clips of its list set the batch norms' statistics.
        path: the file.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.RNG_SEED)
        model = build_model(cfg)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5)
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.reset_running_stats()
                module.momentum = None  # the mean of all batches
        dataset = build_dataset(cfg.TEST.DATASET, cfg, "val")
        clips = torch.cat([dataset[number].clips for number in range(min(STEP_VIDEOS, len(dataset)))])
        model.train()(normalize(clips, cfg.DATA.MEAN, cfg.DATA.STD))
    with atomic_write(path, "wb") as file:
        torch.save({"model_state": model.state_dict()}, file)
