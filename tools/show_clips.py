#!/usr/bin/env python3
"""Draw what the network really sees: augmented training clips, or the views of a test, with frame numbers and times."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command

EXAMPLES = """examples:
  the first four videos of the first training step, with all augmentation and mixing:
    python tools/show_clips.py --cfg configs/finetune.yaml DATA.PATH_TO_DATA_DIR data/mine

  the views that a test takes of two videos, by their numbers in test.csv (counted from 0):
    python tools/show_clips.py --cfg configs/finetune.yaml --split test --record 0,7 --out views.png \\
        DATA.PATH_TO_DATA_DIR data/mine

  the same video in a later epoch:
    python tools/show_clips.py --cfg configs/finetune.yaml --record 3 --epoch 12 DATA.PATH_TO_DATA_DIR data/mine

The picture's path and a line for each record are printed.
Exit codes: 0 done; 2 a mistake in the input, which one line explains.
"""


def _numbers(text: str) -> list[int]:
    if not all(part.strip().isdecimal() for part in text.split(",")):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of record numbers such as 0,7")
    return [int(part) for part in text.split(",")]


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument(
        "--cfg", "--cfg_file", dest="cfg", required=True, metavar="FILE", help="YAML file of the recipe"
    )
    parser.add_argument(
        "--split", choices=("train", "val", "test"), default="train", help="which list and its clips (default train)"
    )
    parser.add_argument("--records", type=int, metavar="N", help="how many records, from the first (default 4)")
    parser.add_argument("--record", type=_numbers, metavar="I,J", help="these records of the list, counted from 0")
    parser.add_argument(
        "--epoch", type=int, metavar="E", help="of the training, counted from 1 as in its log (default 1)"
    )
    parser.add_argument("--frames", type=int, metavar="N", help="most frames drawn of a clip (default 16 or 8)")
    parser.add_argument("--out", default="clips.png", metavar="FILE", help="the picture (default clips.png)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings that override the file, in pairs")
    args = parser.parse_intermixed_args(argv)
    for name in ("records", "epoch", "frames"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} is a whole number >= 1, not {value}")
    if args.records is not None and args.record is not None:
        parser.error("--records (how many) and --record (which) exclude each other")
    if args.epoch is not None and args.split != "train":
        parser.error(f"--epoch is for training clips; --split {args.split} has the same clips in every epoch")
    return args


def main(argv: list[str] | None = None) -> int:
    """Draw the picture, print its path and the records, and return the exit code."""
    args = parse_args(argv)
    from uniformer_video.config import load_config
    from uniformer_video.engine.data_settings import resolve_data_settings
    from uniformer_video.engine.show_clips import show_clips
    from uniformer_video.runtime.errors import UserError
    from uniformer_video.runtime.logging import setup_logging
    from uniformer_video.runtime.paths import make_output_dir

    def draw() -> int:
        out = Path(args.out)
        if out.is_dir():
            raise UserError(f"--out {out} is a folder; name a file in it")
        make_output_dir(out.parent, "--out")
        setup_logging(None)
        cfg = resolve_data_settings(load_config(args.cfg, args.opts))
        lines = show_clips(
            cfg,
            args.split,
            out,
            count=args.records or 4,
            numbers=args.record or (),
            epoch=(args.epoch or 1) - 1,
            most_frames=args.frames,
        )
        print(out, *lines, sep="\n")
        return 0

    return run_command(draw)


if __name__ == "__main__":
    sys.exit(main())
