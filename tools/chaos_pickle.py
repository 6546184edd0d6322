"""``chaos.py pickle``: files that would run a command while they are read, in every place that reads one."""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from chaos_bench import Bench
from chaos_cases import Case, Subcommand
from chaos_compare import compare_runs
from chaos_files import MAIN, STOP_AT, noticed, refused
from chaos_runs import Ended, python
from chaos_set import paths_of

from uniformer_video.engine.checkpoint import checkpoints_in, newest_checkpoint

Writer = Callable[[Path, Path], None]


class Trap:
    """Makes a file when it is unpickled.

    Args:
        canary: the file.
    """

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple:
        return (exec, (f"open({str(self.canary)!r}, 'w').close()",))


def legacy(path: Path, canary: Path) -> None:
    """Write a bare pickle, as checkpoints of old programs are."""
    path.write_bytes(pickle.dumps({"epoch": 1, "model_state": {}, "trap": Trap(canary)}, protocol=2))


def zipped(path: Path, canary: Path) -> None:
    """Write a file of ``torch.save``, with the trap beside weights."""
    torch.save({"epoch": 1, "model_state": {"w": torch.zeros(2)}, "optimizer_state": {}, "trap": Trap(canary)}, path)


def hidden(path: Path, canary: Path, sound: Path) -> None:
    """Write a sound checkpoint with the trap in it."""
    torch.save({**torch.load(sound, weights_only=True), "trap": Trap(canary)}, path)


KINDS: dict[str, Writer] = {"a bare pickle": legacy, "a file of torch.save": zipped}


def live_trap(bench: Bench, case: Case) -> None:
    """The traps themselves, read as nobody should: each makes its file, so the other cases mean something."""
    for kind, write in KINDS.items():
        path, canary = _armed(bench.case, write)
        reader = "import sys, torch; torch.load(sys.argv[1], weights_only=False)"
        subprocess.run([sys.executable, "-c", reader, str(path)], capture_output=True, timeout=120)
        case.require(canary.exists(), f"{kind}: no trap, it made no file")
        canary.unlink(missing_ok=True)
    case.fact(f"{len(KINDS)} kinds of traps work")


def named_file(bench: Bench, case: Case) -> None:
    """A trap as TRAIN.CHECKPOINT_FILE_PATH, as TEST.CHECKPOINT_FILE_PATH, for predict.py and for zoo.py inspect."""
    video = paths_of(bench.data, "test")[0]
    for kind, write in KINDS.items():
        path, canary = _armed(bench.case, write)
        out = bench.case / "out"
        ways: dict[str, list[str]] = {
            "TRAIN.CHECKPOINT_FILE_PATH": _run_net(bench, out, "TRAIN.CHECKPOINT_FILE_PATH", path),
            "TEST.CHECKPOINT_FILE_PATH": _run_net(bench, out, "TRAIN.ENABLE", False, "TEST.CHECKPOINT_FILE_PATH", path),
            "predict.py": python("predict.py", str(path), video),
            "zoo.py inspect": python("zoo.py", "inspect", str(path)),
        }
        for way, command in ways.items():
            ended = bench.launch(command).wait()
            where = f"{kind} for {way}"
            _unsprung(case, canary, where)
            refused(case, ended, where, path.name)
    case.fact(f"{len(KINDS)} kinds of traps in {len(ways)} places: no file made, one line each")


def only_checkpoint(bench: Bench, case: Case) -> None:
    """A trap as the only checkpoint in OUTPUT_DIR."""
    for number, (kind, write) in enumerate(KINDS.items()):
        output = bench.case / f"run{number}"
        (output / "checkpoints").mkdir(parents=True)
        path, canary = _armed(bench.case, write)
        shutil.move(path, output / "checkpoints" / "checkpoint_epoch_00001.pyth")
        ended = bench.run(output, *MAIN)
        _unsprung(case, canary, kind)
        refused(case, ended, kind, "checkpoint_epoch_00001.pyth")
    case.fact("no file made, one line each")


def newest_checkpoint_of_a_run(bench: Bench, case: Case) -> None:
    """A sound checkpoint with a trap in it as the newest one of a run that was stopped: the one before is used."""
    output = bench.stopped_at(bench.case / "run", STOP_AT, *MAIN)
    newest, second = checkpoints_in(output)[:2]
    canary = bench.case / "made by a pickle"
    hidden(newest, canary, newest)
    ended: Ended = bench.run(output, *MAIN)
    _unsprung(case, canary, "resume")
    case.require_none(noticed(ended, newest.name, second.name), "resume")
    if case.require(ended.code == 0, ended.tell()):
        case.require_none(compare_runs(bench.reference(*MAIN).output, output))
    case.require(newest_checkpoint(output) is not None, "no checkpoint is left")
    case.fact("no file made, one line, the reference's bits at the end")


def _armed(folder: Path, write: Writer) -> tuple[Path, Path]:
    path, canary = folder / "trap.pyth", folder / "made by a pickle"
    canary.unlink(missing_ok=True)
    write(path, canary)
    return path, canary


def _unsprung(case: Case, canary: Path, where: str) -> None:
    if not case.require(not canary.exists(), f"{where}: the pickle made its file"):
        canary.unlink()


def _run_net(bench: Bench, out: Path, *overrides: object) -> list[str]:
    return python("run_net.py", *bench.settings(out, (*MAIN, *overrides)))


CASES: Sequence = (live_trap, named_file, only_checkpoint, newest_checkpoint_of_a_run)
COMMAND = Subcommand("pickles that would create a file", "1 minute", CASES)
