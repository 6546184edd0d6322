"""What all pictures share: the font has every mark, text is cut to its room, frames keep their shape."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image, ImageDraw

from uniformer_video.drawing import style
from uniformer_video.drawing.style import class_name, fitted, font, write_text


def test_the_marks_are_in_the_font():
    face = font(15, True)
    missing = face.getmask("\uffff").getbbox(), bytes(face.getmask("\uffff"))
    for mark in "✓✗…":
        assert (face.getmask(mark).getbbox(), bytes(face.getmask(mark))) != missing


@pytest.mark.parametrize(
    ("shape", "place", "size"),
    [((48, 64), (128, 96), (128, 96)), ((64, 48), (128, 96), (72, 96)), ((10, 400), (128, 96), (128, 3))],
)
def test_frames_keep_their_shape(shape, place, size):
    frame = np.full((*shape, 3), 77, np.uint8)
    picture = fitted(frame, place)
    assert picture.size == size
    assert (np.asarray(picture) == 77).all()


def test_text_is_cut_in_the_middle(monkeypatch):
    written = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, xy, string, **options: written.append(string))
    draw = ImageDraw.Draw(Image.new("RGB", (10, 10)))
    write_text(draw, (0, 0), "short", "#000000", 200)
    write_text(draw, (0, 0), "a very long name of a class that has no room", "#000000", 100)
    assert written[0] == "short"
    assert "…" in written[1] and written[1].startswith("a ") and written[1].endswith("m")
    assert font(15, False).getlength(written[1]) <= 100


def test_names_of_classes():
    assert class_name(1, ["run", "jump"]) == "jump"
    assert class_name(2, ["run", "jump"]) == "class 2"
    assert class_name(-1, ["run", "jump"]) == "class -1"


def test_a_figure_that_is_saved_gives_its_memory_back(tmp_path):
    """Pixels and artists hold each other: dozens of epochs of them would wait for the collector."""
    figure = Figure(figsize=(2, 1), dpi=50)
    line = weakref.ref(figure.subplots().plot([1, 2])[0])
    gc.disable()  # what the function does not do itself nobody does
    try:
        style.save_png(figure, tmp_path / "a.png")
        assert line() is None and not figure.axes
        assert not hasattr(figure.canvas, "renderer")  # the pixels
    finally:
        gc.enable()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (100, 50)
