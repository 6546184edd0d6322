"""What the machine has no more of is said in one line: shared memory, open files, processes."""

from __future__ import annotations

import os
import re
import resource

import pytest

from tests.datasets.dying import all_gone, dying_set
from uniformer_video.datasets.batches import InOrderBatches
from uniformer_video.datasets.loader import make_loader
from uniformer_video.runtime.errors import DataError

pytestmark = [
    pytest.mark.usefixtures("random_state_unchanged"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


def loader_of(folder):
    return make_loader(dying_set(folder), InOrderBatches(12, 2), num_workers=2, pin_memory=False)


class NoRoom:
    """A dataset in whose workers no file, and so no shared memory, can be larger than a kilobyte."""

    records = range(4)

    def __init__(self, folder):
        self.inner = dying_set(folder)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, resource.RLIM_INFINITY))
        return self.inner[index]


def test_no_shared_memory_is_one_line(tmp_path):
    loader = make_loader(NoRoom(tmp_path), InOrderBatches(4, 2), num_workers=1, pin_memory=False)
    with pytest.raises(DataError) as error:
        list(loader)
    assert re.fullmatch(
        r"the loader processes have no shared memory left \(RuntimeError: unable to .*\); make /dev/shm larger "
        r"\(docker run --shm-size\), or lower DATA_LOADER.NUM_WORKERS \(now 1\) or DATA_LOADER.PREFETCH_FACTOR",
        str(error.value),
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. It is possible"), "no shared memory"),
        (RuntimeError("unable to open shared memory object </torch_1> in read-write mode"), "no shared memory"),
        (RuntimeError("Too many open files. Communication with the workers"), "too many files open"),
        (OSError(24, "Too many open files"), "too many files open"),
        (RuntimeError("received 0 items of ancdata"), "too many files open"),
        (RuntimeError("the size of tensor a must match"), None),
        (ValueError("no shared memory"), None),
        (RuntimeError(""), None),
    ],
)
def test_what_the_machine_has_no_more_of(tmp_path, error, words):
    told_as = loader_of(tmp_path)._explained(error)
    assert (told_as is None) if words is None else (words in str(told_as) and "now 2" in str(told_as))


def test_no_more_processes(tmp_path, monkeypatch, capsys):
    fork, forked = os.fork, []

    def second_fails():
        if len(forked) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        forked.append(fork())
        return forked[-1]

    monkeypatch.setattr(os, "fork", second_fails)
    with pytest.raises(DataError) as error:
        iter(loader_of(tmp_path))
    assert str(error.value) == (
        "2 loader processes cannot be started ([Errno 11] Resource temporarily unavailable); give the job more memory "
        "and processes (ulimit -u), make /dev/shm larger (docker run --shm-size), or lower DATA_LOADER.NUM_WORKERS "
        "(now 2) or DATA_LOADER.PREFETCH_FACTOR"
    )
    assert len(forked) == 1 and all_gone(forked)
