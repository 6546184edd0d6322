"""Panels of growth, read back as pixels and as what was asked of the plotting library."""

from __future__ import annotations

import warnings

import pytest
from PIL import Image

from uniformer_video.drawing.growth import STYLES, GrowthPanel, draw_growth

VIEWS = GrowthPanel("one item", "views", "seconds", {"ours": [(3, 0.1), (12, 0.2)], "plain": [(3, 0.5), (12, 2.0)]})
FRAMES = GrowthPanel(
    "forward", "frames", "seconds", {"plain": [(4, 1.0), (8, 3.0)], "half": [(4, 0.5), (8, 1.0)], "ours": [(4, 0.9)]}
)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def lines(axes):
    return {line.get_label(): (line.get_color(), line.get_xydata().tolist()) for line in axes.get_lines()}


def test_panels_hold_their_points_in_the_colours_of_their_names(tmp_path, figure):
    draw_growth([VIEWS, FRAMES], tmp_path / "a.png")
    first, second = figure().axes
    blue, orange, green, _ = (colour for colour, _ in STYLES)
    assert lines(first) == {"ours": (blue, [[3, 0.1], [12, 0.2]]), "plain": (orange, [[3, 0.5], [12, 2.0]])}
    assert lines(second) == {
        "plain": (orange, [[4, 1.0], [8, 3.0]]),
        "half": (green, [[4, 0.5], [8, 1.0]]),
        "ours": (blue, [[4, 0.9]]),
    }
    labels = [(axes.get_title(loc="left"), axes.get_xlabel(), axes.get_ylabel()) for axes in (first, second)]
    assert labels == [("one item", "views", "seconds"), ("forward", "frames", "seconds")]
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {tuple(bytes.fromhex(colour[1:])) for colour in (blue, orange, green)} <= colours


def test_axes_begin_at_zero_and_have_ticks_where_it_was_measured(tmp_path, figure):
    draw_growth([VIEWS], tmp_path / "a.png")
    (axes,) = figure().axes
    assert axes.get_xlim() == (0, pytest.approx(12.48))
    assert axes.get_ylim() == (0, pytest.approx(2.16))
    assert axes.get_xticks().tolist() == [0, 3, 12]
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0", "3", "12"]


def test_ticks_that_would_run_into_each_other_are_spaced_evenly(tmp_path, figure):
    line = {"ours": [(x, 1.0) for x in (1, 2, 3, 100)]}
    draw_growth([GrowthPanel("t", "x", "y", line)], tmp_path / "a.png")
    ticks = figure().axes[0].get_xticks()
    assert {round(after - before, 6) for before, after in zip(ticks, ticks[1:], strict=False)} == {20.0}


@pytest.mark.parametrize(
    ("panels", "size", "places"), [(1, (385, 365), 1), (2, (770, 365), 2), (3, (1155, 365), 3), (5, (1155, 655), 6)]
)
def test_one_legend_in_a_free_place_or_above(panels, size, places, tmp_path, figure):
    draw_growth([VIEWS] * panels, tmp_path / "a.png", title="How", note="a machine")
    axes = figure().axes
    assert len(axes) == places
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == size
    legends = [place.get_legend() for place in axes if place.get_legend()] + figure().legends
    assert len(legends) == 1
    assert [text.get_text() for text in legends[0].get_texts()] == ["ours", "plain"]
    assert all(not place.axison for place in axes[panels:])
    assert (figure().get_suptitle(), figure().get_supxlabel()) == ("How", "a machine")


def test_a_panel_of_zeros_has_axes(tmp_path, figure):
    draw_growth([GrowthPanel("t", "x", "y", {"ours": [(0, 0.0)]})], tmp_path / "a.png")
    (axes,) = figure().axes
    assert (axes.get_xlim(), axes.get_ylim()) == ((0, 1), (0, 1))


def test_more_names_than_colours_are_a_mistake_of_the_caller(tmp_path):
    line = {str(number): [(1, 1.0)] for number in range(len(STYLES) + 1)}
    with pytest.raises(AssertionError):
        draw_growth([GrowthPanel("t", "x", "y", line)], tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
