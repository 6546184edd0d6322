"""The quick way through a list reads what the reader of single lines reads, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets import list_text
from uniformer_video.datasets.kinetics import parse_line
from uniformer_video.datasets.list_text import text_blocks, text_lines
from uniformer_video.datasets.plain_lines import SEPARATORS, plain_lines
from uniformer_video.runtime.errors import DataError

PATH = Path("train.csv")


def test_lines_are_cut():
    found = plain_lines("a.mp4 1\nrun/b c.mp4 007\r\nhttps://h/é.mp4 399", " ", 400)
    assert found.folders == ("", "run/", "https://h/")
    assert found.names == ("a.mp4", "b c.mp4", "é.mp4")
    assert found.labels == [1, 7, 399]
    assert plain_lines("C:\\v\\a.mp4;3", ";", None).folders == ("C:\\v\\",)
    assert plain_lines("a,b,3\n,c,4", ",", None).names == ("a,b", ",c")


@pytest.mark.parametrize(
    "line",
    [
        *("", " ", "a", "a ", " 1", "a\t1", "a 1 ", " a 1", "a  1", "a 1\r\r", "a\rb 1", "a\0b 1", "a 1.0", "a +1"),
        *("a -1", "a 3,7", "a -", "a 1000000", "a 400", "\u2003a 1", "a\u2003 1", "a \u0661", "dir/ 1", "path label"),
    ],
)
def test_an_unusual_line_is_left_to_the_other_reader(line):
    assert plain_lines(f"a.mp4 1\n{line}\nb.mp4 2", " ", 400) is None
    assert plain_lines("a.mp4 1\nb.mp4 2", " ", 400) is not None


def test_separators_without_a_quick_way():
    for separator in ("::", "", "1", "x"):
        assert plain_lines(f"a.mp4{separator}1", separator, None) is None


words = st.text(st.sampled_from("aé 12,;|:\t/\\\r\0.-+\x1c\u2028\u00a0\u0663"), max_size=8)


@given(
    st.lists(st.tuples(words, words), min_size=1, max_size=4), st.sampled_from(SEPARATORS), st.sampled_from([5, None])
)
def test_it_reads_as_single_lines_are_read(rows, separator, num_classes):
    block = "\n".join(f"{path}{separator}{label}" for path, label in rows)
    found = plain_lines(block, separator, num_classes)
    if found is None:
        return
    expected = [parse_line(PATH, n, line, separator, num_classes, False) for n, line in text_lines(block)]
    assert [folder + name for folder, name in zip(found.folders, found.names, strict=True)] == [p for p, _ in expected]
    assert found.labels == [label for _, label in expected]


@given(st.text(st.sampled_from("ab\n\r"), max_size=40), st.integers(1, 9))
def test_blocks_are_whole_lines(text, size):
    before = list_text._BLOCK
    list_text._BLOCK = size
    try:
        blocks = list(text_blocks(text))
    finally:
        list_text._BLOCK = before
    assert [row for first, block in blocks for row in text_lines(block, first)] == text_lines(text)


def test_a_mistake_after_many_plain_blocks_has_its_line(monkeypatch, tmp_path):
    from uniformer_video.datasets.kinetics import read_kinetics

    monkeypatch.setattr(list_text, "_BLOCK", 64)
    (tmp_path / "v0.mp4").touch()
    lines = [f"v{n}.mp4 {n % 10}" for n in range(1000)]
    (tmp_path / "train.csv").write_text("\n".join(lines) + "\n")
    records = read_kinetics(str(tmp_path), "train", num_classes=10)
    assert [(r.path, r.label) for r in records] == [(str(tmp_path / f"v{n}.mp4"), n % 10) for n in range(1000)]
    lines[777] = "v777.mp4 10"
    (tmp_path / "train.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"train\.csv:778: label 10 is outside 0 to 9 "):
        read_kinetics(str(tmp_path), "train", num_classes=10)
