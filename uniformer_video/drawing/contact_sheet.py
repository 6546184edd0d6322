"""A sheet of classified videos, as a picture."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from uniformer_video.drawing.style import DIM, INK, PAPER, RIGHT, SLOT, WRONG, class_name, fitted, write_text
from uniformer_video.runtime.paths import atomic_write


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
_LINE, _HEADER = 22, 70
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
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    right = sum(row.label == row.prediction for row in rows)
    write_text(
        draw, (_MARGIN, 14), f"{right} of the {len(rows)} videos shown are right", INK, width, size=22, bold=True
    )
    note = "each tile: one video, four frames, time runs from left to right" if rows else "no video was classified"
    write_text(draw, (_MARGIN, 42), note, DIM, width - 2 * _MARGIN, size=13)
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
    colour = RIGHT if correct else WRONG
    box = (*corner, corner[0] + _TILE[0] - 1, corner[1] + _TILE[1] - 1)
    draw.rounded_rectangle(box, radius=8, outline=colour, width=_BORDER)
    left, top = corner[0] + _BORDER + _PAD, corner[1] + _BORDER + _PAD
    for place, index in enumerate(np.linspace(0, len(row.frames) - 1, _FRAMES).round().astype(int)):
        x = left + place * (_FRAME_SIZE[0] + _GAP)
        draw.rectangle((x, top, x + _FRAME_SIZE[0] - 1, top + _FRAME_SIZE[1] - 1), fill=SLOT)
        picture = fitted(row.frames[index], _FRAME_SIZE)
        sheet.paste(picture, (x + (_FRAME_SIZE[0] - picture.width) // 2, top + (_FRAME_SIZE[1] - picture.height) // 2))
    # "true" and "predicted" take a fixed column, so that the two names stand below each other.
    names = left + 92
    first = top + _FRAME_SIZE[1] + 6
    second = first + _LINE
    edge = left + _STRIP_WIDTH
    write_text(draw, (left, first), "true", DIM, 92)
    write_text(draw, (names, first), class_name(row.label, class_names), INK, 270, bold=True)
    write_text(draw, (names + 280, first + 2), Path(row.path).name, DIM, edge - names - 280, size=12)
    write_text(draw, (left, second), "predicted", DIM, 92)
    mark = "\N{CHECK MARK}" if correct else "\N{BALLOT X}"
    write_text(draw, (names, second), f"{class_name(row.prediction, class_names)} {mark}", colour, 270, bold=True)
    _score_bar(draw, names + 280, second, edge, row.score, colour)


def _score_bar(draw: ImageDraw.ImageDraw, left: int, top: int, right: int, score: float, colour: str) -> None:
    """Draw a score as a bar and as percent."""
    score = min(max(float(score), 0.0), 1.0) if np.isfinite(score) else 0.0
    end = right - 54
    draw.rounded_rectangle((left, top + 5, end, top + 14), radius=4, fill=SLOT)
    if score > 0:
        draw.rounded_rectangle((left, top + 5, max(left + round(score * (end - left)), left + 8), top + 14), 4, colour)
    write_text(draw, (end + 8, top), f"{100 * score:.0f}%", INK, 46)
