#!/usr/bin/env python3
"""Train and test a network as a configuration file says."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command
from uniformer_video.runtime.stopping import heed_no_more, listening

EXAMPLES = """examples:
  train on Kinetics, then test with 4 clips x 1 crop:
    python tools/run_net.py --cfg configs/Kinetics/uniformer_b8x32.yaml DATA.PATH_TO_DATA_DIR data/kinetics400

  the same without its ImageNet weights, which are downloaded once, on eight GPUs:
    python tools/run_net.py --cfg configs/Kinetics/uniformer_s8x8.yaml DATA.PATH_TO_DATA_DIR data/kinetics400 \\
        UNIFORMER.PRETRAIN_NAME "" NUM_GPUS 8 OUTPUT_DIR runs/s8x8

  test published weights by name (tools/zoo.py list), a file or a URL, with 4 clips x 3 crops, without training:
    python tools/run_net.py --cfg configs/Kinetics/uniformer_b16x4.yaml DATA.PATH_TO_DATA_DIR data/kinetics400 \\
        TRAIN.ENABLE False TEST.CHECKPOINT_FILE_PATH uniformer_base_k400_16x4 TEST.NUM_SPATIAL_CROPS 3

  on a CPU, with a smaller batch, to which the learning rate is scaled:
    python tools/run_net.py --cfg configs/Kinetics/uniformer_s8x8.yaml DATA.PATH_TO_DATA_DIR data/mine \\
        NUM_GPUS 0 TRAIN.BATCH_SIZE 4 MODEL.NUM_CLASSES 12

  two machines (run on each, with its own --shard_id):
    python tools/run_net.py --cfg configs/Kinetics/uniformer_b16x4.yaml DATA.PATH_TO_DATA_DIR data/kinetics400 \\
        --num_shards 2 --shard_id 0 --init_method tcp://10.0.0.1:9999

  the same by torchrun, which starts the processes, and all of them anew when one is lost (run on each machine):
    torchrun --nnodes=2 --nproc_per_node=8 --max-restarts=3 --rdzv-backend=c10d --rdzv-endpoint=10.0.0.1:29400 \\
        tools/run_net.py --cfg configs/Kinetics/uniformer_b16x4.yaml DATA.PATH_TO_DATA_DIR data/kinetics400

  two processes on a CPU, which share TRAIN.BATCH_SIZE:
    torchrun --nproc_per_node=2 tools/run_net.py --cfg configs/Kinetics/uniformer_s8x8.yaml \\
        DATA.PATH_TO_DATA_DIR data/mine NUM_GPUS 0 TRAIN.BATCH_SIZE 4 MODEL.NUM_CLASSES 12

  in a SLURM job, a task for each GPU (or one for each machine, which starts its own); tools/submit.py writes the job:
    srun --ntasks-per-node=8 --gpus-per-node=8 \\
        python tools/run_net.py --cfg configs/Kinetics/uniformer_b16x4.yaml DATA.PATH_TO_DATA_DIR data/kinetics400

no data at hand: `make demo` generates a set of videos and does all of this with it.
Every key: docs/CONFIG.md.
SIGTERM, SIGUSR1 and Ctrl-C finish the step in hand, save and end the run; a second Ctrl-C ends it at once.
Exit codes: 0 done; 1 test videos could not be read; 2 a mistake in the input, which one line explains; 74 another
process of the run was lost, and 75 a signal stopped the run: after both the same command goes on from the last
checkpoint; 130 a second Ctrl-C. torchrun itself ends with 1 whatever the code of its processes.
"""


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument(
        "--cfg", "--cfg_file", dest="cfg", required=True, metavar="FILE", help="YAML file of the recipe"
    )
    parser.add_argument("--num_shards", type=int, metavar="N", help="machines in the run (NUM_SHARDS)")
    parser.add_argument("--shard_id", type=int, metavar="I", help="number of this machine, from 0 (SHARD_ID)")
    parser.add_argument(
        "--init_method", default="", metavar="URL", help="where several machines meet, such as tcp://10.0.0.1:9999"
    )
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="settings that override the file, in pairs")
    # Settings and options may stand in any order.
    return parser.parse_intermixed_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run and return the exit code."""
    args = parse_args(argv)
    overrides = list(args.opts)
    for key, value in (("NUM_SHARDS", args.num_shards), ("SHARD_ID", args.shard_id)):
        if value is not None:
            overrides += [key, str(value)]
    with listening():  # before the imports, which take seconds
        return run_command(lambda: _run(args.cfg, overrides, args.init_method))


def _run(cfg: str, overrides: list[str], init_method: str) -> int:
    # What torch's C++ has to say of lost connections, with its stack, the run says in a line.
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # Imported here so that --help does not wait for torch.
    from uniformer_video.config import load_config
    from uniformer_video.engine.launch import run

    return run(load_config(cfg, overrides), init_method)


if __name__ == "__main__":
    code = main()
    heed_no_more()
    sys.exit(code)
