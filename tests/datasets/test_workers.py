"""Worker processes end with their main process, whatever way that takes, and not before."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.datasets.dying import all_gone, dying_set, is_running, told
from uniformer_video.datasets import workers
from uniformer_video.datasets.batches import InOrderBatches
from uniformer_video.datasets.loader import make_loader

pytestmark = [
    pytest.mark.usefixtures("random_state_unchanged"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]

ROOT = Path(__file__).parents[2]


def loader_of(folder, workers=2, **options):
    return make_loader(dying_set(folder, **options), InOrderBatches(12, 2), num_workers=workers, pin_memory=False)


def write_pids(folder, pids):
    (folder / "writing").write_text(" ".join(map(str, pids)))
    (folder / "writing").rename(folder / "pids")


def read_pids(folder):
    """Return the process ids that another process has written, as soon as they are there."""
    limit = time.monotonic() + 60
    while not (folder / "pids").exists():
        assert time.monotonic() < limit
        time.sleep(0.02)
    return [int(pid) for pid in (folder / "pids").read_text().split()]


def run_with_stuck_workers(folder, ending):
    """Start workers that never come back from reading, one whose queue is full and one that has nothing to do."""
    loader = loader_of(folder, workers=3, stuck=["v0", "v2"])
    iter(loader)
    while None in [loader._crew._board.record_of(n) for n in (0, 1)]:
        time.sleep(0.01)
    write_pids(folder, loader.worker_pids)
    if ending == "wait":
        time.sleep(1000)
    if ending == "error":
        raise SystemExit(7)


def test_workers_leave_signals_to_the_main_process(tmp_path):
    loader, batches = loader_of(tmp_path), []
    for batch in loader:
        batches.append(batch)
        for pid in loader.worker_pids:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
                os.kill(pid, number)
    pids = loader.worker_pids
    assert told(batches) == told(loader_of(tmp_path, workers=0))
    assert told(loader) == told(batches) and loader.worker_pids == pids
    loader.close()
    assert not any(map(is_running, pids))


def test_close_ends_workers_that_do_not_answer(tmp_path):
    loader = loader_of(tmp_path, stuck=["v0"])
    iter(loader)
    pids = loader.worker_pids
    started = time.monotonic()
    loader.close()
    assert not any(map(is_running, pids))
    assert time.monotonic() - started < 30
    assert not set(pids) & {child.pid for child in multiprocessing.active_children()}


@pytest.mark.parametrize("in_a_cycle", [False, True])
def test_a_loader_that_nobody_needs_ends_its_workers(tmp_path, in_a_cycle):
    loader = loader_of(tmp_path)
    list(loader)
    pids = loader.worker_pids
    assert all(map(is_running, pids))
    loader.itself = loader if in_a_cycle else None
    del loader
    gc.collect()
    assert not any(map(is_running, pids))


def test_nothing_is_left_of_a_loader_that_was_interrupted_while_it_started(tmp_path, monkeypatch):
    fork, forked = os.fork, []

    def interrupted():
        if len(forked) == 1:
            raise KeyboardInterrupt
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", interrupted)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with pytest.raises(KeyboardInterrupt):
        iter(loader_of(tmp_path))
    assert len(forked) == 1 and not is_running(forked[0])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask


@pytest.mark.parametrize(("ending", "code"), [("return", 0), ("error", 7)])
def test_a_process_that_multiprocessing_started_ends_with_stuck_workers(tmp_path, ending, code):
    process = multiprocessing.get_context("fork").Process(target=run_with_stuck_workers, args=(tmp_path, ending))
    process.start()
    process.join(60)
    assert process.exitcode == code
    assert all_gone(read_pids(tmp_path), within=0)


def test_workers_of_a_killed_process_end_by_themselves(tmp_path):
    process = multiprocessing.get_context("fork").Process(target=run_with_stuck_workers, args=(tmp_path, "wait"))
    process.start()
    pids = read_pids(tmp_path)
    assert len(pids) == 3 and all(map(is_running, pids))
    process.kill()
    process.join()
    assert all_gone(pids, within=15)


SCRIPT = """\
import sys
from pathlib import Path
import torch
from tests.datasets.test_workers import loader_of, run_with_stuck_workers, told, write_pids

if __name__ == "__main__":
    folder, way = Path(sys.argv[1]), sys.argv[2]
    if way == "spawn":
        torch.multiprocessing.set_start_method("spawn")
        loader = loader_of(folder, workers=1, deaths={"v5": (9, 9)}, replace=True)
        batches = told(loader)
        assert batches == told(loader) and [f.cause for b in batches for f in b[-1]] == ["ended two workers (SIGKILL)"]
        write_pids(folder, loader.worker_pids)
    else:
        run_with_stuck_workers(folder, way)
"""


def run_script(folder, way):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    script = folder / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, script, folder, way], env=environment, capture_output=True, text=True, timeout=120
    )
    assert all_gone(read_pids(folder), within=0)
    return done


def test_a_program_ends_with_stuck_workers(tmp_path):
    done = run_script(tmp_path, "error")
    assert (done.returncode, done.stdout, done.stderr) == (7, "", "")


@pytest.mark.slow
def test_workers_that_are_spawned(tmp_path):
    done = run_script(tmp_path, "spawn")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("was ended by SIGKILL while reading v5") in (0, 2)  # the log may have no handler


@pytest.mark.parametrize("kind", [BrokenPipeError, ConnectionResetError, EOFError])
def test_a_main_process_that_has_gone_is_no_traceback_of_a_worker(kind, capsys):
    error = kind("gone")
    workers._complain(kind, error, None)
    assert capsys.readouterr().err == ""


def test_any_other_failure_of_a_workers_thread_shows(capsys):
    workers._complain(KeyError, KeyError("ours"), None)
    assert "KeyError: 'ours'" in capsys.readouterr().err


class Told:
    records = ()

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return sys.excepthook.__name__


def test_workers_have_it():
    loader = make_loader(Told(), InOrderBatches(2, 2), num_workers=1, pin_memory=False, collate=lambda items: items[0])
    try:
        assert next(iter(loader)) == "_complain"
    finally:
        loader.close()
