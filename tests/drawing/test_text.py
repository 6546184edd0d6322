"""Text from users' files."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.drawing.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("arm wrestling", "arm wrestling"),
        ("schön 日本 $x", "schön 日本 $x"),
        ("a\nb\tc\x1b[31m", "a b c [31m"),
        ("a\u2028b\x85c\0", "a b c "),
        ("\udcff", "?"),
        ("a\u202eb", "a b"),
        ("\u0915\u094d\u200d\u0937", "\u0915\u094d\u200d\u0937"),
        ("", ""),
    ],
)
def test_what_is_shown(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_nothing_is_longer_or_on_two_lines(text):
    shown = printable(text)
    assert len(shown) == len(text)
    assert len(shown.splitlines()) <= 1
    shown.encode("utf-8")
