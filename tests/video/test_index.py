from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import av
import pytest

from tests.helpers import barcode_frames, write_video
from tests.video.conftest import COUNT, PTS
from uniformer_video.video.index import _frame_rate, _is_hidden, index_video, open_indexed, packet_mark
from uniformer_video.video.reader import DecodeError


def test_plain_mp4(video):
    index = index_video(video("plain.mp4"))
    # An mp4 of 25 frames a second has 12800 ticks a second here: 512 a frame.
    assert index.times == [512 * i for i in range(COUNT)]
    assert index.keys == [5120 * i for i in range(4)]
    assert index.key_packets == [0, 10, 20, 30]
    assert (index.packets, index.num_frames, index.fps) == (COUNT, COUNT, 25.0)
    assert (index.stored_size, index.size, index.rotation) == ((48, 64), (48, 64), 0)
    assert (index.stream, index.is_best) == (0, True)
    assert (index.container, index.pixel_format) == ("mov,mp4,m4a,3gp,3g2,mj2", "yuv420p")


def test_start_is_the_first_packet(video):
    for name, at in (
        ("plain.mp4", 0),
        ("bframes.mp4", -1024),
        ("edited.mp4", -3584),
        ("mpeg4.avi", 0),
        ("vp9.webm", 0),
    ):
        index = index_video(video(name))
        with av.open(video(name)) as container:
            packet = next(container.demux(video=0))
        assert index.start == (packet.pts, packet.pos, packet.size) == packet_mark(packet), name
        assert index.start_time == at, name


@pytest.mark.parametrize("name", ["stream.ts", "bframes.ts"])
def test_no_way_back_in_a_transport_stream(video, name):
    index = index_video(video(name))
    assert (index.container, index.start_time) == ("mpegts", None)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("vp9.webm", "yuv420p"), ("tenbit.mp4", "yuv420p10le"), ("halfchroma.mp4", "yuv422p"), ("odd.webm", "yuv420p")],
)
def test_pixel_format(video, name, expected):
    assert index_video(video(name)).pixel_format == expected


def test_the_container_stays_open_only_where_it_is_handed_over(video):
    index, container = open_indexed(video("bframes.mp4"), threads=2)
    assert index == index_video(video("bframes.mp4"))
    stream = container.streams.video[0]
    assert stream.codec_context.thread_count == 2
    container.seek(index.start_time, stream=stream)
    assert packet_mark(next(container.demux(stream))) == index.start
    container.close()


def test_key_of(video):
    index = index_video(video("plain.mp4"))
    assert [index.key_of(frame) for frame in (0, 9, 10, 39)] == [0, 0, 1, 3]


def test_open_group_of_pictures_has_keys_after_their_leading_frames(video):
    index = index_video(video("opengop.mp4"))
    # With leading B-frames, a key frame is stored before frames that are shown before it.
    shown = [index.times.index(key) for key in index.keys]
    assert shown[0] == 0
    assert any(number > packet for number, packet in zip(shown, index.key_packets, strict=True))
    for number, key in zip(shown[1:], range(1, len(shown)), strict=False):
        assert index.key_of(number - 1) == key - 1
        assert index.key_of(number) == key


def test_edit_list_hides_frames(video):
    index = index_video(video("edited.mp4"))
    assert (index.packets, index.num_frames) == (COUNT, COUNT - 5)
    # The first key frame is cut away: the first frames shown have none of their own.
    assert index.key_of(0) == -1
    assert len(index.keys) == 3


def test_hidden_vp8_frames_are_not_counted(video):
    index = index_video(video("hidden.webm"))
    assert (index.packets, index.num_frames) == (COUNT, COUNT - 2)


@pytest.mark.parametrize(
    ("codec", "data", "hidden"),
    [
        ("vp8", [0b0001_0000], False),
        ("vp8", [0b1110_1111, 0x10], True),
        ("vp9", [0b1000_0010, 0], False),  # a key frame
        ("vp9", [0b1000_0110, 0], False),
        ("vp9", [0b1000_0100, 0], True),
        ("vp9", [0b1000_1000], False),  # shows a frame that was decoded before
        ("vp9", [0b1001_0100, 0], True),  # profile 2
        ("vp9", [0b1011_0010, 0], True),  # profile 3, whose header is one bit longer
        ("vp9", [0b1011_0001, 0], False),
        ("vp9", [0b1011_0100, 0], False),
        ("vp9", [0b1000_0100, 9, 9, 0xC1, 2, 1, 0xC1], False),  # a superframe of two frames
        ("vp9", [0b1000_0100, 9, 9, 0xC0, 2, 1, 0xC1], True),  # looks like one
        ("vp9", [0b1000_0100, 0xC1], True),
    ],
)
def test_packets_that_show_no_frame(codec, data, hidden):
    assert _is_hidden(bytes(data), codec) is hidden


def test_matroska_has_no_count_in_its_header(video):
    with av.open(video("nocount.mkv")) as container:
        assert container.streams.video[0].frames == 0
    assert index_video(video("nocount.mkv")).num_frames == COUNT


def test_variable_frame_rate(video):
    index = index_video(video("variable.mkv"))
    assert index.times == PTS
    assert index.num_frames == len(PTS)


@pytest.mark.parametrize("name", ["mpeg4.avi", "stream.ts"])
def test_time_stamps_of_some_containers_are_not_trusted(video, name):
    index = index_video(video(name))
    assert (index.times, index.keys, index.num_frames) == ([], [], COUNT)
    # Those of MPEG streams tell frames apart all the same.
    assert index.frame_stamps == (index.stamps if name == "stream.ts" else [])


