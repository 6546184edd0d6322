"""The curves of a training run against epochs, as a picture."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uniformer_video.drawing.style import BLUE, DIM, GREY, INK, ORANGE, PAPER, SLOT, save_png


def draw_curves(history: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write a PNG with three panels against epochs: training loss, validation accuracy, learning rate.

    Args:
        history: in the order of time, dicts with ``epoch`` (float: finished epochs) and any of ``train_loss``,
            ``val_top1``, ``val_top5`` and ``val_map`` (percent), ``lr``. A key that is absent, None, NaN or infinite is
            a point that is not drawn; other keys are passed over. A panel with no point says so.
        path: the PNG, replaced whole; its folder must exist.
    """
    entries = list(history)
    figure = Figure(figsize=(13.5, 4.0), dpi=110, layout="constrained", facecolor=PAPER)
    loss, accuracy, rate = figure.subplots(1, 3)
    _panel(loss, "training loss", entries, [("train_loss", "loss", BLUE)], "{:.3f}")
    _panel(
        accuracy,
        "validation mAP, %" if any("val_map" in entry for entry in entries) else "validation accuracy, %",
        entries,
        [("val_top5", "top-5", ORANGE), ("val_top1", "top-1", BLUE), ("val_map", "mAP", BLUE)],
        "{:.1f}",
    )
    accuracy.set_ylim(-2, 104)
    _panel(rate, "learning rate", entries, [("lr", "rate", GREY)], "{:.2g}")
    rate.yaxis.set_major_formatter("{x:.3g}")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlim(0, 1.03 * max([1.0, *(x for x, _ in _points(entries, "epoch"))]))
    save_png(figure, path)


def _panel(
    axes: Axes, title: str, entries: list[Mapping[str, Any]], series: list[tuple[str, str, str]], form: str
) -> None:
    """Draw each (key, name, colour) of ``series`` with its last value in the legend."""
    axes.set_title(title, loc="left", fontsize=11, color=INK)
    axes.set_xlabel("epoch", color=DIM)
    axes.tick_params(colors=DIM)
    axes.grid(True, color=SLOT)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(DIM)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    drawn = 0
    for key, name, colour in series:
        points = _points(entries, key)
        if points:
            marker = "o" if len(points) <= 40 else ""  # a single point has no line to be seen by
            last = form.format(points[-1][1])
            axes.plot(*zip(*points, strict=True), color=colour, marker=marker, ms=3.5, lw=1.6, label=f"{name}: {last}")
            drawn += 1
    if drawn:
        axes.legend(frameon=False, fontsize=10, labelcolor=INK, loc="best")
    else:
        axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center", va="center", color=DIM)
        axes.set_yticks([])


def _points(entries: list[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    pairs = [(entry.get("epoch"), entry.get(key)) for entry in entries]
    return [(float(x), float(y)) for x, y in pairs if x is not None and y is not None and np.isfinite([x, y]).all()]
