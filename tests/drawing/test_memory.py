"""Memory and files over steps, read back as pixels and as what was asked of the plotting library."""

from __future__ import annotations

import pytest
from PIL import Image

from uniformer_video.drawing.memory import COLORS, MemoryLine, draw_memory

LINES = {
    "main": MemoryLine([10, 20, 30], [400.0, 410.0, 410.0], [30, 31, 30]),
    "worker 0": MemoryLine([10, 30], [90.0, 95.0], [12, 12]),
}


def test_lines_from_nought_with_the_warm_up_shaded(tmp_path, figure):
    draw_memory(LINES, tmp_path / "a.png", warm_up=15, title="Memory", note="a machine")
    above, below = figure().axes
    for axes, values in ((above, "mib"), (below, "files")):
        drawn = {line.get_label(): (line.get_color(), line.get_xydata().tolist()) for line in axes.get_lines()}
        assert drawn == {
            name: (color, [list(point) for point in zip(line.steps, getattr(line, values), strict=True)])
            for (name, line), color in zip(LINES.items(), COLORS, strict=False)
        }
        assert axes.get_ylim()[0] == 0 and axes.get_xlim() == (0, 30)
        assert len(axes.patches) == 1 and axes.patches[0].get_width() == 15
    assert (above.get_ylabel(), below.get_ylabel()) == ("memory without files (PSS), MiB", "open files")
    assert below.get_xlabel() == "training steps"
    assert [text.get_text() for text in above.get_legend().get_texts()] == ["main", "worker 0"]
    assert figure().get_suptitle() == "Memory"
    with Image.open(tmp_path / "a.png") as picture:
        picture.load()
        assert picture.format == "PNG" and picture.size == (900, 560)
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert tuple(bytes.fromhex(COLORS[0][1:])) in colours


def test_without_a_warm_up_nothing_is_shaded(tmp_path, figure):
    draw_memory(LINES, tmp_path / "a.png")
    assert [len(axes.patches) for axes in figure().axes] == [0, 0]


def test_no_line_or_too_many_are_a_defect(tmp_path):
    with pytest.raises(AssertionError):
        draw_memory({}, tmp_path / "a.png")
    with pytest.raises(AssertionError):
        draw_memory({str(n): LINES["main"] for n in range(len(COLORS) + 1)}, tmp_path / "a.png")