@pytest.mark.parametrize("name", ["midst.mkv", "midst.mp4", "midst.ts"])
def test_frames_before_the_first_that_can_be_decoded_do_not_count(video, name):
    index = index_video(video(name))
    assert (index.packets, index.num_frames, index.fps) == (COUNT - 7, COUNT - 10, 25.0)
    assert len(index.stamps) == COUNT - 10
    assert index.seconds[[0, -1]] == pytest.approx([0, (COUNT - 11) / 25], abs=1e-3)
    assert len(index.times) == (0 if name.endswith("ts") else COUNT - 10)
    assert index.keys == index.times[::10]


def test_interlaced(tmp_path, video):
    path = write_video(tmp_path / "x.mp4", barcode_frames(3), codec_options={"x264-params": "tff=1:interlaced=1"})
    assert (index_video(str(path)).interlaced, index_video(video("plain.mp4")).interlaced) == (True, False)


def test_first_of_two_streams(video):
    index = index_video(video("two.mp4"))
    assert (index.stream, index.is_best, index.num_frames, index.size) == (0, False, 12, (24, 32))


def rates(average=None, guessed=None, time_base=Fraction(1, 1000)):
    return SimpleNamespace(average_rate=average, guessed_rate=guessed, time_base=time_base)


def test_frame_rate_from_what_the_file_says():
    assert _frame_rate(rates(Fraction(30000, 1001), Fraction(25)), []) == 30000 / 1001
    assert _frame_rate(rates(None, Fraction(24)), []) == 24.0
    assert _frame_rate(rates(Fraction(0), Fraction(24)), []) == 24.0


def test_frame_rate_from_the_time_stamps():
    # five frames in 1000 milliseconds: four steps of a quarter second
    assert _frame_rate(rates(), [0, 250, 1000, 500, 750]) == 4.0
    assert _frame_rate(rates(), [0, None, 1000, 500, None]) == 4.0


@pytest.mark.parametrize(
    ("said", "times", "expected"),
    [
        (25, [0, 100, 200, 300], 10.0),  # a rate that the stamps plainly do not keep
        (1000, [0, 33, 67, 100], 30.0),  # "1000 frames a second", as some recorders write
        (30, [0, 33, 67, 100], 30.0),  # rounded to milliseconds: believed
        (120, [0, 8], 120.0),  # the rounding of two frames is large beside them
        (Fraction(30000, 1001), [0, 33, 67, 100, 133], 30000 / 1001),
        (25, [0, 10, 25, 90, 130, 131, 200, 360, 390, 500, 510, 530], 11 / 0.53),  # a variable rate
        (25, [0, None, None, None, None, 2000], 25.0),  # a few stamps, as in MPEG program streams
        (25, [0, 40, 80, 120, 0, 40, 80, 120], 25.0),  # two files put together
        (25, [0, 0, 0], 25.0),
    ],
)
def test_a_rate_is_believed_unless_the_time_stamps_plainly_say_other(said, times, expected):
    assert _frame_rate(rates(Fraction(said)), times) == pytest.approx(expected, rel=1e-9)


def test_seconds(video):
    assert index_video(video("variable.mkv")).seconds.tolist() == [time / 1000 for time in PTS]
    index = index_video(video("plain.mp4"))
    assert (index.time_base, index.stamps) == (Fraction(1, 12800), index.times)
    assert index.seconds.tolist() == [i / 25 for i in range(COUNT)]


@pytest.mark.parametrize("name", ["mpeg4.avi", "stream.ts", "bframes.ts"])
def test_seconds_where_time_stamps_do_not_name_frames(video, name):
    index = index_video(video(name))
    assert index.times == []
    assert index.seconds == pytest.approx([i / 25 for i in range(COUNT)], abs=1e-9)
    assert replace(index, stamps=[], fps=10.0).seconds == pytest.approx([i / 10 for i in range(COUNT)])


def test_frame_rate_of_a_single_frame():
    assert _frame_rate(rates(), [0]) == 25.0
    assert _frame_rate(rates(), [None, None]) == 25.0


CAUSES = {
    "empty.mp4": "the file is empty",
    "text.mp4": "not a video file, or cut off or damaged so that it cannot be opened",
    "noindex.mp4": "not a video file, or cut off or damaged so that it cannot be opened",
    "damagedhead.mp4": "not a video file, or cut off or damaged so that it cannot be opened",
    "audio.m4a": "the file has no video stream",
    "cover.m4a": "the file has no video stream",
}


@pytest.mark.parametrize("name", CAUSES)
def test_causes(video, name):
    with pytest.raises(DecodeError) as caught:
        index_video(video(name))
    assert (caught.value.path, caught.value.cause) == (video(name), CAUSES[name])


@pytest.mark.parametrize("name", ["cut.mp4", "cut.avi"])
def test_cut_file(video, name):
    with pytest.raises(DecodeError, match=r": the file breaks off or is damaged: \d+ whole packets of \d+$"):
        index_video(video(name))


def test_cut_matroska(video):
    size = os.path.getsize(video("cut.mkv"))
    with pytest.raises(DecodeError, match=rf": the file breaks off: {size} bytes of \d+$"):
        index_video(video("cut.mkv"))


def test_damaged_matroska(video):
    with pytest.raises(DecodeError, match=r": damaged at byte \d+$"):
        index_video(video("damaged.mkv"))
