#!/usr/bin/env python3
"""Make a data set that can be trained on from a folder or a list of videos, or check one that is there."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command

EXAMPLES = """examples:
  a folder for each class, with the videos in it at any depth (or train/, val/, test/ folders of class folders):
    python tools/prepare_dataset.py my_videos/ --out data/mine

  a list with a header; several labels in a cell; clips of one person stay together:
    python tools/prepare_dataset.py labels.csv --videos my_videos/ --path-column file --label-column actions \\
        --label-separator "|" --group-column person --out data/mine

  the group is in the file name, as in run_g07_c01.avi:
    python tools/prepare_dataset.py my_videos/ --group-pattern "_(g[0-9]+)_" --out data/mine

  rewrite the videos with a short side of 320 pixels for fast reading:
    python tools/prepare_dataset.py my_videos/ --out data/mine --transcode

  check a set, this tool's or your own `path label` lists:
    python tools/prepare_dataset.py --check data/mine

What it writes: train.csv, val.csv, test.csv, classes.json, dataset.json, bad.csv (what was left out and why) and
contact_sheet.png. Your videos are only read. An interrupted run goes on where it was when it is called again.
Exit codes: 0 done; 1 --check found faults; 2 a mistake in the input, which one line explains; 130 interrupted.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument(
        "source", nargs="?", metavar="SOURCE", help="folder of class folders, or a list (.csv .tsv .json .jsonl)"
    )
    parser.add_argument("--out", metavar="DIR", help="folder of the set; created if needed")
    parser.add_argument(
        "--check", metavar="DIR", help="check the set in DIR, print each fault as file:line, write nothing"
    )
    parser.add_argument("--overwrite", action="store_true", help="take a DIR that holds other things; deletes nothing")
    lists = parser.add_argument_group("lists")
    lists.add_argument(
        "--videos", default="", metavar="DIR", help="folder of a list's relative paths (default: the list's)"
    )
    for what in ("path", "label", "group", "split"):
        lists.add_argument(f"--{what}-column", metavar="NAME", help=f"column of the {what}, by name or number from 1")
    lists.add_argument("--label-separator", metavar="TEXT", help="stands between several labels of a video")
    lists.add_argument("--delimiter", metavar="TEXT", help="stands between columns (default: told by the list)")
    lists.add_argument("--header", choices=("yes", "no"), help="whether the first row names columns (default: told)")
    lists.add_argument(
        "--label-order",
        choices=("alphabetical", "as-listed"),
        default="alphabetical",
        help="order of the class numbers (default alphabetical; whole numbers by value)",
    )
    splits = parser.add_argument_group("splits")
    splits.add_argument(
        "--split",
        nargs=3,
        type=float,
        default=(0.7, 0.15, 0.15),
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares, with sum 1 (default 0.7 0.15 0.15); splits that the source has are kept",
    )
    splits.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other videos (default 0)")
    splits.add_argument(
        "--group-pattern",
        default="",
        metavar="REGEX",
        help="videos whose relative path has the same match (its first group) stay in one split",
    )
    videos = parser.add_argument_group("videos")
    videos.add_argument("--fast", action="store_true", help="read headers only; damage inside a video is not seen")
    videos.add_argument("--min-frames", type=int, default=0, metavar="N", help="leave out videos of fewer frames")
    videos.add_argument("--min-seconds", type=float, default=0.0, metavar="S", help="leave out shorter videos")
    videos.add_argument("--keep-duplicates", action="store_true", help="keep files of the same bytes, in one split")
    videos.add_argument("--image-template", default="", metavar="NAME", help="videos are folders of img_{:05d}.jpg")
    videos.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    videos.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="seconds for a video (default 60; 0: any)"
    )
    transcode = parser.add_argument_group("rewriting")
    transcode.add_argument("--transcode", action="store_true", help="rewrite the videos into DIR/videos")
    transcode.add_argument("--short-side", type=int, metavar="N", help="pixels, never enlarged (default 320)")
    transcode.add_argument("--gop", type=int, metavar="N", help="frames between key frames (default 16)")
    transcode.add_argument("--crf", type=int, metavar="N", help="quality of H.264, lower is better (default 20)")
    args = parser.parse_args(argv)
    _check(parser, args)
    return args


