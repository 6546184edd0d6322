from __future__ import annotations

import gc
import resource

import av
import numpy as np
import pytest
from PIL import Image

from tests.helpers import barcode_frames, read_barcodes, write_damaged, write_video
from tests.video.conftest import BROKEN, COUNT, GOOD
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.walk import iterate_frames

SPECIAL = ["variable.mkv", "one.mp4", "edited.mp4", "hidden.webm", "two.mp4", "av1.mkv", "tenbit.mp4", "odd.webm"]


@pytest.mark.parametrize("name", [*GOOD, *SPECIAL, "bframes.ts", "live.webm", "halfchroma.mp4"])
def test_the_frames_of_the_reader(video, name):
    with PyAVReader(video(name)) as reader:
        whole = reader.frames_at(range(reader.num_frames)).numpy()
    frames = list(iterate_frames(video(name)))
    assert all(frame.dtype == np.uint8 and frame.flags.c_contiguous for frame in frames)
    assert np.array_equal(np.stack(frames), whole)


def test_rotation(tmp_path):
    stored = np.rot90(barcode_frames(4, 64, 48), -1, axes=(1, 2))
    path = write_video(tmp_path / "turned.mp4", stored, rotation=90)
    frames = np.stack(list(iterate_frames(str(path))))
    assert frames.shape == (4, 64, 48, 3)
    assert read_barcodes(frames) == [0, 1, 2, 3]


def test_a_folder_of_pictures(tmp_path):
    for number, frame in enumerate(barcode_frames(5)):
        Image.fromarray(frame).save(tmp_path / f"a_{number:03d}.png")
    Image.fromarray(barcode_frames(1, first=99)[0]).save(tmp_path / "b_1.png")
    assert read_barcodes(np.stack(list(iterate_frames(str(tmp_path))))) == [0, 1, 2, 3, 4]
    assert read_barcodes(np.stack(list(iterate_frames(str(tmp_path), image_template="b_{}.png")))) == [99]


def test_frames_are_the_callers_own(video):
    first, second, *_ = iterate_frames(video("plain.mp4"))
    first[:] = 0
    assert read_barcodes(second[None]) == [1]
    second[:] = 0


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.timeout(30)
def test_files_that_cannot_be_opened(video, name):
    with pytest.raises(DecodeError) as caught:
        next(iterate_frames(video(name)))
    assert caught.value.path == video(name)


def test_frames_up_to_the_damage(video):
    frames = []
    with pytest.raises(DecodeError, match=f"frame [0-9]+ of {COUNT} cannot be decoded: ") as caught:
        for frame in iterate_frames(video("damaged.mp4")):
            frames.append(frame)
    assert read_barcodes(np.stack(frames)) == list(range(len(frames)))
    assert caught.value.cause.startswith(f"frame {len(frames)} of {COUNT} ")
    # The reader's frames_at says the same.
    with PyAVReader(video("damaged.mp4")) as reader, pytest.raises(DecodeError) as again:
        reader.frames_at(range(COUNT))
    assert str(again.value) == str(caught.value)


def test_damage_in_a_file_whose_frames_are_counted(tmp_path):
    good = write_video(tmp_path / "good.avi", barcode_frames(COUNT), codec="mpeg4", gop=10)
    path = str(write_damaged(tmp_path / "bad.avi", good, 0.5, 0.6))
    try:
        count = sum(1 for _ in iterate_frames(path))
    except DecodeError as error:
        assert error.path == path
    else:
        assert count == COUNT


@pytest.mark.parametrize(
    ("keep", "cause"),
    [
        (lambda pts: pts != 512 * 13, "frame 13 of 40 cannot be decoded: frame 13 is missing"),
        (lambda pts: pts != 512 * 20, "frame 20 of 40 cannot be decoded: frame 20 is missing"),
        (lambda pts: pts < 512 * 35, "frame 35 of 40 cannot be decoded: the video ends before it"),
    ],
)
def test_frames_that_do_not_come(video, keep, cause):
    with PyAVReader(video("plain.mp4")) as reader:
        original = PyAVReader._decoded
        reader._decoded = lambda key: (frame for frame in original(reader, key) if keep(frame.pts))
        with pytest.raises(DecodeError) as caught:
            list(reader.decoded_frames())
    assert caught.value.cause == cause


def test_stamps_that_no_packet_announced_are_counted_from_there(video):
    """The frames before were numbered by their stamps; the count goes on from them."""
    with PyAVReader(video("plain.mp4")) as reader:
        original = PyAVReader._decoded

        def renamed(key):
            for number, frame in enumerate(original(reader, key)):
                if number >= 7:
                    frame.pts += 1
                yield frame

        reader._decoded = renamed
        frames = [frame.to_ndarray(format="rgb24") for frame in reader.decoded_frames()]
    assert read_barcodes(np.stack(frames)) == list(range(COUNT))


def test_a_walk_that_is_left_closes_the_file(video, monkeypatch):
    closed = []
    original = PyAVReader.close
    monkeypatch.setattr(PyAVReader, "close", lambda reader: closed.append(reader.path) or original(reader))
    walk = iterate_frames(video("plain.mp4"))
    next(walk)
    assert not closed
    walk.close()
    assert closed == [video("plain.mp4")]


def test_memory_stays_flat(tmp_path):
    """Held at once, these frames would take 180 MB."""
    path = tmp_path / "long.mp4"
    frame = np.zeros((240, 320, 3), np.uint8)
    write_video(path, (frame for _ in range(800)), codec_options={"preset": "ultrafast"})
    gc.collect()
    assert sum(1 for _ in zip(iterate_frames(str(path)), range(20), strict=False)) == 20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert sum(1 for _ in iterate_frames(str(path))) == 800
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # kilobytes


def test_frames_come_as_decoded(video):
    with PyAVReader(video("bframes.mp4")) as reader:
        kinds = {type(frame) for frame in reader.decoded_frames()}
    assert kinds == {av.VideoFrame}
