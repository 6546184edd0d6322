"""One item of a data set, ours and as existing toolkits make it: a test video with all its views, a training video."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from benchmark_plain_items import PlainTestItems, PlainTrainItems
from benchmark_readers import video_files
from benchmark_timing import HEADING, Subcommand, Timing, compare, table_line, time_sides
from benchmark_videos import make_videos
from fvcore.common.config import CfgNode
from torch import Tensor

from uniformer_video.config.load import load_config
from uniformer_video.datasets.build import dense_sampler, opener_from_config, train_transform
from uniformer_video.datasets.clips import ClipMaker, TrainClips, ViewClips
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.transforms.clip import ViewTransform, normalize
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.sampling import ViewGrid
from uniformer_video.video.transcode import transcode_video

RECIPE = Path(__file__).resolve().parent.parent / "configs" / "Kinetics" / "uniformer_s8x8.yaml"
EPOCHS = 12
"""Draws of which a training item is the mean: the operations of RandAugment take from 0.1 to 40 ms."""
LARGEST_DIFFERENCE = 0.51
"""Of values, in levels of 255: ours are rounded to bytes after the resize, plain's are not."""
_WARM_UP = 1


def test_config() -> CfgNode:
    """Return the configuration of a test of 4 clips x 3 crops, 8 frames 32 apart."""
    views = ["TEST.NUM_ENSEMBLE_VIEWS", "4", "TEST.NUM_SPATIAL_CROPS", "3"]
    return load_config(RECIPE, ["DATA.NUM_FRAMES", "8", "DATA.SAMPLING_RATE", "32", *views])


def train_config(frames: int, stride: int) -> CfgNode:
    """Return the configuration of training with two clips of so many frames, so far apart, from each video."""
    return load_config(RECIPE, ["DATA.NUM_FRAMES", str(frames), "DATA.SAMPLING_RATE", str(stride)])


def our_items(cfg: CfgNode, records: Sequence[VideoRecord], split: str) -> VideoDataset:
    """Return this toolkit's data set of some videos, "train" or "test"."""
    sampler = dense_sampler(cfg)
    maker: ClipMaker
    if split == "train":
        maker = TrainClips(sampler, train_transform(cfg), repeats=cfg.AUG.NUM_SAMPLE, seed=cfg.RNG_SEED)
    else:
        grid = ViewGrid(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)
        maker = ViewClips(sampler, ViewTransform(crop_size=cfg.DATA.TEST_CROP_SIZE, crops=grid.crops), grid)
    return VideoDataset(records, maker, opener_from_config(cfg), seed=cfg.RNG_SEED)


def check_same(name: str, plain: Tensor, ours: Tensor, cfg: CfgNode) -> None:
    """Raise where normalised clips of both sides differ by more than the rounding to bytes.

    Raises:
        UserError: they do.
    """
    levels = float((plain - normalize(ours, cfg.DATA.MEAN, cfg.DATA.STD)).abs().amax()) * 255 * min(cfg.DATA.STD)
    if not levels <= LARGEST_DIFFERENCE:
        raise UserError(f"{name}: both sides' clips differ by {levels:.3g} levels of 255; not comparable")


def decode_only(records: Sequence[VideoRecord], indices: Sequence[Sequence[np.ndarray]]) -> Callable[[], None]:
    """Return what decodes the frames that must be decoded for some frames of opened videos, and nothing else.

    Args:
        records: the videos.
        indices: of each video the frame numbers of its items, one after the other.
    """
    readers = [PyAVReader(record.path) for record in records]

    def decode() -> None:
        for reader, items in zip(readers, indices, strict=True):
            for numbers in items:
                reader._decode(np.unique(numbers).tolist(), lambda number, frame: None)

    return decode


def measure_test(records: Sequence[VideoRecord], repeats: int) -> list[Timing]:
    """Return the seconds of one test item, all views: as bytes for the device, and normalised on the CPU as plain's."""
    cfg, name = test_config(), "test item 8x32, 4 clips x 3 crops"
    plain, ours = PlainTestItems(cfg, records), our_items(cfg, records, "test")
    samples = [ours[number] for number in range(len(records))]
    for number, sample in enumerate(samples):
        check_same(f"{name}, {records[number].path}", plain[number][0], sample.clips, cfg)

    def normalized() -> None:
        for number in range(len(records)):
            normalize(ours[number].clips, cfg.DATA.MEAN, cfg.DATA.STD)

    sides = {
        "plain": lambda: [plain[number] for number in range(len(records))],
        "ours": lambda: [ours[number] for number in range(len(records))],
        "normalized": normalized,
        "limit": decode_only(records, [[sample.indices] for sample in samples]),
    }
    seconds = {key: value / len(records) for key, value in time_sides(sides, repeats=repeats, warm_up=_WARM_UP).items()}
    return [
        compare(name, seconds["plain"], seconds["ours"], seconds["limit"]),
        compare(f"{name}, normalised", seconds["plain"], seconds["normalized"], seconds["limit"]),
    ]


