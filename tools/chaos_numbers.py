"""``chaos.py numbers``: steps whose loss or gradient is no number, and steps that are taken in parts."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from chaos_bench import Bench
from chaos_cases import Case, Subcommand
from chaos_compare import (
    compare_runs,
    differences,
    inspect,
    largest_difference,
    position_of,
    read_hashed,
    trained_weights,
)
from chaos_files import refused
from chaos_log import steps_done
from chaos_runs import Ended
from chaos_set import BATCH, PLAIN, STEPS, VIDEOS, YAML, paths_of

from uniformer_video.datasets.batches import TrainBatches
from uniformer_video.engine.checkpoint import Checkpoint
from uniformer_video.runtime.stopping import EXIT_STOPPED

MAIN = ("DATA_LOADER.NUM_WORKERS", "1")
PLAN = {4: "loss-nan", 9: "gradient-inf", 15: "activation-nan", 23: "loss-inf", 34: "gradient-nan", 55: "loss-nan"}
"""Steps over all epochs, from 1: in the middle of epochs, the first (34) and the last one of an epoch."""
IN_ROW = 3
PARTS = (2, 3, 4)
"""Of 8 clips: 3 parts are of unequal size."""
PARTS_TOLERANCE = 1e-6
assert "RNG_SEED: 7" in YAML
RNG_SEED = 7


def left_out(bench: Bench, case: Case) -> None:
    """NaN or infinity in loss, gradient or activations of six steps: left out, counted, their videos listed."""
    output = bench.case / "run"
    every = ("TRAIN.CHECKPOINT_STEPS", 1, "TRAIN.KEEP_CHECKPOINTS", 0, "SOLVER.MAX_NONFINITE", 2)
    bench.well(bench.run(output, *MAIN, *every, **_injected(PLAN)))
    found = inspect(output, bench.steps)
    case.require_none(found.problems)
    case.require(found.position == bench.total, f"it ended after {found.position} of {bench.total} steps")
    if found.newest is None:
        return
    total = read_hashed(found.newest).nonfinite.get("total")
    case.require(total == len(PLAN), f"{total} steps were counted, not {len(PLAN)}")
    case.require_none(listed(output / "nonfinite.csv", PLAN, paths_of(bench.data, "train")))
    after = {position_of(path.name, STEPS): path for path in (output / "checkpoints").glob("checkpoint_epoch_*")}
    compared = 0
    for step, kind in PLAN.items():
        if step - 1 in after and step in after:
            compared += 1
            a, b = (_trained(read_hashed(after[place])) for place in (step - 1, step))
            changed = differences(a, b)
            case.require(not changed, f"step {step} ({kind}) changed {len(changed)} values, the first {changed[:1]}")
    case.require(compared == len(PLAN), f"only {compared} steps have a checkpoint before and after them")
    case.fact(f"{compared} steps compared with the step before them; {len(PLAN) * BATCH} videos expected in the list")


def _trained(checkpoint: Checkpoint) -> dict:
    """Return all that a step changes. The rates in the optimizer's groups are the schedule's, which goes on."""
    names = ("train_state", "model_state", "average", "scaler_state")
    return {**{name: getattr(checkpoint, name) for name in names}, "moments": checkpoint.optimizer_state["state"]}


def left_out_and_resumed(bench: Bench, case: Case) -> None:
    """The same six bad steps, the run killed twice and stopped twice in between: the same bits, the same list."""
    whole = bench.case / "whole"
    bench.well(bench.run(whole, *MAIN, **_injected(PLAN)))
    output = bench.case / "interrupted"
    for share, number in ((0.15, signal.SIGKILL), (0.3, signal.SIGTERM), (0.5, signal.SIGKILL), (0.7, signal.SIGTERM)):
        ended = _interrupt(bench, output, share, number, **_injected(PLAN))
        wanted = EXIT_STOPPED if number == signal.SIGTERM else -signal.SIGKILL
        case.require(ended.code == wanted, f"{number.name}: {ended.tell()}, not {wanted}")
    bench.well(bench.run(output, *MAIN, **_injected(PLAN)))
    case.require_none(compare_runs(whole, output))
    same = (whole / "nonfinite.csv").read_bytes() == (output / "nonfinite.csv").read_bytes()
    case.require(same, "nonfinite.csv differs")
    case.fact("weights, average, optimizer, counts, scores and nonfinite.csv are the same")


def too_many(bench: Bench, case: Case) -> None:
    """Bad steps in a row, as many as SOLVER.MAX_NONFINITE: one line, sound checkpoints, and the run can go on."""
    output, first = bench.case / "run", 20
    plan = {first + number: "loss-nan" for number in range(IN_ROW)}
    limit = ("SOLVER.MAX_NONFINITE", IN_ROW)
    ended = bench.run(output, *MAIN, *limit, **_injected(plan))
    refused(case, ended, "bad steps", "SOLVER.MAX_NONFINITE", "SOLVER.BASE_LR")
    found = inspect(output, bench.steps)
    case.require_none(found.problems)
    place = found.position
    case.require(first - 3 <= place < first + IN_ROW, f"the newest checkpoint is after step {place}")
    case.fact(f"ended after bad steps {first} to {first + IN_ROW - 1}, the newest checkpoint after step {place}")
    ended = bench.run(output, *MAIN, *limit)
    case.require(ended.code == 0, f"without the bad steps: {ended.tell()}")


def accumulation(bench: Bench, case: Case) -> None:
    """A step in 1, 2, 3 and 4 parts with frozen batch norm: the same weights but for rounding."""
    settings = (*MAIN, *PLAIN, "MIXUP.ENABLE", True)
    weights: dict[tuple[int, bool], Mapping] = {}
    for parts, frozen in (*((parts, True) for parts in (1, *PARTS)), (1, False), (2, False)):
        output = bench.case / f"parts{parts}{'' if frozen else ' own statistics'}"
        own = ("TRAIN.GRAD_ACCUM_STEPS", parts, "MODEL.FROZEN_BN", frozen, "TEST.ENABLE", False)
        bench.well(bench.run(output, *settings, *own))
        weights[parts, frozen] = trained_weights(output)
    for parts in PARTS:
        worst, name = largest_difference(weights[1, True], weights[parts, True])
        case.fact(f"{parts} parts: {worst:.2g}", **{f"parts{parts}": worst})
        case.require(worst <= PARTS_TOLERANCE, f"{parts} parts: {name} differs by {worst:.2g} > {PARTS_TOLERANCE:g}")
    # Without the batch norms' counts of batches, of which each part is one.
    floats = [{k: v for k, v in weights[n, False].items() if v.is_floating_point()} for n in (1, 2)]
    worst, _ = largest_difference(*floats)
    case.fact(f"for comparison, 2 parts whose batch norms see their own part: {worst:.2g}", own_statistics=worst)


def listed(path: Path, plan: Mapping[int, str], videos: Sequence[str]) -> list[str]:
    """Return what is wrong with nonfinite.csv: the videos of each bad step, and no others.

    Args:
        path: the file.
        plan: bad steps over all epochs, from 1.
        videos: of the training list.
    """
    if not path.exists():
        return [f"{path.name} is missing"]
    with open(path, encoding="utf-8", newline="") as file:
        rows = sorted((int(row["epoch"]), int(row["step"]), row["path"]) for row in csv.DictReader(file))
    wanted = sorted(row for step in plan for row in _videos_of(step, videos))
    missing, extra = set(wanted) - set(rows), set(rows) - set(wanted)
    problems = [f"{path.name} has {len(rows)} rows, not {len(wanted)}"] if len(rows) != len(wanted) else []
    problems += [f"{path.name} lacks {sorted(missing)[0]}"] if missing else []
    return problems + ([f"{path.name} has {sorted(extra)[0]}, which was in no bad step"] if extra else [])


def _videos_of(step: int, videos: Sequence[str]) -> Iterator[tuple[int, int, str]]:
    """Yield ``(epoch, step, path)`` of the videos of a step, counted over all epochs from 1."""
    epoch, within = divmod(step - 1, STEPS)
    batches = TrainBatches(VIDEOS["train"], BATCH, seed=RNG_SEED, rank=0, world=1)
    batches.epoch = epoch
    for place in list(batches)[within]:
        yield epoch + 1, within + 1, videos[place[1]]


def _injected(plan: Mapping[int, str]) -> dict:
    """Return the arguments of ``Bench.start`` for a run with bad steps."""
    return {"tool": "chaos_inject.py", "options": [",".join(f"{kind}:{step}" for step, kind in plan.items())]}


def _interrupt(bench: Bench, output: Path, share: float, number: signal.Signals, **start: object) -> Ended:
    """Start a run and send it a signal once a share of all steps is done; return how it ended."""
    run = bench.start(output, *MAIN, **start)
    run.wait_for(lambda text: (steps_done(text) or 0) >= share * bench.total, poll_s=0.002)
    run.send(number)
    return run.wait()


CASES: Sequence = (left_out, left_out_and_resumed, too_many, accumulation)
COMMAND = Subcommand("losses and gradients that are no numbers, steps in parts", "2 minutes", CASES)
