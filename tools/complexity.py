#!/usr/bin/env python3
"""Print what a configuration's network costs: parameters, multiply-adds, activation memory, latency."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command
from uniformer_video.runtime.errors import UserError

EXAMPLES = """examples:
  everything, on this machine's CPU:
    python tools/complexity.py --cfg configs/Kinetics/uniformer_s8x8.yaml

  counted figures alone, without computing anything (a second for any network):
    python tools/complexity.py --cfg configs/Kinetics/uniformer_b32x4.yaml --no-latency

  does a training batch of 8 clips fit, with and without recomputed activations?
    python tools/complexity.py --cfg configs/Kinetics/uniformer_b16x4.yaml --no-latency --batch 8 --precision bf16
    python tools/complexity.py --cfg configs/Kinetics/uniformer_b16x4.yaml --no-latency --batch 8 --precision bf16 \\
        MODEL.USE_CHECKPOINT True MODEL.CHECKPOINT_NUM "[5,8,0,0]"

  another input, on a GPU, for a script:
    python tools/complexity.py --cfg configs/Kinetics/uniformer_s16x4.yaml --device cuda --batch 16 --precision bf16 \\
        --json cost.json DATA.NUM_FRAMES 8 DATA.TEST_CROP_SIZE 160

Multiply-adds are counted from the operations of one view in eval mode, whichever attention kernel runs. Batch norm
counts 2 and layer norm 5 for each number, as in published figures; biases, activation functions, softmax, pooling and
sums do not count. Activation memory is that of tensors, found without using it: what a training step keeps for its
backward pass (clips of DATA.TRAIN_CROP_SIZE) and the most that is alive in a forward pass without gradients
(DATA.TEST_CROP_SIZE). Weights, gradients, optimizer and scratch memory of kernels come on top.
"""

DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
GIGA, MEGA, MIB, GIB = 1e9, 1e6, 2**20, 2**30

# What torch says where a tensor is too large for the memory, of a CPU or of a GPU, or for its own integers.
TOO_LARGE = re.compile(
    "out of memory|can't allocate memory|ALLOC_FAILED|size calculation overflowed|multiplication overflow|"
    "Overflow when unpacking",
    re.IGNORECASE,
)


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--cfg", metavar="FILE", help="YAML file of the recipe (default: the defaults)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="clips in a batch (default 1)")
    parser.add_argument(
        "--precision", choices=tuple(DTYPES), default="fp32", help="bf16 and fp16 are mixed precision (default fp32)"
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where it runs (default cpu)")
    parser.add_argument("--threads", type=int, metavar="N", help="torch's CPU threads (default: torch's choice)")
    parser.add_argument(
        "--repeats", type=int, default=10, metavar="N", help="timed passes, of which the median counts (default 10)"
    )
    parser.add_argument("--no-latency", action="store_true", help="measure no time: nothing is computed then")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file as well")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings that override the configuration")
    args = parser.parse_intermixed_args(argv)
    for option in ("batch", "repeats", "threads"):
        value = getattr(args, option)
        if value is not None and value < 1:
            parser.error(f"--{option} must be 1 or more, got {value}")
    if args.precision == "fp16" and args.device == "cpu":
        parser.error("--precision fp16 needs --device cuda; bf16 runs on both")
    return args


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Print and return all figures of a configuration.

    Raises:
        UserError: a configuration, device or file that cannot be used.
    """
    import torch

    from uniformer_video.config import load_config
    from uniformer_video.models.build import build_model
    from uniformer_video.models.complexity import measure_size

    if args.json is not None:
        check_json(args.json)  # fail now, not after the measurement
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch sees no CUDA device here; use --device cpu")
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    cfg = load_config(args.cfg, args.opts)
    with torch.device("meta"):
        model = build_model(cfg)
    clip = (3, cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TEST_CROP_SIZE)
    size = measure_size(model, clip)
    views = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
    figures = {
        "network": cfg.MODEL.MODEL_NAME,
        "clip": clip,
        "parameters": size.total_parameters,
        "parameters_by_stage": {stage: size.parameters.get(stage, 0) for stage in size.stages},
        "multiply_adds": size.total_multiply_adds,
        "multiply_adds_all_views": size.total_multiply_adds * views[0] * views[1],
        "multiply_adds_by_stage": {stage: size.at(stage) for stage in size.stages},
        "multiply_adds_by_kind": {kind: size.at(kind=kind) for kind in size.kinds},
        "clips_and_crops": views,
    }
    print_size(figures, size)
    figures |= measure_memory(args, cfg, model)
    if not args.no_latency:
        check_memory(args, figures["activation_bytes_inference"])
        with fitting(args.batch, ", or --no-latency"):
            figures |= measure_time(args, cfg, clip)
    if args.json is not None:
        from uniformer_video.runtime.paths import atomic_write

        with atomic_write(args.json) as file:
            json.dump(figures, file, indent=2)
            file.write("\n")
    return figures


def check_json(path: str) -> None:
    """Raise ``UserError`` unless ``path`` can be a file of figures; nothing is created."""
    from uniformer_video.config import KEYS
    from uniformer_video.runtime.paths import make_output_dir

    if re.fullmatch(r"[A-Z0-9_.]+", path) and path.split(".")[0] in {key.split(".")[0] for key in KEYS}:
        raise UserError(f"--json needs a file, but {path} looks like a setting; write --json cost.json {path} ...")
    folder = Path(path).absolute().parent
    if not path or Path(path).is_dir():
        raise UserError(f"--json {path!r} is {'a folder' if path else 'empty'}; name a file")
    if not folder.is_dir():
        raise UserError(f"--json {path!r}: there is no folder {str(folder)!r}; create it, or name a file in another")
    make_output_dir(folder, key="the folder of --json")


