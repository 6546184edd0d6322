from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

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
