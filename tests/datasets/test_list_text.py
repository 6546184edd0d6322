"""Text of lists: reading, cutting, numbers, and what no path can hold."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.list_text import (
    check_text,
    is_file,
    is_folder,
    read_text,
    short,
    text_lines,
    whole_number,
)
from uniformer_video.runtime.errors import DataError


def test_a_byte_order_mark_is_no_text(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\xc3\xa9\n")
    assert read_text(path) == "a\r\nbé\n"


@pytest.mark.parametrize("content", [b"\xff\xfea\x00", b"caf\xe9"])
def test_other_encodings_are_refused(tmp_path, content):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        read_text(path)
    assert str(error.value).startswith(f"{path}: cannot be read as UTF-8 text (")
    assert str(error.value).endswith("; save the file as UTF-8 text and try again")


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_text(tmp_path / "none")
    for path in (tmp_path, "a\0b"):
        with pytest.raises(DataError, match="cannot be read as UTF-8 text"):
            read_text(path)


def test_lines_are_numbered_and_blank_ones_left_out():
    assert text_lines("a\r\n\n \t\nb\u2028c\x85\n\r\nd") == [(1, "a"), (4, "b\u2028c\x85"), (6, "d")]
    assert text_lines("") == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\n", "'a\\n'"),
        ("x" * 80, repr("x" * 80)),
        ("x" * 81, repr("x" * 77 + "...")),
        ([1, 2], "list"),
        ({}, "dict"),
        (None, "None"),
        (3.5, "3.5"),
        (10**100, "1" + "0" * 76 + "..."),
    ],
)
def test_short(value, text):
    assert short(value) == text


@given(st.integers(-(10**17), 10**17))
def test_numbers(number):
    assert whole_number(str(number)) == number
    assert whole_number(f"{abs(number):+018d}") == abs(number)


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1_0", "1.0", "1e3", "٣", "--1", "0x1", "9" * 19, "²", "nan"])
def test_no_numbers(text):
    assert whole_number(text) is None


def test_text_that_no_system_takes():
    assert check_text("é 🎬", "f:1", "the path") == "é 🎬"
    with pytest.raises(DataError) as error:
        check_text("a\0b", "f:1", "the path")
    assert str(error.value) == "f:1: the path 'a\\x00b' holds a NUL character; remove it"
    with pytest.raises(DataError) as error:
        check_text("a\ud800", "f:1", "the path")
    assert str(error.value) == "f:1: the path 'a\\ud800' holds half of a character (a lone surrogate)"


def test_files_and_folders(tmp_path):
    (tmp_path / "a").touch()
    assert is_file(tmp_path / "a")
    assert not is_folder(tmp_path / "a")
    assert is_folder(tmp_path)
    assert not is_file(tmp_path)
    for nothing in (tmp_path / "b", "a\0b", "x" * 5000):
        assert not is_file(nothing)
        assert not is_folder(nothing)
