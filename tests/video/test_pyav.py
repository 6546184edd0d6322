from __future__ import annotations

import av
import pytest

from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import COUNT
from tests.video.watched import Watched
from uniformer_video.video.index import index_video
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError


@pytest.fixture
def long_video(tmp_path):
    """100 frames with a key frame every 20."""
    return str(write_video(tmp_path / "long.mp4", barcode_frames(100), gop=20))


def test_only_wanted_frames_are_converted_and_decoding_stops_after_the_last(long_video):
    with Watched(long_video) as reader:
        assert read_barcodes(reader.frames_at([9, 3, 9, 3])) == [9, 3, 9, 3]
        assert reader.converted == 2
        assert reader.decoded == 10
        assert reader.passes == [(-1, [3, 9])]


def test_seeks_to_the_key_frame_needed(long_video):
    with Watched(long_video) as reader:
        assert read_barcodes(reader.frames_at([65, 63])) == [65, 63]
        assert reader.passes == [(3, [63, 65])]
        assert reader.decoded == 6


def test_seeks_over_a_gap_once(long_video):
    with Watched(long_video) as reader:
        assert read_barcodes(reader.frames_at([99, 2, 98, 1])) == [99, 2, 98, 1]
        assert reader.passes == [(-1, [1, 2]), (4, [98, 99])]
        assert reader.decoded == 3 + 20


def test_no_seek_for_a_small_saving(long_video):
    with Watched(long_video) as reader:
        reader.frames_at([10, 21])
        assert reader.passes == [(-1, [10, 21])]


def test_all_views_of_a_video_are_one_pass(long_video):
    with Watched(long_video) as reader:
        wanted = [*range(0, 64, 9), *range(12, 76, 9), *range(24, 88, 9), *range(36, 100, 9)]
        assert read_barcodes(reader.frames_at(wanted)) == wanted
        assert len(reader.passes) == 1
        assert reader.decoded == 100
        assert reader.converted == len(set(wanted))


def test_a_key_frame_that_is_none_is_passed_by(video):
    """A gradual refresh has marks that look like key frames, from which decoding gives nothing good at once."""
    with Watched(video("refresh.mp4")) as reader:
        assert read_barcodes(reader.frames_at([33])) == [33]
        assert [key for key, _ in reader.passes] == [3, -1]


def test_a_seek_that_lands_elsewhere_is_repaired(long_video, monkeypatch):
    with Watched(long_video) as reader:
        reader._index.keys[3] += 1  # no packet has this time stamp
        reader._number[reader._index.keys[3]] = 60
        assert read_barcodes(reader.frames_at([65])) == [65]
        assert reader.passes == [(3, [65]), (-1, [65])]


def test_untrusted_time_stamps_are_counted(video):
    with Watched(video("mpeg4.avi")) as reader:
        assert read_barcodes(reader.frames_at([30, 31])) == [30, 31]
        assert reader.passes == [(-1, [30, 31])]


def test_time_stamps_that_prove_wrong_are_given_up(video):
    with Watched(video("plain.mp4")) as reader:
        reader._number = {time + 1: number for time, number in reader._number.items()}
        assert read_barcodes(reader.frames_at([4, 2])) == [4, 2]
        assert read_barcodes(reader.frames_at([39])) == [39]


def test_edit_list_before_the_first_key_frame_shown(video):
    """Frames shown before the first shown key frame need the hidden one: from the start."""
    with Watched(video("edited.mp4")) as reader:
        assert read_barcodes(reader.frames_at([2])) == [7]
        assert read_barcodes(reader.frames_at([34])) == [39]
        assert [key for key, _ in reader.passes] == [-1, 2]


def test_frames_after_the_damage_are_given_once_a_key_frame_has_come(video):
    """Each frame is right or an error, and what stands in another group of pictures than the damage is right."""
    right, wrong = [], {}
    with PyAVReader(video("damaged.mp4")) as reader:
        for number in range(COUNT):
            try:
                assert read_barcodes(reader.frames_at([number])) == [number]
                right.append(number)
            except DecodeError as error:
                wrong[number] = error.cause
    assert wrong
    first, last = min(wrong), max(wrong)
    assert list(wrong) == list(range(first, last + 1))
    # It reaches from the damage to the end of its group of pictures: the frame before the next key frame.
    assert last % 10 == 9
    assert first > 0
    assert last < COUNT - 1
    assert wrong[last].startswith(f"frame {last} of {COUNT} cannot be decoded: ")


def test_damage_between_wanted_frames_does_not_matter(video):
    with PyAVReader(video("damaged.mp4")) as reader:
        assert read_barcodes(reader.frames_at([0, 39])) == [0, 39]


