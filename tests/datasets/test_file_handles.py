"""Open files after passes over good and broken videos: none are left, in no process."""

from __future__ import annotations

import gc
import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.datasets.dying import quick_look
from tests.helpers import (
    moving_square,
    write_audio_only,
    write_damaged,
    write_empty,
    write_text,
    write_truncated,
    write_video,
)
from tests.toy import toy_cfg
from uniformer_video.datasets.batches import InOrderBatches
from uniformer_video.datasets.build import build_dataset, opener_from_config
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.loader import make_loader
from uniformer_video.datasets.records import VideoRecord

__all__ = ["quick_look"]

pytestmark = pytest.mark.usefixtures("random_state_unchanged")


def write_pictures(folder, broken=False):
    folder.mkdir()
    for number, frame in enumerate(moving_square(9)):
        Image.fromarray(np.ascontiguousarray(frame)).save(folder / f"img_{number:05d}.jpg")
    if broken:
        for number in range(1, 9):
            path = folder / f"img_{number:05d}.jpg"
            path.write_bytes(path.read_bytes()[:300])
    return folder


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    """Return good videos of every kind of reader, and all kinds of broken ones."""
    folder = tmp_path_factory.mktemp("files")
    plain = write_video(folder / "plain.mp4", moving_square(40), gop=10, b_frames=2)
    fast = write_video(folder / "fast.mp4", moving_square(40), container_options={"movflags": "faststart"})
    matroska = write_video(folder / "matroska.mkv", moving_square(40))
    return [
        *(plain, fast, matroska, write_video(folder / "codec.avi", moving_square(40), codec="mpeg4")),
        write_pictures(folder / "pictures"),
        write_pictures(folder / "half pictures", broken=True),
        *(folder / "missing.mp4", write_empty(folder / "empty.mp4"), write_text(folder / "text.mp4")),
        write_audio_only(folder / "sound.mp4"),
        write_truncated(folder / "no index.mp4", plain),
        write_truncated(folder / "breaks off.mp4", fast),
        write_truncated(folder / "breaks off.mkv", matroska, 0.4),
        write_damaged(folder / "damaged.mp4", fast, 0.3, 0.9),
    ]


def open_files(pid):
    """Return what the open files of a process are, sorted."""
    names = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            names.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:  # that of this very listing
            continue
    return sorted(name.split(":")[0] if name.startswith(("pipe:", "socket:")) else name for name in names)


def at_rest(pid):
    """Return the open files of a process once they stay the same for a second: what came before may still let go."""
    limit, files, since = time.monotonic() + 20, open_files(pid), time.monotonic()
    while time.monotonic() < min(limit, since + 1):
        time.sleep(0.05)
        if (now := open_files(pid)) != files:
            files, since = now, time.monotonic()
    return files


def settled(pid, expected):
    """Return the open files of a process once they are ``expected``, or as they are after a long time."""
    limit = time.monotonic() + 20  # a worker lets go of what it sent when it hears that it has arrived
    while (files := open_files(pid)) != expected and time.monotonic() < limit:
        time.sleep(0.05)
    return files


@pytest.mark.parametrize(
    ("backend", "seconds", "workers"), [("pyav", 60, 1), ("pyav", 0, 0), ("decord", 60, 1), ("decord", 0, 0)]
)
def test_no_file_stays_open(toy_set, tmp_path, paths, backend, seconds, workers):
    if backend == "decord":
        pytest.importorskip("decord")
    options = ("DATA.DECODING_BACKEND", backend, "DATA.DECODE_TIMEOUT", str(seconds))
    cfg = toy_cfg(toy_set, tmp_path, *options)
    maker = build_dataset("kinetics", cfg, "train").clips
    records = [VideoRecord(str(path), 0) for path in paths] * 3
    dataset = VideoDataset(records, maker, opener_from_config(cfg), seed=1)
    loader = make_loader(dataset, InOrderBatches(len(records), 4), num_workers=workers, pin_memory=False)
    pids, before = [], []
    for number in range(3):
        failures = [failure for batch in loader for failure in batch.failures]
        good = {Path(record.path).name for record in records} - {Path(failure.path).name for failure in failures}
        assert good == {"plain.mp4", "fast.mp4", "matroska.mkv", "codec.avi", "pictures"}
        assert len(failures) == 3 * 9
        gc.collect()
        if number == 0:  # threads and connections that stay are there now
            pids = [os.getpid(), *loader.worker_pids]
            time.sleep(0.5)
            before = [open_files(pid) for pid in pids]
        assert [settled(pid, files) for pid, files in zip(pids, before, strict=True)] == before
    assert not any(str(path) in name for path in paths for files in before for name in files)
    loader.close()


def test_no_file_stays_open_after_workers_have_died(toy_set, tmp_path, quick_look):
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "train")
    loader = make_loader(dataset, InOrderBatches(12, 4), num_workers=2, pin_memory=False)
    list(loader)
    loader.close()
    gc.collect()
    before = at_rest(os.getpid())
    for _ in range(3):
        batches = iter(loader)
        next(batches)
        os.kill(loader.worker_pids[0], 9)
        assert len(list(batches)) == 2
        del batches
        loader.close()
    gc.collect()
    assert settled(os.getpid(), before) == before
