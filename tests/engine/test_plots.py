"""Curves and contact sheets, read back as pixels and as what was asked of the plotting library."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image, ImageDraw

from uniformer_video.engine import plots
from uniformer_video.engine.plots import ContactRow, draw_contact_sheet, draw_curves

HISTORY = [
    {"epoch": 1.0, "train_loss": 2.5, "lr": 1e-3},
    {"epoch": 2.0, "train_loss": 1.5, "lr": 5e-4, "val_top1": 40.0, "val_top5": 80.0},
    {"epoch": 3.0, "train_loss": 1.25, "lr": 0.0, "val_top1": 62.5, "val_top5": 95.0},
]


@pytest.fixture
def figure(monkeypatch):
    """Catch the figure that is drawn."""
    caught = []
    real = plots.FigureCanvasAgg

    def canvas(drawn):
        caught.append(drawn)
        return real(drawn)

    monkeypatch.setattr(plots, "FigureCanvasAgg", canvas)
    return lambda: caught[-1]


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def lines(axes):
    return {line.get_label(): line.get_xydata().tolist() for line in axes.get_lines()}


def test_curves_hold_the_history(tmp_path, figure):
    draw_curves(HISTORY, tmp_path / "curves.png")
    loss, accuracy, rate = figure().axes
    assert lines(loss) == {"loss: 1.250": [[1, 2.5], [2, 1.5], [3, 1.25]]}
    assert lines(accuracy) == {"top-5: 95.0": [[2, 80], [3, 95]], "top-1: 62.5": [[2, 40], [3, 62.5]]}
    assert lines(rate) == {"rate: 0": [[1, 1e-3], [2, 5e-4], [3, 0]]}
    assert [axes.get_title(loc="left") for axes in (loss, accuracy, rate)] == [
        "training loss",
        "validation accuracy, %",
        "learning rate",
    ]
    assert {axes.get_xlabel() for axes in (loss, accuracy, rate)} == {"epoch"}
    assert accuracy.get_ylim() == (-2, 104)
    assert loss.get_xlim() == accuracy.get_xlim() == rate.get_xlim() == (0, pytest.approx(3.09))
    with Image.open(tmp_path / "curves.png") as picture:
        picture.load()
        assert picture.format == "PNG"
        assert picture.size == (1485, 440)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert {(0x22, 0x66, 0xAA), (0xDD, 0x77, 0x22), (0x66, 0x70, 0x77)} <= colours


def texts(axes):
    return [text.get_text() for text in axes.texts]


@pytest.mark.parametrize("history", [[], [{}], [{"epoch": 1.0}], [{"train_loss": 3.0}], [{"epoch": 1, "other": 2}]])
def test_curves_of_nothing_say_so(tmp_path, figure, history):
    draw_curves(history, tmp_path / "curves.png")
    assert [texts(axes) for axes in figure().axes] == [["nothing recorded"]] * 3
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (1485, 440)


def test_a_missing_series_leaves_the_others(tmp_path, figure):
    draw_curves([{"epoch": 1, "train_loss": 2.0, "lr": 0.0}], tmp_path / "curves.png")
    loss, accuracy, rate = figure().axes
    assert lines(loss) == {"loss: 2.000": [[1, 2]]}
    assert loss.get_lines()[0].get_marker() == "o"  # a line of one point has nothing to see without
    assert texts(accuracy) == ["nothing recorded"]
    assert lines(rate) == {"rate: 0": [[1, 0]]}


def test_unusable_points_are_not_drawn(tmp_path, figure):
    values = [1.0, None, math.nan, math.inf, 4.0]
    draw_curves(({"epoch": k, "train_loss": v} for k, v in enumerate(values)), tmp_path / "curves.png")
    assert lines(figure().axes[0]) == {"loss: 4.000": [[0, 1], [4, 4]]}


def test_a_long_history_has_no_markers(tmp_path, figure):
    draw_curves([{"epoch": k, "train_loss": 1 / (k + 1)} for k in range(300)], tmp_path / "curves.png")
    assert figure().axes[0].get_lines()[0].get_marker() in ("", "None")


def test_a_history_is_not_changed(tmp_path):
    history = [dict(entry) for entry in HISTORY]
    draw_curves(history, tmp_path / "curves.png")
    assert history == HISTORY


def test_pyplot_is_never_imported(tmp_path):
    code = (
        "import sys; from uniformer_video.engine.plots import draw_curves; "
        f"draw_curves([{{'epoch': 1, 'train_loss': 2}}], {str(tmp_path / 'c.png')!r}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert (tmp_path / "c.png").is_file()


@pytest.mark.parametrize(
    "write", [lambda path: draw_curves(HISTORY, path), lambda path: draw_contact_sheet([], path, [])]
)
def test_files_are_replaced_whole(tmp_path, monkeypatch, write):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    write(path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]

    def fail(*arguments, **options):
        raise RuntimeError("no")

    path.write_bytes(b"old")
    monkeypatch.setattr(plots.FigureCanvasAgg, "print_png", fail)
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        write(path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]


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
    tile_width, tile_height = plots._TILE
    return (
        plots._MARGIN + column * (tile_width + plots._SPACE),
        plots._HEADER + line * (tile_height + plots._SPACE),
    )


def frame_boxes(picture, number=0, columns=1):
    """Return the four pictures of a tile."""
    x, y = (c + plots._BORDER + plots._PAD for c in corner(number, columns))
    width, height = plots._FRAME_SIZE
    step = width + plots._GAP
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
        left_edge = picture[y + 40 : y + 100, x : x + plots._BORDER]
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


def test_the_marks_are_in_the_font():
    font = plots._font(15, True)
    missing = font.getmask("\uffff").getbbox(), bytes(font.getmask("\uffff"))
    for mark in "✓✗…":
        assert (font.getmask(mark).getbbox(), bytes(font.getmask(mark))) != missing


def test_no_rows(tmp_path, written):
    picture = sheet(tmp_path, [])
    assert [string for string, _, _ in written] == ["0 of the 0 videos shown are right", "no video was classified"]
    assert picture.shape[1] == plots._TILE[0] + 2 * plots._MARGIN


@pytest.mark.parametrize(("count", "columns", "wide", "high"), [(1, 3, 1, 1), (3, 3, 3, 1), (4, 3, 3, 2), (5, 1, 1, 5)])
def test_size_of_the_sheet(tmp_path, count, columns, wide, high):
    picture = sheet(tmp_path, [row()] * count, columns)
    tile_width, tile_height = plots._TILE
    assert picture.shape == (
        plots._HEADER + high * (tile_height + plots._SPACE) - plots._SPACE + plots._MARGIN,
        2 * plots._MARGIN + wide * (tile_width + plots._SPACE) - plots._SPACE,
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
    inside = corner(0, 1)[0] + plots._TILE[0] - plots._BORDER - plots._PAD
    assert all(x + length <= inside + 1 for string, (x, _), length in written[2:])
    assert picture.shape[1] == plots._TILE[0] + 2 * plots._MARGIN


def test_classes_without_a_name(tmp_path, written):
    sheet(tmp_path, [row(1, 12)], names=["only"])
    strings = [string for string, _, _ in written]
    assert "class 1" in strings and "class 12 ✗" in strings


def bar_length(picture, colour):
    """Return how many pixels of the bar's middle row have ``colour``."""
    x, y = corner(0, 1)
    line = y + plots._BORDER + plots._PAD + plots._FRAME_SIZE[1] + 6 + plots._LINE + 9
    start = x + plots._BORDER + plots._PAD + 92 + 280
    stop = x + plots._TILE[0] - plots._BORDER - plots._PAD - 54
    return int((picture[line, start : stop + 1] == colour).all(-1).sum()), stop + 1 - start


@pytest.mark.parametrize(
    ("score", "share", "text"), [(1.0, 1.0, "100%"), (0.5, 0.5, "50%"), (0.0, 0.0, "0%"), (math.nan, 0.0, "0%")]
)
def test_the_bar_is_as_long_as_the_score(tmp_path, written, score, share, text):
    length, full = bar_length(sheet(tmp_path, [row(score=score)]), GREEN)
    assert length == pytest.approx(share * full, abs=1.5)
    assert text in [string for string, _, _ in written]
