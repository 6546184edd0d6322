"""What is refused before it can do harm: what is no file, and pictures larger than memory."""

from __future__ import annotations

import os
import resource
import socket
import struct
from pathlib import Path

import pytest

import uniformer_video.video.container as module
from tests.helpers import barcode_frames, write_video
from tests.video.conftest import backends
from uniformer_video.video.container import open_container
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@backends
def test_what_is_no_file_is_refused_before_it_is_opened(tmp_path, backend, monkeypatch):
    """Opening a pipe would wait for its other end, reading a device would never end."""
    os.mkfifo(tmp_path / "pipe.mp4")
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s.mp4")
        for path, kind in (
            (tmp_path / "pipe.mp4", "a pipe"),
            (tmp_path / "s.mp4", "a socket"),
            ("/dev/zero", "a device"),
        ):
            with pytest.raises(DecodeError) as caught:
                open_video(str(path), backend)
            assert str(caught.value) == f"{path}: not a regular file but {kind}"


@pytest.mark.timeout(20)
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
def test_a_link_to_a_pipe_is_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "x.mp4").symlink_to("pipe")
    with pytest.raises(DecodeError, match="x.mp4: not a regular file but a pipe$"):
        open_container(str(tmp_path / "x.mp4"))


# Pictures too large


@backends
def test_a_header_that_asks_for_too_much(video, backend, monkeypatch):
    monkeypatch.setattr(module, "MAX_PICTURE_PIXELS", 48 * 64 - 1)
    with pytest.raises(DecodeError, match="plain.mp4: its pictures are said to be 64x48; at most 3071 pixels "):
        open_video(video("plain.mp4"), backend)
    monkeypatch.setattr(module, "MAX_PICTURE_PIXELS", 48 * 64)
    open_video(video("plain.mp4"), backend).close()


def forge_jpeg_size(source: Path, path: Path, height: int, width: int, header: bool) -> Path:
    """Write an avi of JPEGs with another size in every picture, and in the header where ``header`` is true."""
    data = bytearray(source.read_bytes())
    at = data.find(b"\xff\xc0")
    while at >= 0:
        struct.pack_into(">HH", data, at + 5, height, width)
        at = data.find(b"\xff\xc0", at + 2)
    if header:
        for tag, offset in ((b"avih", 8 + 32), (b"strf", 8 + 4)):
            struct.pack_into("<II", data, data.index(tag) + offset, width, height)
    path.write_bytes(data)
    return path


@backends
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.timeout(30)
def test_a_few_bytes_that_ask_for_gigabytes(tmp_path, backend, header):
    """30000 x 30000 pixels: refused with no more memory than any other file takes."""
    source = write_video(tmp_path / "m.avi", barcode_frames(5), codec="mjpeg", pix_fmt="yuvj420p")
    path = forge_jpeg_size(source, tmp_path / "bomb.avi", 30000, 30000, header)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DecodeError) as caught:
        open_video(str(path), backend)
    assert caught.value.path == str(path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 2**10
    assert grown < 300, f"{grown:.0f} MiB"
