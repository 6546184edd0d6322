from __future__ import annotations

import pickle
import threading

import pytest

import uniformer_video.video.decord as module
import uniformer_video.video.watch as watch
from tests.helpers import barcode_frames, moving_square, read_barcodes, write_video
from uniformer_video.video.decord import DecordReader, UnsupportedByDecord, _first_line
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError


class Spy:
    """Stands before decord's own reader and notes what is called."""

    def __init__(self, inner) -> None:
        self.inner, self.calls = inner, []

    def __getattr__(self, name):
        def call(*args):
            self.calls.append((name, *args))
            return getattr(self.inner, name)(*args)

        return call


@pytest.fixture
def long_video(tmp_path):
    """300 frames with a key frame every 130."""
    return str(write_video(tmp_path / "long.mp4", barcode_frames(300), gop=130))


def test_skips_stay_short_and_never_cross_a_key_frame(long_video):
    with DecordReader(long_video) as reader:
        reader._box[0] = spy = Spy(reader._box[0])
        assert read_barcodes(reader.frames_at([280, 120])) == [280, 120]
    assert spy.calls == [
        ("skip_frames", 100),
        ("skip_frames", 20),
        ("next",),
        ("skip_frames", 8),  # frames 121 to 128; a skip of 129 would arrive on the key frame, and that is a seek
        ("next",),  # 129, decoded and dropped
        ("skip_frames", 100),
        ("skip_frames", 29),
        ("next",),  # 259
        ("skip_frames", 20),
        ("next",),
    ]


def test_goes_on_from_where_it_is_and_reopens_to_go_back(long_video):
    with DecordReader(long_video) as reader:
        first = reader._box[0]
        assert read_barcodes(reader.frames_at([5])) == [5]
        assert read_barcodes(reader.frames_at([6, 40])) == [6, 40]
        assert reader._box[0] is first
        assert read_barcodes(reader.frames_at([40])) == [40]
        assert reader._box[0] is not first


# Files that only PyAV reads

UNSUPPORTED = {
    "two.mp4": "decord would read another video stream than the first",
    "tenbit.mp4": "decord is not exact in the pixel format yuv420p10le",
    "halfchroma.mp4": "decord is not exact in the pixel format yuv422p",
    "odd.webm": "decord is not exact at an odd height, 47",
    "stream.ts": "decord is not exact in the container mpegts",
    "bframes.ts": "decord is not exact in the container mpegts",
    "interlaced.mp4": "decord is not exact in interlaced video",
    "turned.mkv": "decord does not see the rotation in the container matroska,webm",
    "unstamped.mkv": "decord needs frames with time stamps of their own",
    "midst.mkv": "decord would show other frames before the first key frame",
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_be_other_frames_is_refused(video, name):
    with pytest.raises(UnsupportedByDecord) as caught:
        DecordReader(video(name))
    error = caught.value
    assert isinstance(error, DecodeError)
    assert (error.path, error.cause) == (video(name), UNSUPPORTED[name])
    assert error.kind == ("decord is not exact at an odd height" if name == "odd.webm" else error.cause)


def test_codec_that_decord_lacks(video):
    with pytest.raises(
        UnsupportedByDecord, match="av1.mkv: decord: Check failed: .*cannot find video stream"
    ) as caught:
        DecordReader(video("av1.mkv"))
    assert caught.value.kind == (
        "decord: Check failed: st_nb >= # (# vs. #) ERROR cannot find video stream with wanted index: #"
    )


def test_header_without_a_duration(video):
    with pytest.raises(UnsupportedByDecord, match=r"Failed to measure duration/frame-count") as caught:
        DecordReader(video("live.webm"))
    assert caught.value.kind == ("decord: [it] Failed to measure duration/frame-count due to broken metadata.")


def test_a_broken_file_is_not_merely_unsupported(video):
    for name in ("empty.mp4", "cut.mkv", "audio.m4a"):
        with pytest.raises(DecodeError) as caught:
            DecordReader(video(name))
        assert type(caught.value) is DecodeError


def test_unsupported_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(UnsupportedByDecord("x.mp4", "height 47", "odd height")))
    assert type(error) is UnsupportedByDecord
    assert (str(error), error.path, error.cause, error.kind) == ("x.mp4: height 47", "x.mp4", "height 47", "odd height")
    assert UnsupportedByDecord("x.mp4", "odd").kind == "odd"


@pytest.mark.timeout(30)
def test_damaged_frame_is_an_error(video):
    with (
        DecordReader(video("damaged.mp4")) as reader,
        pytest.raises(DecodeError, match="damaged.mp4: decord: .*Error sending packet"),
    ):
        reader.frames_at([39])