def test_a_lost_frame_spoils_those_that_build_on_it(tmp_path):
    """One packet taken out of the decoder's sight: frames shift for who counts, and lack their reference."""
    path = str(write_video(tmp_path / "lost.mp4", barcode_frames(30), gop=10))
    reader = PyAVReader(path)
    original = PyAVReader._decoded

    def without_13(key):
        for frame in original(reader, key):
            if reader._number[frame.pts] != 13:
                yield frame

    reader._decoded = without_13
    assert read_barcodes(reader.frames_at([12, 20, 29])) == [12, 20, 29]
    with pytest.raises(DecodeError, match=r"lost.mp4: frame 13 of 30 cannot be decoded: frame 13 is missing$"):
        reader.frames_at([13])
    with pytest.raises(DecodeError, match=r"lost.mp4: frame 15 of 30 cannot be decoded: frame 13 is missing$"):
        reader.frames_at([15])
    reader.close()


def test_a_gradual_refresh_does_not_heal_at_once(video):
    """Its frames 10, 20, 30 are marked as key frames but build on those before."""
    reader = PyAVReader(video("refresh.mp4"))
    original = PyAVReader._decoded
    reader._decoded = lambda key: (frame for frame in original(reader, key) if frame.pts != 512 * 13)
    with pytest.raises(DecodeError, match=r"frame 22 of 40 cannot be decoded: frame 13 is missing$"):
        reader.frames_at([2, 22])
    reader.close()


def test_a_video_that_ends_early(video):
    reader = PyAVReader(video("plain.mp4"))
    original = PyAVReader._decoded
    reader._decoded = lambda key: (frame for frame in original(reader, key) if frame.pts < 512 * 35)
    with pytest.raises(DecodeError, match=r"frame 36 of 40 cannot be decoded: the video ends before it$"):
        reader.frames_at([34, 36])
    reader.close()


@pytest.mark.parametrize("name", ["plain.mp4", "opengop.mp4", "nocount.mkv", "vp9.webm", "stream.ts", "edited.mp4"])
def test_frame_count_is_what_decodes(video, name):
    with av.open(video(name)) as container:
        assert index_video(video(name)).num_frames == sum(1 for _ in container.decode(video=0))


def test_first_of_two_streams(video):
    with PyAVReader(video("two.mp4")) as reader:
        assert (reader.num_frames, reader.size) == (12, (24, 32))
        assert read_barcodes(reader.frames_at([11, 3])) == [11, 3]


def test_av1(video):
    with PyAVReader(video("av1.mkv")) as reader:
        assert read_barcodes(reader.frames_at(range(5))) == [0, 1, 2, 3, 4]


def test_threads_give_the_same_frames(video):
    with PyAVReader(video("bframes.mp4")) as one, PyAVReader(video("bframes.mp4"), threads=2) as two:
        assert one.frames_at(range(COUNT)).equal(two.frames_at(range(COUNT)))
        assert two.frames_at([33, 2]).equal(one.frames_at([33, 2]))


def test_a_frame_lost_in_a_transport_stream_moves_no_other(tmp_path):
    """Counted, the frames after it would each be taken for the one before."""
    source = write_video(tmp_path / "x.ts", barcode_frames(COUNT, 96, 128), gop=12, codec="libx265", b_frames=2)
    data, moved, refused = source.read_bytes(), 0, 0
    for at in (50, 55, 60, 65):
        damaged = bytearray(data)
        damaged[at * 188 + 4 : at * 188 + 160] = b"\xff" * 156
        source.write_bytes(damaged)
        for is_timed in (True, False):
            with Stamped(str(source)) as reader:
                assert reader._timed
                reader._timed = is_timed
                try:
                    reader.frames_at(range(reader.num_frames))
                except DecodeError as error:
                    refused += is_timed and "is missing" in str(error)
                is_moved = reader.given != reader._index.stamps[: len(reader.given)]
                assert not (is_timed and is_moved)
                moved += is_moved
    assert moved and refused


class Stamped(PyAVReader):
    """A reader that notes the time stamps of the frames it gives out."""

    def __init__(self, path):
        super().__init__(path)
        self.given = []

    def upright_rgb(self, frame):
        self.given.append(frame.pts)
        return super().upright_rgb(frame)


@pytest.mark.parametrize("name", ["stream.ts", "bframes.ts", "midst.ts"])
def test_stamps_of_a_transport_stream_out_of_order_are_given_up(video, name):
    with Watched(video(name)) as reader:
        numbers = iter([0, 1, 1])
        reader._number = {stamp: next(numbers, n) for n, stamp in enumerate(reader._index.stamps)}
        first = COUNT - reader.num_frames
        assert read_barcodes(reader.frames_at([20, 3])) == [first + 20, first + 3]
        assert [key for key, _ in reader.passes] == [-1, -1]
        assert not reader._timed
