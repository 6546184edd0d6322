"""Sheets of data sets, read back as pixels and as what was written on them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageColor

from uniformer_video.drawing import dataset_sheet as module
from uniformer_video.drawing.dataset_sheet import FRAME_SIZE, FRAMES, ClassRow, draw_dataset_sheet
from uniformer_video.drawing.style import BLUE, GREY, ORANGE, SLOT, WRONG


def frame(value, height=96, width=128):
    return np.full((height, width, 3), value, np.uint8)


def row(name="run", train=7, val=2, test=1, frames=()):
    return ClassRow(name, {"train": train, "val": val, "test": test}, frames)


@pytest.fixture
def sheet(tmp_path, monkeypatch):
    """Return a function that draws rows and returns (pixels, texts with their colours)."""
    texts = []
    real = module.write_text

    def note(draw, corner, text, colour, room, **more):
        texts.append((text, colour))
        real(draw, corner, text, colour, room, **more)

    monkeypatch.setattr(module, "write_text", note)

    def draw(rows, **more):
        texts.clear()
        draw_dataset_sheet(rows, tmp_path / "sheet.png", **({"title": "mine"} | more))
        with Image.open(tmp_path / "sheet.png") as picture:
            assert picture.format == "PNG"
            return np.asarray(picture.convert("RGB")), list(texts)

    return draw


def place(picture, line, column):
    """Return the pixels of a frame's place."""
    x = module._MARGIN + module._TEXT_WIDTH + column * (FRAME_SIZE[0] + module._GAP)
    y = module._HEADER + line * (FRAME_SIZE[1] + module._SPACE)
    return picture[y : y + FRAME_SIZE[1], x : x + FRAME_SIZE[0]]


def bar(picture, line):
    """Return the colours along the bar of a row."""
    y = module._HEADER + line * (FRAME_SIZE[1] + module._SPACE) + 57
    return picture[y, module._MARGIN : module._MARGIN + module._TEXT_WIDTH - 16]


def test_frames_stand_in_their_places_in_order(sheet):
    picture, _ = sheet([row(frames=[frame(10 * k) for k in range(3)]), row(frames=[frame(200)])])
    assert [set(place(picture, 0, k).flatten().tolist()) for k in range(3)] == [{0}, {10}, {20}]
    assert set(place(picture, 1, 0).flatten().tolist()) == {200}
    empty = ImageColor.getrgb(SLOT)
    assert (place(picture, 0, 3) == empty).all() and (place(picture, 1, FRAMES - 1) == empty).all()


@pytest.mark.parametrize(("height", "width", "shape"), [(48, 128, (48, 128)), (192, 64, (96, 32)), (1, 1, (96, 96))])
def test_frames_of_any_shape_are_shown_whole(sheet, height, width, shape):
    picture, _ = sheet([row(frames=[frame(0, height, width)])])
    ys, xs = np.nonzero((place(picture, 0, 0) == 0).all(-1))
    assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == shape


def test_more_frames_than_places_are_left_out(sheet):
    many, _ = sheet([row(frames=[frame(k) for k in range(20)])])
    few, _ = sheet([row(frames=[frame(k) for k in range(FRAMES)])])
    assert (many == few).all()


def test_bars_are_to_one_scale_and_show_the_splits(sheet):
    picture, _ = sheet([row(train=7, val=2, test=1), row(train=1, val=1, test=0)])
    colours = {ImageColor.getrgb(c): name for c, name in ((BLUE, "train"), (ORANGE, "val"), (GREY, "test"), (SLOT, ""))}
    found = []
    for line in (0, 1):
        names = [colours[tuple(pixel)] for pixel in bar(picture, line).tolist()]
        found.append({name: round(10 * names.count(name) / len(names), 1) for name in ("train", "val", "test", "")})
    assert found[0] == {"train": 7.0, "val": 2.0, "test": 1.0, "": 0.0}
    assert found[1] == {"train": 1.0, "val": 1.0, "test": 0.0, "": 8.0}


def test_a_single_video_among_thousands_is_still_seen(sheet):
    picture, _ = sheet([row(train=100000, val=0, test=0), row(train=1, val=0, test=0)])
    assert (bar(picture, 1) == ImageColor.getrgb(BLUE)).all(-1).sum() == 1


def test_what_is_written(sheet):
    _, texts = sheet([row("jump", 5, 0, 1)], title="mine: 6 videos", note="frames", more=["sit", "lie"])
    assert texts[0][0] == "mine: 6 videos"
    assert texts[1][0] == "frames"
    assert [text for text, _ in texts[2:]] == ["jump", "train 5", "val 0", "test 1", "and 2 more classes: sit, lie"]
    assert dict(texts)["val 0"] == WRONG and dict(texts)["train 5"] == BLUE


def test_many_more_classes_are_named_in_a_few_lines(sheet):
    short, _ = sheet([row()])
    picture, texts = sheet([row()], more=[f"a class called {n}" for n in range(600)])
    lines = [text for text, _ in texts[6:]]
    assert len(lines) == module._MOST_FOOTER_LINES
    assert lines[0].startswith("and 600 more classes: a class called 0, a class called 1")
    assert lines[-1].endswith("\N{HORIZONTAL ELLIPSIS}")
    assert picture.shape[0] == short.shape[0] + module._MOST_FOOTER_LINES * module._LINE


def test_a_name_of_any_length_and_no_rows_at_all(sheet):
    wide, _ = sheet([row("x" * 500)])
    assert wide.shape[1] == module._WIDTH
    empty, _ = sheet([])
    assert empty.shape == (module._HEADER + module._MARGIN, module._WIDTH, 3)