def _check(parser: ArgumentParser, args: argparse.Namespace) -> None:
    if (args.check is None) == (args.source is None):
        parser.error("give a SOURCE and --out DIR, or --check DIR")
    if args.check is not None:
        for name in ("out", "overwrite", "group_pattern", "min_frames", "min_seconds", "keep_duplicates", "transcode"):
            if getattr(args, name):
                parser.error(f"--{name.replace('_', '-')} belongs to a SOURCE, not to --check: leave it away")
    elif not args.out:
        parser.error("--out DIR is missing: the folder of the new set")
    train, val, test = args.split
    if not (train > 0 and val > 0 and test >= 0 and math.isclose(train + val + test, 1.0, abs_tol=1e-6)):
        parser.error(f"--split {train:g} {val:g} {test:g}: three shares with sum 1, the first two above 0")
    for name in ("seed", "min_frames", "min_seconds", "timeout"):
        if not 0 <= getattr(args, name) < math.inf:
            parser.error(f"--{name.replace('_', '-')} {getattr(args, name)}: it is 0 or more")
    if args.workers is not None and args.workers < 1:
        parser.error(f"--workers {args.workers}: it is 1 or more")
    if args.transcode and args.image_template:
        parser.error("--transcode is for video files, not for folders of pictures: leave one option away")
    for name in ("short_side", "gop", "crf"):
        if getattr(args, name) is not None and not args.transcode:
            parser.error(f"--{name.replace('_', '-')} belongs to --transcode: add that")


def main(argv: list[str] | None = None) -> int:
    """Make or check a set and return the exit code."""
    args = parse_args(argv)
    words = sys.argv[1:] if argv is None else argv
    return run_command(lambda: check(args) if args.check is not None else prepare(args, ["prepare_dataset.py", *words]))


def prepare(args: argparse.Namespace, command: list[str]) -> int:
    """Make a set and return 0."""
    # Imported here so that --help does not wait for torch.
    from uniformer_video.prepare.prepare import PrepareOptions, prepare_dataset
    from uniformer_video.prepare.source_lists import ListOptions
    from uniformer_video.video.transcode import TranscodeSettings

    rewriting = {name: value for name in ("short_side", "gop", "crf") if (value := getattr(args, name)) is not None}
    options = PrepareOptions(
        source=args.source,
        out=args.out,
        lists=ListOptions(
            videos=args.videos,
            path_column=args.path_column,
            label_column=args.label_column,
            group_column=args.group_column,
            split_column=args.split_column,
            label_separator=args.label_separator,
            delimiter=args.delimiter,
            has_header={None: None, "yes": True, "no": False}[args.header],
        ),
        group_pattern=args.group_pattern,
        fractions=tuple(args.split),
        label_order=args.label_order,
        min_frames=args.min_frames,
        min_seconds=args.min_seconds,
        keep_duplicates=args.keep_duplicates,
        transcode=TranscodeSettings(**rewriting) if args.transcode else None,
        overwrite=args.overwrite,
        command=command,
        seed=args.seed,
        **_reading(args),
    )
    prepare_dataset(options)
    return 0


def check(args: argparse.Namespace) -> int:
    """Check a set, print its faults and return 1 where it has some."""
    from uniformer_video.prepare.check import check_dataset

    faults, videos = check_dataset(args.check, videos=args.videos, separator=args.delimiter or " ", **_reading(args))
    for fault in faults:
        print(fault)
    print(f"{len(faults) or 'no'} fault{'s' * (len(faults) != 1)} in {videos} videos")
    return 1 if faults else 0


def _reading(args: argparse.Namespace) -> dict[str, Any]:
    from uniformer_video.runtime.cores import available_cores

    return {
        "fast": args.fast,
        "image_template": args.image_template,
        "workers": args.workers or available_cores(),
        "timeout_seconds": args.timeout,
    }


if __name__ == "__main__":
    sys.exit(main())
