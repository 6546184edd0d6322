"""Puts the folder of the tools on the path, and makes what tests of chaos.py need."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

TOOLS = Path(__file__).resolve().parents[2] / "tools"
if str(TOOLS) not in sys.path:
    sys.path.insert(0, str(TOOLS))

from chaos_bench import Bench  # noqa: E402

from uniformer_video.engine.checkpoint import Checkpoint, best_path, checkpoint_path, save_checkpoint  # noqa: E402


def checkpoint(epoch: int, step: int = 0, value: float = 1.0) -> Checkpoint:
    """Return a small checkpoint with every kind of state."""
    return Checkpoint(
        epoch=epoch,
        step=step,
        model_state={"w": torch.full((3,), value), "n": torch.tensor(4)},
        train_state={"w": torch.full((3,), 2 * value)},
        optimizer_state={"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]},
        cfg="A: 1",
        history=[{"epoch": 1, "train_loss": 0.5}],
        best={"epoch": 1},
        generators=[{"torch": torch.arange(4, dtype=torch.uint8), "python": [3, [1, 2], None]}],
    )


def save(output: Path, epoch: int, step: int = 0, value: float = 1.0, best: bool = False) -> Path:
    """Write a small checkpoint to its place in a run's folder and return its path."""
    path = best_path(output) if best else checkpoint_path(output, epoch, step)
    save_checkpoint(checkpoint(epoch, step, value), path)
    return path


def bench(folder: Path, **options: object) -> tuple[Bench, list[str]]:
    """Return a bench without data, and what it says."""
    said: list[str] = []
    made = Bench(folder, argparse.Namespace(**{"seed": 0, **options}), say=said.append)
    made.begin("test-case")
    return made, said
