"""A sheet of a data set, as a picture: a class in each row, with frames of its videos."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from uniformer_video.drawing.style import BLUE, DIM, GREY, INK, ORANGE, PAPER, SLOT, WRONG, fitted, font, write_text
from uniformer_video.runtime.paths import atomic_write


@dataclass(frozen=True)
class ClassRow:
    """One class.

    Args:
        name: of the class.
        counts: videos by split, such as ``{"train": 70, "val": 15, "test": 15}``, in the order shown.
        frames: uint8 (H, W, 3) RGB each, of any sizes; as many as there is room for are shown.
    """

    name: str
    counts: Mapping[str, int]
    frames: Sequence[np.ndarray]


FRAMES = 8
"""Frames in a row."""
FRAME_SIZE = (128, 96)
"""(width, height) of a frame's place, pixels."""

_GAP, _MARGIN, _SPACE, _TEXT_WIDTH = 3, 24, 10, 250
_HEADER, _LINE = 74, 20
_COLOURS = (BLUE, ORANGE, GREY)
_WIDTH = 2 * _MARGIN + _TEXT_WIDTH + FRAMES * (FRAME_SIZE[0] + _GAP) - _GAP
_MOST_FOOTER_LINES = 12


def draw_dataset_sheet(
    rows: Sequence[ClassRow],
    path: str | os.PathLike[str],
    *,
    title: str,
    note: str = "",
    more: Sequence[str] = (),
) -> None:
    """Write a PNG with a row for each class: name, number of videos by split, a bar of them, and frames.

    The bars are to one scale, so that rare classes are seen. A split without videos of a class is written in red.

    Args:
        rows: the classes shown, in order.
        path: the PNG, replaced whole; its folder must exist.
        title: first line.
        note: second line.
        more: names of further classes, written below.
    """
    footer = _wrapped(f"and {len(more)} more classes: {', '.join(more)}") if more else []
    height = _HEADER + len(rows) * (FRAME_SIZE[1] + _SPACE) + _LINE * len(footer) + _MARGIN
    sheet = Image.new("RGB", (_WIDTH, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    write_text(draw, (_MARGIN, 14), title, INK, _WIDTH - 2 * _MARGIN, size=22, bold=True)
    write_text(draw, (_MARGIN, 44), note, DIM, _WIDTH - 2 * _MARGIN, size=13)
    largest = max((sum(row.counts.values()) for row in rows), default=0)
    top = _HEADER
    for row in rows:
        _row(sheet, draw, top, row, largest)
        top += FRAME_SIZE[1] + _SPACE
    for line in footer:
        write_text(draw, (_MARGIN, top), line, DIM, _WIDTH - 2 * _MARGIN, size=13)
        top += _LINE
    with atomic_write(path, "wb") as file:
        sheet.save(file, format="PNG")


def _row(sheet: Image.Image, draw: ImageDraw.ImageDraw, top: int, row: ClassRow, largest: int) -> None:
    room = _TEXT_WIDTH - 16
    write_text(draw, (_MARGIN, top + 4), row.name, INK, room, bold=True)
    left = _MARGIN
    for place, (split, count) in enumerate(row.counts.items()):
        text = f"{split} {count}"
        colour = WRONG if not count else _COLOURS[place % len(_COLOURS)]
        write_text(draw, (left, top + 30), text, colour, max(_MARGIN + room - left, 0), size=13)
        left += round(font(13, False).getlength(text)) + 12
    # One scale for all rows; the whole room is the largest class.
    draw.rectangle((_MARGIN, top + 54, _MARGIN + room - 1, top + 61), fill=SLOT)
    before = 0
    for place, count in enumerate(row.counts.values()):
        start, end = (round(room * part / max(largest, 1)) for part in (before, before + count))
        if count:
            box = (_MARGIN + start, top + 54, _MARGIN + max(end, start + 1) - 1, top + 61)
            draw.rectangle(box, fill=_COLOURS[place % len(_COLOURS)])
        before += count
    for place in range(FRAMES):
        x = _MARGIN + _TEXT_WIDTH + place * (FRAME_SIZE[0] + _GAP)
        draw.rectangle((x, top, x + FRAME_SIZE[0] - 1, top + FRAME_SIZE[1] - 1), fill=SLOT)
        if place < len(row.frames):
            picture = fitted(row.frames[place], FRAME_SIZE)
            corner = (x + (FRAME_SIZE[0] - picture.width) // 2, top + (FRAME_SIZE[1] - picture.height) // 2)
            sheet.paste(picture, corner)


def _wrapped(text: str) -> list[str]:
    """Return ``text`` in lines that fit the sheet, an ellipsis at the end of the last where there are too many."""
    face, room = font(13, False), _WIDTH - 2 * _MARGIN
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        elif len(lines) == _MOST_FOOTER_LINES:
            lines[-1] += " \N{HORIZONTAL ELLIPSIS}"
            break
        else:
            lines.append(word)
    return lines
