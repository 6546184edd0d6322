"""``chaos.py files``: full and read-only disks, checkpoints that are cut off or changed."""

from __future__ import annotations

import argparse
import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

from chaos_bench import Bench
from chaos_cases import Case, Skipped, Subcommand, at_least
from chaos_compare import compare_runs, differences, inspect, read_hashed
from chaos_damage import cut, damages_of, flip
from chaos_log import RESUMED, TRACEBACK, one_line, resumed_from
from chaos_mounts import is_bound_by_permissions, small_disk
from chaos_runs import Ended

from uniformer_video.engine.checkpoint import checkpoints_in
from uniformer_video.runtime.errors import WeightError

MAIN = ("DATA_LOADER.NUM_WORKERS", "0")
"""Workers make no difference to files, only to the time a start takes."""
STOP_AT = 0.6
"""Share of the steps done by a run whose checkpoints are then damaged."""
USER_ERROR = 2


def refused(case: Case, ended: Ended, where: str, *words: str) -> None:
    """Require that a command ended with exit code 2 and one line that has ``words``."""
    case.require(ended.code == USER_ERROR, f"{where}: {ended.tell()}, not {USER_ERROR}")
    case.require_none(one_line(ended.out, ended.err, *words), where)


def went_on(bench: Bench, case: Case, output: Path, ended: Ended, where: str) -> None:
    """Require that a run came to its end with the bits of the reference."""
    if case.require(ended.code == 0, f"{where}: {ended.tell()}"):
        case.require_none(compare_runs(bench.reference(*MAIN).output, output), where)


def sound(bench: Bench, case: Case, output: Path, where: str) -> int:
    """Require that every checkpoint is whole and none is half-written, and return the position of the newest."""
    found = inspect(output, bench.steps)
    case.require_none(found.problems, where)
    case.require(not found.temporary, f"{where}: {found.temporary} are left")
    return found.position


def full_disk(bench: Bench, case: Case) -> None:
    """The disk (a small tmpfs) is full while a checkpoint is written; then there is room again."""
    size = max(path.stat().st_size for path in (bench.reference(*MAIN).output / "checkpoints").iterdir())
    with small_disk(bench.case / "disk", mib=64) as disk:
        case.fact(f"tmpfs by unshare {' '.join(disk.way)}")
        output = disk.point / "run"
        # Room for some checkpoints and half of one.
        filler = disk.fill(leave=int(2.5 * size))
        ended = bench.run(output, *MAIN, prefix=disk.inside)
        refused(case, ended, "full disk", "No space left on device")
        place = sound(bench, case, disk.seen / "run", "full disk")
        case.require(place > 0, "no checkpoint came before the disk was full: nothing was tried")
        case.fact(f"stopped after step {place} of {bench.total}: {ended.err.strip().splitlines()[-1]}")
        filler.unlink()
        ended = bench.run(output, *MAIN, prefix=disk.inside)
        case.require(RESUMED.search(ended.out) is not None, "with room again it began anew")
        went_on(bench, case, disk.seen / "run", ended, "with room again")


def file_limit(bench: Bench, case: Case) -> None:
    """A checkpoint grows beyond what the system lets a file have (RLIMIT_FSIZE); then it may."""
    output = bench.stopped_at(bench.case / "run", STOP_AT / 2, *MAIN)
    before = sound(bench, case, output, "before")
    size = min(path.stat().st_size for path in checkpoints_in(output))
    ended = bench.run(output, *MAIN, before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2)))
    refused(case, ended, "file limit", "File too large")
    after = sound(bench, case, output, "file limit")
    case.require(after == before, f"the newest checkpoint was after step {before}, is after step {after}")
    case.fact(f"the checkpoint after step {before} stayed")
    went_on(bench, case, output, bench.run(output, *MAIN), "without the limit")


