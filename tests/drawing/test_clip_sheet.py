"""Sheets of clips, read back as pixels and as what was written on them."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from uniformer_video.drawing import clip_sheet
from uniformer_video.drawing.clip_sheet import ClipCard, ClipStrip, choose_frames, draw_clip_sheet, sheet_size

RED = (0xC8, 0x32, 0x2B)
SIDE = clip_sheet._TILE


def frames(count, first=0):
    """Return square frames of one grey value each: 10, 15, 20, ..."""
    return np.stack([np.full((SIDE, SIDE, 3), 10 + 5 * (first + k), np.uint8) for k in range(count)])


def strip(count=8, title="clip", lines=(), **options):
    seconds = options.pop("seconds", [0.5 * k for k in range(count)])
    return ClipStrip(frames(count), [4 * k for k in range(count)], seconds, title, lines, **options)


def sheet(tmp_path, cards, *, most=16, title="title", note="note"):
    draw_clip_sheet(cards, tmp_path / "sheet.png", title=title, note=note, most_frames=most)
    with Image.open(tmp_path / "sheet.png") as picture:
        assert (picture.format, picture.size) == ("PNG", sheet_size(cards, most))
        return np.asarray(picture.convert("RGB"))


def tiles(picture, top, count):
    """Return the first pixels' values of ``count`` frames of a strip at ``top``, row by row."""
    left = clip_sheet._MARGIN + clip_sheet._PAD + clip_sheet._TEXT_WIDTH
    values = []
    for place in range(count):
        row, column = divmod(place, clip_sheet.COLUMNS)
        x, y = left + column * (SIDE + clip_sheet._GAP), top + row * (SIDE + clip_sheet._CAPTION)
        tile = picture[y : y + SIDE, x : x + SIDE]
        assert (tile == tile[0, 0, 0]).all()
        values.append(int(tile[0, 0, 0]))
    return values


@pytest.fixture
def written(monkeypatch):
    """Collect what is written on a sheet, with its place and width."""
    found = []
    real = ImageDraw.ImageDraw.text

    def text(self, xy, string, **options):
        found.append((string, xy, options["font"].getlength(string)))
        return real(self, xy, string, **options)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return found


@given(st.integers(1, 300), st.integers(1, 40))
def test_a_choice_of_frames(count, most):
    chosen = choose_frames(count, most)
    assert len(chosen) == min(count, most) == len(set(chosen))
    assert chosen == sorted(chosen) and chosen[0] == 0
    if most > 1:
        assert chosen[-1] == count - 1
        gaps = np.diff(chosen)
        assert not len(gaps) or gaps.max() - gaps.min() <= 1


@pytest.mark.parametrize("count", [1, 3, 8, 9, 16])
def test_frames_stand_in_the_order_of_time(tmp_path, count):
    picture = sheet(tmp_path, [ClipCard("a", "b", [strip(count)])])
    top = clip_sheet._HEADER + clip_sheet._CARD_HEADER
    assert tiles(picture, top, count) == [10 + 5 * k for k in range(count)]


def test_a_selection_of_many_frames_is_said(tmp_path, written):
    picture = sheet(tmp_path, [ClipCard("a", "b", [strip(32)])], most=8)
    shown = choose_frames(32, 8)
    top = clip_sheet._HEADER + clip_sheet._NOTE + clip_sheet._CARD_HEADER
    assert tiles(picture, top, 8) == [10 + 5 * k for k in shown]
    texts = [string for string, _, _ in written]
    assert texts[2] == "of the 32 frames of a clip, 8 evenly spaced ones are drawn"
    assert [t for t in texts if t.startswith("#")] == [f"#{4 * k}" for k in shown]
    assert [t for t in texts if t.endswith(" s")] == [f"{0.5 * k:.2f} s" for k in shown]


def test_what_is_written_on_a_sheet(tmp_path, written):
    strips = [strip(2, "repeat 1 of 2", ["0.70  run", "0.30  jump"], mirrored=True), strip(1, "repeat 2", seconds=None)]
    sheet(tmp_path, [ClipCard("run", "record 3: a.mp4", strips, "record 5 stands in")])
    assert [string for string, _, _ in written] == [
        *("title", "note", "run", "record 3: a.mp4", "record 5 stands in"),
        *("repeat 1 of 2", "↔ mirrored", "0.70  run", "0.30  jump", "#0", "0.00 s", "#4", "0.50 s"),
        *("repeat 2", "#0"),
    ]


def test_nothing_is_written_outside_its_room(tmp_path, written):
    long = "a very long name of a class that nobody has ever seen " * 4
    big = ClipStrip(frames(8), [10**7] * 8, [98765.4321] * 8, long, [long], mirrored=True)
    picture = sheet(tmp_path, [ClipCard(long, long, [big], long), ClipCard(long, long, warning=long)], note=long)
    right = picture.shape[1] - clip_sheet._MARGIN
    beside = clip_sheet._MARGIN + clip_sheet._PAD + clip_sheet._TEXT_WIDTH
    for string, (x, _), width in written:
        assert x + width <= right
        if x == clip_sheet._MARGIN + clip_sheet._PAD and "…" in string and width < clip_sheet._TEXT_WIDTH:
            assert x + width <= beside
    assert sum("…" in string for string, _, _ in written) >= 8


