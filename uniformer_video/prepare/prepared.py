"""A prepared set as it will be written: its videos, what was left out, and everything ``dataset.json`` says of it."""

from __future__ import annotations

import hashlib
import json
import os
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uniformer_video.datasets.kinetics import label_text
from uniformer_video.prepare.sources import SPLITS
from uniformer_video.video.probe import Probe

FORMAT = 1
"""Version of the layout of ``dataset.json``."""

_MOST_KINDS = 50  # of picture sizes, in a set of wild videos


@dataclass(frozen=True, slots=True)
class Video:
    """One usable video.

    Args:
        name: relative to the root of the source: identifies it on any machine.
        path: where the file lies that is to be read.
        labels: class numbers, rising.
        split: ``train``, ``val`` or ``test``.
        probe: what was seen in that file.
    """

    name: str
    path: str
    labels: tuple[int, ...]
    split: str
    probe: Probe


@dataclass(frozen=True, slots=True)
class Bad:
    """One video that is left out.

    Args:
        path: of the file.
        kind: a word for the reason, for counts.
        reason: in one line.
    """

    path: str
    kind: str
    reason: str


@dataclass(frozen=True)
class PreparedSet:
    """All of a set.

    Args:
        videos: in any order.
        class_names: in label order.
        multi_label: whether a video may have any number of classes.
        bad: what is left out.
        source: absolute path that the user named.
        root: absolute path that names are relative to.
        command: the command line.
        options: its options by name, with values that JSON knows.
    """

    videos: Sequence[Video]
    class_names: Sequence[str]
    multi_label: bool
    bad: Sequence[Bad] = ()
    source: str = ""
    root: str = ""
    command: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    def of_split(self, split: str) -> list[Video]:
        """Return the videos of a split, sorted by name."""
        return sorted((video for video in self.videos if video.split == split), key=lambda video: video.name)

    def class_counts(self) -> list[dict[str, int]]:
        """Return for each class how many videos of it each split has."""
        counts = [dict.fromkeys(SPLITS, 0) for _ in self.class_names]
        for video in self.videos:
            for label in video.labels:
                counts[label][video.split] += 1
        return counts


def describe(prepared: PreparedSet, folder: Path) -> dict[str, Any]:
    """Return what ``dataset.json`` in ``folder`` (absolute) says of a set."""
    probes = [video.probe for video in prepared.videos]
    root = Path(prepared.root)
    fingerprint, of = fingerprint_of(
        ((portable_name(v.path, folder, root), v.probe, v.labels, v.split) for v in prepared.videos),
        prepared.class_names,
    )
    return {
        "format": FORMAT,
        "num_classes": len(prepared.class_names),
        "multi_label": prepared.multi_label,
        "counts": {split: len(prepared.of_split(split)) for split in SPLITS},
        "classes": dict(zip(prepared.class_names, prepared.class_counts(), strict=True)),
        "fingerprint": fingerprint,
        "fingerprint_of": of,
        "seconds": _spread([probe.seconds for probe in probes], total=True),
        "frames": _spread([probe.frames for probe in probes], total=True),
        "frames_per_second": _spread([probe.fps for probe in probes]),
        "short_side": _spread([min(probe.height, probe.width) for probe in probes]),
        "bytes": _spread([probe.bytes for probe in probes], total=True),
        "key_frame_distance": _spread([probe.key_frames for probe in probes if probe.key_frames > 0]),
        "variable_rate": sum(probe.variable_rate for probe in probes),
        "rotated": sum(probe.rotation != 0 for probe in probes),
        "sizes": _histogram(f"{probe.width}x{probe.height}" for probe in probes),
        "codecs": _histogram(probe.codec for probe in probes),
        "containers": _histogram(probe.container for probe in probes),
        "pixel_formats": _histogram(probe.pixel_format for probe in probes),
        "bad": {"total": len(prepared.bad), **_histogram(bad.kind for bad in prepared.bad)},
        "source": prepared.source,
        "root": prepared.root,
        "command": list(prepared.command),
        "options": dict(prepared.options),
    }


def fingerprint_of(
    videos: Iterable[tuple[str, Probe, Sequence[int], str]], class_names: Sequence[str]
) -> tuple[str, str]:
    """Return the SHA-256 of a set's content in hexadecimal digits, and what of each file is in it.

    It is taken over the sorted (name, hash of the file, class names, split): the same for the same videos on any
    machine. Where the bytes of a file were not read, its size stands for its hash, of all videos.

    Args:
        videos: (:func:`portable_name`, probe, class numbers, split) of each, in any order.
        class_names: in label order.

    Returns:
        (fingerprint, ``sha256`` or ``bytes``).
    """
    videos = list(videos)
    of = "sha256" if all(probe.sha256 for _, probe, _, _ in videos) else "bytes"
    lines = sorted(
        json.dumps([name, getattr(probe, of), [class_names[label] for label in labels], split])
        for name, probe, labels, split in videos
    )
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode() + b"\n")
    return digest.hexdigest(), of


def portable_name(path: str, folder: Path, root: Path) -> str:
    """Return what a fingerprint calls a video: its path below the set's folder, else below the source's root, else all.

    Args:
        path: absolute, or an address.
        folder: of the set, absolute.
        root: of the source, absolute.
    """
    name = listed_path(path, folder)
    return listed_path(path, root) if name == path else name


def listed_path(path: str, folder: Path) -> str:
    """Return how a list in ``folder`` names a video: relative below that folder, else absolute; addresses as they are.

    Args:
        path: absolute, or an address.
        folder: absolute.
    """
    if "://" in path:
        return path
    below = os.path.relpath(path, folder)
    return path if below.startswith("..") else below.replace(os.sep, "/")


def list_line(path: str, labels: Sequence[int], *, multi_label: bool) -> str:
    """Return the line of a list, without its end."""
    return f"{path} {label_text(tuple(labels)) if multi_label else labels[0]}"


def unlistable(path: str, *, multi_label: bool) -> str:
    """Return why no line of a list can name ``path``; empty where one can."""
    if "\n" in path or "\r" in path:
        return "its path has a line break; rename it"
    if path != path.strip():
        return "its path begins or ends with a blank; rename it"
    if multi_label and path.endswith(","):
        return "its path ends with a comma, which divides labels; rename it"
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return "its path is not UTF-8; rename it"
    return ""


def _histogram(values: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))[:_MOST_KINDS])


def _spread(values: Sequence[float], *, total: bool = False) -> dict[str, float]:
    """Return the least, the middle and the greatest value, and their sum where asked; zeros for no values."""
    found = {
        "min": min(values, default=0),
        "median": statistics.median(values) if values else 0,
        "max": max(values, default=0),
    }
    if total:
        found["total"] = sum(values)
    return {key: round(value, 4) for key, value in found.items()}
