"""Contact sheets, read back as pixels and as what was written on them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from PIL import Image, ImageDraw

from uniformer_video.drawing import contact_sheet
from uniformer_video.drawing.contact_sheet import ContactRow, draw_contact_sheet

CLASSES = ["sailing", "juggling", "dancing"]
GREEN, RED = (0x1D, 0x8A, 0x4B), (0xC8, 0x32, 0x2B)


def row(label=0, prediction=0, score=0.5, frames=None, path="videos/a.mp4"):
    return ContactRow(
        np.full((8, 96, 128, 3), 100, np.uint8) if frames is None else frames, label, prediction, score, path
    )


def sheet(tmp_path, rows, columns=3, names=CLASSES):
    draw_contact_sheet(rows, tmp_path / "sheet.png", names, columns)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def corner(number, columns):
    line, column = divmod(number, columns)
    tile_width, tile_height = contact_sheet._TILE
    return (
        contact_sheet._MARGIN + column * (tile_width + contact_sheet._SPACE),
        contact_sheet._HEADER + line * (tile_height + contact_sheet._SPACE),
    )


def frame_boxes(picture, number=0, columns=1):
    """Return the four pictures of a tile."""
    x, y = (c + contact_sheet._BORDER + contact_sheet._PAD for c in corner(number, columns))
    width, height = contact_sheet._FRAME_SIZE
    step = width + contact_sheet._GAP
    return [picture[y : y + height, x + k * step : x + k * step + width] for k in range(4)]


def test_four_frames_in_the_order_of_time(tmp_path):
    frames = np.stack([np.full((96, 128, 3), 20 * k, np.uint8) for k in range(10)])
    boxes = frame_boxes(sheet(tmp_path, [row(frames=frames)]))
    assert [sorted(set(box.flatten().tolist())) for box in boxes] == [[0], [60], [120], [180]]  # frames 0, 3, 6, 9


@pytest.mark.parametrize(("count", "shown"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (4, [0, 1, 2, 3])])
def test_short_videos(tmp_path, count, shown):
    frames = np.stack([np.full((96, 128, 3), 20 * k, np.uint8) for k in range(count)])
    boxes = frame_boxes(sheet(tmp_path, [row(frames=frames)]))
    assert [int(box[0, 0, 0]) // 20 for box in boxes] == shown


@pytest.mark.parametrize(("height", "width", "shape"), [(48, 128, (48, 128)), (192, 64, (96, 32)), (1, 1, (96, 96))])
def test_pictures_of_any_shape_are_shown_whole_and_undistorted(tmp_path, height, width, shape):
    frames = np.zeros((4, height, width, 3), np.uint8)
    frames[..., 0] = 250
    for box in frame_boxes(sheet(tmp_path, [row(frames=frames)])):
        ys, xs = np.nonzero((box == (250, 0, 0)).all(-1))
        assert (np.ptp(ys) + 1, np.ptp(xs) + 1) == shape
        assert abs((ys.min() + ys.max()) / 2 - 47.5) <= 0.5
        assert abs((xs.min() + xs.max()) / 2 - 63.5) <= 0.5


def test_frames_that_are_a_view_into_other_memory(tmp_path):
    frames = np.arange(4, dtype=np.uint8).repeat(96 * 128 * 3).reshape(4, 96, 128, 3) * 50
    plain = sheet(tmp_path, [row(frames=frames)])
    assert np.array_equal(
        sheet(tmp_path, [row(frames=frames.transpose(0, 2, 1, 3).copy().transpose(0, 2, 1, 3))]), plain
    )
    reverse = frame_boxes(sheet(tmp_path, [row(frames=frames[::-1])]))
    assert [int(box[0, 0, 0]) for box in reverse] == [150, 100, 50, 0]


def test_the_frame_of_a_tile_tells_right_from_wrong(tmp_path):
    rows = [row(0, 0), row(0, 1), row(2, 2), row(1, 0)]
    picture = sheet(tmp_path, rows, columns=2)
    for number, item in enumerate(rows):
        x, y = corner(number, 2)
        left_edge = picture[y + 40 : y + 100, x : x + contact_sheet._BORDER]
        assert (left_edge == (GREEN if item.label == item.prediction else RED)).all()


@pytest.fixture
def written(monkeypatch):
    """Collect what is written on a sheet, with its place and room."""
    found = []
    real = ImageDraw.ImageDraw.text

    def text(self, xy, string, **options):
        found.append((string, xy, options["font"].getlength(string)))
        return real(self, xy, string, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


def test_what_is_written_on_a_sheet(tmp_path, written):
    sheet(tmp_path, [row(0, 0, 0.994), row(2, 1, 0.3, path="/a/b/holiday film.avi")])
    assert [string for string, _, _ in written] == [
        "1 of the 2 videos shown are right",
        "each tile: one video, four frames, time runs from left to right",
        "true",
        "sailing",
        "a.mp4",
        "predicted",
        "sailing ✓",
        "99%",
        "true",
        "dancing",
        "holiday film.avi",
        "predicted",
        "juggling ✗",
        "30%",
    ]


def test_no_rows(tmp_path, written):
    picture = sheet(tmp_path, [])
    assert [string for string, _, _ in written] == ["0 of the 0 videos shown are right", "no video was classified"]
    assert picture.shape[1] == contact_sheet._TILE[0] + 2 * contact_sheet._MARGIN


@pytest.mark.parametrize(("count", "columns", "wide", "high"), [(1, 3, 1, 1), (3, 3, 3, 1), (4, 3, 3, 2), (5, 1, 1, 5)])
def test_size_of_the_sheet(tmp_path, count, columns, wide, high):
    picture = sheet(tmp_path, [row()] * count, columns)
    tile_width, tile_height = contact_sheet._TILE
    assert picture.shape == (
        contact_sheet._HEADER
        + high * (tile_height + contact_sheet._SPACE)
        - contact_sheet._SPACE
        + contact_sheet._MARGIN,
        2 * contact_sheet._MARGIN + wide * (tile_width + contact_sheet._SPACE) - contact_sheet._SPACE,
        3,
    )


def test_a_sheet_needs_a_column(tmp_path):
    with pytest.raises(AssertionError):
        draw_contact_sheet([row()], tmp_path / "sheet.png", CLASSES, 0)


def test_long_names_are_shortened_in_the_middle_and_stay_in_the_tile(tmp_path, written):
    names = ["pretending to put something underneath something", "pretending to put something behind something"]
    picture = sheet(tmp_path, [row(0, 1, 1.0, path="x" * 100 + ".webm")], names=names)
    strings = [string for string, _, _ in written]
    assert names[0] not in strings
    true = next(s for s in strings if s.startswith("prete") and "✗" not in s)
    assert "…" in true and true.endswith("something")
    file = next(s for s in strings if s.startswith("xx"))
    assert file.endswith(".webm") and "…" in file
    inside = corner(0, 1)[0] + contact_sheet._TILE[0] - contact_sheet._BORDER - contact_sheet._PAD
    assert all(x + length <= inside + 1 for string, (x, _), length in written[2:])
    assert picture.shape[1] == contact_sheet._TILE[0] + 2 * contact_sheet._MARGIN


def test_classes_without_a_name(tmp_path, written):
    sheet(tmp_path, [row(1, 12)], names=["only"])
    strings = [string for string, _, _ in written]
    assert "class 1" in strings and "class 12 ✗" in strings


def bar_length(picture, colour):
    """Return how many pixels of the bar's middle row have ``colour``."""
    x, y = corner(0, 1)
    line = y + contact_sheet._BORDER + contact_sheet._PAD + contact_sheet._FRAME_SIZE[1] + 6 + contact_sheet._LINE + 9
    start = x + contact_sheet._BORDER + contact_sheet._PAD + 92 + 280
    stop = x + contact_sheet._TILE[0] - contact_sheet._BORDER - contact_sheet._PAD - 54
    return int((picture[line, start : stop + 1] == colour).all(-1).sum()), stop + 1 - start


@pytest.mark.parametrize(
    ("score", "share", "text"), [(1.0, 1.0, "100%"), (0.5, 0.5, "50%"), (0.0, 0.0, "0%"), (math.nan, 0.0, "0%")]
)
def test_the_bar_is_as_long_as_the_score(tmp_path, written, score, share, text):
    length, full = bar_length(sheet(tmp_path, [row(score=score)]), GREEN)
    assert length == pytest.approx(share * full, abs=1.5)
    assert text in [string for string, _, _ in written]


def test_the_file_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"

    def fail(*arguments, **options):
        raise RuntimeError("no")

    path.write_bytes(b"old")
    draw_contact_sheet([], path, [])
    assert path.read_bytes().startswith(b"\x89PNG")
    path.write_bytes(b"old")
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        draw_contact_sheet([], path, [])
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