def read_only(bench: Bench, case: Case) -> None:
    """OUTPUT_DIR cannot be written: a disk mounted read-only, or a folder without the right."""
    try:
        with small_disk(bench.case / "disk", mib=64) as disk:
            output = bench.stopped_at(bench.case / "run", STOP_AT, *MAIN)
            shutil.copytree(output, disk.seen / "run")
            disk.remount(read_only=True)
            refused(case, bench.run(disk.point / "run", *MAIN, prefix=disk.inside), "read-only disk", "Read-only file")
            disk.remount(read_only=False)
            case.fact("a disk mounted read-only")
            ended = bench.run(disk.point / "run", *MAIN, prefix=disk.inside)
            went_on(bench, case, disk.seen / "run", ended, "writable again")
    except Skipped:
        if not is_bound_by_permissions(bench.case):
            raise Skipped("no read-only disk can be mounted, and permissions do not bind root") from None
        output = bench.stopped_at(bench.case / "run", STOP_AT, *MAIN)
        folders = [output, *(path for path in output.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        refused(case, bench.run(output, *MAIN), "folder without the right to write", "Permission denied")
        for folder in folders:
            folder.chmod(0o755)
        case.fact("a folder without the right to write")
        went_on(bench, case, output, bench.run(output, *MAIN), "writable again")


def damaged_newest(bench: Bench, case: Case) -> None:
    """The newest checkpoint is cut off, or has one bit changed, at several places: the one before is used."""
    base = bench.stopped_at(bench.case / "base", STOP_AT, *MAIN)
    newest, second = checkpoints_in(base)[:2]
    count = 0
    for damage in damages_of(newest):
        output = bench.case / f"damaged{count}"
        shutil.copytree(base, output)
        victim = output / newest.relative_to(base)
        victim.write_bytes(damage.do(victim.read_bytes()))
        ended = bench.run(output, *MAIN)
        problems = len(case.problems)
        case.require_none(noticed(ended, newest.name, second.name), damage.name)
        went_on(bench, case, output, ended, damage.name)
        count += 1
        if len(case.problems) == problems:
            shutil.rmtree(output)
    case.fact(f"{count} damages, each noticed in one line and gone round, with the reference's bits at the end")


def noticed(ended: Ended, damaged: str, used: str) -> list[str]:
    """Return what is wrong with how a run told of a damaged checkpoint and of the one it used."""
    lines = [line for line in ended.out.splitlines() if damaged in line and ("damaged" in line or "refused" in line)]
    problems = [] if len(lines) == 1 else [f"{len(lines)} lines tell that {damaged} is damaged"]
    problems += [f"the line does not name {used}: {line}" for line in lines if used not in line]
    source = resumed_from(ended.out)
    if source is None or Path(source).name != used:
        problems.append(f"it went on from {source}, not {used}")
    return problems + ([f"a traceback: {ended.tell()}"] if TRACEBACK in ended.out + ended.err else [])


def many_damages(bench: Bench, case: Case) -> None:
    """A checkpoint is cut off at random lengths, and has random single bits changed: noticed, or it holds the same."""
    base = bench.stopped_at(bench.case / "base", STOP_AT, *MAIN)
    path = checkpoints_in(base)[0]
    content, wanted = path.read_bytes(), read_hashed(path)
    draw = bench.random
    tries = [cut(draw.randrange(len(content))) for _ in range(bench.options.damages)]
    tries += [
        flip(place, f"byte {place}", draw.randrange(8))
        for place in (draw.randrange(len(content)) for _ in range(bench.options.damages))
    ]
    same = 0
    for damage in tries:
        path.write_bytes(damage.do(content))
        try:
            got = read_hashed(path)
        except WeightError as error:
            case.require("\n" not in str(error), f"{damage.name}: more than a line")
            continue
        same += 1
        case.require_none(differences(vars(wanted), vars(got)), f"{damage.name}: read without a word")
        case.require("cut" not in damage.name, f"{damage.name}: read without a word")
    case.fact(f"{len(tries)} damages, {same} of them in bytes that mean nothing", tried=len(tries), harmless=same)


def all_damaged(bench: Bench, case: Case) -> None:
    """Every checkpoint of a run is cut off."""
    output = bench.stopped_at(bench.case / "run", STOP_AT, *MAIN)
    for path in (output / "checkpoints").glob("*.pyth"):
        path.write_bytes(cut(1000).do(path.read_bytes()))
    refused(case, bench.run(output, *MAIN), "all damaged", "damaged")
    case.fact("one line, exit code 2")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``chaos.py files``."""
    text = "random cuts, and as many random changes, of many-damages (default 150)"
    parser.add_argument("--damages", type=at_least(1), default=150, metavar="N", help=text)


CASES: Sequence = (full_disk, file_limit, read_only, damaged_newest, many_damages, all_damaged)
COMMAND = Subcommand("full and read-only disks, damaged checkpoints", "5 minutes", CASES, add_arguments)
