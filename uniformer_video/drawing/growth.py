"""How something grows with each of several quantities, as a picture: a small panel for each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from uniformer_video.drawing.style import BLUE, DIM, GREY, INK, ORANGE, PAPER, RIGHT, SLOT, save_png

COLUMNS = 3
"""Panels side by side."""
STYLES = ((BLUE, "o"), (ORANGE, "s"), (RIGHT, "^"), (GREY, "D"))
"""Colour and mark of each line, in the order in which their names first come; the same in all panels."""

_WIDTH, _HEIGHT, _HEAD = 3.85, 2.9, 0.75  # of a panel, and of the lines above and below all of them, inches


@dataclass(frozen=True)
class GrowthPanel:
    """Lines against one quantity.

    Args:
        title: what is measured, such as ``test of 20 videos``.
        x_label: the quantity, with its unit.
        y_label: what it costs, with its unit.
        series: by name, points ``(x, y)`` with x rising; y >= 0. Both axes begin at 0, so that a straight line through
            the corner is growth in proportion.
    """

    title: str
    x_label: str
    y_label: str
    series: Mapping[str, Sequence[tuple[float, float]]]


def draw_growth(
    panels: Sequence[GrowthPanel], path: str | os.PathLike[str], *, title: str = "", note: str = ""
) -> None:
    """Write a PNG with a panel for each quantity, three side by side, and one legend for all.

    Args:
        panels: at least one, from left to right and top to bottom.
        path: the PNG, replaced whole; its folder must exist.
        title: above the panels.
        note: a lesser line below them, such as the machine.
    """
    assert panels, "a picture without a panel"
    names = list(dict.fromkeys(name for panel in panels for name in panel.series))
    assert len(names) <= len(STYLES), names
    columns = min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(_WIDTH * columns, _HEIGHT * rows + _HEAD), dpi=100, layout="constrained", facecolor=PAPER)
    figure.get_layout_engine().set(w_pad=0.12, h_pad=0.12)
    places = figure.subplots(rows, columns, squeeze=False).flatten()
    for axes, panel in zip(places, panels, strict=False):
        _panel(axes, panel, names)
    free = places[len(panels) :]
    for axes in free:
        axes.set_axis_off()
    lines = {line.get_label(): line for axes in places for line in axes.get_lines()}
    handles = [lines[name] for name in names if name in lines]
    style = {"frameon": False, "fontsize": 11, "labelcolor": INK}
    if len(free):
        free[0].legend(handles=handles, loc="center", **style)
    else:
        figure.legend(handles=handles, loc="outside upper right", ncols=len(names), **style)
    if title:
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    if note:
        figure.supxlabel(note, x=0.012, ha="left", fontsize=9.5, color=DIM)
    save_png(figure, path)


def _panel(axes: Axes, panel: GrowthPanel, names: Sequence[str]) -> None:
    axes.set_title(panel.title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel(panel.x_label, color=INK, fontsize=10)
    axes.set_ylabel(panel.y_label, color=INK, fontsize=10)
    axes.tick_params(colors=DIM, labelsize=9.5)
    axes.grid(True, color=SLOT)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(DIM)
    points = [point for line in panel.series.values() for point in line]
    for name, line in panel.series.items():
        colour, mark = STYLES[names.index(name)]
        axes.plot(*zip(*line, strict=True), color=colour, marker=mark, ms=4.5, lw=1.7, label=name, clip_on=False)
    axes.set_xlim(0, 1.04 * max((x for x, _ in points), default=1.0) or 1.0)
    axes.set_ylim(0, 1.08 * max((y for _, y in points), default=1.0) or 1.0)
    measured = sorted({0.0, *(x for x, _ in points)})
    # Ticks where something was measured, unless they would run into each other.
    crowded = any(after - before < 0.09 * measured[-1] for before, after in pairwise(measured))
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]) if crowded else FixedLocator(measured))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter("{x:g}")
