from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

import uniformer_video.video.reader as module
from uniformer_video.video.reader import DecodeError, ReaderBase


class Ten(ReaderBase):
    path, num_frames, fps, size = "ten.mp4", 10, 25.0, (4, 6)


def test_decode_error_is_one_line_with_path_and_cause():
    error = DecodeError("a b/c.mp4", "broken\n  in the\tmiddle")
    assert (error.path, error.cause) == ("a b/c.mp4", "broken in the middle")
    assert str(error) == "a b/c.mp4: broken in the middle"


def test_decode_error_survives_the_way_out_of_a_worker():
    error = pickle.loads(pickle.dumps(DecodeError("x.mp4", "gone")))
    assert type(error) is DecodeError
    assert (str(error), error.path, error.cause) == ("x.mp4: gone", "x.mp4", "gone")


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_places_are_distinct_rising_and_remember_every_position(kind):
    places = Ten()._places(kind([7, 0, 7, 3, 0]))
    assert list(places.items()) == [(0, [1, 4]), (3, [3]), (7, [0, 2])]


def test_times_at_a_constant_rate():
    assert Ten().seconds.dtype == np.float64
    assert Ten().seconds.tolist() == [i / 25 for i in range(10)]


def test_room_for_what_was_asked(monkeypatch):
    room = Ten()._room({3: [0, 2], 7: [1]})
    assert (room.dtype, room.shape) == (np.uint8, (3, 4, 6, 3))
    assert Ten()._room({}).shape == (0, 4, 6, 3)
    monkeypatch.setattr(module, "MAX_CLIP_BYTES", 3 * 4 * 6 * 3)
    assert Ten()._room({3: [0, 2], 7: [1]}).shape == (3, 4, 6, 3)
    with pytest.raises(DecodeError, match=r"^ten.mp4: 4 frames of 6x4 at once take 0.0 GiB; at most \S+ GiB are read$"):
        Ten()._room({3: [0, 2, 3], 7: [1]})


def test_more_frames_than_memory_holds():
    reader = Ten()
    reader.size = (2160, 3840)
    with pytest.raises(DecodeError, match="^ten.mp4: 1000 frames of 3840x2160 at once take 23.2 GiB; at most 8 GiB "):
        reader._room({0: list(range(1000))})


def test_memory_that_the_system_refuses(monkeypatch):
    def refuse(*_):
        raise MemoryError

    monkeypatch.setattr(np, "empty", refuse)
    with pytest.raises(DecodeError, match="^ten.mp4: 1 frames of 6x4 at once take 0.0 GiB, more memory than there is$"):
        Ten()._room({0: [0]})


def test_places_of_nothing():
    assert Ten()._places([]) == {}


@pytest.mark.parametrize("index", [10, -1])
def test_index_outside_is_an_index_error(index):
    with pytest.raises(IndexError, match=f"^frame {index} of ten.mp4, which has frames 0 to 9$"):
        Ten()._places([0, index])


def test_fractional_index_is_refused():
    with pytest.raises(TypeError):
        Ten()._places([1.5])


def test_context_manager_closes():
    with Ten() as reader:
        assert not reader.closed
    assert reader.closed
    with pytest.raises(AssertionError, match="closed reader"):
        reader._places([0])
