"""Two pictures of a run: its curves against epochs, and a sheet of classified videos."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image, ImageDraw, ImageFont

from uniformer_video.runtime.paths import atomic_write

# Blue, orange and grey that colour-blind readers can tell apart; text and lines on white.
_BLUE, _ORANGE, _GREY = "#2266aa", "#dd7722", "#667077"
_INK, _DIM, _PAPER, _SLOT = "#1d2327", "#7a858c", "#ffffff", "#e9edef"
_RIGHT, _WRONG = "#1d8a4b", "#c8322b"


def draw_curves(history: Iterable[Mapping[str, Any]], path: str | os.PathLike[str]) -> None:
    """Write a PNG with three panels against epochs: training loss, validation accuracy, learning rate.

    Args:
        history: in the order of time, dicts with ``epoch`` (float: finished epochs) and any of ``train_loss``,
            ``val_top1`` and ``val_top5`` (percent), ``lr``. A key that is absent, None, NaN or infinite is a point that
            is not drawn; other keys are passed over. A panel with no point says so.
        path: the PNG, replaced whole; its folder must exist.
    """
    entries = list(history)
    figure = Figure(figsize=(13.5, 4.0), dpi=110, layout="constrained", facecolor=_PAPER)
    loss, accuracy, rate = figure.subplots(1, 3)
    _panel(loss, "training loss", entries, [("train_loss", "loss", _BLUE)], "{:.3f}")
    _panel(
        accuracy,
        "validation accuracy, %",
        entries,
        [("val_top5", "top-5", _ORANGE), ("val_top1", "top-1", _BLUE)],
        "{:.1f}",
    )
    accuracy.set_ylim(-2, 104)
    _panel(rate, "learning rate", entries, [("lr", "rate", _GREY)], "{:.2g}")
    rate.yaxis.set_major_formatter("{x:.3g}")
    rate.set_ylim(bottom=0)
    for axes in (loss, accuracy, rate):
        axes.set_xlim(0, 1.03 * max([1.0, *(x for x, _ in _points(entries, "epoch"))]))
    with atomic_write(path, "wb") as file:
        FigureCanvasAgg(figure).print_png(file)


def _panel(
    axes: Axes, title: str, entries: list[Mapping[str, Any]], series: list[tuple[str, str, str]], form: str
) -> None:
    """Draw each (key, name, colour) of ``series`` with its last value in the legend."""
    axes.set_title(title, loc="left", fontsize=11, color=_INK)
    axes.set_xlabel("epoch", color=_DIM)
    axes.tick_params(colors=_DIM)
    axes.grid(True, color=_SLOT)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(_DIM)
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
        axes.legend(frameon=False, fontsize=10, labelcolor=_INK, loc="best")
    else:
        axes.text(0.5, 0.5, "nothing recorded", transform=axes.transAxes, ha="center", va="center", color=_DIM)
        axes.set_yticks([])


def _points(entries: list[Mapping[str, Any]], key: str) -> list[tuple[float, float]]:
    pairs = [(entry.get("epoch"), entry.get(key)) for entry in entries]
    return [(float(x), float(y)) for x, y in pairs if x is not None and y is not None and np.isfinite([x, y]).all()]


@dataclass(frozen=True)
class ContactRow:
    """One classified video.

    Args:
        frames: uint8 (T, H, W, 3) RGB in the order of time, T >= 1; four of them, evenly spaced, are shown.
        label: true class.
        prediction: predicted class.
        score: probability of the prediction, in [0, 1].
        path: the file; its name is shown.
    """

    frames: np.ndarray
    label: int
    prediction: int
    score: float
    path: str


_FRAMES, _FRAME_SIZE, _GAP = 4, (128, 96), 3
_BORDER, _PAD, _MARGIN, _SPACE = 4, 6, 24, 16
_TEXT, _LINE, _HEADER = 15, 22, 70
_STRIP_WIDTH = _FRAMES * _FRAME_SIZE[0] + (_FRAMES - 1) * _GAP
_TILE = (_STRIP_WIDTH + 2 * (_BORDER + _PAD), _FRAME_SIZE[1] + 2 * _LINE + 8 + 2 * (_BORDER + _PAD))


def draw_contact_sheet(
    rows: Sequence[ContactRow], path: str | os.PathLike[str], class_names: Sequence[str], columns: int = 3
) -> None:
    """Write a PNG of classified videos, a tile for each: four frames in the order of time, true and predicted class.

    A tile's frame is green and ticked where the prediction is right, red and crossed where it is wrong.

    Args:
        rows: the videos, in reading order; may be empty.
        path: the PNG, replaced whole; its folder must exist.
        class_names: names in label order; a class beyond them is shown as ``class 12``.
        columns: tiles side by side, >= 1.
    """
    assert columns >= 1, columns
    columns = min(columns, max(len(rows), 1))
    lines = max(-(-len(rows) // columns), 1)
    width = 2 * _MARGIN + columns * _TILE[0] + (columns - 1) * _SPACE
    height = _HEADER + lines * (_TILE[1] + _SPACE) - _SPACE + _MARGIN
    sheet = Image.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    right = sum(row.label == row.prediction for row in rows)
    _text(draw, (_MARGIN, 14), f"{right} of the {len(rows)} videos shown are right", _INK, width, size=22, bold=True)
    note = "each tile: one video, four frames, time runs from left to right" if rows else "no video was classified"
    _text(draw, (_MARGIN, 42), note, _DIM, width - 2 * _MARGIN, size=13)
    for number, row in enumerate(rows):
        line, column = divmod(number, columns)
        corner = (_MARGIN + column * (_TILE[0] + _SPACE), _HEADER + line * (_TILE[1] + _SPACE))
        _tile(sheet, draw, corner, row, class_names)
    with atomic_write(path, "wb") as file:
        sheet.save(file, format="PNG")


def _tile(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, corner: tuple[int, int], row: ContactRow, class_names: Sequence[str]
) -> None:
    correct = row.label == row.prediction
    colour = _RIGHT if correct else _WRONG
    box = (*corner, corner[0] + _TILE[0] - 1, corner[1] + _TILE[1] - 1)
    draw.rounded_rectangle(box, radius=8, outline=colour, width=_BORDER)
    left, top = corner[0] + _BORDER + _PAD, corner[1] + _BORDER + _PAD
    for place, index in enumerate(np.linspace(0, len(row.frames) - 1, _FRAMES).round().astype(int)):
        x = left + place * (_FRAME_SIZE[0] + _GAP)
        draw.rectangle((x, top, x + _FRAME_SIZE[0] - 1, top + _FRAME_SIZE[1] - 1), fill=_SLOT)
        picture = _fitted(row.frames[index])
        sheet.paste(picture, (x + (_FRAME_SIZE[0] - picture.width) // 2, top + (_FRAME_SIZE[1] - picture.height) // 2))
    # "true" and "predicted" take a fixed column, so that the two names stand below each other.
    names = left + 92
    first = top + _FRAME_SIZE[1] + 6
    second = first + _LINE
    edge = left + _STRIP_WIDTH
    _text(draw, (left, first), "true", _DIM, 92)
    _text(draw, (names, first), _class_name(row.label, class_names), _INK, 270, bold=True)
    _text(draw, (names + 280, first + 2), Path(row.path).name, _DIM, edge - names - 280, size=12)
    _text(draw, (left, second), "predicted", _DIM, 92)
    mark = "\N{CHECK MARK}" if correct else "\N{BALLOT X}"
    _text(draw, (names, second), f"{_class_name(row.prediction, class_names)} {mark}", colour, 270, bold=True)
    _score_bar(draw, names + 280, second, edge, row.score, colour)


def _score_bar(draw: ImageDraw.ImageDraw, left: int, top: int, right: int, score: float, colour: str) -> None:
    """Draw a score as a bar and as percent."""
    score = min(max(float(score), 0.0), 1.0) if np.isfinite(score) else 0.0
    end = right - 54
    draw.rounded_rectangle((left, top + 5, end, top + 14), radius=4, fill=_SLOT)
    if score > 0:
        draw.rounded_rectangle((left, top + 5, max(left + round(score * (end - left)), left + 8), top + 14), 4, colour)
    _text(draw, (end + 8, top), f"{100 * score:.0f}%", _INK, 46)


def _fitted(frame: np.ndarray) -> Image.Image:
    """Return a frame as large as it fits into its place, uncut."""
    picture = Image.fromarray(np.ascontiguousarray(frame))
    scale = min(_FRAME_SIZE[0] / picture.width, _FRAME_SIZE[1] / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.LANCZOS)


def _class_name(label: int, class_names: Sequence[str]) -> str:
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


@cache
def _font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans as matplotlib brings it, so that no machine lacks it."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def _text(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    colour: str,
    room: int,
    *,
    size: int = _TEXT,
    bold: bool = False,
) -> None:
    """Write ``text`` with its top left at ``corner``, its middle left out where it is wider than ``room`` pixels."""
    font = _font(size, bold)
    shown, keep = text, len(text)
    while font.getlength(shown) > room and keep > 1:
        keep -= 1
        shown = text[: (keep + 1) // 2] + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - keep // 2 :]
    draw.text(corner, shown, fill=colour, font=font)
