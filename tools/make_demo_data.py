#!/usr/bin/env python
"""Write the demonstration set: ten classes of moving shapes as H.264 videos, with train, val and test lists."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command

EXAMPLES = """\
examples:
  python tools/make_demo_data.py --out data/demo
  python tools/make_demo_data.py --out data/tiny --train 4 --val 2 --test 2 --seed 7

A complete set with the same numbers and seed is kept as it is.
"""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line; ``--help`` and a wrong one leave with exit code 0 and 2."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder of the set; created if needed")
    parser.add_argument("--train", type=int, default=40, metavar="N", help="training videos per class (default 40)")
    parser.add_argument("--val", type=int, default=10, metavar="N", help="validation videos per class (default 10)")
    parser.add_argument("--test", type=int, default=10, metavar="N", help="test videos per class (default 10)")
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="another seed, other videos (default 0)")
    return parser.parse_args(arguments)


def write(options: argparse.Namespace) -> int:
    """Write the set and return 0."""
    # Imported here so that --help does not wait for torch.
    from uniformer_video.datasets.shapes import CLASSES, write_shapes_dataset

    counts = {"train": options.train, "val": options.val, "test": options.test}
    write_shapes_dataset(options.out, videos_per_class=counts, seed=options.seed)
    total = sum(counts.values()) * len(CLASSES)
    print(f"{total} videos of {len(CLASSES)} classes in {options.out} (DATA.PATH_TO_DATA_DIR {options.out})")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the set and return the exit code: 0, or 2 after one line on stderr for a mistake of the user."""
    options = parse(arguments)
    return run_command(lambda: write(options))


if __name__ == "__main__":
    sys.exit(main())
