"""Whether two runs ended with the same bits, and whether the checkpoints of a folder are whole."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uniformer_video.engine.checkpoint import Checkpoint, newest_checkpoint, read_checkpoint
from uniformer_video.models.weight_files import DIGEST
from uniformer_video.runtime.digest import content_digest
from uniformer_video.runtime.errors import UserError

MAY_DIFFER = ("cfg",)
"""Fields of checkpoints that no comparison looks at: the configuration names the folder and the workers."""
SHOWN = 8
"""Differences that are told one by one."""
_NAME = re.compile(r"checkpoint_epoch_(\d+)(?:_step_(\d+))?\.pyth")
_BEST = "checkpoint_best.pyth"


@dataclass
class Folder:
    """What a run's checkpoints are worth.

    Args:
        checked: files that were read whole, with their hash.
        position: steps of the newest sound one, counted over all epochs; 0 where there is none.
        newest: its path.
        problems: files that are damaged or not what their name says, and what else is wrong.
        temporary: files that a writing left unfinished.
    """

    checked: int = 0
    position: int = 0
    newest: Path | None = None
    problems: list[str] = field(default_factory=list)
    temporary: list[str] = field(default_factory=list)


def position_of(name: str, steps: int) -> int | None:
    """Return the steps over all epochs that a checkpoint's file name tells, ``steps`` an epoch; None: no such name."""
    match = _NAME.fullmatch(name)
    return int(match[1]) * steps + int(match[2] or 0) if match else None


def positions_in(output: Path, steps: int) -> list[int]:
    """Return the positions of all checkpoints of a run's folder, by their names."""
    folder = output / "checkpoints"
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return sorted(p for name in names if (p := position_of(name, steps)) is not None)


def temporary_files(output: Path) -> list[str]:
    """Return the names of unfinished files among the checkpoints of a run's folder."""
    folder = output / "checkpoints"
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part")) if folder.is_dir() else []


def inspect(output: Path, steps: int) -> Folder:
    """Read every checkpoint of a run's folder, compare it with its hash and its name, and return what was found."""
    result = Folder(temporary=temporary_files(output))
    for path in sorted((output / "checkpoints").glob("*.pyth")):
        try:
            checkpoint = read_hashed(path)
        except UserError as error:
            result.problems.append(str(error))
            continue
        place = checkpoint.epoch * steps + checkpoint.step
        named = position_of(path.name, steps)
        result.checked += 1
        if path.name == _BEST:
            continue
        if named is None:
            result.problems.append(f"{path.name} is no name of a checkpoint")
        elif named != place:
            result.problems.append(f"{path.name} holds the state after {place} steps, not {named}")
        elif place >= result.position:
            result.position, result.newest = place, path
    taken = newest_checkpoint(output)
    if result.newest is not None and taken != result.newest and not result.problems:
        result.problems.append(f"the toolkit takes {taken} for the newest checkpoint, which is {result.newest}")
    return result


