"""Classes on frames: what changes, what stays, and whether it can be read on any picture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uniformer_video.drawing.overlay import LabelBand

CLASSES = [("arm wrestling", 0.82), ("pushing something so that it almost falls off", 0.11), ("yoga", 0.0)]


def contrast(one, other):
    """Return the contrast ratio of two RGB colours as the web's accessibility guidelines (WCAG 2) define it."""

    def luminance(colour):
        parts = np.asarray(colour, float) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("ground", [0, 128, 255])
def test_text_can_be_read_on_any_ground(ground):
    frame = np.full((240, 320, 3), ground, np.uint8)
    band = LabelBand((240, 320), CLASSES)
    drawn = band.draw(frame)
    assert np.array_equal(drawn[: band.top], frame[: band.top])
    behind = drawn[-1, 0]  # a corner of the band
    brightest = drawn[band.top :].reshape(-1, 3)[drawn[band.top :].reshape(-1, 3).sum(1).argmax()]
    assert brightest.min() > 245
    assert contrast(brightest, behind) > 7
    if ground:
        assert behind.max() > 20  # it lets the picture through
    assert behind.max() < 100


def test_it_lets_the_picture_through_evenly():
    band = LabelBand((240, 320), CLASSES)
    dark, light = (band.draw(np.full((240, 320, 3), value, np.uint8)).astype(int) for value in (0, 200))
    difference = (light - dark)[band.top :]
    assert difference[-1, 0].tolist() == [52] * 3  # 200 x (1 - 0.74)
    assert difference.min() >= -1
    assert difference.max() <= 53
    assert (difference == 0).all(axis=2).any()  # full ink


def test_the_frame_itself_stays_as_it_is():
    frame = np.full((120, 160, 3), 77, np.uint8)
    drawn = LabelBand((120, 160), CLASSES).draw(frame)
    assert (frame == 77).all()
    assert drawn.dtype == np.uint8
    assert drawn.shape == frame.shape
    frame.setflags(write=False)
    LabelBand((120, 160), CLASSES).draw(frame)


def test_text_grows_with_the_picture():
    heights = [240 - LabelBand((240, 320), CLASSES, bars=0).top, 1080 - LabelBand((1080, 1920), CLASSES, bars=0).top]
    assert heights[1] > 2.5 * heights[0]
    # A tall and a wide video have text of about the same size.
    assert LabelBand((640, 360), CLASSES, bars=0).size[0] - LabelBand((640, 360), CLASSES, bars=0).top < 60


def test_bars_are_as_long_as_the_scores():
    def lit(score):
        band = LabelBand((240, 320), [("a", score), ("b", 0.0), ("c", 0.0)])
        picture = band.draw(np.zeros((240, 320, 3), np.uint8)).astype(int)
        fill = np.array([0x8C, 0xCB, 0xFF])
        rows = (np.abs(picture - fill).sum(2) < 6).sum(1)
        return rows[band.top + 30 :].max()

    lengths = [lit(score) for score in (0.0, 0.25, 0.5, 1.0)]
    assert lengths[0] < 5
    assert lengths[2] == pytest.approx(2 * lengths[1], abs=3)
    assert lengths[3] == pytest.approx(4 * lengths[1], abs=5)
    assert lit(float("nan")) < 5


@pytest.mark.parametrize(("height", "bars"), [(50, 0), (90, 1), (120, 3), (1080, 3)])
def test_bars_have_their_room_or_are_left_out(height, bars):
    band = LabelBand((height, 300), CLASSES)
    plain = LabelBand((height, 300), CLASSES, bars=0)
    assert height - band.top <= max(0.42 * height + 1, height - plain.top)
    if bars == 0:
        assert band.top == plain.top
    elif bars == 3:
        assert band.top == LabelBand((height, 300), CLASSES, bars=3).top < LabelBand((height, 300), CLASSES, bars=1).top


def test_a_note_where_there_is_room():
    zeros = np.zeros((240, 320, 3), np.uint8)
    plain, noted = (LabelBand((240, 320), CLASSES, note=note).draw(zeros) for note in ("", "1:02:03"))
    assert not np.array_equal(plain, noted)
    assert np.array_equal(plain[:, :200], noted[:, :200])
    small = np.zeros((50, 40, 3), np.uint8)
    assert np.array_equal(
        LabelBand((50, 40), CLASSES, note="1:02:03").draw(small), LabelBand((50, 40), CLASSES).draw(small)
    )


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.lists(st.tuples(st.text(max_size=30), st.floats(0, 1)), min_size=1, max_size=4),
    st.integers(0, 4),
)
def test_any_size_and_any_name(height, width, classes, bars):
    frame = np.full((height, width, 3), 90, np.uint8)
    assert LabelBand((height, width), classes, bars=bars).draw(frame).shape == frame.shape
