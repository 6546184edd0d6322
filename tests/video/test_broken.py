"""What both readers must do with broken files, and that they let go of files."""

from __future__ import annotations

import contextlib
import os

import pytest

from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import BROKEN, COUNT, backends
from tests.video.forge import forge_title
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError


@backends
@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.timeout(30)
def test_broken_files_are_decode_errors(video, backend, name):
    with pytest.raises(DecodeError) as caught:
        open_video(video(name), backend)
    assert caught.value.path == video(name)
    assert str(caught.value) == f"{video(name)}: {caught.value.cause}"
    assert caught.value.cause
    assert "\n" not in str(caught.value)


@backends
def test_title_in_an_old_encoding(video, backend, tmp_path):
    path = forge_title(tmp_path / "title.mp4", write_video(tmp_path / "t.mp4", barcode_frames(5), title="OLD TITLE"))
    with open_video(str(path), backend) as reader:
        assert read_barcodes(reader.frames_at([4])) == [4]


@backends
def test_missing_file(tmp_path, backend):
    with pytest.raises(DecodeError, match="^.*none.mp4: No such file or directory$"):
        open_video(str(tmp_path / "none.mp4"), backend)


@backends
@pytest.mark.timeout(30)
def test_damage_spoils_only_frames_that_need_it(video, backend):
    """Before the damage frames are right; in it, an error; never a wrong frame.

    decord reads ahead in a thread of its own, and may meet the damage while an earlier frame is asked for.
    """
    with open_video(video("damaged.mp4"), backend) as reader:
        assert reader.num_frames == COUNT
        with contextlib.suppress(*([DecodeError] if backend == "decord" else [])):
            assert read_barcodes(reader.frames_at([0, 5])) == [0, 5]
        with pytest.raises(DecodeError) as caught:
            reader.frames_at(range(COUNT))
    assert caught.value.path == video("damaged.mp4")


# Files are let go


def handles(path: str) -> int:
    folder = "/proc/self/fd"
    targets = []
    for name in os.listdir(folder):
        try:
            targets.append(os.readlink(os.path.join(folder, name)))
        except OSError:  # the handle of the listing itself
            continue
    return targets.count(os.path.realpath(path))


needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


@needs_proc
@backends
def test_close_releases_the_file(video, backend):
    path = video("bframes.mp4")
    reader = open_video(path, backend)
    reader.frames_at([30, 2])
    assert handles(path) >= 1
    reader.close()
    assert handles(path) == 0
    reader.close()
    assert (reader.num_frames, reader.size) == (COUNT, (48, 64))
    with pytest.raises(AssertionError, match="closed reader"):
        reader.frames_at([0])


@needs_proc
@backends
@pytest.mark.parametrize("name", [*BROKEN, "av1.mkv", "two.mp4"])
def test_failed_opening_leaves_no_handle(video, backend, name):
    path = video(name)
    with contextlib.suppress(DecodeError):
        open_video(path, backend).close()
    assert handles(path) == 0


@needs_proc
@backends
def test_failed_decoding_leaves_no_handle(video, backend):
    with open_video(video("damaged.mp4"), backend) as reader, pytest.raises(DecodeError):
        reader.frames_at(range(COUNT))
    assert handles(video("damaged.mp4")) == 0
