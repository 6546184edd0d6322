"""The files a test writes: predictions.npz, predictions.csv, summary.json."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import simplejson
import torch

from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.paths import atomic_write, make_folder

FOLDER = "test"
TOP = 5
SEPARATOR = "|"
"""Stands between the labels of a video that has several, in predictions.csv."""


def confidences(
    scores: torch.Tensor, *, views: int, method: str, score: str, multi_label: bool = False
) -> torch.Tensor:
    """Return what part of its trust an ensemble gives each class.

    Args:
        scores: float ``(N, K)``, ensembled.
        views: views added into each row.
        method: ``sum`` or ``max``, how they were added.
        score: ``logits`` or ``softmax``, what was added.
        multi_label: each class is decided by itself; goes with ``logits`` alone.

    Returns:
        float32 ``(N, K)``, each row sums to 1: the softmax of the mean (or largest) logits, or the mean (or normalised
        largest) probabilities. With ``multi_label`` the sigmoid of the mean (or largest) logits, each in [0, 1].
    """
    assert score == "logits" or not multi_label, "a softmax makes classes depend on each other"
    scores = scores.float()
    if score == "logits":
        logits = scores / views if method == "sum" else scores
        return logits.sigmoid() if multi_label else logits.softmax(dim=1)
    return scores / scores.sum(dim=1, keepdim=True)


def write_predictions(
    folder: Path,
    *,
    scores: torch.Tensor,
    shares: torch.Tensor,
    labels: Sequence[int | tuple[int, ...]],
    paths: Sequence[str],
    class_names: Sequence[str] | None,
    multi_label: bool = False,
) -> None:
    """Write ``predictions.npz`` and ``predictions.csv`` into ``folder``, which is made when it is not there.

    Args:
        folder: where to.
        scores: float32 ``(N, K)``, ensembled scores.
        shares: float32 ``(N, K)`` from :func:`confidences`, for the CSV.
        labels: N true classes, or N tuples of them.
        paths: N videos.
        class_names: K names, or None.
        multi_label: whether ``labels`` are tuples: the CSV then joins them with ``|``, and the npz has them as uint8
            ``(N, K)``, 1 for each class that a video has.
    """
    own = [label if isinstance(label, tuple) else (label,) for label in labels]
    make_folder(folder)
    with atomic_write(folder / "predictions.npz", "wb") as file:
        np.savez_compressed(
            file,
            scores=scores.numpy().astype(np.float32),
            labels=multi_hot(own, scores.shape[1]) if multi_label else np.asarray(labels, dtype=np.int64),
            paths=np.asarray(paths, dtype=np.str_),
            class_names=np.asarray(class_names or [], dtype=np.str_),
        )
    count = min(TOP, scores.shape[1])
    # A stable sort gives equal scores to the lower class number, as the accuracy counts them.
    order = scores.argsort(dim=1, descending=True, stable=True)[:, :count]
    named = ("class", "name", "score") if class_names else ("class", "score")
    header = ["path", "label", *(["label_name"] if class_names else [])]
    header += [f"top{rank}_{part}" for rank in range(1, count + 1) for part in named]
    with atomic_write(folder / "predictions.csv") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(header)
        for path, numbers, best, share in zip(paths, own, order.tolist(), shares.tolist(), strict=True):
            row: list[Any] = [path, SEPARATOR.join(map(str, numbers))]
            if class_names:
                row.append(SEPARATOR.join(class_names[number] for number in numbers))
            for number in best:
                row += [number, *([class_names[number]] if class_names else []), f"{share[number]:.6f}"]
            rows.writerow(row)


@dataclass(frozen=True)
class Predictions:
    """What ``predictions.npz`` holds.

    Attributes:
        scores: float32 ``(N, K)``, ensembled.
        labels: int64 ``(N,)``; of a multi-label set uint8 ``(N, K)``.
        paths: N videos.
        class_names: K names; empty where the test knew none, or was of an older version.
    """

    scores: np.ndarray
    labels: np.ndarray
    paths: list[str]
    class_names: list[str]


def read_predictions(path: Path) -> Predictions:
    """Read a ``predictions.npz`` again; no code that a file holds is ever run.

    Raises:
        DataError: one line with the path: it is damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            scores, labels, paths = (file[name] for name in ("scores", "labels", "paths"))
            names = file["class_names"].tolist() if "class_names" in file else []
        if scores.ndim != 2 or scores.dtype.kind != "f" or labels.dtype.kind not in "iu" or paths.ndim != 1:
            raise ValueError("scores, labels or paths are of another kind")
        if len(labels) != len(scores) or len(paths) != len(scores):
            raise ValueError(f"{len(scores)} scores, {len(labels)} labels and {len(paths)} paths")
    # A damaged archive can raise anything: BadZipFile, zlib.error, EOFError, SyntaxError of a header, ...
    except Exception as error:
        reason = str(error) or type(error).__name__
        if "allow_pickle" in reason:  # numpy's advice is the one not to follow
            reason = "it holds objects whose building could run code, and was not loaded"
        raise DataError(f"{path} is damaged, or not what a test writes ({reason}); run the test again") from None
    return Predictions(scores, labels, [str(name) for name in paths], [str(name) for name in names])


def multi_hot(labels: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Return uint8 ``(N, num_classes)``, 1 for each class number of a row."""
    rows = np.zeros((len(labels), num_classes), dtype=np.uint8)
    for row, numbers in zip(rows, labels, strict=True):
        row[list(numbers)] = 1
    return rows


def write_summary(folder: Path, summary: dict[str, Any]) -> None:
    """Write ``summary.json`` into ``folder``; numbers that JSON has no word for become null."""
    make_folder(folder)
    clean = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in summary.items()}
    with atomic_write(folder / "summary.json") as file:
        file.write(simplejson.dumps(clean, indent=2, ignore_nan=True) + "\n")
