"""Predictions for people and programs: a table, JSON, CSV, features, and the names of the files."""

from __future__ import annotations

import csv
import io
import os
import re
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np
import simplejson

from uniformer_video.datasets.label_sets import normalise
from uniformer_video.drawing.bars import BarRow, ascii_only, cut_middle, score_lines
from uniformer_video.drawing.text import printable
from uniformer_video.engine.predict_inputs import Input
from uniformer_video.engine.predict_places import STDOUT, paths_beside
from uniformer_video.engine.prediction import Prediction
from uniformer_video.engine.results import SEPARATOR
from uniformer_video.engine.timeline import Timeline, class_entry
from uniformer_video.runtime.paths import atomic_write, make_folder
from uniformer_video.video.reader import DecodeError

_MOST_BYTES = 200


def true_names(labels: Sequence[str], class_names: Sequence[str] | None) -> str:
    """Return the classes that a list's labels mean: where all are numbers, the names of those classes."""
    if class_names and all(label.isdecimal() and int(label) < len(class_names) for label in labels):
        labels = [class_names[int(label)] for label in labels]
    return ", ".join(labels)


def is_right(found: Prediction, labels: Sequence[str]) -> bool:
    """Return whether the best class is the one, or one of those, that a list says."""
    best = found.top(1)[0]
    told = {normalise(true_names([label], found.class_names)) for label in labels}
    return normalise(best.name) in told or str(best.number) in labels


def table(video: Input, found: Prediction, top: int, width: int, *, unicode: bool) -> list[str]:
    """Return the lines that show a prediction in a terminal of ``width`` columns."""
    lines = [heading(video, width, unicode=unicode)]
    if video.labels:
        right = "right" if is_right(found, video.labels) else "wrong"
        verdict = "true" if found.multi_label else right
        lines[0] += f"  ({verdict}: {printable(true_names(video.labels, found.class_names))})"
    lines = lines if unicode else [ascii_only(line) for line in lines]
    best = found.top(top)
    rows = [BarRow(b.name, b.score, found.multi_label and b.score >= found.threshold) for b in best]
    return lines + score_lines(rows, width, unicode=unicode)


def heading(video: Input, width: int, *, unicode: bool) -> str:
    """Return a video's path, cut in its middle to ``width`` columns."""
    path = printable(video.path)
    return cut_middle(path if unicode else ascii_only(path), max(width, 20), unicode=unicode)


def timeline_table(found: Timeline, width: int, *, unicode: bool, most: int = 40) -> list[str]:
    """Return the lines that show the segments of a timeline; of more than ``most`` the first ones."""
    segments = found.segments()
    digits = len(f"{found.seconds:.1f}")
    times = [f"{s.start_seconds:{digits}.1f} - {s.end_seconds:{digits}.1f} s  " for s in segments[:most]]
    rows = [BarRow(s.best.name, s.best.score, before=time) for s, time in zip(segments[:most], times, strict=True)]
    lines = [heading(Input(found.path), width, unicode=unicode), *score_lines(rows, width, unicode=unicode)]
    if len(segments) > most:
        lines.append(f"  and {len(segments) - most} more")
    if not segments:
        lines.append(f"  no class reaches {found.threshold:g} at any time")
    return lines


def json_entry(video: Input, found: Prediction | DecodeError, top: int) -> dict[str, Any]:
    """Return a video's part of the JSON."""
    entry: dict[str, Any] = {"path": video.path}
    if video.labels:
        entry["label"] = SEPARATOR.join(video.labels)
    if isinstance(found, DecodeError):
        return {**entry, "top": [], "error": found.cause}
    if found.multi_label:
        entry["labels"] = found.labels
    return {**entry, "top": [class_entry(best) for best in found.top(top)], "error": None}


