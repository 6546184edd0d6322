"""``benchmark.py growth``: how time grows with views, frames, resolution, workers and videos: numbers and a plot."""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from benchmark_job_runs import SIDES, JobBench
from benchmark_jobs import check
from benchmark_model import LOGIT_TOLERANCE, plain_model
from benchmark_plain_jobs import build_plain_dataset
from benchmark_timing import Subcommand, Timing, compare, duration, relative_difference, time_sides
from benchmark_videos import make_videos
from torch import nn

from uniformer_video.datasets import build_dataset
from uniformer_video.drawing.growth import GrowthPanel, draw_growth
from uniformer_video.engine.device import hardware_name, has_bf16
from uniformer_video.models.build import build_model
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.paths import atomic_write, make_output_dir
from uniformer_video.runtime.seed import torch_generator
from uniformer_video.transforms.clip import normalize

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "performance"
PICTURE, NUMBERS = "growth.png", "growth.json"
NAMES = {"ours": "ours, float32", "plain": "plain, float32", "ours bf16": "ours, bf16"}
PIXEL_TOLERANCE = 1e-2
"""Relative difference of normalised views: ours are resized to bytes, the plain ones to floats."""
ONE_CLIP = ["TEST.NUM_ENSEMBLE_VIEWS", "1"]
"""The jobs test one clip of three crops for each video, so that forty videos take seconds."""

Times = dict[str, float]


@dataclass(frozen=True)
class Points:
    """Where time is measured.

    Args:
        clips: of a test item, each with three crops.
        frames: of a clip.
        sizes: sides of a clip, pixels.
        workers: of a test of ``worker_videos`` videos.
        videos: of a test.
        worker_videos: see ``workers``.
    """

    clips: Sequence[int] = (1, 2, 4, 7, 10)
    frames: Sequence[int] = (4, 8, 16, 24, 32)
    sizes: Sequence[int] = (64, 96, 128, 160, 192, 224)
    workers: Sequence[int] = (0, 1, 2, 3, 4)
    videos: Sequence[int] = (5, 10, 20, 40)
    worker_videos: int = 20

    def most_videos(self) -> int:
        """Return how many videos are needed."""
        return max(*self.videos, self.worker_videos)


@dataclass
class Growth:
    """What was measured, as the file of numbers has it.

    Args:
        hardware: processor and threads.
        torch: version.
        panels: of each quantity the fields of a :class:`GrowthPanel`.
    """

    hardware: str
    torch: str
    panels: list[dict[str, Any]] = field(default_factory=list)

    def add(self, title: str, x_label: str, points: Sequence[tuple[int, Times]]) -> None:
        """Add the seconds of each side at each point."""
        series = {NAMES[side]: [[x, float(f"{times[side]:.4g}")] for x, times in points] for side in points[0][1]}
        self.panels.append({"title": title, "x_label": x_label, "y_label": "seconds", "series": series})


class GrowthBench:
    """Measures each quantity while the others stay as in :class:`JobBench`.

    Args:
        jobs: the videos and the configuration.
        points: where.
        repeats: rounds that count for items and forward passes; a job is run once.
        sides: of ``benchmark_job_runs.SIDES``, "ours" and "plain" among them.
    """

    def __init__(self, jobs: JobBench, points: Points, *, repeats: int, sides: Sequence[str] = tuple(SIDES)) -> None:
        self.jobs, self.points, self.repeats, self.sides = jobs, points, repeats, sides

    def views(self) -> Iterator[tuple[int, Times]]:
        """Yield the seconds of making one test item, by views: opened, decoded, resized, cut, in this process."""
        for clips in self.points.clips:
            cfg = self.jobs.config("test", "fp32", ["TEST.NUM_ENSEMBLE_VIEWS", str(clips)])
            builds = {"ours": build_dataset, "plain": build_plain_dataset}
            items = {side: build(cfg.TEST.DATASET, cfg, "test") for side, build in builds.items()}
            pixels = normalize(items["ours"][0].clips, cfg.DATA.MEAN, cfg.DATA.STD)
            _require_same("test views", pixels, items["plain"][0].clips, PIXEL_TOLERANCE)
            sides = {side: partial(dataset.__getitem__, 0) for side, dataset in items.items()}
            yield clips * cfg.TEST.NUM_SPATIAL_CROPS, time_sides(sides, repeats=self.repeats, warm_up=1)

    def frames(self) -> Iterator[tuple[int, Times]]:
        """Yield the seconds of a forward pass of one clip, by frames."""
        size = self.jobs.config("test", "fp32").DATA.TEST_CROP_SIZE
        return self._forward([(frames, (frames, size)) for frames in self.points.frames])

    def sizes(self) -> Iterator[tuple[int, Times]]:
        """Yield the seconds of a forward pass of one clip, by its side in pixels."""
        frames = self.jobs.config("test", "fp32").DATA.NUM_FRAMES
        return self._forward([(size, (frames, size)) for size in self.points.sizes])

    def workers(self) -> Iterator[tuple[int, Times]]:
        """Yield the seconds of a test, by workers."""
        for workers in self.points.workers:
            yield workers, self._test(self.points.worker_videos, ["DATA_LOADER.NUM_WORKERS", str(workers)])

    def videos(self) -> Iterator[tuple[int, Times]]:
        """Yield the seconds of a test, by videos."""
        for videos in self.points.videos:
            yield videos, self._test(videos, [])

    def _forward(self, points: Sequence[tuple[int, tuple[int, int]]]) -> Iterator[tuple[int, Times]]:
        cfg = self.jobs.config("test", "fp32")
        weights = torch.load(self.jobs.weights, weights_only=True)["model_state"]
        networks = {"ours": build_model(cfg).eval(), "plain": plain_model(cfg).eval()}
        for network in networks.values():
            network.load_state_dict(weights)
        for x, (frames, size) in points:
            clip = torch.randn((1, 3, frames, size, size), generator=torch_generator(0))

            last = clip.contiguous(
                memory_format=torch.channels_last_3d
            )  # as our engine hands it over: turned while it was bytes
            clips = {"ours": last, "plain": clip}
            names = {side: side.split()[0] for side in self.sides}
            calls = {side: partial(_score, networks[name], SIDES[side], clips[name]) for side, name in names.items()}
            wanted = calls["plain"]()
            for side, call in calls.items():
                allowed = LOGIT_TOLERANCE[SIDES[side]]
                if SIDES[side] == "bf16":
                    # These random weights make much of a rounding; the plain network in bf16 shows how much.
                    rival = relative_difference(_score(networks["plain"], "bf16", clip), wanted)
                    allowed = max(allowed, 1.5 * rival)
                _require_same(f"logits ({side})", call(), wanted, allowed)
            yield x, time_sides(calls, repeats=self.repeats, warm_up=1)

    def _test(self, videos: int, settings: list[str]) -> Times:
        outcomes = {side: self.jobs.run("test", side, videos, [*ONE_CLIP, *settings]) for side in self.sides}
        check("test", outcomes)
        return {side: outcome.seconds for side, outcome in outcomes.items()}


