#!/usr/bin/env python3
"""List, download and verify the published weights; say what any weight file is; export the network of a checkpoint."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import EXIT_USER_ERROR, ArgumentParser, print_error, run_command
from uniformer_video.runtime.errors import UserError

if TYPE_CHECKING:
    from uniformer_video.models.inspect import Inspection
    from uniformer_video.models.zoo import Resolved

EXAMPLES = """examples:
  python tools/zoo.py list
  python tools/zoo.py download uniformer_small_k400_16x8 uniformer_small_in1k
  python tools/zoo.py verify
  python tools/zoo.py inspect runs/demo/checkpoints/checkpoint_best.pyth
  python tools/zoo.py inspect uniformer_small_in1k --cfg configs/Kinetics/uniformer_s8x8.yaml
  python tools/zoo.py export runs/demo/checkpoints/checkpoint_best.pyth mine.safetensors --half

environment:
  UNIFORMER_WEIGHTS     a folder of weight files, <name>.pth, .pyth or .safetensors
  UNIFORMER_CACHE       where downloads go (default ~/.cache/uniformer_video)
  UNIFORMER_ZOO_MIRROR  an address with all published files, <address>/<name>.pth
  http_proxy, https_proxy, no_proxy  as everywhere

Exit codes: 0 done; 1 a file is not what it should be; 2 a mistake in the input, or a file that cannot be had, which one
line explains.
"""

LONGEST_STALL = 86400
"""A day, in seconds: what is asked for beyond it (inf, 1e10) no socket can wait."""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, does: str, *, web: bool = False, as_json: bool = False) -> ArgumentParser:
        added = commands.add_parser(name, help=does, description=does)
        added.add_argument("--folder", default="", metavar="DIR", help="folder of weight files, looked in first")
        if web:
            added.add_argument("--stall", type=float, default=30.0, metavar="S", help="longest silence (default 30 s)")
            added.add_argument("--tries", type=int, default=4, metavar="N", help="tries on a bad line (default 4)")
        if as_json:
            added.add_argument("--json", action="store_true", help="print JSON")
        return added

    command("list", "all published weights, and where they lie here", as_json=True)
    download = command("download", "fetch weights that are not here", web=True)
    download.add_argument("names", nargs="+", metavar="NAME", help="names that `list` shows, or addresses")
    download.add_argument("--force", action="store_true", help="fetch into the cache also what is here")
    verify = command("verify", "compare files with what was published")
    verify.add_argument("names", nargs="*", metavar="NAME", help="names or files (default: all that are here)")
    inspect = command("inspect", "say what a weight file is", web=True, as_json=True)
    inspect.add_argument("file", metavar="FILE", help="path, name or address")
    inspect.add_argument("--cfg", metavar="CFG", help="say also what its network would get; KEY VALUE pairs may follow")
    export = command("export", "write the network of a file alone, with its class names", web=True)
    export.add_argument("source", metavar="FILE", help="checkpoint or weight file: path, name or address")
    export.add_argument("out", metavar="OUT", help="file to write: .pyth, .pth or .safetensors")
    export.add_argument(
        "--label-set",
        default="",
        metavar="NAME",
        help="class names of a file that holds none, such as kinetics400 (published order) or kinetics400:alphabetical",
    )
    export.add_argument("--half", action="store_true", help="in float16: half the size")
    # Settings may stand anywhere, which argparse knows for commands without subcommands alone.
    args, args.opts = parser.parse_known_args(argv)
    unknown = [text for text in args.opts if text.startswith("-")] or (
        args.opts if not getattr(args, "cfg", "") else []
    )
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if getattr(args, "tries", 1) < 1 or not 0 < getattr(args, "stall", 1.0) <= LONGEST_STALL:
        parser.error(f"--tries is a whole number >= 1, --stall a number of seconds > 0 and <= {LONGEST_STALL}")
    return args


def list_weights(args: argparse.Namespace) -> int:
    """Print the table of published weights."""
    from dataclasses import asdict

    import simplejson

    from uniformer_video.models.zoo import ZOO, address, find_weights

    rows = []
    for entry in ZOO.values():
        path = find_weights(entry.name, args.folder)
        texts = {"frames_text": entry.frames_text, "views_text": entry.views_text, "label_set": entry.label_set}
        rows.append(asdict(entry) | texts | {"url": address(entry), "path": str(path) if path else None})
    if args.json:
        print(simplejson.dumps(rows, indent=2))
        return 0
    header = ("name", "trained on", "frames", "views", "top-1", "MB", "here")
    lines = [header]
    for row in rows:
        top1 = "-" if row["top1"] is None else f"{row['top1']:.1f}"
        size = "-" if row["bytes"] is None else f"{row['bytes'] / 1e6:.1f}"
        where = row["path"] or ("not here" if row["url"] else "no known address")
        lines.append((row["name"], row["trained_on"], row["frames_text"], row["views_text"], top1, size, where))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [f"{text:{'>' if header[k] in ('top-1', 'MB') else '<'}{widths[k]}}" for k, text in enumerate(line)]
        print("  ".join(padded).rstrip())
    return 0


def download_weights(args: argparse.Namespace) -> int:
    """Fetch each name that is not here; those that can be had are, also where another one fails."""

    def fetch(name: str) -> int:
        print(f"{name}: {_resolve(name, args, force=args.force).path}", flush=True)
        return 0

    return _worst(fetch, args.names)


def verify_weights(args: argparse.Namespace) -> int:
    """Compare files with what was published and print a line for each."""
    from uniformer_video.models.verify import verify
    from uniformer_video.models.zoo import ZOO, find_weights

    def check(name: str) -> int:
        verdict = verify(name, args.folder)
        print(f"{'good' if verdict.good else 'BAD '}  {verdict.path}: {verdict.text}", flush=True)
        return 0 if verdict.good else 1

    names = args.names or [name for name in ZOO if find_weights(name, args.folder)]
    if not names:
        print("no published weights lie on this machine; `download` fetches them")
    return _worst(check, names)


def inspect_weights(args: argparse.Namespace) -> int:
    """Print what a file is and, with --cfg, what its network would get from it."""
    import simplejson

    from uniformer_video.models.inspect import inspect_content
    from uniformer_video.models.weight_files import described, read_content

    found = _resolve(args.file, args)
    inspection = inspect_content(read_content(found.path), described(found.path))
    load = _load(args, found) if args.cfg else None
    if args.json:
        facts = {"path": found.path, **inspection.as_dict(), **({"load": load} if load else {})}
        print(simplejson.dumps(facts, indent=2))
    else:
        _print_inspection(found.path, inspection, load)
    return 1 if load and "error" in load else 0


def _load(args: argparse.Namespace, found: Resolved) -> dict:
    """Return what training with --cfg would take from a file, by name, or why it would stop."""
    from dataclasses import asdict

    from uniformer_video.config import load_config
    from uniformer_video.engine.start import try_start_weights
    from uniformer_video.models.build import build_model

    cfg = load_config(args.cfg, args.opts)
    place = "TRAIN.CHECKPOINT_FILE_PATH" if cfg.TRAIN.CHECKPOINT_FILE_PATH else "UNIFORMER.PRETRAIN_NAME"
    load = {"cfg": args.cfg, "as": place}
    model = build_model(cfg)
    try:
        report = try_start_weights(cfg, model, found)
    except UserError as error:
        return {**load, "error": str(error)}
    return {**load, "summary": report.summary(), **asdict(report)}


def _print_inspection(path: str, inspection: Inspection, load: dict | None) -> None:
    from uniformer_video.runtime.download import in_words

    size = f" ({in_words(Path(path).stat().st_size)})" if Path(path).is_file() else ""
    print(f"{'file':<11} {path}{size}")
    for line in inspection.lines():
        print(line)
    if load is None:
        return
    print(f"{'into':<11} {load['cfg']}, as {load['as']}")
    if "error" in load:
        print(f"{'':<11} would not load: {load['error']}")
        return
    only_second = all(name.startswith("aux_head.") for name in load["left_out_head"])
    remarks = {
        "inflated": f"by {load['inflation']}",
        "started": "at the network's own values" if load["start_value"] is None else f"at {load['start_value']:.6g}",
        "left_out_head": "the network has no second head" if only_second else "the head starts anew",
        "new_head": "it starts anew",
    }
    for key in ("loaded", "inflated", "adapted", "started", "left_out_head", "new_head"):
        names = load[key]
        shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
        remark = f"; {remarks[key]}" if key in remarks else ""
        print(f"{'':<11} {key.replace('_', ' ')}: {len(names)}{f' ({shown}){remark}' if names else ''}")


def export_weights(args: argparse.Namespace) -> int:
    """Write the network of a file, its class names and configuration, and nothing else."""
    from uniformer_video.datasets.label_sets import label_set
    from uniformer_video.models.export import export_file
    from uniformer_video.runtime.download import in_words

    found = _resolve(args.source, args)
    label_set_name = args.label_set or (found.entry.label_set if found.entry else None)
    names = label_set(label_set_name) if label_set_name else None
    export_file(found.path, args.out, class_names=names, half=args.half)
    print(f"{args.out}: {in_words(Path(args.out).stat().st_size)}")
    return 0


def _resolve(name: str, args: argparse.Namespace, *, force: bool = False) -> Resolved:
    from uniformer_video.models.zoo import resolve
    from uniformer_video.runtime.web import Limits

    return resolve(name, args.folder, limits=Limits(stall_seconds=args.stall, tries=args.tries), force=force)


def _worst(work: Callable[[str], int], names: list[str]) -> int:
    """Return the worst exit code of ``work`` on each name; a user's mistake with one does not keep the others."""
    worst = 0
    for name in names:
        try:
            worst = max(worst, work(name))
        except UserError as error:
            print_error(error)
            worst = EXIT_USER_ERROR
    return worst


COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "list": list_weights,
    "download": download_weights,
    "verify": verify_weights,
    "inspect": inspect_weights,
    "export": export_weights,
}


def main(argv: list[str] | None = None) -> int:
    """Do what the command line says and return the exit code."""
    args = parse_args(argv)

    def work() -> int:
        # Imported here so that --help does not wait for torch.
        from uniformer_video.runtime.logging import setup_logging

        if not getattr(args, "json", False):
            setup_logging(None)
        return COMMANDS[args.command](args)

    return run_command(work)


if __name__ == "__main__":
    sys.exit(main())
