"""The reader on torchcodec: against a stand-in of the library always, against itself where it is installed."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import uniformer_video.video.fallback as fallback
import uniformer_video.video.torchcodec as module
from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import COUNT, HAS_TORCHCODEC
from tests.video.fake_torchcodec import FakeDecoder
from uniformer_video.runtime.errors import UserError
from uniformer_video.video.container import NoDecoderError
from uniformer_video.video.open import open_video
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.torchcodec import TorchcodecReader, UnsupportedByTorchcodec, import_torchcodec


@pytest.fixture
def fake(monkeypatch):
    """The stand-in's class, with nothing changed and nothing made."""
    package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
    package.decoders, decoders.VideoDecoder = decoders, FakeDecoder
    monkeypatch.setitem(sys.modules, "torchcodec", package)
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
    monkeypatch.setattr(FakeDecoder, "made", [])
    monkeypatch.setattr(FakeDecoder, "changes", {})
    return FakeDecoder


@pytest.fixture
def told(monkeypatch):
    """The kinds of files of which a process that has said nothing yet says that another reader takes them."""
    kinds: set[str] = set()
    monkeypatch.setattr(fallback, "_TOLD", kinds)
    return kinds


# Frames


@pytest.mark.parametrize("name", ["plain.mp4", "bframes.mp4", "nocount.mkv", "vp9.webm", "edited.mp4", "two.mp4"])
def test_frames_are_those_of_pyav(video, fake, name):
    with TorchcodecReader(video(name), threads=2) as reader, PyAVReader(video(name)) as other:
        assert (reader.num_frames, reader.fps, reader.size) == (other.num_frames, other.fps, other.size)
        assert np.array_equal(reader.seconds, other.seconds)
        last = reader.num_frames - 1
        for indices in ([last, 0, 3, 3], range(reader.num_frames), [5]):
            frames = reader.frames_at(indices)
            assert read_barcodes(frames) == read_barcodes(other.frames_at(indices))
            assert (frames.dtype, frames.is_contiguous()) == (torch.uint8, True)
        assert reader._substitute is None
    decoder = fake.made[0]
    assert decoder.threads == 2
    assert decoder.asked[0] == [0, 3, last], "each frame once, rising"


def test_no_indices_ask_for_nothing(video, fake):
    with TorchcodecReader(video("plain.mp4")) as reader:
        assert tuple(reader.frames_at([]).shape) == (0, 48, 64, 3)
    assert fake.made[0].asked == []


def test_the_stream_is_the_one_of_the_index(video, fake):
    with TorchcodecReader(video("two.mp4")) as reader:
        assert (reader.num_frames, reader.size) == (12, (24, 32))
    assert [d.stream_index for d in fake.made] == [0]


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation(tmp_path, fake, rotation):
    upright = barcode_frames(6) if rotation == 180 else barcode_frames(6, 64, 48)
    stored = np.rot90(upright, -rotation // 90, axes=(1, 2))
    path = str(write_video(tmp_path / "turned.mp4", stored, rotation=rotation))
    with TorchcodecReader(path) as reader:
        assert reader.size == upright.shape[1:3]
        assert read_barcodes(reader.frames_at([4, 0])) == [4, 0]
        assert reader._substitute is None


def test_a_closed_reader_lets_go(video, fake):
    reader = TorchcodecReader(video("plain.mp4"))
    reader.close()
    reader.close()
    assert reader._decoder is None
    with pytest.raises(AssertionError, match="closed reader"):
        reader.frames_at([0])


# Giving way


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("mpeg4.avi", "torchcodec's frames cannot be told in the container avi"),
        ("stream.ts", "torchcodec's frames cannot be told in the container mpegts"),
        ("tenbit.mp4", "torchcodec is not exact in the pixel format yuv420p10le"),
        ("odd.webm", "torchcodec is not exact at an odd height, 47"),
        ("midst.mkv", "torchcodec would show other frames before the first key frame"),
    ],
)
def test_what_would_be_other_frames_is_refused(video, fake, name, cause):
    with pytest.raises(UnsupportedByTorchcodec) as caught:
        TorchcodecReader(video(name))
    assert (caught.value.path, caught.value.cause) == (video(name), cause)
    assert caught.value.kind == cause.removesuffix(", 47")
    assert fake.made == []


@pytest.mark.parametrize(
    ("changes", "cause", "kind"),
    [
        ({"opening": RuntimeError("no\nstack")}, "torchcodec: no", "torchcodec cannot decode"),
        ({"opening": ValueError()}, "torchcodec: ValueError", "torchcodec cannot decode"),
        ({"metadata": {"rotation": -90.0}}, "torchcodec sees another size or rotation", None),
        ({"metadata": {"width": 66}}, "torchcodec sees another size or rotation", None),
        (
            {"length": 41},
            "torchcodec finds another number of frames than the file shows, 41 for 40",
            "torchcodec finds another number of frames than the file shows",
        ),
    ],
)
def test_an_opening_that_differs(video, fake, told, changes, cause, kind):
    fake.changes.update(changes)
    with pytest.raises(UnsupportedByTorchcodec) as caught:
        TorchcodecReader(video("plain.mp4"))
    assert (caught.value.cause, caught.value.kind) == (cause, kind or cause)
    with open_video(video("plain.mp4"), "torchcodec") as reader:
        assert type(reader) is PyAVReader
        assert read_barcodes(reader.frames_at([7])) == [7]
    assert told == {kind or cause}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"decoding": RuntimeError("Could not push packet to decoder")}, "torchcodec cannot decode"),
        ({"decoding": IndexError("no more frames")}, "torchcodec cannot decode"),
        ({"shift": 0.04}, "torchcodec gives other frames"),
    ],
)
def test_pyav_steps_in_where_decoding_differs(video, fake, told, changes, kind):
    with TorchcodecReader(video("plain.mp4"), threads=2) as reader:
        assert read_barcodes(reader.frames_at([3])) == [3]
        fake.changes.update(changes)
        assert read_barcodes(reader.frames_at([30, 2])) == [30, 2]
        substitute = reader._substitute
        assert type(substitute) is PyAVReader and substitute._threads == 2
        assert read_barcodes(reader.frames_at([1])) == [1]
        assert reader._substitute is substitute
    assert substitute.closed
    assert len(fake.made[0].asked) == 2
    assert told == {kind}