def csv_text(results: Sequence[tuple[Input, Prediction | DecodeError]], top: int) -> str:
    """Return the CSV of predictions: the columns of the test's predictions.csv as far as they are known, and errors."""
    good = [found for _, found in results if isinstance(found, Prediction)]
    named = any(found.class_names for found in good)
    several = any(found.multi_label for found in good)
    labelled = any(video.labels for video, _ in results)
    count = min(top, *(len(found.scores) for found in good)) if good else top
    parts = ("class", "name", "score") if named else ("class", "score")
    header = ["path", *(["label"] if labelled else [])]
    header += [f"top{rank}_{part}" for rank in range(1, count + 1) for part in parts]
    header += [*(["labels"] if several else []), "error"]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(header)
    for video, found in results:
        row: list[Any] = [video.path, *([SEPARATOR.join(video.labels)] if labelled else [])]
        if isinstance(found, DecodeError):
            row += [""] * (count * len(parts) + several) + [found.cause]
        else:
            for best in found.top(count):
                row += [best.number, *([best.name] if named else []), f"{best.score:.6f}"]
            row += [*([SEPARATOR.join(found.labels)] if several else []), ""]
        rows.writerow(row)
    return text.getvalue()


def json_text(content: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Return JSON for people: indented, in UTF-8, numbers that it has no word for as null."""
    return simplejson.dumps(content, indent=2, ensure_ascii=False, ignore_nan=True) + "\n"


def write_out(text: str, target: str) -> None:
    """Write ``text`` to a file, replaced whole, or for ``-`` to standard output.

    Raises:
        WriteError: the file cannot be written.
    """
    if target == STDOUT:
        print_lines([text.removesuffix("\n")], sys.stdout)
        return
    with atomic_write(target) as file:
        file.write(text)


def print_lines(lines: Sequence[str], stream: TextIO) -> None:
    """Print lines above a progress bar that may be on the screen; what the stream has no sign for becomes ``?``."""
    from tqdm import tqdm

    encoding = getattr(stream, "encoding", None) or "utf-8"
    # File names that are no UTF-8 come from Python with lone surrogates.
    text = "\n".join(lines).encode(encoding, "replace").decode(encoding, "replace")
    tqdm.write(text, file=stream)
    stream.flush()


def write_features(results: Sequence[tuple[str, np.ndarray]], target: str) -> None:
    """Write pooled features of videos.

    Args:
        results: path and float32 ``(C,)`` of each video.
        target: ``.npz`` (``features`` (N, C) and ``paths`` (N,)); ``.npy`` (the features alone, the paths line by line
            in a ``.txt`` beside it); else a folder, which gets ``NAME.npy`` for each video.

    Raises:
        WriteError: it cannot be written.
    """
    paths, rows = [path for path, _ in results], [row for _, row in results]
    features = np.stack(rows).astype(np.float32) if rows else np.empty((0, 0), np.float32)
    ending = os.path.splitext(target)[1].lower()
    if ending == ".npz":
        with atomic_write(target, "wb") as file:
            np.savez(file, features=features, paths=np.asarray(paths, np.str_))
    elif ending == ".npy":
        with atomic_write(target, "wb") as file:
            np.save(file, features)
        write_out("".join(f"{path}\n" for path in paths), paths_beside(target))
    else:
        folder = make_folder(target)
        for name, row in zip(output_names(paths), rows, strict=True):
            with atomic_write(folder / f"{name}.npy", "wb") as file:
                np.save(file, row.astype(np.float32))


def output_names(paths: Sequence[str]) -> list[str]:
    """Return a file name without ending for each path: its own, with as many folders before it as tell it apart.

    ``a/clip.mp4`` and ``b/clip.mp4`` become ``a_clip`` and ``b_clip``; where that is not enough, a number follows.
    """
    parts = [[_safe(part) for part in re.split(r"[/\\]", re.sub(r"^\w+://", "", path)) if part] for path in paths]
    parts = [[*p[:-1], os.path.splitext(p[-1])[0] or p[-1]] if p else ["video"] for p in parts]
    names = [p[-1] for p in parts]
    for depth in range(2, 4):
        twice = {name for name in names if names.count(name) > 1}
        names = ["_".join(p[-depth:]) if name in twice else name for name, p in zip(names, parts, strict=True)]
    unique: dict[str, None] = {}
    used: dict[str, int] = {}
    for name in map(_short, names):
        free = name
        while free in unique:  # also where `a_2` is the own name of another
            used[name] = used.get(name, 1) + 1
            free = f"{name}_{used[name]}"
        unique[free] = None
    return list(unique)


def _short(name: str) -> str:
    """Return what of a name leaves room for endings and numbers in the 255 bytes that file systems take."""
    while len(name.encode("utf-8", "surrogatepass")) > _MOST_BYTES:
        name = name[:-1]
    return name


def _safe(part: str) -> str:
    return re.sub(r"[\x00-\x1f:*?\"<>|]", "_", part)
