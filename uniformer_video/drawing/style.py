"""What all pictures share: colours, the font, text that fits its room, frames that fit their place."""

from __future__ import annotations

import gc
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from uniformer_video.drawing.text import printable
from uniformer_video.runtime.paths import atomic_write

BLUE, ORANGE, GREY = "#2266aa", "#dd7722", "#667077"
"""Colours of lines that colour-blind readers can tell apart."""
INK, DIM, PAPER, SLOT = "#1d2327", "#7a858c", "#ffffff", "#e9edef"
"""Text, lesser text, background, and the background of what is to be filled."""
RIGHT, WRONG = "#1d8a4b", "#c8322b"
"""A prediction that is right, and one that is wrong."""
TEXT_SIZE = 15
"""Size of text in pixels where nothing else is asked for."""


def fitted(frame: np.ndarray, place: tuple[int, int]) -> Image.Image:
    """Return a frame as large as it fits into its place, uncut.

    Args:
        frame: uint8 (H, W, 3) RGB.
        place: (width, height) in pixels.
    """
    picture = Image.fromarray(np.ascontiguousarray(frame))
    scale = min(place[0] / picture.width, place[1] / picture.height)
    size = (max(round(picture.width * scale), 1), max(round(picture.height * scale), 1))
    return picture.resize(size, Image.Resampling.LANCZOS)


def class_name(label: int, class_names: Sequence[str]) -> str:
    """Return the name of class ``label``; ``class 12`` where there are no so many names."""
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


def clock(seconds: float) -> str:
    """Return a time as a clock has it: ``2:05``, ``1:02:05``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def save_png(figure: Figure, path: str | os.PathLike[str]) -> None:
    """Write a figure as a PNG, replaced whole, and give its memory back.

    A figure is a net of objects that hold each other, pixels among them. Left to the collector, those of dozens of
    epochs would be there at a time.
    """
    with atomic_write(path, "wb") as file:
        FigureCanvasAgg(figure).print_png(file)
    figure.clear()
    figure.set_canvas(FigureCanvasBase(figure))
    gc.collect()


@cache
def font(size: int, bold: bool) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans as matplotlib brings it, so that no machine lacks it."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


def write_text(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    text: str,
    colour: str,
    room: int,
    *,
    size: int = TEXT_SIZE,
    bold: bool = False,
) -> None:
    """Write ``text`` with its top left at ``corner``, its middle left out where it is wider than ``room`` pixels."""
    face = font(size, bold)
    text = printable(text)
    shown, keep = text, len(text)
    while face.getlength(shown) > room and keep > 1:
        keep -= 1
        shown = text[: (keep + 1) // 2] + "\N{HORIZONTAL ELLIPSIS}" + text[len(text) - keep // 2 :]
    draw.text(corner, shown, fill=colour, font=face)
