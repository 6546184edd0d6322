#!/usr/bin/env python3
"""The main job with no downloads: generate videos of moving shapes, train on them, test with many views, draw."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command

ROOT = Path(__file__).resolve().parents[1]

TRAIN, VAL, TEST = 80, 10, 20
GOAL_PERCENT = 95.0

EXAMPLES = """examples:
  python tools/demo.py
  python tools/demo.py --out runs/demo2 RNG_SEED 1
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder of the run (default runs/demo)")
    parser.add_argument("--data", default="data/demo", metavar="DIR", help="folder of the videos (default data/demo)")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings for run_net.py, in pairs")
    return parser.parse_intermixed_args(argv)


def demo(args: argparse.Namespace) -> int:
    """Run the demonstration and return 0 when the accuracy reaches the goal, else 1 or the failed step's code."""
    import simplejson

    from uniformer_video.config import load_config
    from uniformer_video.datasets.shapes import CLASSES, write_shapes_dataset
    from uniformer_video.engine.contact_sheet import contact_sheet

    started = time.perf_counter()
    print(f"step 1 of 3: videos of {len(CLASSES)} classes in {args.data}", flush=True)
    write_shapes_dataset(args.data, videos_per_class={"train": TRAIN, "val": VAL, "test": TEST})
    config = str(ROOT / "configs" / "Demo" / "shapes.yaml")
    overrides = ["DATA.PATH_TO_DATA_DIR", args.data, "OUTPUT_DIR", args.out, *args.opts]
    command = [sys.executable, str(ROOT / "tools" / "run_net.py"), "--cfg", config, *overrides]
    print(f"step 2 of 3: {' '.join(['python', *command[1:]])}", flush=True)
    code = subprocess.run(command, check=False).returncode
    if code:
        return code
    cfg = load_config(config, overrides)
    print("step 3 of 3: the contact sheet", flush=True)
    sheet = contact_sheet(cfg)
    summary = simplejson.loads((sheet.parent / "summary.json").read_text(encoding="utf-8"))
    top1 = summary["top1"]
    tested = f"{summary['videos']} test videos x {summary['views']} views"
    print(
        f"""
done in {time.perf_counter() - started:.0f} s: top-1 {top1:.2f} % on {tested}
  curves         {Path(args.out) / "curves.png"}
  predictions    {sheet.parent / "predictions.csv"}
  contact sheet  {sheet}
next: your own videos; see "Three uses" in README.md"""
    )
    if top1 < GOAL_PERCENT:
        print(
            f"error: top-1 {top1:.2f} % is below the {GOAL_PERCENT:g} % this demonstration should reach",
            file=sys.stderr,
        )
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Return the exit code."""
    args = parse_args(argv)
    return run_command(lambda: demo(args))


if __name__ == "__main__":
    sys.exit(main())
