"""Checkpoints: all that a run needs to go on, in files that are whole or not there."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uniformer_video.models.weights import load_weights, read_content
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.paths import atomic_write

FOLDER = "checkpoints"
BEST = "checkpoint_best.pyth"
_NAME = re.compile(r"checkpoint_epoch_(\d+)\.pyth$")


@dataclass
class Checkpoint:
    """The state of a run after ``epoch`` epochs.

    Args:
        epoch: epochs done.
        model_state: the network's state dict.
        optimizer_state: the optimizer's.
        cfg: the resolved configuration as YAML.
        scaler_state: the loss scaler's (empty but for fp16).
        class_names: in label order, where known.
        class_folders: the training list's folder of each label, where every class has its own.
        history: one entry for each epoch: what the curves show.
        best: the entry of ``history`` with the best validation, if there was any.
    """

    epoch: int
    model_state: dict[str, torch.Tensor]
    optimizer_state: dict[str, Any]
    cfg: str
    scaler_state: dict[str, Any] = field(default_factory=dict)
    class_names: list[str] | None = None
    class_folders: dict[int, str] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    best: dict[str, Any] | None = None


def checkpoint_path(output_dir: Path, epoch: int) -> Path:
    """Return where the checkpoint after ``epoch`` epochs lies."""
    return output_dir / FOLDER / f"checkpoint_epoch_{epoch:05d}.pyth"


def best_path(output_dir: Path) -> Path:
    """Return where the checkpoint with the best validation lies."""
    return output_dir / FOLDER / BEST


def newest_checkpoint(output_dir: Path) -> Path | None:
    """Return the checkpoint of ``output_dir`` with the most epochs; the best one where it is the only one; or None."""
    found = [(int(m[1]), path) for path in (output_dir / FOLDER).glob("*.pyth") if (m := _NAME.match(path.name))]
    if found:
        return max(found)[1]
    best = best_path(output_dir)
    return best if best.exists() else None


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write ``checkpoint`` beside ``path`` and rename it; the folder is made when it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not asdict(): it would copy every tensor.
    content = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    with atomic_write(path, "wb") as file:
        torch.save(content, file)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint onto the CPU, with ``weights_only=True``.

    Raises:
        WeightError: a file that cannot be read, or is no checkpoint of this toolkit.
    """
    content = read_content(path)
    names = set(Checkpoint.__dataclass_fields__)
    if not isinstance(content, dict) or not {"epoch", "model_state", "optimizer_state", "cfg"} <= set(content):
        raise WeightError(
            f"{path} is no checkpoint to go on from: it has no epoch, optimizer or configuration; use it as "
            "TRAIN.CHECKPOINT_FILE_PATH with TRAIN.CHECKPOINT_EPOCH_RESET True, in another OUTPUT_DIR"
        )
    checkpoint = Checkpoint(**{name: value for name, value in content.items() if name in names})
    kinds = {
        "epoch": int,
        "cfg": str,
        "model_state": dict,
        "optimizer_state": dict,
        "scaler_state": dict | None,
        "class_names": list | None,
        "class_folders": dict | None,
        "history": list,
        "best": dict | None,
    }
    for name, kind in kinds.items():
        if not isinstance(getattr(checkpoint, name), kind):
            raise WeightError(
                f"{path} is no checkpoint of this toolkit: its {name} is a {type(getattr(checkpoint, name)).__name__}"
            )
    return checkpoint


def restore(
    checkpoint: Checkpoint,
    path: Path | str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
) -> None:
    """Put a checkpoint into the parts of a run.

    Raises:
        WeightError: the checkpoint is of another network or another optimizer.
    """
    way_out = "set OUTPUT_DIR to a new folder, or the configuration to that of the run"
    try:
        load_weights(model, checkpoint.model_state)
    except WeightError as error:
        raise WeightError(f"{path} cannot be resumed, it is of another network ({error}); {way_out}") from None
    try:
        # torch compares sizes alone: another method's groups would be taken, and fail or mislead in the next step.
        if not _same_method(checkpoint.optimizer_state, optimizer.state_dict()):
            raise ValueError("it is of another SOLVER.OPTIMIZING_METHOD")
        if not _same_groups(checkpoint.optimizer_state, optimizer.state_dict()):
            raise ValueError(
                "it has other groups of parameters: MODEL.FREEZE, SOLVER.LAYER_DECAY or SOLVER.ZERO_WD_1D_PARAM differs"
            )
        optimizer.load_state_dict(checkpoint.optimizer_state)
    # A file of another program can hold anything under these names.
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WeightError(f"{path} cannot be resumed, its optimizer differs ({error}); {way_out}") from None
    if checkpoint.scaler_state and scaler.is_enabled():
        scaler.load_state_dict(checkpoint.scaler_state)


def _same_method(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two optimizer states are of one method, by the settings of their groups."""
    a, b = one["param_groups"][0], other["param_groups"][0]
    if any((name in a) != (name in b) for name in ("betas", "momentum")):
        return False
    decoupled = "decoupled_weight_decay"  # adamw has it set, adam has not, older torch has neither
    return a.get(decoupled, b.get(decoupled)) == b.get(decoupled, a.get(decoupled))


def _same_groups(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether two optimizer states are of the same parameters, with the same factors on their rates.

    torch compares sizes alone, and takes the factors of the file over those of the configuration.
    """
    pairs = list(zip(one["param_groups"], other["param_groups"], strict=False))
    scales = [[group.get("lr_scale", 1.0) for group in pair] for pair in pairs]
    # A file of another program has no names to compare.
    names = [pair for pair in pairs if all("names" in group for group in pair)]
    return all(a == b for a, b in scales) and all(a["names"] == b["names"] for a, b in names)
