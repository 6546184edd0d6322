"""A sheet of clips as a network sees them, as a picture: a card for each video, a strip of frames for each clip."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from uniformer_video.drawing.style import DIM, INK, ORANGE, PAPER, SLOT, WRONG, fitted, write_text
from uniformer_video.runtime.paths import atomic_write


@dataclass(frozen=True)
class ClipStrip:
    """One clip.

    Args:
        frames: uint8 (T, H, W, 3) RGB, T >= 1.
        indices: (T,) numbers of the frames in their video.
        seconds: (T,) their times in the video, seconds; None where they are not known.
        title: what the clip is, such as ``repeat 1 of 2``.
        lines: what else is to be said of it, such as its labels, a line each.
        mirrored: whether left and right are exchanged; said in a colour of its own.
        joined: whether it belongs to the strip above, so that no line parts them.
    """

    frames: np.ndarray
    indices: Sequence[int]
    seconds: Sequence[float] | None
    title: str
    lines: Sequence[str] = ()
    mirrored: bool = False
    joined: bool = False


@dataclass(frozen=True)
class ClipCard:
    """One video.

    Args:
        title: its class or classes.
        source: where it comes from: number, file, size.
        strips: its clips; none where it could not be read.
        warning: what went wrong; empty: nothing.
    """

    title: str
    source: str
    strips: Sequence[ClipStrip] = ()
    warning: str = ""


COLUMNS = 8
"""Frames side by side, at most."""
TALLEST = 30000
"""Height of a sheet in pixels beyond which programs refuse to show it."""

_MARGIN, _HEADER, _NOTE, _SPACE, _PAD = 24, 78, 18, 18, 14
_TILE, _GAP, _CAPTION, _LINE = 112, 4, 18, 18
_TEXT_WIDTH, _CARD_HEADER, _STRIP_SPACE = 216, 54, 12
_TROUBLE_HEIGHT, _NARROWEST = 64, 640


def choose_frames(count: int, most: int) -> list[int]:
    """Return at most ``most`` of ``count`` frame numbers, evenly spaced, the first and the last among them."""
    assert count >= 1 and most >= 1, (count, most)
    if count <= most:
        return list(range(count))
    return np.linspace(0, count - 1, most).round().astype(int).tolist()


def sheet_size(cards: Sequence[ClipCard], most_frames: int) -> tuple[int, int]:
    """Return the width and height in pixels of the sheet of ``cards`` with ``most_frames`` of each clip."""
    shown = [min(len(strip.frames), most_frames) for card in cards for strip in card.strips]
    columns = min(max(shown, default=1), COLUMNS)
    width = max(_TEXT_WIDTH + columns * (_TILE + _GAP) - _GAP + 2 * (_PAD + _MARGIN), _NARROWEST)
    heights = sum(_card_height(card, most_frames) + _SPACE for card in cards)
    return width, _header_height(cards, most_frames) + max(heights - _SPACE, 0) + _MARGIN


def draw_clip_sheet(
    cards: Sequence[ClipCard], path: str | os.PathLike[str], *, title: str, note: str = "", most_frames: int = 16
) -> None:
    """Write a PNG of clips: a card for each video, in it a strip for each clip, time running from left to right.

    Below each frame stands its number and its time in the video. Where a clip has more than ``most_frames`` frames, a
    selection is shown, and the sheet says so.

    Args:
        cards: the videos, from top to bottom; may be empty.
        path: the PNG, replaced whole; its folder must exist.
        title: heading of the sheet.
        note: a lesser line below it.
        most_frames: most frames shown of a clip, >= 1.
    """
    assert most_frames >= 1, most_frames
    width, height = sheet_size(cards, most_frames)
    assert height <= TALLEST, height
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    room = width - 2 * _MARGIN
    write_text(draw, (_MARGIN, 14), title, INK, room, size=22, bold=True)
    write_text(draw, (_MARGIN, 46), note, DIM, room, size=13)
    longest = _longest(cards)
    if longest > most_frames:
        said = f"of the {longest} frames of a clip, {most_frames} evenly spaced ones are drawn"
        write_text(draw, (_MARGIN, 46 + _NOTE), said, ORANGE, room, size=13)
    top = _header_height(cards, most_frames)
    for card in cards:
        bottom = top + _card_height(card, most_frames)
        _draw_card(sheet, draw, card, (_MARGIN, top, width - _MARGIN - 1, bottom - 1), most_frames)
        top = bottom + _SPACE
    with atomic_write(path, "wb") as file:
        sheet.save(file, format="PNG")


def _longest(cards: Sequence[ClipCard]) -> int:
    return max((len(strip.frames) for card in cards for strip in card.strips), default=0)


def _header_height(cards: Sequence[ClipCard], most_frames: int) -> int:
    return _HEADER + _NOTE * (_longest(cards) > most_frames)


def _card_height(card: ClipCard, most_frames: int) -> int:
    strips = sum(_strip_height(strip, most_frames) for strip in card.strips) + _STRIP_SPACE * len(card.strips)
    warning = _LINE + 4 if card.warning and card.strips else 0
    return _CARD_HEADER + warning + (strips if card.strips else _TROUBLE_HEIGHT + _PAD)


def _strip_height(strip: ClipStrip, most_frames: int) -> int:
    rows = -(-min(len(strip.frames), most_frames) // COLUMNS)
    texts = 1 + strip.mirrored + len(strip.lines)
    return max(rows * (_TILE + _CAPTION), texts * _LINE + 4)


def _draw_card(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, card: ClipCard, box: tuple[int, int, int, int], most_frames: int
) -> None:
    left, top, right = box[0] + _PAD, box[1], box[2] - _PAD
    room = right - left
    draw.rounded_rectangle(box, radius=8, outline=SLOT if card.strips else WRONG, width=2)
    write_text(draw, (left, top + 9), card.title, INK, room, bold=True)
    write_text(draw, (left, top + 29), card.source, DIM, room, size=12)
    y = top + _CARD_HEADER
    if not card.strips:
        draw.rounded_rectangle((left, y, right, y + _TROUBLE_HEIGHT), radius=6, fill=SLOT)
        write_text(draw, (left + 12, y + 22), card.warning or "no clips", WRONG, room - 24)
        return
    if card.warning:
        write_text(draw, (left, y - 4), card.warning, ORANGE, room, size=12)
        y += _LINE + 4
    for number, strip in enumerate(card.strips):
        if number and not strip.joined:
            draw.line((left, y - _STRIP_SPACE // 2 - 1, right, y - _STRIP_SPACE // 2 - 1), fill=SLOT)
        _draw_strip(sheet, draw, strip, (left, y), most_frames)
        y += _strip_height(strip, most_frames) + _STRIP_SPACE


def _draw_strip(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, strip: ClipStrip, corner: tuple[int, int], most_frames: int
) -> None:
    left, top = corner
    room = _TEXT_WIDTH - 14
    texts = [(strip.title, INK, True), *((line, INK, False) for line in strip.lines)]
    if strip.mirrored:
        texts.insert(1, ("\N{LEFT RIGHT ARROW} mirrored", ORANGE, False))
    for number, (text, colour, bold) in enumerate(texts):
        write_text(draw, (left, top + number * _LINE), text, colour, room, size=13, bold=bold)
    for place, index in enumerate(choose_frames(len(strip.frames), most_frames)):
        row, column = divmod(place, COLUMNS)
        x = left + _TEXT_WIDTH + column * (_TILE + _GAP)
        y = top + row * (_TILE + _CAPTION)
        # One pixel larger than the frame, so that a white frame ends somewhere.
        draw.rectangle((x - 1, y - 1, x + _TILE, y + _TILE), fill=SLOT)
        picture = fitted(strip.frames[index], (_TILE, _TILE))
        sheet.paste(picture, (x + (_TILE - picture.width) // 2, y + (_TILE - picture.height) // 2))
        write_text(draw, (x + 1, y + _TILE + 1), f"#{strip.indices[index]}", INK, 52, size=11)
        if strip.seconds is not None:
            write_text(draw, (x + 54, y + _TILE + 1), f"{strip.seconds[index]:.2f} s", DIM, _TILE - 54, size=11)
