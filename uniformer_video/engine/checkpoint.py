"""Checkpoints: all that a run needs to go on, in files that are whole or not there."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uniformer_video.models.weight_files import DIGEST
from uniformer_video.models.weights import load_weights, read_content
from uniformer_video.runtime.digest import content_digest
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.paths import atomic_write, leftovers, make_folder

FOLDER = "checkpoints"
BEST = "checkpoint_best.pyth"
_NAME = re.compile(r"checkpoint_epoch_(\d+)(?:_step_(\d+))?\.pyth")
_WAY_OUT = "set OUTPUT_DIR to a new folder, or the configuration to that of the run"


@dataclass
class Checkpoint:
    """The state of a run after ``epoch`` epochs and ``step`` steps of the next.

    Args:
        epoch: epochs done.
        model_state: the network's state dict, to predict with: the moving average of the weights where there is one.
        optimizer_state: the optimizer's.
        cfg: the resolved configuration as YAML.
        scaler_state: the loss scaler's (empty but for fp16).
        class_names: in label order, where known.
        class_folders: the training list's folder of each label, where every class has its own.
        history: one entry for each epoch: what the curves show.
        best: the entry of ``history`` with the best validation, if there was any.
        step: steps done of the next epoch.
        steps: steps of an epoch; 0 where the file does not say it.
        train_state: the state dict that training goes on with, where ``model_state`` is its moving average.
        average: ``{"updates": n}`` of the moving average, where there is one.
        generators: states of each process's random generators, by rank.
        nonfinite: steps left out for a loss or gradient that is no number, ``{"total": n, "in_row": n}``.
        epoch_loss: ``[sum, weight]`` of the losses of the steps done of the next epoch.
        world: processes of the run.
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
    step: int = 0
    steps: int = 0
    train_state: dict[str, torch.Tensor] | None = None
    average: dict[str, Any] | None = None
    generators: list[Any] = field(default_factory=list)
    nonfinite: dict[str, int] = field(default_factory=dict)
    epoch_loss: list[float] = field(default_factory=list)
    world: int = 1


_KINDS = {
    "epoch": int,
    "cfg": str,
    "model_state": dict,
    "optimizer_state": dict,
    "scaler_state": dict | None,
    "class_names": list | None,
    "class_folders": dict | None,
    "history": list,
    "best": dict | None,
    "step": int,
    "steps": int,
    "train_state": dict | None,
    "average": dict | None,
    "generators": list,
    "nonfinite": dict,
    "epoch_loss": list,
    "world": int,
}


def checkpoint_path(output_dir: Path, epoch: int, step: int = 0) -> Path:
    """Return where the checkpoint after ``epoch`` epochs and ``step`` steps of the next lies."""
    within = f"_step_{step:06d}" if step else ""
    return output_dir / FOLDER / f"checkpoint_epoch_{epoch:05d}{within}.pyth"


def best_path(output_dir: Path) -> Path:
    """Return where the checkpoint with the best validation lies."""
    return output_dir / FOLDER / BEST


def checkpoints_in(output_dir: Path) -> list[Path]:
    """Return the checkpoints of ``output_dir``, the furthest in training first, without that of the best validation."""
    found = []
    for path in (output_dir / FOLDER).glob("*.pyth"):
        if match := _NAME.fullmatch(path.name):
            found.append((int(match[1]), int(match[2] or 0), path))
    return [path for _, _, path in sorted(found, reverse=True)]


def newest_checkpoint(output_dir: Path) -> Path | None:
    """Return the checkpoint of ``output_dir`` furthest in training; the best one where it is the only one; or None."""
    found, best = checkpoints_in(output_dir), best_path(output_dir)
    return found[0] if found else best if best.exists() else None


def prune(output_dir: Path, keep: int, newest: Path | None = None) -> list[Path]:
    """Remove all but the ``keep`` checkpoints furthest in training and return those removed; never the best one.

    Args:
        output_dir: of the run.
        keep: how many stay; 0: all.
        newest: the one just written. Those further on are then left alone and not counted: they are damaged ones that
            the run went back behind, and must not push out what it has since.
    """
    found = checkpoints_in(output_dir)
    if newest in found:
        found = found[found.index(newest) :]
    removed = []
    for path in found[keep:] if keep else []:
        with suppress(OSError):  # another time; it is not worth a run
            path.unlink()
            removed.append(path)
    return removed


