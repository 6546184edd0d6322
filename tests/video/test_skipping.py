"""Frames that the decoder steps over: none that is wanted or that others build on; the pixels stay the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.helpers import write_damaged, write_video
from tests.video.conftest import COUNT
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.skipping import Skipper, unreferenced_test

_WRITERS = {
    "pyramid.mp4": {"gop": 25, "b_frames": 3, "codec_options": {"x264-params": "b-pyramid=normal"}},
    "strict.mkv": {"gop": 25, "b_frames": 8, "codec_options": {"x264-params": "b-pyramid=strict:b-adapt=0"}},
    "flat.mp4": {"gop": 40, "b_frames": 3, "codec_options": {"x264-params": "b-pyramid=none:b-adapt=0"}},
    "open.mp4": {"gop": 10, "b_frames": 4, "codec_options": {"x264-params": "open-gop=1:b-adapt=0"}},
    "refresh.mp4": {"gop": 20, "b_frames": 2, "codec_options": {"x264-params": "intra-refresh=1"}},
    "fields.mp4": {"gop": 20, "b_frames": 3, "codec_options": {"x264-params": "tff=1:interlaced=1"}},
    "slices.mp4": {"gop": 20, "b_frames": 3, "codec_options": {"x264-params": "slices=4:b-adapt=0"}},
    "hevc.mp4": {"codec": "libx265", "gop": 25, "b_frames": 4},
    "layers.mkv": {"codec": "libx265", "gop": 25, "b_frames": 4, "codec_options": {"x265-params": "temporal-layers=1"}},
    "tenbit.mp4": {"codec": "libx265", "gop": 25, "b_frames": 3, "pix_fmt": "yuv420p10le"},
    "vp9.webm": {"codec": "libvpx-vp9", "gop": 20},
    "mpeg4.mp4": {"codec": "mpeg4", "gop": 12, "codec_options": {"bf": "2"}},
    "mpeg2.mkv": {"codec": "mpeg2video", "gop": 12, "codec_options": {"bf": "2"}},
    "h264.avi": {"gop": 10, "b_frames": 2},
    "stream.ts": {"gop": 10, "b_frames": 3},
}  # fmt: skip
SKIPPING = [
    "pyramid.mp4",
    "strict.mkv",
    "flat.mp4",
    "open.mp4",
    "slices.mp4",
    "hevc.mp4",
    "tenbit.mp4",
]


def moving_texture(count: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Return frames that move and change, so that every frame differs and encoders use their B-frames; uint8."""
    generator = np.random.default_rng(5)
    texture = generator.integers(0, 256, (height // 4 + count, width // 4 + count, 3), np.uint8)
    texture = texture.repeat(4, 0).repeat(4, 1)
    frames = np.stack([texture[2 * t : 2 * t + height, t : t + width] for t in range(count)])
    for t in range(count):
        frames[t, 10:30, (3 * t) % (width - 20) :][:, :20] = (5 * t) % 256
    return frames


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return the path of a file, and all its pixels as a decoder gives them that steps over nothing."""
    folder, made = tmp_path_factory.mktemp("skipping"), {}

    def of(name: str):
        if name not in made:
            path = str(write_video(folder / name, moving_texture(COUNT), **_WRITERS[name]))
            with PyAVReader(path) as reader:
                made[name] = path, reader.frames_at(range(reader.num_frames))
                assert not reader._skipper.left_out
        return made[name]

    return of


@pytest.mark.parametrize("name", _WRITERS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_choice_of_frames_has_the_pixels_of_decoding_all(files, name, data):
    path, whole = files(name)
    choices = st.lists(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=6), min_size=1, max_size=3)
    with PyAVReader(path) as reader:
        for indices in data.draw(choices):
            assert reader.frames_at(indices).equal(whole[indices])
            assert not reader._skipper.left_out & set(indices)


@pytest.mark.parametrize("name", SKIPPING)
def test_some_frames_are_stepped_over(files, name):
    path, whole = files(name)
    with PyAVReader(path) as reader:
        assert reader.frames_at([len(whole) - 1]).equal(whole[-1:])
        assert len(reader._skipper.left_out) >= 3
        assert sum(1 for _ in reader.decoded_frames()) == len(whole)
        assert not reader._skipper.left_out


@pytest.mark.parametrize("name", ["layers.mkv", "vp9.webm", "mpeg4.mp4", "mpeg2.mkv", "h264.avi", "stream.ts"])
def test_where_it_is_not_sure_nothing_is_stepped_over(files, name):
    path, whole = files(name)
    with PyAVReader(path) as reader:
        reader.frames_at([len(whole) - 1])
        assert reader._skipper.left_out <= (set(range(COUNT)) if name == "layers.mkv" else set())


def test_several_threads_step_over_nothing(files):
    path, whole = files("flat.mp4")
    with PyAVReader(path, threads=2) as reader:
        assert reader.frames_at([30, 2]).equal(whole[[30, 2]])
        assert not reader._skipper.left_out


def test_a_lost_frame_that_others_build_on_is_noticed(files):
    """One that the decoder lost, and was not told to step over, spoils those after it as ever."""
    path, whole = files("flat.mp4")
    with PyAVReader(path) as reader:
        reader.frames_at([30])
        lost = max(set(range(25)) - reader._skipper.left_out)
        original = PyAVReader._decoded
        reader._decoded = lambda key: (f for f in original(reader, key) if reader._number[f.pts] != lost)
        with pytest.raises(DecodeError, match=rf"frame 30 of {COUNT} cannot be decoded: frame {lost} is missing$"):
            reader.frames_at([30])
        assert not reader._skipper.left_out  # judged with all frames there


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    name=st.sampled_from(["pyramid.mp4", "flat.mp4", "hevc.mp4", "strict.mkv"]),
    start=st.floats(0.05, 0.9),
    length=st.floats(0.0001, 0.05),
    indices=st.lists(st.integers(0, COUNT - 1), min_size=1, max_size=3),
)
def test_a_damaged_file_gives_right_frames_or_an_error(files, tmp_path, name, start, length, indices):
    """Nothing that a decoder which steps over nothing would refuse, unless it is right.

    (Damage that no decoder notices gives wrong pixels, and need not give the same wrong ones.)
    """
    path, whole = files(name)
    damaged = write_damaged(tmp_path / name, path, start, min(start + length, 0.95))
    try:
        reader = PyAVReader(str(damaged))
    except DecodeError:
        return
    with reader:
        try:
            got = reader.frames_at(indices)
        except DecodeError:
            return
        reader._skipper = Skipper(reader._container.streams[0].codec_context, {})
        for number, frame in zip(indices, got, strict=True):
            if not frame.equal(whole[number]):
                assert not reader.frames_at([number]).equal(whole[[number]])


H264 = bytes([1, 100, 0, 30, 0xFF, 0xE1, 0])


def packet(*units: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


@pytest.mark.parametrize(
    ("data", "verdict"),
    [
        (packet(b"\x01abc"), True),  # a slice that nothing refers to
        (packet(b"\x01abc", b"\x01def"), True),
        (packet(b"\x06abc", b"\x09a", b"\x01abc"), True),  # supplemental information, delimiter
        (packet(b"\x41abc"), False),  # a slice that others refer to
        (packet(b"\x41abc", b"\x01def"), False),  # two fields, of which one is referred to
        (packet(b"\x65abc"), False),  # a key frame
        (packet(b"\x68abc", b"\x01abc"), False),  # brings parameters
        (packet(b"\x06abc"), False),  # no frame
        (packet(b"\x01abc")[:-1], False),
        (packet(b"\x01abc") + b"\0", False),
        (packet(b"\x81abc"), False),
        (b"\0\0\0\0" * 4, False),
        (b"", False),
    ],
)
def test_h264_packets(data, verdict):
    assert unreferenced_test("h264", H264)(data) is verdict


@pytest.mark.parametrize(
    ("layers", "data", "verdict"),
    [
        (1, packet(b"\x00\x01ab"), True),  # TRAIL_N
        (1, packet(b"\x10\x01ab"), True),  # RASL_N
        (1, packet(b"\x02\x01ab"), False),  # TRAIL_R
        (1, packet(b"\x26\x01ab"), False),  # IDR
        (1, packet(b"\x44\x01ab", b"\x00\x01ab"), False),  # brings parameters
        (1, packet(b"\x4e\x01ab", b"\x00\x01ab"), True),  # supplemental information
        (1, packet(b"\x00\x09ab"), False),  # another layer
        (2, packet(b"\x00\x01ab"), False),  # lower of two temporal layers
        (2, packet(b"\x00\x02ab"), True),
    ],
)
def test_hevc_packets(layers, data, verdict):
    header = bytes([1, *[0] * 20, layers << 3 | 3, 0])
    assert unreferenced_test("hevc", header)(data) is verdict


def test_streams_that_are_not_known():
    assert unreferenced_test("vp9", None) is None
    assert unreferenced_test("h264", b"\0\0\0\1\x67abcd") is None  # start codes between units
    assert unreferenced_test("hevc", bytes([1, *[0] * 22])) is None  # temporal layers are not said