def test_pictures_of_another_size(video, fake, told):
    with TorchcodecReader(video("plain.mp4")) as reader:
        fake.made[0].pictures = fake.made[0].pictures[:, :40]
        assert read_barcodes(reader.frames_at([30, 2])) == [30, 2]
    assert told == {"torchcodec gives other frames"}


def test_a_file_that_nobody_can_decode_is_not_told_of(video, fake, told, monkeypatch):
    def fail(self, indices):
        raise DecodeError(self.path, "damaged")

    monkeypatch.setattr(PyAVReader, "frames_at", fail)
    with TorchcodecReader(video("plain.mp4")) as reader:
        fake.changes["decoding"] = RuntimeError("bad data")
        with pytest.raises(DecodeError, match="plain.mp4: damaged$") as caught:
            reader.frames_at([3])
    assert type(caught.value) is DecodeError
    assert told == set()


def test_broken_files_are_refused_before_torchcodec_sees_them(video, fake):
    for name in ("empty.mp4", "cut.mkv", "audio.m4a"):
        with pytest.raises(DecodeError) as caught:
            TorchcodecReader(video(name))
        assert type(caught.value) is DecodeError
    assert fake.made == []


# Where PyAV has no decoder


@pytest.fixture
def no_decoder(monkeypatch):
    """PyAV's FFmpeg knows no codec."""

    def refuse(path, *_):
        raise NoDecoderError(path, "no decoder for its video stream")

    monkeypatch.setattr(module, "index_video", refuse)
    monkeypatch.setattr("uniformer_video.video.pyav.open_indexed", refuse)


def test_torchcodec_alone(video, fake, told, no_decoder):
    with open_video(video("plain.mp4")) as reader:
        assert type(reader) is TorchcodecReader
        assert (reader.num_frames, reader.fps, reader.size) == (COUNT, 25.0, (48, 64))
        assert np.array_equal(reader.seconds, np.arange(COUNT) / 25)
        assert read_barcodes(reader.frames_at([39, 2])) == [39, 2]
        fake.changes["decoding"] = RuntimeError("gone bad")
        with pytest.raises(DecodeError, match="plain.mp4: torchcodec: gone bad$"):
            reader.frames_at([1])
    assert told == {"no decoder for its video stream"}


def test_torchcodec_has_none_either(video, fake, told, no_decoder):
    fake.changes["opening"] = RuntimeError("unknown codec")
    for backend in ("auto", "torchcodec", "pyav"):
        with pytest.raises(DecodeError, match="plain.mp4: no decoder for its video stream$"):
            open_video(video("plain.mp4"), backend)
    assert told == set()


def test_no_torchcodec_to_turn_to(video, monkeypatch, told, no_decoder):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(NoDecoderError, match="plain.mp4: no decoder for its video stream$"):
        open_video(video("plain.mp4"))
    assert told == set()


# Its absence


def test_not_installed(video, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec", None)
    with pytest.raises(UserError) as caught:
        open_video(video("plain.mp4"), "torchcodec")
    assert str(caught.value) == (
        "the video backend 'torchcodec' is not installed; install it with "
        "`pip install \"uniformer_video[torchcodec]\"` or use the backend 'pyav'"
    )


def test_installed_but_not_loadable(tmp_path, monkeypatch):
    """Without FFmpeg's libraries the import itself raises, in many lines."""
    (tmp_path / "torchcodec").mkdir()
    (tmp_path / "torchcodec" / "__init__.py").write_text(
        "raise RuntimeError('\\nCould not load libtorchcodec.\\n1 2')\n"
    )
    for name in [n for n in sys.modules if n.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError) as caught:
        import_torchcodec()
    assert str(caught.value).startswith(
        "the video backend 'torchcodec' cannot be loaded (Could not load libtorchcodec.): it needs FFmpeg's"
    )


# The library itself


@pytest.mark.skipif(not HAS_TORCHCODEC, reason="torchcodec is not installed")
def test_the_same_bits_as_pyav(video):
    for name in ("bframes.mp4", "opengop.mp4", "refresh.mp4", "edited.mp4", "variable.mkv", "two.mp4", "live.webm"):
        with open_video(video(name), "torchcodec") as reader, PyAVReader(video(name)) as other:
            assert type(reader) is TorchcodecReader, name
            count = reader.num_frames
            for indices in ([count - 1], range(count), [count // 2, 0, count // 2]):
                assert torch.equal(reader.frames_at(indices), other.frames_at(indices)), name
