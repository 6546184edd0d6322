"""Scores against time, read back as what was asked of the plotting library and as pixels."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from PIL import Image

from uniformer_video.drawing.style import clock
from uniformer_video.drawing.timeline import COLOURS, OTHERS, draw_timeline, top_by_peak

EDGES = np.array([0.0, 1.0, 2.0, 4.0])
SCORES = np.array([[0.7, 0.2, 0.1], [0.3, 0.6, 0.1], [0.2, 0.5, 0.3]])


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_the_curves_are_the_scores_of_the_highest_peaks(tmp_path, figure):
    draw_timeline(EDGES, SCORES, tmp_path / "t.png", ["red", "green", "blue"], title="a.mp4")
    curves, strip = figure().axes
    steps = [patch.get_data() for patch in curves.patches]
    np.testing.assert_allclose([step.values for step in reversed(steps)], 100 * SCORES.T)
    assert all(step.edges.tolist() == EDGES.tolist() for step in steps)
    assert legend(figure()) == ["red  70 %", "green  60 %", "blue  30 %"]
    assert curves.get_title(loc="left") == "a.mp4"
    assert curves.get_ylim() == (-2, 104)
    assert strip.get_xlim() == (0, 4)
    assert strip.get_xlabel() == "time, seconds"
    with Image.open(tmp_path / "t.png") as picture:
        assert picture.size == (1430, 594)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0x22, 0x66, 0xAA), (0xDD, 0x77, 0x22)} <= colours


def test_the_strip_has_the_best_class_of_each_moment(tmp_path, figure):
    draw_timeline(EDGES, SCORES, tmp_path / "t.png")
    spans = [(p.get_x(), p.get_x() + p.get_width(), p.get_facecolor()) for p in figure().axes[1].patches]
    assert [(start, end) for start, end, _ in spans] == [(0, 1), (1, 4)]  # two windows of one class are one piece
    assert [colour[:3] for _, _, colour in spans] == [pytest.approx(rgb(COLOURS[0])), pytest.approx(rgb(COLOURS[1]))]
    assert legend(figure()) == ["class 0  70 %", "class 1  60 %", "class 2  30 %"]


def rgb(text):
    return tuple(int(text[k : k + 2], 16) / 255 for k in (1, 3, 5))


def test_of_many_classes_the_rest_is_grey(tmp_path, figure):
    scores = np.full((12, 400), 0.001)
    for window in range(12):
        scores[window, 7 * window] = 0.9 - 0.05 * window
    draw_timeline(np.arange(13.0), scores, tmp_path / "t.png")
    assert len(figure().axes[0].patches) == len(COLOURS)
    assert legend(figure())[-1] == "another of the 400 classes"
    last = figure().axes[1].patches[-1].get_facecolor()
    assert last[:3] == pytest.approx(rgb(OTHERS))


def test_many_windows_are_lines(tmp_path, figure):
    draw_timeline(np.linspace(0, 5400, 501), np.random.default_rng(0).random((500, 2)), tmp_path / "t.png")
    curves, strip = figure().axes
    assert len(curves.get_lines()) == 2
    assert not curves.patches
    assert strip.get_xlabel() == "time, hours:minutes:seconds"
    assert ticks_of(strip)[:3] == ["0:00", "10:00", "20:00"]


def ticks_of(axes):
    """Return the labels that can be seen."""
    low, high = axes.get_xlim()
    return [
        label.get_text()
        for at, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True)
        if low <= at <= high
    ]


@pytest.mark.parametrize(
    ("end", "ticks"), [(200, "0:20"), (600, "1:00"), (3600, "5:00"), (86400, "2:00:00"), (10**6, "24:00:00")]
)
def test_times_of_round_numbers(tmp_path, figure, end, ticks):
    draw_timeline(np.array([0, end]), np.array([[1.0]]), tmp_path / "t.png")
    labels = ticks_of(figure().axes[1])
    assert ticks == labels[1]
    assert 4 <= len(labels) <= 14


def test_several_labels_have_a_line_and_a_lane_each(tmp_path, figure):
    draw_timeline(EDGES, SCORES, tmp_path / "t.png", threshold=0.5)
    curves, strip = figure().axes
    assert [line.get_ydata()[0] for line in curves.get_lines()] == [50]
    lanes = [
        sorted((path.vertices[:, 0].min(), path.vertices[:, 0].max()) for path in lane.get_paths())
        for lane in strip.collections
    ]
    assert lanes == [[(0, 1)], [(1, 2), (2, 4)], []]
    assert len(legend(figure())) == 3


def test_why_it_breaks_off(tmp_path, figure):
    draw_timeline(EDGES, SCORES, tmp_path / "t.png", error="frame 5 of $9 cannot be decoded")
    assert figure()._supxlabel.get_text() == r"breaks off: frame 5 of \$9 cannot be decoded"


def test_names_of_any_kind(tmp_path, figure):
    names = ["$x^2", "pushing something so that it almost falls off the table but doesn't, slowly", ""]
    draw_timeline(EDGES, SCORES, tmp_path / "t.png", names, title="a $5 _ video" * 20)
    shown = legend(figure())
    assert shown[0] == r"\$x^2  70 %"
    assert "…" in shown[1]
    assert all(len(line) < 50 for text in shown for line in text.split("\n"))


def test_one_window_and_scores_that_are_none(tmp_path, figure):
    draw_timeline(np.array([0.0, 0.0]), np.array([[np.nan, 0.5]]), tmp_path / "t.png")
    assert legend(figure()) == ["class 1  50 %", "class 0  0 %"]


def test_peaks():
    assert top_by_peak(np.array([[0.1, 0.9, 0.3], [0.8, 0.0, 0.3]]), 2) == [1, 0]
    assert top_by_peak(np.array([[0.5, 0.5, 0.5]]), 5) == [0, 1, 2]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (125, "2:05"), (3725, "1:02:05"), (360000, "100:00:00")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
