"""The demonstration set: real H.264 videos of moving shapes, generated on the spot, in the layout of Kinetics lists.

Ten classes (``shapes_draw.MOTIONS``). Four pairs of them hold the same videos but for the order of frames, so no single
frame tells them apart: a network has to see motion.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from tqdm import tqdm

from uniformer_video.datasets.shapes_draw import MOTIONS, draw_frames, random_scene
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.paths import atomic_write, make_output_dir
from uniformer_video.runtime.seed import numpy_generator

CLASSES = MOTIONS
"""Class names in label order."""

SPLITS = ("train", "val", "test")

MARKER = "shapes.json"
"""Written last: what a folder's complete set was made from."""

# Raise it with any change of the pictures, the encoding or the layout: older sets are then made anew.
_VERSION = 6

# With macroblock-tree rate control, x264 (core 165, with its assembly) gives other bytes for the same frames now and
# then; without it, never in 600 encodings.
_X264 = {"preset": "veryfast", "crf": "20", "x264-params": "mbtree=0"}

# Starting a process costs as much as writing this many videos.
_TOO_FEW_FOR_PROCESSES = 60


class Item(NamedTuple):
    """One video of the set: its split, its class, and its number in the class of that split."""

    split: str
    label: int
    number: int

    @property
    def path(self) -> str:
        """The file's path relative to the set's folder."""
        return f"videos/{self.split}/{CLASSES[self.label]}/{self.number:04d}.mp4"


def write_shapes_dataset(
    folder: str | os.PathLike[str],
    *,
    videos_per_class: Mapping[str, int],
    seed: int = 0,
    progress: bool = True,
    processes: int = 2,
) -> None:
    """Write the demonstration set, or keep the one that is there if it is complete and the same.

    In ``folder``: ``videos/SPLIT/CLASS/NUMBER.mp4``; the lists ``train.csv``, ``val.csv`` and ``test.csv`` with lines
    of ``path label``, paths relative to ``folder``, classes in turn; ``classes.txt``, one name a line, and
    ``classes.json``, a list of names, both in label order; and ``shapes.json``, written last, with the parameters of
    the set. A video is a function of (seed, split, class, number) alone, so a larger set begins with the smaller one's
    videos.

    Args:
        folder: created if needed.
        videos_per_class: how many videos of each class are in ``"train"``, ``"val"`` and ``"test"``, each >= 1.
        seed: >= 0.
        progress: show a progress bar on stderr.
        processes: how many encode at the same time, >= 1. They are started afresh (spawned), so a script of yours with
            more than one needs ``if __name__ == "__main__":``. A small set is written by the calling process.

    Raises:
        DataError: counts or a seed that cannot be, or a disk that cannot be written to the end.
        UserError: the folder cannot be written.
    """
    _check(videos_per_class, seed)
    folder = make_output_dir(folder, key="folder")
    items = {split: _items(split, videos_per_class[split]) for split in SPLITS}
    parameters = {
        "generator": "uniformer_video shapes",
        "version": _VERSION,
        "seed": seed,
        "videos_per_class": {split: videos_per_class[split] for split in SPLITS},
    }
    if _is_complete(folder, parameters, items):
        return
    try:
        _write_videos(folder, seed, [item for split in SPLITS for item in items[split]], progress, processes)
        _write_lists(folder, items)
        with atomic_write(folder / MARKER) as file:
            json.dump(parameters, file, indent=2)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"the demonstration set cannot be written to {str(folder)!r} ({reason}); "
            "free some space or choose another folder"
        ) from error


def _check(videos_per_class: Mapping[str, int], seed: int) -> None:
    if set(videos_per_class) != set(SPLITS):
        raise DataError(f"videos_per_class has {sorted(videos_per_class)}; it needs exactly train, val and test")
    for split in SPLITS:
        if not 1 <= videos_per_class[split] <= 9999:
            raise DataError(f"{videos_per_class[split]} {split} videos per class: it must be from 1 to 9999")
    if seed < 0:
        raise DataError(f"seed {seed}: it must be 0 or more")


def _items(split: str, count: int) -> list[Item]:
    """Return the videos of a split, classes in turn, so that the head of a list holds every class."""
    return [Item(split, label, number) for number in range(count) for label in range(len(CLASSES))]


def _is_complete(folder: Path, parameters: dict[str, Any], items: Mapping[str, list[Item]]) -> bool:
    try:
        with open(folder / MARKER, encoding="utf-8") as file:
            if json.load(file) != parameters:
                return False
    except (OSError, ValueError):
        return False
    names = [*(f"{split}.csv" for split in SPLITS), "classes.txt", "classes.json"]
    paths = [item.path for split in SPLITS for item in items[split]]
    return all((folder / name).is_file() for name in [*names, *paths])


def _write_videos(folder: Path, seed: int, items: list[Item], progress: bool, processes: int) -> None:
    # From here until the new marker the folder holds parts of two sets.
    _remove_old_set(folder, {item.path for item in items})
    for split, label in {(item.split, item.label) for item in items}:
        (folder / Item(split, label, 0).path).parent.mkdir(parents=True, exist_ok=True)
    work = partial(_write_item, folder, seed)
    with _ordered_map(processes if len(items) >= _TOO_FEW_FOR_PROCESSES else 1) as ordered_map:
        done = tqdm(total=len(items), desc="writing videos", unit="video", disable=not progress, dynamic_ncols=True)
        with done:
            for _ in ordered_map(work, items):
                done.update()


def _remove_old_set(folder: Path, wanted: set[str]) -> None:
    """Remove the marker and, where there was one, videos of our naming that the new set does not have."""
    marker = folder / MARKER
    if not marker.exists():
        return
    marker.unlink()
    for split in SPLITS:
        for name in CLASSES:
            for path in (folder / "videos" / split / name).glob("[0-9][0-9][0-9][0-9].mp4"):
                if path.relative_to(folder).as_posix() not in wanted:
                    path.unlink()


@contextmanager
def _ordered_map(processes: int) -> Iterator[Any]:
    """Give a ``map(function, items)``, in this process or over several."""
    if processes <= 1:
        yield map
        return
    # A forked child of a process that has used torch's threads can hang; a spawned one cannot.
    with ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield partial(pool.map, chunksize=8)


def _write_item(folder: Path, seed: int, item: Item) -> None:
    frames, fps = render(seed, item)
    with atomic_write(folder / item.path, "wb") as file:
        _encode(file, frames, fps)


def render(seed: int, item: Item) -> tuple[np.ndarray, int]:
    """Return the frames of one video, uint8 (T, H, W, 3) RGB, and its frame rate, before encoding."""
    scene = random_scene(numpy_generator(seed, SPLITS.index(item.split), item.label, item.number))
    return draw_frames(scene, CLASSES[item.label]), scene.fps


def _encode(file: Any, frames: np.ndarray, fps: int) -> None:
    """Write ``frames`` as H.264 4:2:0 in MP4, the same bytes for the same frames and library."""
    height, width = frames.shape[1:3]
    with av.open(file, "w", format="mp4", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=fps, options=_X264)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # x264's output depends on its number of threads
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _write_lists(folder: Path, items: Mapping[str, list[Item]]) -> None:
    for split in SPLITS:
        with atomic_write(folder / f"{split}.csv") as file:
            file.writelines(f"{item.path} {item.label}\n" for item in items[split])
    with atomic_write(folder / "classes.txt") as file:
        file.writelines(f"{name}\n" for name in CLASSES)
    with atomic_write(folder / "classes.json") as file:
        json.dump(CLASSES, file, indent=2)
