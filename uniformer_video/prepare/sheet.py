"""The contact sheet of a prepared set: frames of different videos of each class, read by several processes."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from uniformer_video.drawing.dataset_sheet import FRAME_SIZE, FRAMES, ClassRow, draw_dataset_sheet
from uniformer_video.drawing.style import fitted
from uniformer_video.prepare.crew import run_crew
from uniformer_video.prepare.prepared import PreparedSet, Video
from uniformer_video.runtime.logging import progress
from uniformer_video.video.open import VideoOpener
from uniformer_video.video.reader import DecodeError

MOST_CLASSES = 40
"""Rows of a sheet; further classes are named below."""

_READ_SECONDS = 60.0  # that one frame may take


def draw_sheet(prepared: PreparedSet, *, title: str, image_template: str = "", workers: int = 1) -> bytes:
    """Return the PNG of a set.

    Args:
        prepared: the set.
        title: first line of the sheet.
        image_template: names of the pictures of videos that are folders.
        workers: processes; 0: this one.
    """
    shown = range(min(len(prepared.class_names), MOST_CLASSES))
    wanted: list[tuple[str, float]] = []
    of_class: list[list[int]] = []
    videos: dict[int, list[Video]] = defaultdict(list)
    for video in _in_order(prepared):
        for label in video.labels:
            videos[label].append(video)
    for label in shown:
        places = frame_places(videos[label])
        of_class.append(list(range(len(wanted), len(wanted) + len(places))))
        wanted += [(video.path, share) for video, share in places]
    frames: dict[int, np.ndarray] = {}
    opener = VideoOpener(image_template=image_template)
    outcomes = run_crew(partial(small_frame, opener=opener), wanted, workers=workers, limit_seconds=_READ_SECONDS)
    for outcome in progress(outcomes, total=len(wanted), label="drawing the sheet", unit="frame"):
        if outcome.value is not None:
            frames[outcome.number] = outcome.value
    counts = prepared.class_counts()
    rows = [
        ClassRow(prepared.class_names[label], counts[label], [frames[n] for n in of_class[label] if n in frames])
        for label in shown
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sheet.png"
        note = "each row: a class, and frames of different videos of it as far as there are so many"
        draw_dataset_sheet(rows, path, title=title, note=note, more=prepared.class_names[MOST_CLASSES:])
        return path.read_bytes()


def frame_places(videos: Sequence[Video]) -> list[tuple[Video, float]]:
    """Return which frames a row shows: (video, share of its length in (0, 1)), of as many videos as can be.

    Args:
        videos: of one class, the first to be preferred.
    """
    if not videos:
        return []
    chosen = [videos[k * len(videos) // FRAMES] for k in range(FRAMES)] if len(videos) > FRAMES else list(videos)
    each = [FRAMES // len(chosen) + (place < FRAMES % len(chosen)) for place in range(len(chosen))]
    return [(video, (k + 0.5) / n) for video, n in zip(chosen, each, strict=True) for k in range(n)]


def small_frame(wanted: tuple[str, float], opener: VideoOpener) -> np.ndarray | None:
    """Return a frame of a video as small as the sheet shows it, uint8 (H, W, 3); None where it cannot be read.

    Args:
        wanted: the video, and which frame as a share of its length in (0, 1).
        opener: how it is opened.
    """
    path, share = wanted
    try:
        with opener(path) as reader:
            index = min(int(reader.num_frames * share), reader.num_frames - 1)
            return np.asarray(fitted(reader.frames_at([index]).numpy()[0], FRAME_SIZE))
    except DecodeError:
        return None


def _in_order(prepared: PreparedSet) -> list[Video]:
    return [video for split in ("train", "val", "test") for video in prepared.of_split(split)]
