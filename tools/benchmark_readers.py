"""How fast each video reader is: the same frames of the same files, decoded by every installed backend in turn."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from benchmark_timing import WARM_UP, Subcommand

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.open import BACKENDS, VideoOpener, check_backend
from uniformer_video.video.reader import DecodeError, VideoReader
from uniformer_video.video.sampling import DenseSampler

BASE = "pyav"
"""The backend all files are first read with; ratios are to its times."""
LIMITED = "auto+limit"
"""The side that shows what DATA.DECODE_TIMEOUT costs."""


@dataclass(frozen=True)
class ReaderTiming:
    """Medians of opening one file and reading one set of its frames, by backend; ratios are theirs / pyav's.

    Attributes:
        name: what was read.
        seconds: wall time. A backend that decodes in several threads gains by it on an idle machine.
        cpu_seconds: processor time of all threads. It is what counts where loader workers keep all cores busy, and
            other programs disturb it less.
        ratio: of wall time.
        cpu_ratio: of processor time.
    """

    name: str
    seconds: dict[str, float]
    cpu_seconds: dict[str, float]
    ratio: dict[str, float]
    cpu_ratio: dict[str, float]


def timing_of(name: str, seconds: dict[str, float], cpu_seconds: dict[str, float]) -> ReaderTiming:
    """Return a timing with its ratios."""
    ratios = [{side: value / times[BASE] for side, value in times.items()} for times in (seconds, cpu_seconds)]
    return ReaderTiming(name, seconds, cpu_seconds, *ratios)


def index_sets(num_frames: int) -> dict[str, np.ndarray]:
    """Return what is read of a video: a dense clip, the clips of a test, everything."""
    sampler = DenseSampler(16, 4)
    return {
        "clip 16x4": sampler.view(num_frames, 0, 1),
        "4 clips 16x4": np.concatenate([sampler.view(num_frames, clip, 4) for clip in range(4)]),
        "all frames": np.arange(num_frames),
    }


def installed() -> dict[str, Callable[[str], VideoReader]]:
    """Return what opens a file, for each backend that is installed and for ``auto`` under a time limit."""
    sides: dict[str, Callable[[str], VideoReader]] = {}
    for name in BACKENDS:
        try:
            check_backend(name)
        except UserError as error:
            print(f"left out: {error}")
            continue
        sides[name] = VideoOpener(name)
    return {**sides, LIMITED: VideoOpener("auto", timeout_seconds=600.0)}


def video_files(folder: str) -> list[str]:
    """Return the files of a folder that can be read to the end, saying of each other one what is wrong with it.

    Raises:
        UserError: there is no such folder, or no file in it can be read.
    """
    files = []
    for path in list_files(folder):
        try:
            with BACKENDS[BASE](path) as reader:
                reader.frames_at([reader.num_frames - 1])
            files.append(path)
        except DecodeError as error:
            print(f"left out: {error}")
    if not files:
        raise UserError(f"--videos {folder!r} holds no video that can be read")
    return files


def list_files(folder: str) -> list[str]:
    """Return the files in a folder and below it by name, hidden ones and texts (.md, .txt, .csv, .json) left out.

    Raises:
        UserError: there is no such folder, or no file in it.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--videos {folder!r} is no folder; name one with videos")
    texts = {".md", ".txt", ".csv", ".json"}
    paths = sorted(p for p in Path(folder).rglob("*") if p.is_file() and not p.name.startswith("."))
    files = [str(p) for p in paths if p.suffix.lower() not in texts]
    if not files:
        raise UserError(f"--videos {folder!r} holds no file")
    return files


def _read(opener: Callable[[str], VideoReader], path: str, indices: np.ndarray) -> torch.Tensor:
    with opener(path) as reader:
        return reader.frames_at(indices)


def takers(path: str, sides: dict[str, Callable[[str], VideoReader]]) -> dict[str, Callable[[str], VideoReader]]:
    """Return the sides that read this file themselves, instead of giving way to PyAV.

    Raises:
        UserError: the pixels of two sides differ: they are not comparable.
    """
    with BACKENDS[BASE](path) as reader:
        indices = np.unique(np.linspace(0, reader.num_frames - 1, 12).astype(int))[::-1]
        expected = reader.frames_at(indices)
    found = {}
    for name, opener in sides.items():
        with opener(path) as reader:
            if name != LIMITED and type(reader) is not BACKENDS[name]:
                continue
            if not torch.equal(reader.frames_at(indices), expected):
                raise UserError(f"{name} and {BASE} give different pixels in {path}; not comparable")
            found[name] = opener
    return found


def measure(path: str, sides: dict[str, Callable[[str], VideoReader]], repeats: int) -> list[ReaderTiming]:
    """Time all sides on one file in turn, so that a machine that slows down slows all; the first rounds are dropped."""
    with BACKENDS[BASE](path) as reader:
        sets = index_sets(reader.num_frames)
    timings = []
    for what, indices in sets.items():
        wall: dict[str, list[float]] = {name: [] for name in sides}
        cpu: dict[str, list[float]] = {name: [] for name in sides}
        for turn in range(WARM_UP + repeats):
            for name, opener in sides.items():
                start, cpu_start = time.perf_counter(), time.process_time()
                _read(opener, path, indices)
                if turn >= WARM_UP:
                    wall[name].append(time.perf_counter() - start)
                    cpu[name].append(time.process_time() - cpu_start)
        medians = [{name: statistics.median(values) for name, values in times.items()} for times in (wall, cpu)]
        timings.append(timing_of(f"readers.{Path(path).name}.{what}", *medians))
    return timings


def _line(label: str, timing: ReaderTiming) -> str:
    parts = [
        f"{name} {1e3 * value:.1f} ms ({timing.ratio[name]:.2f}), cpu {1e3 * timing.cpu_seconds[name]:.1f} ms "
        f"({timing.cpu_ratio[name]:.2f})"
        for name, value in timing.seconds.items()
    ]
    return f"{label:14} {'  '.join(parts)}"


def summary(timings: list[ReaderTiming], names: list[str]) -> list[ReaderTiming]:
    """Return, for each set of frames, the sums over the files that every one of ``names`` reads."""
    sums = []
    for what in index_sets(1):
        rows = [t for t in timings if t.name.endswith(f".{what}") and set(names) <= set(t.seconds)]
        if rows:
            wall = {name: sum(row.seconds[name] for row in rows) for name in names}
            cpu = {name: sum(row.cpu_seconds[name] for row in rows) for name in names}
            sums.append(timing_of(f"readers.sum of {len(rows)} files.{what}", wall, cpu))
    return sums


def run_readers(args: argparse.Namespace) -> list[ReaderTiming]:
    """Check, time and print every file; return all timings, the sums last."""
    torch.set_num_threads(args.threads or 1)
    sides = installed()
    timings: list[ReaderTiming] = []
    for path in video_files(args.videos):
        own = takers(path, sides)
        away = [name for name in sides if name not in own]
        print(f"{path}{f' (to pyav: {chr(44).join(away)})' if away else ''}", flush=True)
        for timing in measure(path, own, args.repeats):
            print("  " + _line(timing.name.rpartition(".")[2], timing), flush=True)
            timings.append(timing)
    for timing in (sums := summary(timings, list(sides))):
        print(_line(timing.name, timing))
    return [*timings, *sums]


def add_reader_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``benchmark.py readers``."""
    parser.add_argument("--videos", required=True, metavar="FOLDER", help="folder of video files")


READERS = Subcommand(
    "opening and decoding with every installed backend (DATA.DECODING_BACKEND)",
    add_reader_arguments,
    run_readers,
    takes_settings=False,
)
