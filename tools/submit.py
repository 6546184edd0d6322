#!/usr/bin/env python3
"""Submit a run of tools/run_net.py to SLURM, or to this machine, and have it go on when its time is up."""

from __future__ import annotations

import argparse
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works from a clone that is not installed

from uniformer_video.runtime.cli import ArgumentParser, run_command
from uniformer_video.runtime.errors import UserError

ROOT = Path(__file__).resolve().parents[1]
SIGNAL = "USR1"
"""What SLURM sends some time before the end; submitit's own choice, USR2, is none that a run listens to."""
FOLDER = "slurm"
_SIGNAL_VARIABLE = "SUBMITIT_PREEMPT_SIGNAL"

EXAMPLES = """examples:
  two machines with eight GPUs each, for a day at a time, until the training is done:
    python tools/submit.py --nodes 2 --gpus_per_node 8 --cpus_per_task 8 --time 24:00:00 --partition gpu \\
        --cfg configs/Kinetics/uniformer_b16x4.yaml DATA.PATH_TO_DATA_DIR data/kinetics400 OUTPUT_DIR runs/b16x4

  the same path without a cluster: two processes of this machine's CPU:
    python tools/submit.py --cluster local --tasks_per_node 2 --time 60 \\
        --cfg configs/Kinetics/uniformer_s8x8.yaml DATA.PATH_TO_DATA_DIR data/mine NUM_GPUS 0 \\
        TRAIN.BATCH_SIZE 4 MODEL.NUM_CLASSES 12 OUTPUT_DIR runs/mine

Needs submitit (pip install "uniformer_video[slurm]"). OUTPUT_DIR must be a folder that every machine sees; the job's
script and logs lie in OUTPUT_DIR/slurm. --signal_delay seconds before the end the run saves, stops with exit code 75
and is put into the queue again, at most --max_requeues times.
Exit codes: 0 submitted; 2 a mistake in the input, which one line explains.
"""


class RunNet:
    """What a job does in each of its processes: ``tools/run_net.py``, then into the queue again where it was stopped.

    Args:
        root: the repository.
        words: command line of ``tools/run_net.py``.
        folder: of the job's files.
        max_requeues: how often the job may be put into the queue again.
    """

    def __init__(self, root: str, words: list[str], folder: str, max_requeues: int) -> None:
        self.root, self.words, self.folder, self.max_requeues = root, words, folder, max_requeues

    def __call__(self) -> int:
        """Return 0, or end this process with the exit code of the run."""
        import os
        import signal
        import sys

        import submitit

        # submitit's own choice, which a run does not listen to, comes where a cluster passes no variables on.
        signal.signal(signal.SIGUSR2, lambda *_: os.kill(os.getpid(), signal.SIGUSR1))
        place = submitit.helpers.TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        job = submitit.JobEnvironment()
        if job.num_nodes == 1:
            os.environ["MASTER_ADDR"] = "127.0.0.1"  # a machine may not know its own name
        sys.path[:0] = [self.root, os.path.join(self.root, "tools")]
        import run_net

        # While it listens, the run's own handlers stand in the place of submitit's.
        code = run_net.main(["--init_method", "env://", *self.words])
        if code == 75 and place.rank == 0:
            self.requeue(job.cluster, job.job_id)
        if code:
            sys.exit(code)
        return code

    def requeue(self, cluster: str, job: str) -> None:
        """Put the job into the queue again, if it may be."""
        import subprocess
        import sys
        from pathlib import Path

        note = Path(self.folder) / f"{job}_requeues.txt"
        done = int(note.read_text()) if note.exists() else 0
        if done >= self.max_requeues:
            print(f"not put into the queue again: {done} times is enough (--max_requeues)", flush=True)
            return
        note.write_text(str(done + 1))
        print(f"put into the queue again ({done + 1} of at most {self.max_requeues} times)", flush=True)
        if cluster == "slurm":
            asked = subprocess.run(["scontrol", "requeue", job], timeout=120)  # says itself what is wrong
            if asked.returncode:
                print(f"scontrol did not requeue job {job}: submit the same command again to go on", flush=True)
        else:
            from submitit.local.local import LOCAL_REQUEUE_RETURN_CODE

            sys.exit(LOCAL_REQUEUE_RETURN_CODE)

    def checkpoint(self) -> Any:
        """Return what a job does that was stopped before the run began: the same again."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the parsed command line; ``words`` is that of tools/run_net.py."""
    parser = ArgumentParser(__doc__, EXAMPLES)
    parser.add_argument("--cluster", choices=("slurm", "local"), default="slurm", help="local: this machine, at once")
    parser.add_argument("--nodes", type=int, default=1, metavar="N", help="machines (default 1)")
    parser.add_argument("--gpus_per_node", type=int, default=0, metavar="N", help="GPUs of each machine (default 0)")
    parser.add_argument(
        "--tasks_per_node", type=int, metavar="N", help="processes on each machine (default: one for each GPU)"
    )
    parser.add_argument("--time", default="24:00:00", metavar="T", help="minutes, H:M:S or D-H:M:S (default a day)")
    parser.add_argument("--cpus_per_task", type=int, metavar="N", help="processors of each process")
    parser.add_argument("--mem", type=float, metavar="GB", help="memory of each machine")
    for name in ("partition", "account", "qos", "constraint", "comment"):
        parser.add_argument(f"--{name}", metavar="NAME", help="as sbatch's")
    parser.add_argument("--name", default="uniformer_video", help="of the job")
    parser.add_argument(
        "--signal_delay",
        type=int,
        default=300,
        metavar="S",
        help="seconds before the end to save and stop (default 300)",
    )
    parser.add_argument("--max_requeues", type=int, default=100, metavar="N", help="(default 100)")
    parser.add_argument("--cfg", "--cfg_file", dest="cfg", required=True, metavar="FILE", help="as run_net.py's")
    parser.add_argument("opts", nargs="*", metavar="KEY VALUE", help="as run_net.py's")
    return parser.parse_intermixed_args(argv)