def remove_leftovers(output_dir: Path) -> list[Path]:
    """Remove the half-written files that a killed run left in ``output_dir`` and its checkpoints; return them.

    For the main process of a run that begins: what another program is writing there at that moment is removed too.
    """
    removed = []
    for path in [*leftovers(output_dir), *leftovers(output_dir / FOLDER)]:
        with suppress(OSError):
            path.unlink()
            removed.append(path)
    return removed


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write ``checkpoint`` and the digest of its content beside ``path`` and rename it; the folder is made if missing.

    Raises:
        WriteError: the disk is full, or the folder cannot be written; what lay at ``path`` still does.
    """
    make_folder(path.parent)
    # Not asdict(): it would copy every tensor.
    content = {name: getattr(checkpoint, name) for name in checkpoint.__dataclass_fields__}
    content[DIGEST] = content_digest(content)
    with atomic_write(path, "wb") as file:
        torch.save(content, file)


def read_checkpoint(path: Path | str) -> Checkpoint:
    """Read a checkpoint onto the CPU, with ``weights_only=True``, and compare it with its digest.

    Raises:
        DamagedFile: it is not what was written.
        WeightError: a file that cannot be read, or is no checkpoint of this toolkit.
    """
    return checkpoint_from(read_content(path), path)


def checkpoint_from(content: object, path: Path | str) -> Checkpoint:
    """Return the checkpoint that the file at ``path`` held, which was read already.

    Raises:
        WeightError: it is no checkpoint of this toolkit.
    """
    if not isinstance(content, dict) or not {"epoch", "model_state", "optimizer_state", "cfg"} <= set(content):
        raise WeightError(
            f"{path} is no checkpoint to go on from: it has no epoch, optimizer or configuration; use it as "
            "TRAIN.CHECKPOINT_FILE_PATH with TRAIN.CHECKPOINT_EPOCH_RESET True, in another OUTPUT_DIR"
        )
    checkpoint = Checkpoint(**{name: value for name, value in content.items() if name in _KINDS})
    for name, kind in _KINDS.items():
        value = getattr(checkpoint, name)
        if not isinstance(value, kind):
            raise WeightError(f"{path} is no checkpoint of this toolkit: its {name} is a {type(value).__name__}")
    return checkpoint


def restore_weights(checkpoint: Checkpoint, path: Path | str, model: nn.Module) -> None:
    """Put the weights that training goes on with into the network.

    Raises:
        WeightError: the checkpoint is of another network.
    """
    state = checkpoint.model_state if checkpoint.train_state is None else checkpoint.train_state
    try:
        load_weights(model, state)
    except WeightError as error:
        raise WeightError(f"{path} cannot be resumed, it is of another network ({error}); {_WAY_OUT}") from None


def restore_optimizer(
    checkpoint: Checkpoint,
    path: Path | str,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    load: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Put the state of the optimizer, and of the loss scaler where one is used, into theirs.

    Args:
        checkpoint: what was read.
        path: of it, for messages.
        optimizer: of the run.
        scaler: of the run.
        load: takes the optimizer's state where it is spread over processes; None: ``optimizer.load_state_dict``.

    Raises:
        WeightError: the checkpoint is of another optimizer.
    """
    try:
        # torch compares sizes alone: another method's groups would be taken, and fail or mislead in the next step.
        if not _same_method(checkpoint.optimizer_state, optimizer.state_dict()):
            raise ValueError("it is of another SOLVER.OPTIMIZING_METHOD")
        if not _same_groups(checkpoint.optimizer_state, optimizer.state_dict()):
            raise ValueError(
                "it has other groups of parameters: MODEL.FREEZE, SOLVER.LAYER_DECAY or SOLVER.ZERO_WD_1D_PARAM differs"
            )
        (load or optimizer.load_state_dict)(checkpoint.optimizer_state)
    # A file of another program can hold anything under these names.
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WeightError(f"{path} cannot be resumed, its optimizer differs ({error}); {_WAY_OUT}") from None
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