def measure(
    bench: GrowthBench, say: Callable[[str], None] = lambda text: print(text, flush=True)
) -> tuple[Growth, list[Timing]]:
    """Measure every quantity; also return each point of our float32 and bf16 sides as a timing against plain's."""
    cfg, points = bench.jobs.config("test", "fp32"), bench.points
    clip = f"{cfg.DATA.NUM_FRAMES} frames"
    growth = Growth(hardware_name(torch.device("cpu")), torch.__version__)
    timings = []
    bench.jobs.run("test", "ours", 1, ONE_CLIP)  # what a process does once counts nowhere
    for name, title, x_label, measured in (
        ("views", "test item: ours bytes, plain floats", "views (clips x 3 crops)", bench.views),
        ("frames", f"forward pass, {cfg.DATA.TEST_CROP_SIZE} pixels", "frames in a clip", bench.frames),
        ("resolution", f"forward pass, {clip}", "side of a clip, pixels", bench.sizes),
        ("workers", f"test of {points.worker_videos} videos, 1x3 views", "loader workers", bench.workers),
        ("videos", "test, 1x3 views", "videos", bench.videos),
    ):
        rows = []
        for x, times in measured():
            rows.append((x, times))
            say(f"{name:10} {x:4}  " + "  ".join(f"{side} {duration(value):>9}" for side, value in times.items()))
            for side in times:
                if side != "plain":
                    timings.append(compare(f"growth {name} {x} {SIDES[side]}", times["plain"], times[side]))
        growth.add(title, x_label, rows)
    return growth, timings


def draw(folder: Path) -> Path:
    """Draw the picture of a folder's numbers beside them and return its path.

    Raises:
        UserError: there are no numbers, or the file holds something else.
    """
    source = folder / NUMBERS
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
        panels = [GrowthPanel(**panel) for panel in content["panels"]]
        note = f"{content['hardware']}, torch {content['torch']}"
    except (OSError, ValueError, KeyError, TypeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is not what this tool writes"
        raise UserError(f"{source} cannot be used: {cause}; run benchmark.py growth without --draw-only") from None
    draw_growth(panels, folder / PICTURE, title="How time grows (less is better)", note=note)
    return folder / PICTURE


def _require_same(what: str, got: torch.Tensor, wanted: torch.Tensor, allowed: float) -> None:
    difference = relative_difference(got, wanted)
    if not difference <= allowed:
        raise UserError(f"{what} of the two sides differ by {difference:.2g}, more than {allowed:g}: not comparable")


@torch.inference_mode()
def _score(network: nn.Module, precision: str, clip: torch.Tensor) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        return network(clip)


def add_growth_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py growth``."""
    parser.add_argument(
        "--out",
        default=str(FOLDER),
        metavar="FOLDER",
        help=f"takes {NUMBERS} and {PICTURE} (default: docs/performance)",
    )
    parser.add_argument("--draw-only", action="store_true", help=f"draw again from {NUMBERS}, measure nothing")
    parser.add_argument("--videos", metavar="FOLDER", help="keep the generated videos here for another time")


def run_growth(args: argparse.Namespace, points: Points | None = None) -> list[Timing]:
    """Measure, write the numbers and draw them."""
    folder, timings, points = Path(args.out), [], points or Points()
    if not args.draw_only:
        make_output_dir(folder, key="--out")  # fail now, not after the measurement
        sides = [side for side in SIDES if SIDES[side] == "fp32" or has_bf16(torch.device("cpu"))]
        with tempfile.TemporaryDirectory() if args.videos is None else nullcontext(args.videos) as place:
            make_videos(place, points.most_videos())
            bench = GrowthBench(JobBench(Path(place), args.opts), points, repeats=args.repeats, sides=sides)
            growth, timings = measure(bench)
        with atomic_write(folder / NUMBERS) as file:
            json.dump(asdict(growth), file, indent=1)
            file.write("\n")
    print(f"plot: {draw(folder)}")
    return timings


GROWTH = Subcommand(
    "how time grows with views, frames, resolution, workers and videos", add_growth_arguments, run_growth, repeats=3
)
