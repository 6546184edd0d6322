"""Curves, read back as pixels and as what was asked of the plotting library."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings

import pytest
from PIL import Image

from uniformer_video.drawing import style
from uniformer_video.drawing.curves import draw_curves

HISTORY = [
    {"epoch": 1.0, "train_loss": 2.5, "lr": 1e-3},
    {"epoch": 2.0, "train_loss": 1.5, "lr": 5e-4, "val_top1": 40.0, "val_top5": 80.0},
    {"epoch": 3.0, "train_loss": 1.25, "lr": 0.0, "val_top1": 62.5, "val_top5": 95.0},
]


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


def test_curves_of_several_labels(tmp_path, figure):
    history = [{"epoch": n, "train_loss": 1.0, "val_map": value} for n, value in enumerate([None, 40.0, 71.25])]
    draw_curves(history, tmp_path / "curves.png")
    _, accuracy, _ = figure().axes
    assert lines(accuracy) == {"mAP: 71.2": [[1, 40], [2, 71.25]]}
    assert accuracy.get_title(loc="left") == "validation mAP, %"


def test_top1_alone(tmp_path, figure):
    draw_curves([{"epoch": 1, "val_top1": 50.0}], tmp_path / "curves.png")
    assert lines(figure().axes[1]) == {"top-1: 50.0": [[1, 50]]}


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
        "import sys; from uniformer_video.drawing.curves import draw_curves; "
        f"draw_curves([{{'epoch': 1, 'train_loss': 2}}], {str(tmp_path / 'c.png')!r}); "
        "print('matplotlib.pyplot' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert (tmp_path / "c.png").is_file()


def test_the_file_is_replaced_whole(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    draw_curves(HISTORY, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]

    def fail(*arguments, **options):
        raise RuntimeError("no")

    path.write_bytes(b"old")
    monkeypatch.setattr(style.FigureCanvasAgg, "print_png", fail)
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(RuntimeError):
        draw_curves(HISTORY, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["picture.png"]
