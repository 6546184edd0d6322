"""Bars of characters."""

from __future__ import annotations

import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.drawing.bars import (
    BarRow,
    ascii_only,
    bar,
    columns,
    cut_middle,
    padded,
    score_lines,
    shows_unicode,
    terminal_width,
)


@pytest.mark.parametrize(
    ("share", "drawn"),
    [
        (0, "    "),
        (1, "████"),
        (0.5, "██  "),
        (0.25 + 1 / 32, "█▏  "),
        (0.25 + 7 / 32, "█▉  "),
        (1 / 1000, "    "),
        (0.999, "████"),
        (2, "████"),
        (-1, "    "),
        (math.nan, "    "),
        (math.inf, "████"),
    ],
)
def test_bar(share, drawn):
    assert bar(share, 4) == drawn


def test_bar_of_ascii():
    assert [bar(share, 4, unicode=False) for share in (0, 0.1, 0.13, 0.5, 1)] == [
        "    ",
        "    ",
        "#   ",
        "##  ",
        "####",
    ]


@given(st.floats(0, 1), st.floats(0, 1), st.integers(1, 60), st.booleans())
def test_a_higher_score_has_no_shorter_bar(one, other, width, unicode):
    def length(share):
        drawn = bar(share, width, unicode=unicode)
        assert len(drawn) == width
        return len(drawn.rstrip()), " ▏▎▍▌▋▊▉█#".index(drawn.rstrip()[-1:] or " ")

    low, high = sorted((one, other))
    assert length(low) <= length(high)


class TestLines:
    ROWS = (BarRow("arm wrestling", 0.75), BarRow("yoga", 0.05))

    def test_names_bars_percents(self):
        assert score_lines(self.ROWS, 40) == [
            "  arm wrestling  ███████████▎     75.0 %",
            "  yoga           ▊                 5.0 %",
        ]
        assert score_lines(self.ROWS, 40, unicode=False) == [
            "  arm wrestling  ###########      75.0 %",
            "  yoga           #                 5.0 %",
        ]

    def test_marks(self):
        lines = score_lines((BarRow("a", 0.9, True), BarRow("b", 0.1)), 30)
        assert [line[:5] for line in lines] == ["  * a", "    b"]

    def test_long_names_lose_their_middle_and_a_narrow_terminal_its_bars(self):
        rows = (BarRow("pushing something off the table", 1.0),)
        assert score_lines(rows, 40) == ["  pushing… table  ██████████████ 100.0 %"]
        assert score_lines((BarRow("aaaaaaaa", 0.5),), 20) == ["  aaaaaaaa  50.0 %"]

    def test_what_stands_before_a_name_is_never_cut(self):
        rows = (BarRow("pushing something off the table", 1.0, before="0.0 - 1.5 s  "),)
        (line,) = score_lines(rows, 50)
        assert line.startswith("  0.0 - 1.5 s  pushin")
        assert "…" in line
        assert columns(line) <= 50
        assert score_lines(rows, 20)[0].startswith("  0.0 - 1.5 s  …")

    def test_names_that_are_commands_to_a_terminal(self):
        assert score_lines((BarRow("a\x1b[31m\nb", 0.5),), 30)[0].startswith("  a [31m b  ")

    @given(
        st.lists(st.tuples(st.text(max_size=60), st.floats(0, 1), st.booleans()), min_size=1, max_size=5),
        st.integers(1, 200),
        st.booleans(),
    )
    def test_every_line_fits_and_the_percents_stand_below_each_other(self, rows, width, unicode):
        lines = score_lines([BarRow(*row) for row in rows], width, unicode=unicode)
        assert len(lines) == len(rows)
        assert len({columns(line) for line in lines}) == 1
        assert columns(lines[0]) <= max(min(width, 100), 20)
        assert all(line.endswith(" %") for line in lines)
        assert unicode or all(line.isascii() for line in lines)


def test_the_middle_is_cut():
    assert cut_middle("abcdefghij", 10) == "abcdefghij"
    assert cut_middle("abcdefghij", 7) == "abc…hij"
    assert cut_middle("abcdefghij", 6) == "abc…ij"
    assert cut_middle("abcdefghij", 7, unicode=False) == "abc..ij"
    assert cut_middle("abcdefghij", 1) == "…"
    assert cut_middle("", 0) == ""


@given(st.text(max_size=40), st.integers(2, 50), st.booleans())
def test_what_is_cut_fits(text, width, unicode):
    assert columns(cut_middle(text, width, unicode=unicode)) <= width


def test_columns_of_characters():
    assert [columns(text) for text in ("", "abc", "日本", "é", "e\u0301")] == [0, 3, 4, 1, 1]
    assert padded("日本", 6) == "日本  "
    assert cut_middle("日本語日本語", 7) == "日…語"


def test_ascii():
    assert ascii_only("schön 日") == "schon ?"


def test_what_a_stream_is(monkeypatch):
    assert shows_unicode(io.TextIOWrapper(io.BytesIO(), encoding="utf-8"))
    assert not shows_unicode(io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert not shows_unicode(io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    assert not shows_unicode(io.StringIO())  # says no encoding
    monkeypatch.setenv("COLUMNS", "57")
    assert terminal_width(io.StringIO()) == 57
    monkeypatch.delenv("COLUMNS")
    monkeypatch.setattr("shutil.get_terminal_size", lambda fallback: __import__("os").terminal_size(fallback))
    assert terminal_width(io.StringIO(), 66) == 66
