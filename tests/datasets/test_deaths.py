"""Worker processes that die: nothing is lost, nothing comes twice, and it is said which video it was."""

from __future__ import annotations

import os
import re
import signal
import time

import pytest

from tests.datasets.dying import all_gone, dying_set, quick_look, told
from uniformer_video.datasets import loader as loader_module
from uniformer_video.datasets.batches import InOrderBatches, TrainBatches
from uniformer_video.datasets.dataset import Failure
from uniformer_video.datasets.loader import make_loader
from uniformer_video.datasets.workers import Death
from uniformer_video.engine.prefetch import in_thread
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.stopping import StopWaiting

__all__ = ["quick_look"]

pytestmark = [
    pytest.mark.usefixtures("quick_look", "random_state_unchanged"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


def shuffled(dataset, workers=2, start=0):
    batches = TrainBatches(len(dataset), 2, seed=1)
    batches.epoch, batches.start = 3, start
    return make_loader(dataset, batches, num_workers=workers, pin_memory=False)


@pytest.fixture
def plain(tmp_path):
    return told(shuffled(dying_set(tmp_path), workers=0))


@pytest.mark.parametrize(
    ("how", "words"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGKILL, "SIGKILL"), ("3", "exit code 3")]
)
def test_a_worker_that_dies_costs_no_batch(tmp_path, plain, log, how, words):
    dataset = dying_set(tmp_path, {"v5": (how, 1)}, replace=True)
    loader = shuffled(dataset)
    assert told(loader) == plain
    (line,) = log
    assert re.fullmatch(
        rf"WARNING: worker [01] \(process \d+\) was ended by {words} while reading v5; the loader starts anew at this "
        "step",
        line,
    )
    assert int(re.search(r"process (\d+)", line)[1]) not in loader.worker_pids
    assert dataset.opener.count("v5") == 1
    assert told(loader) == plain and len(log) == 1


@pytest.mark.parametrize("start", [0, 2])
def test_workers_that_die_at_any_step(tmp_path, plain, log, start, monkeypatch):
    monkeypatch.setattr(loader_module, "DEATHS_AT_A_VIDEO", 99)  # the same one may be in hand each time
    # Between two batches, when nobody waits: no handler of a signal may then raise in the middle of a step.
    loader, batches = shuffled(dying_set(tmp_path), start=start), []
    for number, batch in enumerate(loader):
        batches.append(batch)
        victim = loader.worker_pids[number % 2]
        os.kill(victim, signal.SIGKILL)
        assert all_gone([victim])
        sum(range(1000))
    assert told(batches) == plain[start:]
    assert len(log) == 6 - start and all("was ended by SIGKILL while reading" in line for line in log)
    assert told(loader) == plain[start:] and len(log) == 6 - start


def test_both_workers_die_at_once(tmp_path, plain, log):
    loader = shuffled(dying_set(tmp_path))
    batches = iter(loader)
    first, pids = next(batches), loader.worker_pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    assert all_gone(pids)
    assert told([first, *batches]) == plain
    dead = [f"worker {n} (process {pid}) was ended by SIGKILL while reading no video" for n, pid in enumerate(pids)]
    assert log == [f"WARNING: {dead[0]}; {dead[1]}; the loader starts anew at this step"]


def test_a_death_in_a_prefetching_thread(tmp_path, plain, log):
    dataset = dying_set(tmp_path, {"v5": (signal.SIGKILL, 1), "v6": (signal.SIGKILL, 1)}, replace=True)
    loader = shuffled(dataset, workers=1)
    assert told(in_thread(iter(loader), lambda batch: batch)) == plain
    assert len(log) == 2
    assert told(loader) == plain and len(log) == 2  # those that were started in the thread outlive it


def test_a_video_that_ends_two_workers_has_another_in_its_place(tmp_path, log):
    dataset = dying_set(tmp_path, {"v5": (signal.SIGSEGV, 9)}, replace=True)
    loader = shuffled(dataset)
    got = told(loader)
    broken = told(shuffled(dying_set(tmp_path, broken=["v5"], replace=True), workers=0))
    failures = [failure for batch in got for failure in batch[-1]]
    assert failures == [Failure(5, "v5", "ended two workers (SIGSEGV)")]
    assert [batch[:-1] for batch in got] == [batch[:-1] for batch in broken]
    assert len(log) == 2
    assert "while reading v5; the loader starts" in log[0]
    assert log[1].endswith(
        "was ended by SIGSEGV while reading v5, the second to end there: the video counts as unreadable from now on; "
        "the loader starts anew at this step"
    )
    assert told(loader) == got
    assert dataset.opener.count("v5") == 2 and len(log) == 2


def test_a_test_video_that_ends_two_workers_is_missing(tmp_path):
    dataset = dying_set(tmp_path, {"v5": (signal.SIGKILL, 9)})
    batches = list(make_loader(dataset, InOrderBatches(12, 4), num_workers=2, pin_memory=False))
    assert [batch.lost for batch in batches] == [[], [5], []]
    assert batches[1].failures == [Failure(5, "v5", "ended two workers (SIGKILL)")]
    assert [record for batch in batches for record in batch.records.tolist()[::2]] == [*range(5), *range(6, 12)]


@pytest.mark.parametrize(("limit", "enough"), [(6, True), (2, False)])
def test_deaths_in_a_row_come_to_an_end(tmp_path, monkeypatch, log, limit, enough):
    monkeypatch.setattr(loader_module, "MOST_DEATHS", limit)
    deaths = {f"v{n}": (signal.SIGKILL, 1) for n in (0, 1, 3, 4, 5, 7)}
    loader = make_loader(dying_set(tmp_path, deaths), InOrderBatches(12, 4), num_workers=1, pin_memory=False)
    if enough:
        assert [batch.lost for batch in loader] == [[], [], []]
        assert len(log) == 6
        return
    with pytest.raises(DataError) as error:
        list(loader)
    assert re.fullmatch(
        r"loader processes ended 3 times in a row before a batch was ready, at last: worker 0 \(process \d+\) was "
        r"ended by SIGKILL while reading v3; give the job more memory, make /dev/shm larger \(docker run --shm-size\), "
        r"or lower DATA_LOADER.NUM_WORKERS \(now 1\) or DATA_LOADER.PREFETCH_FACTOR",
        str(error.value),
    )
    assert len(log) == 2 and loader.worker_pids == []


def test_the_limit_is_ten():
    assert (loader_module.MOST_DEATHS, loader_module.MOST_DEATHS_WITHOUT_VIDEO) == (10, 3)


class Hopeless:
    """Ends the worker where no video is in hand."""

    def __init__(self, folder, times):
        self.folder, self.times = folder, times
        self.inner = dying_set(folder)
        self.records = self.inner.records

    def __len__(self):
        return len(self.records)

    def __getitem__(self, index):
        if index[1] % 4 == 0:
            file = self.folder / f"no video {index[1]}"
            times = len(file.read_text()) if file.exists() else 0
            if times < self.times:
                file.write_text("." * (times + 1))
                os.kill(os.getpid(), signal.SIGBUS)
        return self.inner[index]


def test_deaths_without_a_video_end_the_run_at_the_third_in_a_row(tmp_path, log, capfd):
    loader = make_loader(Hopeless(tmp_path, 3), InOrderBatches(12, 4), num_workers=1, pin_memory=False)
    with pytest.raises(DataError) as error:
        list(loader)
    assert len(log) == 2
    assert str(error.value).startswith("loader processes ended 3 times in a row before a batch was ready, at last: ")
    assert "was ended by SIGBUS while reading no video; give the job more memory, make /dev/shm" in str(error.value)


def test_deaths_without_a_video_that_are_not_in_a_row(tmp_path, monkeypatch, log, capfd):
    monkeypatch.setattr(loader_module, "MOST_DEATHS_WITHOUT_VIDEO", 2)
    # A worker has one batch in hand: none that is ready is lost with the worker that dies at the next.
    options = {"num_workers": 1, "pin_memory": False, "prefetch_factor": 1}
    loader = make_loader(Hopeless(tmp_path, 1), InOrderBatches(12, 4), **options)
    assert [batch.records.tolist()[0] for batch in loader] == [0, 4, 8]
    assert len(log) == 3


def test_an_error_of_the_dataset_is_itself(tmp_path, plain, log):
    dataset = dying_set(tmp_path)
    broken, dataset.opener = dataset.opener, lambda path: 1 // 0
    loader = shuffled(dataset)
    with pytest.raises(ZeroDivisionError):
        list(loader)
    assert log == []
    loader.close()
    dataset.opener = broken
    assert told(loader) == plain


def test_a_signal_that_ends_the_wait_is_no_death(tmp_path, log):
    loader = make_loader(dying_set(tmp_path, stuck=["v0"]), InOrderBatches(12, 4), num_workers=1, pin_memory=False)
    batches = iter(loader)

    def stop(*_):
        os.kill(loader.worker_pids[0], signal.SIGKILL)
        assert all_gone(loader.worker_pids)
        raise StopWaiting("SIGTERM")

    before = signal.signal(signal.SIGALRM, stop)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(StopWaiting):
            next(batches)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert log == []


def test_a_death_in_words():
    assert Death(1, 4711, "SIGSEGV", 8).text("/x/y.mp4") == (
        "worker 1 (process 4711) was ended by SIGSEGV while reading /x/y.mp4"
    )
    assert Death(0, 2, "exit code 1", None).text(None).endswith("was ended by exit code 1 while reading no video")


def test_a_worker_that_leaves_a_child_behind(tmp_path, plain, log):
    dataset = dying_set(tmp_path, {"v5": (signal.SIGKILL, 1)})
    inner, pid_file = dataset.opener, tmp_path / "pid"

    def opener(path):
        if path == "v5" and not pid_file.exists():
            pid = os.fork()  # has all of the worker's files, also that by whose closing its end is told
            if not pid:
                time.sleep(100)
                os._exit(0)
            pid_file.write_text(str(pid))
        return inner(path)

    dataset.opener = opener
    try:
        assert told(shuffled(dataset)) == plain
    finally:
        os.kill(int(pid_file.read_text()), signal.SIGKILL)
    assert len(log) == 1 and "was ended by SIGKILL while reading v5" in log[0]


def test_another_process_dying_is_nothing_to_the_loader(tmp_path, plain, log):
    loader, batches = shuffled(dying_set(tmp_path)), []
    for batch in loader:
        batches.append(batch)
        pid = os.fork()
        if not pid:
            os._exit(9)
        os.waitpid(pid, 0)
    assert told(batches) == plain and log == []


def test_ending_takes_no_longer_where_a_worker_is_dead(tmp_path):
    loader = shuffled(dying_set(tmp_path, stuck=["v0", "v1"]))
    iter(loader)
    pids = loader.worker_pids
    os.kill(pids[0], signal.SIGKILL)
    started = time.monotonic()
    loader.close()
    assert all_gone(pids, within=0) and time.monotonic() - started < 30
