#!/usr/bin/env python3
"""Draw test videos of a finished run with their true and predicted classes, wrong ones first."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command

EXAMPLES = """examples:
  python tools/contact_sheet.py runs/demo
  python tools/contact_sheet.py runs/demo --videos 60 --columns 4
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("run", metavar="RUN_DIR", help="OUTPUT_DIR of a run that has been tested")
    parser.add_argument("--videos", type=int, default=30, metavar="N", help="most videos on the sheet (default 30)")
    parser.add_argument("--columns", type=int, default=3, metavar="N", help="videos side by side (default 3)")
    args = parser.parse_args(argv)
    if args.videos < 1 or args.columns < 1:
        parser.error("--videos and --columns are whole numbers >= 1")
    return args


def main(argv: list[str] | None = None) -> int:
    """Draw the sheet, print its path and return the exit code."""
    args = parse_args(argv)
    from uniformer_video.config import load_config
    from uniformer_video.engine.contact_sheet import contact_sheet
    from uniformer_video.engine.launch import CONFIG_FILE
    from uniformer_video.runtime.errors import DataError

    def draw() -> int:
        # The run may have been moved since: it lies where the user says, whatever its configuration has.
        if not (Path(args.run) / CONFIG_FILE).is_file():
            raise DataError(f"{args.run} is no run: it has no {CONFIG_FILE}; give the OUTPUT_DIR of a run")
        cfg = load_config(Path(args.run) / CONFIG_FILE, ["OUTPUT_DIR", args.run])
        print(contact_sheet(cfg, videos=args.videos, columns=args.columns))
        return 0

    return run_command(draw)


if __name__ == "__main__":
    sys.exit(main())
