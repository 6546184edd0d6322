"""What a timeline says: segments, edges, JSON."""

from __future__ import annotations

import numpy as np
import pytest
import simplejson
import torch
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.engine.timeline import Timeline

NAMES = ("red", "green", "blue")


def timeline(scores, *, names=NAMES, several=False, threshold=0.5, error=""):
    """Windows of 2 s every second."""
    count = len(scores)
    starts = np.arange(count, dtype=np.float64)
    return Timeline(
        path="a.mp4",
        fps=10.0,
        num_frames=10 * (count + 1),
        seconds=count + 1.0,
        window_seconds=2.0,
        stride_seconds=1.0,
        starts=starts,
        ends=starts + 2,
        scores=torch.tensor(scores),
        class_names=names,
        multi_label=several,
        threshold=threshold,
        error=error,
    )


LINE = timeline([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.5, 0.1, 0.4]])


def test_edges_lie_half_way_between_middles():
    assert LINE.centers.tolist() == [1, 2, 3, 4]
    assert LINE.edges.tolist() == [0, 1.5, 2.5, 3.5, 5]


@pytest.mark.parametrize(
    ("time", "window"), [(-1, 0), (0, 0), (1.49, 0), (1.5, 1), (2.6, 2), (3.5, 3), (4.9, 3), (5, 3), (99, 3)]
)
def test_the_window_of_a_moment(time, window):
    assert LINE.window_at(time) == window


def test_segments_merge_equal_classes():
    found = [(s.start_seconds, s.end_seconds, s.best.number, s.best.name, s.windows) for s in LINE.segments()]
    assert found == [(0, 2.5, 0, "red", 2), (2.5, 3.5, 1, "green", 1), (3.5, 5, 0, "red", 1)]
    assert [s.best.score for s in LINE.segments()] == pytest.approx([0.7, 0.7, 0.5])


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40))
def test_segments_tile_the_time(classes):
    line = timeline([[0.9 if k == best else 0.05 for k in range(3)] for best in classes])
    segments = line.segments()
    assert segments[0].start_seconds == 0
    assert segments[-1].end_seconds == line.ends[-1]
    pairs = list(zip(segments, segments[1:], strict=False))
    assert all(a.end_seconds == b.start_seconds and a.best.number != b.best.number for a, b in pairs)
    assert sum(s.windows for s in segments) == len(classes)
    assert [s.best.number for s in segments for _ in range(s.windows)] == classes
    assert all(line[line.window_at(s.start_seconds)].top(1)[0].number == s.best.number for s in segments)


def test_equal_scores_go_to_the_lower_class():
    assert [s.best.name for s in timeline([[0.2, 0.4, 0.4]]).segments()] == ["green"]


def test_several_labels_overlap():
    line = timeline([[0.9, 0.1, 0.2], [0.6, 0.7, 0.2], [0.5, 0.8, 0.2], [0.1, 0.2, 0.2], [0.6, 0.1, 0.2]], several=True)
    found = [(s.start_seconds, s.end_seconds, s.best.name, s.windows) for s in line.segments()]
    assert found == [(0, 3.5, "red", 3), (1.5, 3.5, "green", 2), (4.5, 6, "red", 1)]
    assert timeline([[0.1, 0.2, 0.3]], several=True).segments() == []


def test_a_window_is_a_prediction():
    found = LINE[2]
    assert (found.path, found.label, found.class_names) == ("a.mp4", "green", NAMES)
    assert LINE[-1].label == "red"
    assert len(LINE) == 4
    with pytest.raises(IndexError):
        LINE[4]


def test_json():
    content = simplejson.loads(simplejson.dumps(LINE.as_dict(2)))
    assert {key: content[key] for key in ("path", "fps", "frames", "seconds", "multi_label", "error")} == {
        "path": "a.mp4",
        "fps": 10,
        "frames": 50,
        "seconds": 5,
        "multi_label": False,
        "error": None,
    }
    assert (content["window_seconds"], content["stride_seconds"]) == (2, 1)
    assert "threshold" not in content
    assert len(content["windows"]) == 4
    assert content["windows"][1] == {
        "start_seconds": 1,
        "end_seconds": 3,
        "top": [{"class": 0, "name": "red", "score": 0.6}, {"class": 1, "name": "green", "score": 0.3}],
    }
    assert content["segments"][1] == {
        "start_seconds": 2.5,
        "end_seconds": 3.5,
        "class": 1,
        "name": "green",
        "score": 0.7,
        "windows": 1,
    }


def test_json_of_several_labels_without_names_that_broke_off():
    content = timeline([[0.9, 0.1, 0.2]], names=None, several=True, threshold=0.3, error="cut").as_dict(1)
    assert content["threshold"] == 0.3
    assert content["error"] == "cut"
    assert content["segments"][0]["name"] == "class 0"
    assert content["windows"][0]["top"][0]["name"] == "class 0"