def check_memory(args: argparse.Namespace, needed: int) -> None:
    """Raise ``UserError`` where a CPU would need more than all memory: the system kills, it does not refuse.

    Args:
        args: the command line.
        needed: bytes of activations that are alive at one time.
    """
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if args.device == "cpu" and needed > there:
        raise UserError(
            f"a batch of {args.batch} does not fit into memory: it needs {needed / GIB:.1f} GiB, this machine has "
            f"{there / GIB:.1f} GiB; set a smaller --batch, or --no-latency"
        )


@contextmanager
def fitting(batch: int, other: str = "") -> Iterator[None]:
    """Raise ``UserError`` where torch has no memory for a batch; ``other`` is what else to do than a smaller one."""
    try:
        yield
    except (RuntimeError, TypeError) as error:  # torch.OutOfMemoryError is a RuntimeError
        if not TOO_LARGE.search(str(error)):
            raise
        raise UserError(f"a batch of {batch} does not fit into memory; set a smaller --batch{other}") from None


def print_size(figures: dict[str, Any], size: Any) -> None:
    """Print parameters and multiply-adds, by stage and by kind of operation."""
    channels, frames, height, width = figures["clip"]
    clips, crops = figures["clips_and_crops"]
    print(f"network        {figures['network']}, clips of {channels} x {frames} x {height} x {width}")
    print(f"parameters     {figures['parameters'] / MEGA:.3f} M")
    plural = ["" if number == 1 else "s" for number in (clips, crops)]
    views = f"{figures['multiply_adds_all_views'] / GIGA:.2f} G for {clips} clip{plural[0]} x {crops} crop{plural[1]}"
    print(f"multiply-adds  {figures['multiply_adds'] / GIGA:.3f} G for one view, {views}")
    kinds = size.kinds
    columns = ["", *kinds, "all", "share", "parameters"]
    widths = [max(len(column), 9) for column in columns]
    print()
    print("  ".join(f"{column:>{width}}" for column, width in zip(columns, widths, strict=True)))
    for name in (*size.stages, "all"):
        stage = None if name == "all" else name
        parameters = size.total_parameters if stage is None else size.parameters.get(name, 0)
        cells = [
            name,
            *(f"{size.at(stage, kind) / GIGA:.3f} G" for kind in kinds),
            f"{size.at(stage) / GIGA:.3f} G",
            f"{100 * size.at(stage) / max(size.total_multiply_adds, 1):.1f} %",
            f"{parameters / MEGA:.3f} M",
        ]
        print("  ".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)))
    print(flush=True)


def measure_memory(args: argparse.Namespace, cfg: Any, model: Any) -> dict[str, Any]:
    """Print and return the activation memory of a batch, in training and in inference.

    Raises:
        UserError: the batch is too small to train on, or too large to count.
    """
    import torch

    from uniformer_video.models.activations import inference_activation_bytes, training_activation_bytes

    device, precision = torch.device(args.device), getattr(torch, DTYPES[args.precision])
    figures = {"batch": args.batch, "precision": args.precision, "device": args.device}
    for use, label, count, size in (
        ("training", "kept for the backward pass", training_activation_bytes, cfg.DATA.TRAIN_CROP_SIZE),
        ("inference", "most alive in inference", inference_activation_bytes, cfg.DATA.TEST_CROP_SIZE),
    ):
        clips = (args.batch, 3, cfg.DATA.NUM_FRAMES, size, size)
        try:
            with fitting(args.batch):
                found = count(model, clips, device=device, precision=precision)
        except ValueError as error:
            if "more than 1 value per channel" not in str(error):
                raise
            raise UserError("a batch norm cannot train on one position; set --batch 2 or more") from None
        figures[f"activation_bytes_{use}"] = found
        batch = f", {found / MIB:.1f} MiB for {args.batch}" if args.batch > 1 else ""
        print(f"activations    {label}: {found / args.batch / MIB:.1f} MiB a clip{batch}, {args.precision}", flush=True)
    return figures


def measure_time(args: argparse.Namespace, cfg: Any, clip: Sequence[int]) -> dict[str, Any]:
    """Print and return the latency of a batch on the device."""
    import torch

    from uniformer_video.engine.device import hardware_name
    from uniformer_video.models.build import build_model
    from uniformer_video.models.complexity import WARM_UP, measure_latency

    # fp32 means fp32.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    device = torch.device(args.device)
    model = build_model(cfg).to(device)
    clips = torch.randn((args.batch, *clip), device=device)
    seconds = measure_latency(model, clips, repeats=args.repeats, precision=getattr(torch, DTYPES[args.precision]))
    hardware = hardware_name(device)  # a CPU's name has its threads
    print(f"latency        {1000 * seconds:.2f} ms for a batch of {args.batch}, {args.batch / seconds:.2f} clips/s")
    print(f"               median of {args.repeats} after {WARM_UP}; {args.precision}; {hardware}", end="")
    print(f"; torch {torch.__version__}", flush=True)
    return {
        "latency_s": seconds,
        "repeats": args.repeats,
        "hardware": hardware,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Run and return the exit code: 0, or 2 after one line on stderr for a mistake of the user."""
    args = parse_args(argv)

    def run() -> int:
        measure(args)
        return 0

    return run_command(run)


if __name__ == "__main__":
    sys.exit(main())
