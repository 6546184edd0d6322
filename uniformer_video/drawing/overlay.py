"""Names of classes on the frames of a video: a translucent band that can be read on any picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from uniformer_video.drawing.style import font, write_text
from uniformer_video.drawing.text import printable

_BAND = (16, 20, 24)
_OPACITY = 0.74
_TEXT, _LESSER, _SLOT, _FILL = "#ffffff", "#e3e9ec", "#566068", "#8ccbff"
_FILLS = (_FILL, "#b4c3cc", "#b4c3cc")
# From this much lighter than the ground on, a pixel is all text.
_CONTRAST = 120

_SMALLEST, _LARGEST = 8, 64
# Most of a frame's height that the band takes; bars that do not fit are left out.
_MOST = 0.42


class LabelBand:
    """The best classes of a video, drawn along the bottom of its frames.

    The band is mixed with the picture, dark enough for its white text on snow and lighter than the night. The best
    class has a line of its own; where a frame is high enough, bars of the best ones stand below it.

    Args:
        size: (height, width) of the frames, pixels.
        classes: (name, score in [0, 1]), best first, at least one.
        bars: most bars; 0: none.
        note: a few words at the right end of the first line, such as the time.
    """

    def __init__(
        self, size: tuple[int, int], classes: Sequence[tuple[str, float]], *, bars: int = 3, note: str = ""
    ) -> None:
        assert classes, "a band without a class"
        height, width = size
        classes = [(printable(name), score) for name, score in classes]
        self.size = size
        # The shorter side counts: text of a tall video must not be wider than it.
        text = max(_SMALLEST, min(_LARGEST, round(4 + min(height, width * 0.75) * 0.062)))
        small = max(_SMALLEST, round(text * 0.72))
        pad, gap = max(2, round(text * 0.4)), max(1, round(text * 0.3))
        line, small_line = round(text * 1.25), round(small * 1.35)
        room = int((height * _MOST - 2 * pad - line - gap) // small_line)
        rows = classes[: max(0, min(bars, room))]
        band = min(2 * pad + line + (gap + len(rows) * small_line if rows else 0), height)
        self.top = height - band
        picture = Image.new("RGB", (width, band), _BAND)
        draw = ImageDraw.Draw(picture)
        self._headline(draw, classes[0], (pad, pad, width - pad), text, note)
        for number, row in enumerate(rows):
            top = pad + line + gap + number * small_line
            self._bar(draw, row, (pad, top, width - pad), small, _FILLS[min(number, len(_FILLS) - 1)])
        drawn = np.asarray(picture, np.float32)
        # Text and bars stay as they are; the ground lets the picture through, and the soft edges of letters between.
        ink = (drawn - np.asarray(_BAND, np.float32)).max(axis=2, keepdims=True) / _CONTRAST
        alpha = _OPACITY + (1 - _OPACITY) * ink.clip(0, 1)
        self._own = drawn * alpha
        self._keep = 1 - alpha

    def draw(self, frame: np.ndarray) -> np.ndarray:
        """Return a copy of ``frame``, uint8 (height, width, 3), with the band on it."""
        assert frame.shape == (*self.size, 3), (frame.shape, self.size)
        result = np.array(frame, np.uint8)
        result[self.top :] = (result[self.top :] * self._keep + self._own).round().astype(np.uint8)
        return result

    @staticmethod
    def _headline(
        draw: ImageDraw.ImageDraw, best: tuple[str, float], place: tuple[int, int, int], size: int, note: str
    ) -> None:
        left, top, right = place
        percent = f"{100 * best[1]:.0f} %"
        number = font(size, True).getlength(percent)
        aside = max(_SMALLEST, round(size * 0.72))
        extra = font(aside, False).getlength(note) + size if note else 0
        if extra > (right - left) * 0.4:  # a narrow frame has room for the class alone
            extra, note = 0, ""
        room = max(right - left - number - size * 0.6 - extra, size)
        used = min(font(size, True).getlength(best[0]), room)
        write_text(draw, (left, top), best[0], _TEXT, int(room), size=size, bold=True)
        draw.text((left + used + size * 0.6, top), percent, fill=_FILL, font=font(size, True))
        if note:
            draw.text((right, top + size - aside), note, fill=_LESSER, font=font(aside, False), anchor="ra")

    @staticmethod
    def _bar(
        draw: ImageDraw.ImageDraw, row: tuple[str, float], place: tuple[int, int, int], size: int, fill: str
    ) -> None:
        left, top, right = place
        name, score = row
        percent = font(size, False).getlength("100 %")
        names = int((right - left) * 0.42)
        write_text(draw, (left, top), name, _LESSER, names, size=size)
        start, end = left + names + size, right - percent - size * 0.6
        share = min(max(score, 0.0), 1.0) if np.isfinite(score) else 0.0
        if end - start >= 2 * size:
            thick = max(3, round(size * 0.5))
            first = top + round(size * 0.65) - thick // 2
            draw.rectangle((start, first, end, first + thick - 1), fill=_SLOT)
            if share > 0:
                draw.rectangle((start, first, start + max(share * (end - start), 1), first + thick - 1), fill=fill)
        draw.text((right, top), f"{100 * share:.0f} %", fill=_LESSER, font=font(size, False), anchor="ra")
