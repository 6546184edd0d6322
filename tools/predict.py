#!/usr/bin/env python3
"""Tell what videos show: the best classes of each, with a trained network."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command

EXAMPLES = """WEIGHTS is one of
  a run's folder          its checkpoint with the best validation, else the newest
  a file                  checkpoint or exported weights (.pyth, .pth, .safetensors); one that carries no configuration
                          needs --cfg RECIPE
  a name                  published weights, as python tools/zoo.py list shows them; downloaded once

INPUT is any number of
  a video                 a file or an address
  a folder                all videos in it and below; a folder whose pictures are frames is one video
  a pattern               quoted: 'clips/**/*.mp4'
  a list                  @FILE, or a .txt .csv .tsv .json .jsonl file: paths, also with labels, which are then compared
  -                       a path on each line of standard input

examples:
  python tools/predict.py runs/mine new_clip.mp4 another_folder/
  python tools/predict.py uniformer_small_k400_16x8 'clips/*.mp4' --top 3 --csv predictions.csv
  python tools/predict.py runs/mine data/mine/test.csv --json - | jq '.videos[].top[0].name'
  find . -name '*.webm' | python tools/predict.py runs/mine -

  the input with its classes drawn on it:
    python tools/predict.py runs/mine new_clip.mp4 --video labelled.mp4

  a long video: what happens when, as JSON and as a plot, and the video with the label of each moment
    python tools/predict.py runs/mine match.mp4 --stream --window 4 --stride 1 --out timelines --video seen.mp4

  features for a classifier of your own:
    python tools/predict.py uniformer_base_k400_16x4 videos/ --features features.npz

Views, transform and precision are those of the test of the same configuration, and so are the scores; --clips 1
--crops 1 is faster. A video that cannot be read is named, and the others go on.
In Python: from uniformer_video import Predictor; Predictor.from_checkpoint("runs/mine").predict("new_clip.mp4").top(5)
Exit codes: 0 done; 1 some videos could not be read; 2 a mistake in the input, which one line explains.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("weights", metavar="WEIGHTS", help="run, weight file or published name")
    parser.add_argument("inputs", metavar="INPUT", nargs="+", help="video, folder, pattern, list or -")
    parser.add_argument("--cfg", default="", metavar="FILE", help="recipe of weights that carry no configuration")
    parser.add_argument("--top", type=int, default=5, metavar="N", help="classes shown of each video (default 5)")
    parser.add_argument(
        "--threshold",
        type=float,
        default=0.5,
        metavar="X",
        help="score from which a class counts as there, in networks for several labels a video (default 0.5)",
    )
    files = parser.add_argument_group("results")
    files.add_argument("--json", default="", metavar="FILE", help="write JSON; -: to standard output")
    files.add_argument("--csv", default="", metavar="FILE", help="write CSV; -: to standard output")
    files.add_argument(
        "--video", default="", metavar="OUT", help="write the input with its classes drawn on it: a file or a folder"
    )
    files.add_argument(
        "--features", default="", metavar="OUT", help="write pooled features: FILE.npz, FILE.npy or a folder"
    )
    stream = parser.add_argument_group("long videos")
    stream.add_argument(
        "--stream", action="store_true", help="slide a window along each video: NAME.timeline.json and .png"
    )
    stream.add_argument("--window", type=float, metavar="S", help="seconds of a window (default: what a clip spans)")
    stream.add_argument("--stride", type=float, metavar="S", help="seconds between windows (default: half a window)")
    stream.add_argument("--out", metavar="DIR", help="folder of the timelines (default: this one)")
    speed = parser.add_argument_group("views and speed")
    speed.add_argument("--clips", type=int, metavar="N", help="clips along time (default: as the test)")
    speed.add_argument("--crops", type=int, metavar="N", help="crops of each clip (default: as the test)")
    speed.add_argument("--batch", type=int, metavar="N", help="views that the network takes at a time")
    speed.add_argument("--workers", type=int, metavar="N", help="processes that decode; 0: none besides this one")
    speed.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:1 (default auto)")
    args = parser.parse_args(argv)
    _check(parser, args)
    return args


def _check(parser: ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse numbers and combinations that mean nothing."""
    for name, least in (("top", 1), ("clips", 1), ("crops", 1), ("batch", 1), ("workers", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name} is a whole number >= {least}, got {value}")
    if not 0 <= args.threshold <= 1:
        parser.error(f"--threshold is a number from 0 to 1, got {args.threshold}")
    for name in ("window", "stride"):
        value = getattr(args, name)
        if value is not None and not 0 < value < float("inf"):
            parser.error(f"--{name} is a number of seconds > 0, got {value}")
    if args.stream:
        for name in ("json", "csv", "features", "clips"):
            if getattr(args, name):
                parser.error(f"--{name} does not go with --stream, whose results are NAME.timeline.json in --out")
    elif args.window or args.stride or args.out:
        parser.error("--window, --stride and --out go with --stream")
    if args.json == args.csv == "-":
        parser.error("--json and --csv cannot both go to standard output")


def main(argv: list[str] | None = None) -> int:
    """Predict and return the exit code."""
    args = parse_args(argv)
    # Imported here so that --help does not wait for torch.
    from uniformer_video.engine.predict_command import Options, run_predict

    names = ("device", "clips", "crops", "batch", "workers", "threshold")
    settings = {name: getattr(args, name) for name in names}
    wanted = {name: value for name, value in vars(args).items() if name not in names}
    return run_command(lambda: run_predict(Options(**{**wanted, "out": args.out or ".", "settings": settings})))


if __name__ == "__main__":
    sys.exit(main())
