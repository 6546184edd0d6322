"""Cases of ``chaos.py processes`` in which processes cannot meet: one line each, in time."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from chaos_bench import Bench
from chaos_cases import Case
from chaos_files import USER_ERROR
from chaos_launch import LOCAL, MAIN, free_port, shard, torchrun
from chaos_log import one_line
from chaos_runs import Hang, Run

MEETING_S = 8
"""DISTRIBUTED.RENDEZVOUS_TIMEOUT of these cases."""
LIMIT_S = MEETING_S + 45.0
"""Starting a process takes some seconds, more where many start at a time."""
OWN = (*MAIN, "DISTRIBUTED.RENDEZVOUS_TIMEOUT", MEETING_S)


@contextmanager
def listener() -> Iterator[int]:
    """Give a port that another program listens on and never answers."""
    with socket.socket() as other:
        other.bind((LOCAL, 0))
        other.listen()
        yield other.getsockname()[1]


def refused_all(case: Case, name: str, runs: Sequence[Run], *words: str) -> None:
    """Require that every one of ``runs`` ends in time with exit code 2 and one line that has ``words``."""
    for number, run in enumerate(runs):
        where = f"{name}, process {number}" if len(runs) > 1 else name
        try:
            ended = run.wait(LIMIT_S)
        except Hang as error:
            case.problems.append(f"{where}: {error}")
            continue
        case.require(ended.code == USER_ERROR, f"{where}: {ended.tell()}, not {USER_ERROR}")
        case.require_none(one_line(ended.out, ended.err, *words), where)
        last = (ended.err.strip().splitlines() or ["(nothing)"])[-1]
        case.fact(f"{where}: {ended.seconds:.0f} s: {last[:160]}", **{where: ended.seconds})


def occupied_port(bench: Bench, case: Case) -> None:
    """Another program listens on the port of the meeting place."""
    with listener() as port:
        refused_all(case, "first shard", [shard(bench, bench.case / "run", 0, 2, f"{LOCAL}:{port}", *OWN)], str(port))


def nobody_comes(bench: Bench, case: Case) -> None:
    """Meeting places where nobody listens, nobody else comes, nothing answers, or that have no such name."""
    out = bench.case
    refused_all(case, "unreachable", [shard(bench, out / "a", 1, 2, f"{LOCAL}:{free_port()}", *OWN)], "shard_id")
    refused_all(case, "alone", [shard(bench, out / "b", 0, 2, f"{LOCAL}:{free_port()}", *OWN)], "1 of 2")
    with listener() as port:
        refused_all(case, "silent", [shard(bench, out / "c", 1, 2, f"{LOCAL}:{port}", *OWN)])
    refused_all(case, "no such host", [shard(bench, out / "d", 1, 2, "no-such-host.invalid:9999", *OWN)], "invalid")


def world_mismatch(bench: Bench, case: Case) -> None:
    """Machines that disagree on the number of shards, and torchrun's processes against --num_shards."""
    meet = f"{LOCAL}:{free_port()}"
    pair = [shard(bench, bench.case / "a", 0, 2, meet, *OWN), shard(bench, bench.case / "a", 1, 3, meet, *OWN)]
    refused_all(case, "2 and 3 shards", pair)
    run = torchrun(bench, bench.case / "b", *OWN, "NUM_SHARDS", 3)
    ended = run.wait(LIMIT_S)
    # torchrun has an exit code of its own, and a table of what failed; each of its processes may tell the line.
    told = [line for line in ended.err.splitlines() if line.startswith("error: ") and "NUM_SHARDS" in line]
    case.require(ended.code != 0 and len(set(told)) == 1, f"torchrun and NUM_SHARDS 3: {told or ended.tell()}")
    case.require('run_net.py", line' not in ended.err, "torchrun and NUM_SHARDS 3: a traceback of the run")
    case.fact(f"torchrun and NUM_SHARDS 3: told {len(told)} times: {(told or [''])[0][:160]}")


def same_shard_twice(bench: Bench, case: Case) -> None:
    """Two processes with the same --shard_id: the first one's, and another one's."""
    for numbers, of in (((0, 0), 2), ((0, 1, 1), 3)):
        meet, name = f"{LOCAL}:{free_port()}", f"shards {', '.join(map(str, numbers))} of {of}"
        own = (*OWN, "TRAIN.BATCH_SIZE", 2)
        refused_all(case, name, [shard(bench, bench.case / name, n, of, meet, *own) for n in numbers])


def other_settings(bench: Bench, case: Case) -> None:
    """Two machines with different settings: one line that names the key."""
    meet, output = f"{LOCAL}:{free_port()}", bench.case / "run"
    pair = [shard(bench, output, n, 2, meet, *OWN, "SOLVER.BASE_LR", rate) for n, rate in ((0, 0.001), (1, 0.002))]
    refused_all(case, "two rates", pair, "SOLVER.BASE_LR")


JOINING: Sequence = (occupied_port, nobody_comes, world_mismatch, same_shard_twice, other_settings)