def test_the_reader_recovers_from_an_error(video, monkeypatch):
    def fail(number, progress):
        raise RuntimeError("Error sending packet.")

    with DecordReader(video("plain.mp4")) as reader:
        with (
            monkeypatch.context() as patch,
            pytest.raises(DecodeError, match="plain.mp4: decord: Error sending packet.$"),
        ):
            patch.setattr(reader, "_step_to", fail)
            reader.frames_at([39])
        assert reader._box == []
        assert read_barcodes(reader.frames_at([39, 2])) == [39, 2]


def test_another_count_than_the_file_holds(video, monkeypatch):
    index = module.index_video(video("plain.mp4"))
    object.__setattr__(index, "packets", 41)
    monkeypatch.setattr(module, "index_video", lambda path: index)
    with pytest.raises(
        UnsupportedByDecord, match="plain.mp4: decord finds 40 frames where the file holds 41$"
    ) as caught:
        DecordReader(video("plain.mp4"))
    assert caught.value.kind == "decord finds # frames where the file holds #"


def test_a_file_that_changes_later_is_no_longer_merely_unsupported(video):
    """Once frames have been handed out, no other reader can step in."""
    with DecordReader(video("plain.mp4")) as reader:
        assert read_barcodes(reader.frames_at([5])) == [5]
        object.__setattr__(reader._index, "packets", 41)
        with pytest.raises(DecodeError, match="decord finds 40 frames where the file holds 41$") as caught:
            reader.frames_at([4])
    assert type(caught.value) is DecodeError


def test_an_opening_that_never_ends_is_unsupported(video, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.1)
    monkeypatch.setattr(watch, "_STUCK", [])
    release = threading.Event()
    decord = module.import_decord()
    monkeypatch.setattr(decord, "VideoReader", lambda *_, **__: release.wait())
    with pytest.raises(UnsupportedByDecord, match="decord made no progress for 0.1 seconds") as caught:
        DecordReader(video("plain.mp4"))
    assert caught.value.kind == "decord made no progress for #.# seconds; the file is given up"
    release.set()


def test_repeated_frames_are_an_error(video, monkeypatch):
    """decord fills in for frames beyond the decoder's last one; its tolerance for that is none."""
    index = module.index_video(video("edited.mp4"))
    object.__setattr__(index, "num_frames", 40)  # five more than are shown
    monkeypatch.setattr(module, "index_video", lambda path: index)
    with DecordReader(video("edited.mp4")) as reader:
        assert read_barcodes(reader.frames_at([34])) == [39]
        with pytest.raises(DecodeError, match="edited.mp4: decord: .*duplicate frames"):
            reader.frames_at([36])


def test_frame_of_another_size(video):
    with DecordReader(video("plain.mp4")) as reader:
        reader.size = (48, 66)
        with pytest.raises(DecodeError, match=r"frame 1 has the shape \(48, 64, 3\), not \(48, 66, 3\)$"):
            reader.frames_at([1])


@pytest.mark.parametrize("width", [16, 32, 48, 64])
def test_narrow_frames_have_three_channels(tmp_path, width):
    """decord hands out padded rows as four channels at some widths."""
    frames = moving_square(5, 48, width)
    path = str(write_video(tmp_path / "narrow.mp4", frames))
    with DecordReader(path) as reader, PyAVReader(path) as other:
        assert reader.size == (48, width)
        assert reader.frames_at([4, 1, 2]).equal(other.frames_at([4, 1, 2]))


# The watch


def test_a_stuck_reader_raises_and_can_be_closed(video, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(watch, "_STUCK", [])
    release = threading.Event()
    reader = DecordReader(video("plain.mp4"))
    inner, reader._step_to = reader._step_to, lambda *_: release.wait()
    stuck = reader._box
    with pytest.raises(DecodeError, match="made no progress"):
        reader.frames_at([3])
    assert watch._STUCK[0] is stuck
    reader._step_to = inner
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 30.0)
    assert read_barcodes(reader.frames_at([3])) == [3]  # a new one is opened
    reader.close()
    release.set()


def test_messages_are_freed_of_their_surroundings():
    text = "[07:54:49] /a/b.cc:292: [07:54:49] /a/c.cc:218: Check failed: x >= 0 Thread worker.\n\nStack trace:\n 1"
    assert _first_line(RuntimeError(text)) == "Check failed: x >= 0 Thread worker."
    assert _first_line(StopIteration()) == "StopIteration"