def test_cards_and_strips_do_not_overlap(tmp_path):
    cards = [
        ClipCard("a", "b", [strip(8), strip(16), strip(3, lines=["x"] * 9)], "warning"),
        ClipCard("c", "d", warning="text"),
        ClipCard("e", "f", [strip(8)]),
    ]
    picture = sheet(tmp_path, cards)
    top = clip_sheet._HEADER + clip_sheet._CARD_HEADER + clip_sheet._LINE + 4
    for one in cards[0].strips:
        assert tiles(picture, top, len(one.frames)) == [10 + 5 * k for k in range(len(one.frames))]
        top += clip_sheet._strip_height(one, 16) + clip_sheet._STRIP_SPACE
    # A strip with many lines of text is as high as its text.
    assert clip_sheet._strip_height(cards[0].strips[2], 16) == 10 * clip_sheet._LINE + 4 > SIDE
    last = picture.shape[0] - clip_sheet._MARGIN - clip_sheet._card_height(cards[2], 16) + clip_sheet._CARD_HEADER
    assert tiles(picture, last, 8) == [10 + 5 * k for k in range(8)]
    assert (picture[-clip_sheet._MARGIN + 1 :] == 255).all()  # nothing runs over the end


def test_a_video_that_cannot_be_read_is_framed_in_red(tmp_path, written):
    picture = sheet(tmp_path, [ClipCard("run", "record 1: b.mp4", warning="cannot be read: no such file")])
    middle = picture.shape[1] // 2
    assert tuple(picture[clip_sheet._HEADER, middle]) == RED
    assert "cannot be read: no such file" in [string for string, _, _ in written]
    fine = sheet(tmp_path, [ClipCard("run", "record 1: b.mp4", [strip()])])
    assert not (fine == RED).all(-1).any()


def parting_lines(picture):
    """Count full lines between strips, which begin at the text's left edge and end at the card's."""
    inner = picture[:, clip_sheet._MARGIN + clip_sheet._PAD : -clip_sheet._MARGIN - clip_sheet._PAD]
    grey = (inner == (0xE9, 0xED, 0xEF)).all((1, 2))
    return int((np.diff(grey.astype(int)) == 1).sum())


def test_lines_part_strips_that_are_not_joined(tmp_path):
    apart = sheet(tmp_path, [ClipCard("a", "b", [strip(), strip(), strip()])])
    joined = sheet(tmp_path, [ClipCard("a", "b", [strip(), strip(joined=True), strip()])])
    assert parting_lines(apart) - parting_lines(joined) == 1


def test_a_white_frame_has_an_edge(tmp_path):
    white = ClipStrip(np.full((1, SIDE, SIDE, 3), 255, np.uint8), [0], [0.0], "clip")
    picture = sheet(tmp_path, [ClipCard("a", "b", [white])])
    x = clip_sheet._MARGIN + clip_sheet._PAD + clip_sheet._TEXT_WIDTH
    y = clip_sheet._HEADER + clip_sheet._CARD_HEADER
    assert (picture[y : y + SIDE, x : x + SIDE] == 255).all()
    assert (picture[y - 1, x : x + SIDE] < 255).all() and (picture[y : y + SIDE, x - 1] < 255).all()


@pytest.mark.parametrize(("counts", "columns"), [([8], 8), ([2, 6], 6), ([5, 40], 8)])
def test_a_sheet_is_as_wide_as_its_longest_strip(counts, columns):
    width, _ = sheet_size([ClipCard("a", "b", [strip(count)]) for count in counts], 16)
    frame_width = columns * (SIDE + clip_sheet._GAP) - clip_sheet._GAP
    assert width == clip_sheet._TEXT_WIDTH + frame_width + 2 * (clip_sheet._PAD + clip_sheet._MARGIN)


def test_a_sheet_of_short_clips_has_room_for_its_text():
    assert sheet_size([ClipCard("a", "b", [strip(1)])], 16)[0] == sheet_size([], 16)[0] == clip_sheet._NARROWEST


def test_no_cards(tmp_path, written):
    sheet(tmp_path, [])
    assert [string for string, _, _ in written] == ["title", "note"]


def test_an_existing_file_is_replaced_whole(tmp_path):
    (tmp_path / "sheet.png").write_bytes(b"old")
    sheet(tmp_path, [ClipCard("a", "b", [strip()])])
    assert os.listdir(tmp_path) == ["sheet.png"]


def test_too_tall_is_a_defect_of_the_caller(tmp_path):
    cards = [ClipCard("a", "b", [strip()])] * 200
    assert sheet_size(cards, 16)[1] > clip_sheet.TALLEST
    with pytest.raises(AssertionError):
        draw_clip_sheet(cards, tmp_path / "sheet.png", title="t")
