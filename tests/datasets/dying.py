"""A dataset whose videos end, or hold up, the worker process that opens them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from uniformer_video.datasets.clips import Clips
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.video.reader import DecodeError


class Opened:
    """A video that was opened."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Maker:
    """Clips that tell epoch, record and turn."""

    def __len__(self):
        return 2

    def __call__(self, reader, epoch, record, *, turn=0, may_mirror=True):
        pixels = torch.tensor([epoch, record, turn], dtype=torch.uint8).view(1, 3, 1, 1, 1).expand(2, 3, 4, 2, 2)
        return Clips(pixels.clone(), np.array([[turn], [7]]), (False, False))


class Opener:
    """Opens videos, and ends this process at some of them.

    Args:
        folder: where the deaths are counted, for all processes.
        deaths: by path, how (a signal, or a text: the exit code) and how often.
        broken: paths that cannot be read.
        stuck: paths whose opening never ends.
    """

    def __init__(self, folder: Path, deaths, broken=(), stuck=()) -> None:
        self.folder, self.deaths, self.broken, self.stuck = folder, deaths, broken, stuck

    def __call__(self, path):
        how, times = self.deaths.get(path, ("", 0))
        if self.count(path) < times:
            with open(self.folder / path, "a") as file:
                file.write(".")
            if isinstance(how, str):
                os._exit(int(how))
            os.kill(os.getpid(), how)
        if path in self.broken:
            raise DecodeError(path, "no such file")
        if path in self.stuck:
            time.sleep(1000)
        return Opened()

    def count(self, path) -> int:
        """Return how many processes have ended at a video."""
        file = self.folder / path
        return len(file.read_text()) if file.exists() else 0


def dying_set(folder: Path, deaths=None, *, count=12, broken=(), stuck=(), replace=False) -> VideoDataset:
    """Return videos v0, v1, ... with labels 0, 1, ...; see :class:`Opener`."""
    records = [VideoRecord(f"v{n}", n) for n in range(count)]
    return VideoDataset(records, Maker(), Opener(folder, deaths or {}, broken, stuck), replace=replace, seed=3)


def told(batches):
    """Return all that a list of batches holds, to compare."""
    return [
        (
            None if b.clips is None else (b.clips.dtype, b.clips.shape, b.clips.numpy().tobytes()),
            *(b.labels.tolist(), b.places(), b.epoch, b.lost, b.failures),
        )
        for b in batches
    ]


@pytest.fixture
def quick_look(monkeypatch):
    """Let torch look after its workers five times a second instead of every five seconds."""
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))


def is_running(pid: int) -> bool:
    """Return whether a process, or any thread of it, is there and is no mere entry that waits for its parent."""
    folder = Path(f"/proc/{pid}")
    try:
        is_entry = (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
        return not is_entry or len(list((folder / "task").iterdir())) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_gone(pids, within: float = 30.0) -> bool:
    """Return whether the processes end within a time, seconds."""
    limit = time.monotonic() + within
    while any(map(is_running, pids)):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True
