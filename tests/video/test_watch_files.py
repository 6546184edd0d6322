"""The reading limit on real files, servers and pipes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import uniformer_video.video.index as index_module
import uniformer_video.video.watch as module
from tests.helpers import barcode_frames, write_video
from uniformer_video.video.decord import DecordReader
from uniformer_video.video.open import VideoOpener
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.watch import NotInTimeError, check_wanted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def nothing_stuck(monkeypatch):
    monkeypatch.setattr(module, "_STUCK", [])


@pytest.mark.timeout(30)
@pytest.mark.parametrize("backend", ["pyav", "decord"])
@pytest.mark.parametrize("slow_step", ["open", "read"])
def test_a_slow_file_is_not_read_on_for_nobody(tmp_path, monkeypatch, backend, slow_step):
    """Threads that were given up end; they would take the time of those that read the next videos."""
    path = str(write_video(tmp_path / "long.mp4", barcode_frames(400), gop=400))
    steps = []

    def slowed(original):
        def slow(*args):
            steps.append(1)
            time.sleep(0.01)
            return original(*args)

        return slow

    opener, whole = VideoOpener(backend, timeout_seconds=0.5), range(400)
    if slow_step == "open":
        monkeypatch.setattr(index_module, "check_wanted", slowed(check_wanted))
    elif backend == "pyav":
        monkeypatch.setattr(PyAVReader, "_number_of", slowed(PyAVReader._number_of))
    else:
        monkeypatch.setattr(DecordReader, "_step_to", slowed(DecordReader._step_to))
    before = threading.active_count()
    with pytest.raises(NotInTimeError), opener(path) as reader:
        reader.frames_at(whole)
    deadline = time.monotonic() + 10
    while len(module._IDLE) + before < threading.active_count() and time.monotonic() < deadline:
        time.sleep(0.02)
    count = len(steps)
    time.sleep(0.1)
    assert 5 < len(steps) == count < 200


@pytest.mark.timeout(20)
@pytest.mark.parametrize("backend", ["auto", "pyav", "decord"])
def test_a_server_that_keeps_silent(backend):
    """C code that does not come back: PyAV's own limit is half a minute here."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        path = f"http://127.0.0.1:{server.getsockname()[1]}/x.mp4"
        start = time.monotonic()
        with pytest.raises(NotInTimeError, match=r"x.mp4: not read within 0.3 s \(DATA.DECODE_TIMEOUT\)$"):
            VideoOpener(backend, timeout_seconds=0.3)(path)
        assert 0.25 < time.monotonic() - start < 5


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.timeout(20)
def test_a_thread_stuck_in_the_system_does_not_keep_the_process_from_ending(tmp_path):
    """Opening a pipe with a name waits for its other end, for ever: here in place of a disk that hangs."""
    os.mkfifo(tmp_path / "x.mp4")
    code = (
        "import sys, uniformer_video.video.container as container\n"
        "from uniformer_video.video.open import VideoOpener\n"
        "from uniformer_video.video.reader import DecodeError\n"
        "container._check_file = lambda path: None\n"
        "try:\n"
        "    VideoOpener(timeout_seconds=0.3)(sys.argv[1])\n"
        "except DecodeError as error:\n"
        "    print(error.cause)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "x.mp4")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=15,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "not read within 0.3 s (DATA.DECODE_TIMEOUT)\n"