def minutes(text: str) -> int:
    """Return a time as SLURM writes it in minutes, rounded up.

    Raises:
        UserError: it is none, or 0.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text)
    if found is None:
        raise UserError(f"--time is {text!r}; allowed: minutes, MINUTES:SECONDS, H:M:S or D-H[:M[:S]]")
    days, *parts = (int(part) if part else None for part in found.groups())
    if days is not None:  # the numbers after it begin with hours
        hours, mins, seconds = parts[0], parts[1] or 0, parts[2] or 0
    elif parts[2] is not None:
        hours, mins, seconds = parts
    else:
        hours, mins, seconds = 0, parts[0], parts[1] or 0
    total = math.ceil(((days or 0) * 24 + hours) * 60 + mins + seconds / 60)
    if not total:
        raise UserError(f"--time is {text!r}: no time at all")
    return total


def check(args: argparse.Namespace) -> None:
    """Refuse what no cluster could do.

    Raises:
        UserError: a number out of range, or options that contradict each other.
    """
    for name, low in (
        ("nodes", 1),
        ("gpus_per_node", 0),
        ("tasks_per_node", 1),
        ("cpus_per_task", 1),
        ("max_requeues", 0),
    ):
        value = getattr(args, name)
        if value is not None and value < low:
            raise UserError(f"--{name} is {value}; allowed: whole number >= {low}")
    if args.mem is not None and not 0 < args.mem < math.inf:
        raise UserError(f"--mem is {args.mem:g}; allowed: gigabytes above 0")
    if not 0 < args.signal_delay < 60 * minutes(args.time):
        raise UserError(
            f"--signal_delay is {args.signal_delay} s of a --time of {60 * minutes(args.time)} s; allowed: above 0 and "
            "below --time"
        )
    if args.cluster == "local" and args.nodes > 1:
        raise UserError(f"--nodes is {args.nodes}, but --cluster local is this machine alone; set --nodes 1")


def submit(args: argparse.Namespace) -> int:
    """Submit the job and say where it is.

    Raises:
        UserError: a mistake in the options or the configuration, no submitit, or a cluster that refuses the job.
    """
    check(args)
    os.environ[_SIGNAL_VARIABLE] = SIGNAL  # before submitit is imported
    try:
        import submitit
    except ImportError:
        raise UserError(
            'tools/submit.py needs submitit; run pip install "uniformer_video[slurm]" or pip install submitit, or '
            "start tools/run_net.py with srun yourself"
        ) from None
    from uniformer_video.config import load_config
    from uniformer_video.runtime.paths import make_output_dir

    cfg = load_config(args.cfg, args.opts)
    folder = make_output_dir(Path(cfg.OUTPUT_DIR) / FOLDER).resolve()
    executor = _executor(submitit, args, folder)
    words = ["--cfg", args.cfg, *args.opts]
    try:
        with submitit.helpers.clean_env():
            os.environ[_SIGNAL_VARIABLE] = SIGNAL
            job = executor.submit(RunNet(str(ROOT), words, str(folder), args.max_requeues))
    except (submitit.core.utils.FailedJobError, submitit.core.utils.FailedSubmissionError, OSError) as error:
        raise UserError(f"the job could not be submitted: {error}") from None
    print(f"job {job.job_id} submitted; log: {job.paths.stdout}, errors: {job.paths.stderr}", flush=True)
    return 0


def _executor(submitit: Any, args: argparse.Namespace, folder: Path) -> Any:
    """Return submitit's executor with the job's parameters."""
    tasks, time = args.tasks_per_node or args.gpus_per_node or 1, minutes(args.time)
    if args.cluster == "local":
        executor = submitit.LocalExecutor(folder, max_num_timeout=args.max_requeues)
        executor.update_parameters(
            timeout_min=time,
            gpus_per_node=args.gpus_per_node,
            tasks_per_node=tasks,
            signal_delay_s=args.signal_delay,
        )
        return executor
    try:
        executor = submitit.SlurmExecutor(folder, max_num_timeout=args.max_requeues)
    except RuntimeError:
        raise UserError(
            "--cluster slurm needs srun and sbatch, which are not on this machine; log in to the cluster, or set "
            "--cluster local"
        ) from None
    asked = {
        **{
            name: getattr(args, name)
            for name in ("cpus_per_task", "partition", "account", "qos", "constraint", "comment")
        },
        "gpus_per_node": args.gpus_per_node or None,
        "mem": None if args.mem is None else f"{math.ceil(args.mem * 1024)}MB",
    }
    executor.update_parameters(
        job_name=args.name,
        nodes=args.nodes,
        ntasks_per_node=tasks,
        time=time,
        additional_parameters={"requeue": True, "signal": f"{SIGNAL}@{args.signal_delay}"},
        **{name: value for name, value in asked.items() if value is not None},
    )
    return executor


def main(argv: list[str] | None = None) -> int:
    """Submit and return the exit code."""
    args = parse_args(argv)
    return run_command(lambda: submit(args))


if __name__ == "__main__":
    sys.exit(main())
