"""Class scores against the time of a video, as a picture."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from uniformer_video.drawing.style import BLUE, DIM, INK, ORANGE, PAPER, SLOT, WRONG, class_name, clock, save_png
from uniformer_video.drawing.text import printable

COLOURS = (BLUE, ORANGE, "#1d8a4b", "#b0367c", "#8a6d1d", "#44aacc", "#7a4fbf", "#333a3f")
"""Of the classes shown, in turn: neighbours differ in lightness too, for colour-blind readers and for paper."""
OTHERS = "#c5ccd1"
"""Of all classes that are not shown."""

_NAME_WIDTH, _NAME_LINES = 36, 2
_MINUTES = 180
_STEPS = 120
_TICKS = 12
_ROUND_SECONDS = (15, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)


def draw_timeline(
    edges: np.ndarray,
    scores: np.ndarray,
    path: str | os.PathLike[str],
    class_names: Sequence[str] = (),
    *,
    title: str = "",
    threshold: float | None = None,
    error: str = "",
) -> None:
    """Write a PNG: the scores of the classes with the highest peaks, and below them the best class at each time.

    Args:
        edges: float (W + 1,), rising: window w stands for the time from ``edges[w]`` to ``edges[w + 1]``, seconds.
        scores: float (W, K) in [0, 1], W >= 1; NaN is not drawn.
        path: the PNG, replaced whole; its folder must exist.
        class_names: names in label order; a class beyond them is shown as ``class 12``.
        title: above the curves.
        threshold: of several labels a video, the score from which a class is there: drawn as a line, and the strip
            below shows each class where it is there. None: one label a video.
        error: why the video breaks off, said at the bottom.
    """
    assert scores.ndim == 2 and len(edges) == len(scores) + 1 and len(scores), (edges.shape, scores.shape)
    scores = np.asarray(scores, np.float64)
    shown = top_by_peak(scores, len(COLOURS))
    figure = Figure(figsize=(13.0, 5.4), dpi=110, layout="constrained", facecolor=PAPER)
    lanes = len(shown) if threshold is not None else 1
    curves, strip = figure.subplots(2, 1, sharex=True, height_ratios=(8, max(1.0, 0.45 * lanes)))
    _curves(curves, edges, scores, shown, threshold)
    title = printable(title)
    text = title if len(title) <= 100 else f"{title[:49]}…{title[-50:]}"
    curves.set_title(text.replace("$", r"\$"), loc="left", fontsize=12, color=INK)
    if error:
        note = textwrap.shorten(f"breaks off: {error}", 150, placeholder="…").replace("$", r"\$")
        figure.supxlabel(note, x=0.01, ha="left", fontsize=10, color=WRONG)
    if threshold is None:
        others = _best_strip(strip, edges, scores, shown)
    else:
        others = _presence_strip(strip, edges, scores, shown, threshold)
    _time_axis(strip, float(edges[0]), float(edges[-1]))
    labels = [f"{_short(class_name(k, class_names))}  {100 * _peak(scores[:, k]):.0f} %" for k in shown]
    patches = [Patch(color=colour, label=label) for colour, label in zip(COLOURS, labels, strict=False)]
    if others:
        patches.append(Patch(color=OTHERS, label=f"another of the {scores.shape[1]} classes"))
    figure.legend(
        handles=patches,
        loc="outside right upper",
        title="classes, and their highest scores",
        frameon=False,
        fontsize=10,
        labelcolor=INK,
        alignment="left",
    )
    save_png(figure, path)


def top_by_peak(scores: np.ndarray, count: int) -> list[int]:
    """Return the ``count`` classes of ``scores`` (W, K) with the highest peaks, highest first, NaN counting as 0."""
    peaks = np.nan_to_num(scores).max(axis=0)
    return np.argsort(-peaks, kind="stable")[:count].tolist()


def _curves(axes: Axes, edges: np.ndarray, scores: np.ndarray, shown: list[int], threshold: float | None) -> None:
    middles = (edges[1:] + edges[:-1]) / 2
    # Few windows as the steps that they are; many as a line through their middles.
    for colour, number in reversed(list(zip(COLOURS, shown, strict=False))):
        if len(scores) <= _STEPS:
            axes.stairs(100 * scores[:, number], edges, baseline=None, color=colour, lw=1.8)
        else:
            axes.plot(middles, 100 * scores[:, number], color=colour, lw=1.3)
    if threshold is not None:
        axes.axhline(100 * threshold, color=DIM, lw=1, ls=(0, (4, 3)))
    axes.set_ylim(-2, 104)
    axes.set_ylabel("score, %", color=DIM)
    axes.grid(True, color=SLOT)
    _plain(axes)


def _best_strip(axes: Axes, edges: np.ndarray, scores: np.ndarray, shown: list[int]) -> bool:
    """Draw the best class of each window; return whether one is not among those shown."""
    colours = dict(zip(shown, COLOURS, strict=False))
    best = np.nan_to_num(scores, nan=-1.0).argmax(axis=1).tolist()
    first = 0
    for last, number in enumerate(best):  # neighbours of one class are one piece, so that no seam shows
        if last + 1 == len(best) or best[last + 1] != number:
            axes.axvspan(edges[first], edges[last + 1], color=colours.get(number, OTHERS), lw=0)
            first = last + 1
    axes.set_ylabel("best", color=DIM, rotation=0, ha="right", va="center")
    axes.set_yticks([])
    _plain(axes)
    return any(number not in colours for number in best)


def _presence_strip(axes: Axes, edges: np.ndarray, scores: np.ndarray, shown: list[int], threshold: float) -> bool:
    """Draw a lane for each class, filled where its score reaches the threshold; None is left out."""
    for lane, (colour, number) in enumerate(zip(COLOURS, shown, strict=False)):
        there = scores[:, number] >= threshold
        spans = [(edges[k], edges[k + 1] - edges[k]) for k in np.flatnonzero(there)]
        axes.broken_barh(spans, (-lane - 0.4, 0.8), color=colour, lw=0)
    axes.set_ylim(0.5 - len(shown), 0.5)
    axes.set_ylabel("there", color=DIM, rotation=0, ha="right", va="center")
    axes.set_yticks([])
    _plain(axes)
    return False


def _time_axis(axes: Axes, start: float, end: float) -> None:
    axes.set_xlim(start, end if end > start else start + 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=_TICKS, steps=[1, 2, 5, 10]))
    if end - start > _MINUTES:
        step = next((s for s in _ROUND_SECONDS if (end - start) / s <= _TICKS), 86400)
        axes.xaxis.set_major_locator(MultipleLocator(max(step, round((end - start) / _TICKS / step) * step)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: clock(seconds)))
        axes.set_xlabel("time, hours:minutes:seconds" if end >= 3600 else "time, minutes:seconds", color=DIM)
    else:
        axes.set_xlabel("time, seconds", color=DIM)


def _plain(axes: Axes) -> None:
    axes.tick_params(colors=DIM)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(DIM)


def _peak(values: np.ndarray) -> float:
    return float(np.nan_to_num(values).max())


def _short(name: str) -> str:
    """Return a name in at most two lines, its middle left out where it is longer."""
    name, room = printable(name), _NAME_LINES * _NAME_WIDTH - 8
    text = name if len(name) <= room else f"{name[: room // 2]}…{name[len(name) - room // 2 :]}"
    # A dollar sign would begin a formula.
    return "\n".join(textwrap.wrap(text, _NAME_WIDTH)[: _NAME_LINES + 1]).replace("$", r"\$")