def measure_train(
    records: Sequence[VideoRecord], transcoded: Sequence[VideoRecord], frames: int, stride: int, repeats: int
) -> list[Timing]:
    """Return the seconds of one training item, the mean of ``EPOCHS`` draws, and those of ours on transcoded files."""
    cfg, name = train_config(frames, stride), f"training item {frames}x{stride}, 2 clips"
    plain, ours, small = (
        PlainTrainItems(cfg, records),
        our_items(cfg, records, "train"),
        our_items(cfg, transcoded, "train"),
    )
    items = [(epoch, number) for epoch in range(EPOCHS) for number in range(len(records))]
    for other, own in ((plain, ours), (PlainTrainItems(cfg, transcoded), small)):
        for epoch, number in items[:: max(len(items) // 6, 1)]:
            other.epoch = epoch
            path = own.records[number].path
            check_same(f"{name}, {path}", other[number][0], own[epoch, number].clips, cfg)

    def make_plain() -> None:
        for epoch, number in items:
            plain.epoch = epoch
            plain[number]

    windows = [[_window(cfg, ours, epoch, number) for epoch in range(EPOCHS)] for number in range(len(records))]
    sides = {
        "plain": make_plain,
        "ours": lambda: [ours[item] for item in items],
        "transcoded": lambda: [small[item] for item in items],
        "limit": decode_only(records, windows),
        "transcoded limit": decode_only(transcoded, windows),
    }
    seconds = {key: value / len(items) for key, value in time_sides(sides, repeats=repeats, warm_up=_WARM_UP).items()}
    return [
        compare(name, seconds["plain"], seconds["ours"], seconds["limit"]),
        compare(f"{name}, ours transcoded", seconds["plain"], seconds["transcoded"], seconds["transcoded limit"]),
    ]


def _window(cfg: CfgNode, items: VideoDataset, epoch: int, number: int) -> np.ndarray:
    """Return the frames of a training item."""
    with items.opener(items.records[number].path) as reader:
        length = reader.num_frames
    return dense_sampler(cfg).train(length, numpy_generator(cfg.RNG_SEED, Stream.SAMPLE, epoch, number))


def measure(repeats: int, paths: Sequence[str] | None = None) -> list[Timing]:
    """Time items of some videos, one thread on each side, alternating.

    Args:
        repeats: rounds of which the medians count, >= 1.
        paths: videos of a constant frame rate; None: one is made, 10 s of 30 frames, 340x256, as ffmpeg encodes it.

    Returns:
        Seconds of one item. ``limit_s`` is the decoding of the frames that must be decoded, and nothing else.

    Raises:
        UserError: both sides' clips differ.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as folder:
            names = paths or [str(path) for path in make_videos(Path(folder) / "videos", 1)]
            records = [VideoRecord(name, 0) for name in names]
            transcoded = [VideoRecord(str(Path(folder) / f"{number}.mp4"), 0) for number in range(len(names))]
            for record, small in zip(records, transcoded, strict=True):
                transcode_video(record.path, small.path)
            timings = measure_test(records, repeats)
            for frames, stride in ((8, 8), (16, 4)):
                timings += measure_train(records, transcoded, frames, stride, repeats)
            return timings
    finally:
        torch.set_num_threads(threads)


def run_items(args: argparse.Namespace) -> list[Timing]:
    """Measure and print the table."""
    timings = measure(args.repeats, video_files(args.videos) if args.videos else None)
    print(HEADING)
    for timing in timings:
        print(table_line(timing))
    return timings


def add_item_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``benchmark.py items``."""
    parser.add_argument(
        "--videos", metavar="FOLDER", help="folder of video files of a constant rate (default: one is made)"
    )


ITEMS = Subcommand(
    "one test item with all its views, one training item, both on one thread, and the same of transcoded videos",
    add_item_arguments,
    run_items,
    takes_settings=False,
)