def read_hashed(path: Path) -> Checkpoint:
    """Read a checkpoint, which must have its hash inside, as a run does, and compare the hash once more.

    Raises:
        UserError: it is damaged or has no hash.
    """
    checkpoint = read_checkpoint(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    digest = content.pop(DIGEST, None)
    if digest is None:
        raise UserError(f"{path} has no hash inside")
    if digest != content_digest(content):
        raise UserError(f"{path} was read without a word, but its hash is of something else")
    return checkpoint


def differences(one: Any, other: Any, place: str = "") -> list[str]:
    """Return where two contents differ, in any bit of any value; -0.0 is not 0.0, and a NaN is itself."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if _same_bits(one, other) else [f"{place}: {_how(one, other)}"]
    if type(one) is not type(other):
        return [f"{place}: {type(one).__name__} and {type(other).__name__}"]
    if isinstance(one, Mapping):
        if list(one) != list(other):
            return [f"{place}: other names: {', '.join(map(str, sorted(set(one) ^ set(other), key=str))) or 'order'}"]
        return _some([differences(one[key], other[key], f"{place}.{key}".lstrip(".")) for key in one])
    if isinstance(one, (list, tuple)):
        if len(one) != len(other):
            return [f"{place}: {len(one)} and {len(other)} values"]
        pairs = enumerate(zip(one, other, strict=True))
        return _some([differences(a, b, f"{place}.{number}") for number, (a, b) in pairs])
    # repr tells -0.0 from 0.0, shows every bit of a float, and a NaN is equal to itself.
    return [] if repr(one) == repr(other) else [f"{place}: {one!r} and {other!r}"]


def _some(found: Sequence[list[str]]) -> list[str]:
    """Join texts, and of many keep :data:`SHOWN` and how many more there are."""
    texts = [text for part in found for text in part]
    return texts if len(texts) <= SHOWN else [*texts[:SHOWN], f"and {len(texts) - SHOWN} more"]


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(*(t.detach().contiguous().reshape(-1).view(torch.uint8) for t in (one, other)))


def _how(one: torch.Tensor, other: torch.Tensor) -> str:
    if one.dtype != other.dtype or one.shape != other.shape:
        return f"{one.dtype} {tuple(one.shape)} and {other.dtype} {tuple(other.shape)}"
    if not one.dtype.is_floating_point:
        return "other numbers"
    return f"differ by {(one.double() - other.double()).abs().max().item():.3g}"


def compare_runs(reference: Path, other: Path, *, skip: Sequence[str] = MAY_DIFFER) -> list[str]:
    """Return what differs between the ends of two runs: newest and best checkpoint, history, scores of the test."""
    newest = newest_checkpoint(reference)
    if newest is None:
        return [f"{reference} has no checkpoint"]
    problems = []
    for name in (newest.name, _BEST):
        problems += compare_checkpoints(newest.parent / name, other / "checkpoints" / name, skip=skip)
    return problems + compare_scores(reference, other)


def compare_checkpoints(one: Path, other: Path, *, skip: Sequence[str] = MAY_DIFFER) -> list[str]:
    """Return what differs between two checkpoints, in every field but ``skip``."""
    if one.exists() != other.exists():
        return [f"only one of the runs has {one.name}"]
    if not one.exists():
        return []
    a, b = read_hashed(one), read_hashed(other)
    names = [f.name for f in fields(Checkpoint) if f.name not in skip]
    found = [text for name in names for text in differences(_compared(a, name), _compared(b, name), name)]
    return [f"{one.name}: {text}" for text in found]


def _compared(checkpoint: Checkpoint, name: str) -> Any:
    """Return what is compared of a field: of the generators torch's alone, since nobody seeds the others."""
    value = getattr(checkpoint, name)
    return [state.get("torch") for state in value] if name == "generators" else value


def compare_scores(one: Path, other: Path) -> list[str]:
    """Return what differs between the scores of the tests of two runs."""
    a, b = (scores_of(output) for output in (one, other))
    if a is None or b is None:
        return [f"{output} has no scores" for output, found in ((one, a), (other, b)) if found is None]
    differing = [name for name in a if a[name].dtype != b[name].dtype or a[name].tobytes() != b[name].tobytes()]
    return [f"predictions.npz: other {', '.join(differing)}"] if differing else []


def scores_of(output: Path) -> dict[str, np.ndarray] | None:
    """Return the arrays of a run's predictions.npz, or None where it has none."""
    path = output / "test" / "predictions.npz"
    if not path.exists():
        return None
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def trained_weights(output: Path) -> dict[str, torch.Tensor]:
    """Return the weights that the newest checkpoint of a run would train on with.

    Raises:
        UserError: there is none, or it is damaged.
    """
    newest = newest_checkpoint(output)
    if newest is None:
        raise UserError(f"{output} has no checkpoint")
    checkpoint = read_hashed(newest)
    return checkpoint.train_state or checkpoint.model_state


def largest_difference(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> tuple[float, str]:
    """Return the largest difference between two state dicts and its name.

    It is infinite where names or shapes differ, and NaN where it is no number.
    """
    worst = (0.0, "")
    if one.keys() != other.keys():
        return float("inf"), "other names"
    for name, tensor in one.items():
        if tensor.shape != other[name].shape:
            return float("inf"), name
        if tensor.numel():
            difference = (tensor.double() - other[name].double()).abs().max().item()
            if math.isnan(difference):  # larger than all, and no comparison finds it
                return difference, name
            if difference > worst[0]:
                worst = (difference, name)
    return worst
