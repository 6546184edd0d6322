"""Memory and open files of the processes of a training, over its steps, as a picture: a flat line is what is wanted."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from uniformer_video.drawing.style import BLUE, DIM, GREY, INK, ORANGE, PAPER, RIGHT, SLOT, save_png

COLORS = (BLUE, ORANGE, RIGHT, GREY)
"""Of the processes, in their order."""


@dataclass(frozen=True)
class MemoryLine:
    """What one process took.

    Args:
        steps: rising.
        mib: memory at each of them, MiB.
        files: open files at each of them.
    """

    steps: Sequence[int]
    mib: Sequence[float]
    files: Sequence[int]


def draw_memory(
    lines: Mapping[str, MemoryLine],
    path: str | os.PathLike[str],
    *,
    warm_up: int = 0,
    title: str = "",
    note: str = "",
) -> None:
    """Write a PNG with memory above and open files below, a line for each process, both from 0 on.

    Args:
        lines: by name, at least one and at most ``len(COLORS)``, each with two points or more.
        path: the PNG, replaced whole; its folder must exist.
        warm_up: steps that do not count, shaded.
        title: above.
        note: a lesser line below, such as the machine.
    """
    assert 0 < len(lines) <= len(COLORS), list(lines)
    figure = Figure(figsize=(9, 5.6), dpi=100, layout="constrained", facecolor=PAPER)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    for (name, line), color in zip(lines.items(), COLORS, strict=False):
        above.plot(line.steps, line.mib, color=color, lw=1.6, label=name)
        below.plot(line.steps, line.files, color=color, lw=1.2, label=name)
    last = max(line.steps[-1] for line in lines.values())
    for axes, label in ((above, "memory without files (PSS), MiB"), (below, "open files")):
        _style(axes, label, last)
        if warm_up:
            axes.axvspan(0, warm_up, color=SLOT, alpha=0.6, lw=0)
    below.set_xlabel("training steps", color=INK, fontsize=10)
    above.legend(frameon=False, fontsize=10, labelcolor=INK, loc="lower right")
    if title:
        figure.suptitle(title, x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    if note:
        figure.supxlabel(note, x=0.012, ha="left", fontsize=9.5, color=DIM)
    save_png(figure, path)


def _style(axes: Axes, label: str, last: int) -> None:
    axes.set_ylabel(label, color=INK, fontsize=10)
    axes.tick_params(colors=DIM, labelsize=9.5)
    axes.grid(True, color=SLOT)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(DIM)
    axes.set_xlim(0, last)
    axes.set_ylim(bottom=0)
    axes.margins(y=0.08)
    for axis, bins in ((axes.xaxis, 8), (axes.yaxis, 5)):
        axis.set_major_locator(MaxNLocator(nbins=bins, integer=True, steps=[1, 2, 2.5, 5, 10]))
