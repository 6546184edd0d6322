"""Transcoding: faults, mistakes, and going on where it was left."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import uniformer_video.video.transcode as transcode_module
from tests.helpers import write_text, write_truncated
from tests.video.conftest import BROKEN
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.faults import is_cut_off
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.transcode import is_transcoded, transcode_video


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new.mp4"


@pytest.mark.parametrize("name", [*BROKEN, "damaged.mp4"])
@pytest.mark.timeout(30)
def test_broken_sources(video, target, name):
    with pytest.raises(DecodeError) as caught:
        transcode_video(video(name), target)
    assert caught.value.path == video(name)
    assert os.listdir(target.parent) == []


def test_a_broken_source_leaves_what_was_there(video, target):
    target.write_text("older")
    with pytest.raises(DecodeError):
        transcode_video(video("damaged.mp4"), target)
    assert target.read_text() == "older"
    assert os.listdir(target.parent) == [target.name]


def test_missing_source(target):
    with pytest.raises(DecodeError, match="none.mp4: No such file or directory$"):
        transcode_video("none.mp4", target)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"short_side": 1}, "a short side of 1 for transcoding; 2 to 16384 is allowed"),
        ({"gop": 0}, "a group of pictures of 0 for transcoding; 1 to 100000 is allowed"),
        ({"crf": 52}, "a crf of 52 for transcoding; 0 to 51 is allowed"),
        ({"preset": "quick"}, "a preset 'quick' for transcoding; allowed are ultrafast, superfast, "),
    ],
)
def test_settings_outside_their_range(video, target, options, message):
    with pytest.raises(UserError) as caught:
        transcode_video(video("plain.mp4"), target, **options)
    assert str(caught.value).startswith(message)


def test_mistakes_about_the_target(video, tmp_path):
    source = Path(shutil.copy(video("plain.mp4"), tmp_path / "a.mp4"))
    before = source.read_bytes()
    with pytest.raises(UserError, match="a.mkv: videos are transcoded to files that end in .mp4$"):
        transcode_video(source, tmp_path / "a.mkv")
    (tmp_path / "link.mp4").symlink_to(source)
    for same in (source, tmp_path / "link.mp4"):
        with pytest.raises(UserError, match="a video is not transcoded onto itself"):
            transcode_video(source, same)
    with pytest.raises(UserError, match="none/a.mp4 cannot be written: No such file or directory$"):
        transcode_video(source, tmp_path / "none" / "a.mp4")
    assert source.read_bytes() == before


def test_the_source_is_untouched(video, target, tmp_path):
    source = Path(shutil.copy(video("plain.mp4"), tmp_path / "a.mp4"))
    before, status = source.read_bytes(), source.stat()
    transcode_video(source, target, threads=2)
    assert source.read_bytes() == before
    assert source.stat().st_mtime_ns == status.st_mtime_ns


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda frames: frames[:-1], r"39 frames of 40$"),
        (lambda frames: [frame.reformat(32, 32) for frame in frames], r"its size is \(32, 32\), not \(48, 64\)$"),
    ],
)
def test_a_new_file_that_is_not_right_is_thrown_away(video, target, monkeypatch, fault, message):
    monkeypatch.setattr(transcode_module, "zip", lambda a, b, strict: zip(a, b, strict=False), raising=False)
    original = transcode_module._upright
    monkeypatch.setattr(transcode_module, "_upright", lambda *given: iter(fault(list(original(*given)))))
    with pytest.raises(DecodeError, match=f"plain.mp4: transcoded, it fails its check: {message}"):
        transcode_video(video("plain.mp4"), target)
    assert os.listdir(target.parent) == []


def test_wrong_times_are_seen(video, target, monkeypatch):
    original = transcode_module._stamps
    calls = []

    def late_once(index):
        calls.append(1)
        return [stamp + 100 * (len(calls) == 1 and n > 5) for n, stamp in enumerate(original(index))]

    monkeypatch.setattr(transcode_module, "_stamps", late_once)
    with pytest.raises(DecodeError, match="fails its check: its frames are not shown at the same times$"):
        transcode_video(video("plain.mp4"), target)


# Going on where it was left


def test_what_was_done_is_known(video, target, tmp_path):
    source = Path(shutil.copy(video("plain.mp4"), tmp_path / "a.mp4"))
    assert not is_transcoded(source, target)
    transcode_video(source, target, short_side=40, gop=8)
    settings = {"short_side": 40, "gop": 8}
    assert is_transcoded(source, target, **settings)
    for other in ({"short_side": 42}, {"gop": 9}, {"crf": 21}, {"preset": "medium"}):
        assert not is_transcoded(source, target, **(settings | other))
    # Another source by time or length.
    status = source.stat()
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert not is_transcoded(source, target, **settings)
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert is_transcoded(source, target, **settings)
    source.write_bytes(source.read_bytes() + b"\0")
    os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not is_transcoded(source, target, **settings)


def test_what_is_no_work_of_ours(video, target, tmp_path):
    source = video("plain.mp4")
    for make in (
        lambda: shutil.copy(source, target),
        lambda: write_text(target),
        lambda: target.write_bytes(b""),
        lambda: shutil.copy(video("audio.m4a"), target),
    ):
        make()
        assert not is_transcoded(source, target)
    target.unlink()
    target.mkdir()
    assert not is_transcoded(source, target)
    transcode_video(source, tmp_path / "b.mp4")
    assert is_transcoded(source, tmp_path / "b.mp4")
    assert not is_transcoded(tmp_path / "gone.mp4", tmp_path / "b.mp4")


def test_a_copy_that_lost_its_end_is_made_again(video, target, tmp_path):
    transcode_video(video("plain.mp4"), target)
    cut = write_truncated(tmp_path / "cut.mp4", target, 0.99)
    assert is_cut_off(str(cut))
    assert not is_transcoded(video("plain.mp4"), cut)


def test_the_same_work_gives_the_same_file(video, tmp_path):
    for name in ("a.mp4", "b.mp4"):
        transcode_video(video("bframes.mp4"), tmp_path / name)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
