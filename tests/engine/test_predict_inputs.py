"""Which videos a user means."""

from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.engine.predict_inputs import Input, find_inputs, videos_below
from uniformer_video.runtime.errors import DataError


@pytest.fixture
def files(tmp_path):
    """Make some files (empty: names alone count) and go there."""
    names = (
        *("b.mp4", "a.MKV", "notes.md", "photo.jpg", "sub/c.webm", "sub/deep/d.avi", "sub/readme.txt", ".hidden.mp4"),
        *(".git/x.mp4", "frames/img_1.jpg", "frames/img_2.jpg", "shots/one/1.png", "shots/two/1.png", "odd[1].mp4"),
        "empty/nothing.md",
    )
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    before = os.getcwd()
    os.chdir(tmp_path)
    yield tmp_path
    os.chdir(before)


def paths(*words, stdin=None):
    return [video.path for video in find_inputs(words, stdin)]


def test_files_are_themselves_whatever_their_name(files):
    assert paths("b.mp4", "notes.md", "a.MKV") == ["b.mp4", "notes.md", "a.MKV"]
    assert paths("odd[1].mp4") == ["odd[1].mp4"]
    assert paths(str(files / "b.mp4")) == [str(files / "b.mp4")]


def test_each_once(files):
    assert paths("b.mp4", "*.mp4", "b.mp4", "./") == ["b.mp4", "odd[1].mp4", *paths("./")]


def test_folders(files):
    assert paths("sub") == ["sub/c.webm", "sub/deep/d.avi"]
    assert paths(".") == [
        *("./a.MKV", "./b.mp4", "./frames", "./odd[1].mp4", "./shots/one", "./shots/two", "./sub/c.webm"),
        "./sub/deep/d.avi",
    ]


def test_a_folder_of_pictures_is_one_video(files):
    assert paths("frames") == ["frames"]
    assert paths("shots") == ["shots/one", "shots/two"]
    (files / "frames" / "film.mp4").touch()  # then the pictures are stills of it
    assert paths("frames") == ["frames/film.mp4"]


def test_links_in_a_circle_end(files):
    (files / "sub" / "again").symlink_to(files / "sub")
    assert list(videos_below("sub")) == ["sub/c.webm", "sub/deep/d.avi"]


def test_patterns(files):
    assert paths("*.mp4") == ["b.mp4", "odd[1].mp4"]
    assert paths("sub/**/*.??*") == ["sub/c.webm", "sub/deep/d.avi", "sub/readme.txt"]
    assert paths("s*") == ["shots/one", "shots/two", "sub/c.webm", "sub/deep/d.avi"]


def test_addresses(files):
    assert paths("https://host/a?b=1.mp4", "rtsp://x") == ["https://host/a?b=1.mp4", "rtsp://x"]


@pytest.mark.parametrize("name", ["list.txt", "list.csv"])
def test_lists_of_paths(files, name):
    lines = ["# my videos", "b.mp4", "", "sub/c.webm\r", "missing.mp4", "frames", "https://host/x y.mp4"]
    (files / "sub" / "list.txt").write_text("\n".join(["c.webm", "b.mp4"]))
    (files / name).write_text("\n".join(lines), encoding="utf-8-sig")
    expected = ["b.mp4", "sub/c.webm", "missing.mp4", "frames", "https://host/x y.mp4"]
    assert paths(name) == expected
    assert paths(f"@{name}") == expected
    # Beside the list first, then in the working directory.
    assert paths("sub/list.txt") == ["sub/c.webm", "b.mp4"]


def test_lists_with_labels(files):
    (files / "test.csv").write_text("b.mp4 2\na.MKV 0\n")
    assert find_inputs(["test.csv"]) == [Input("b.mp4", ("2",)), Input("a.MKV", ("0",))]
    (files / "named.csv").write_text("path,label\nb.mp4,arm wrestling\nsub/c.webm,yoga\n")
    assert find_inputs(["named.csv"]) == [Input("b.mp4", ("arm wrestling",)), Input("sub/c.webm", ("yoga",))]
    (files / "many.csv").write_text("b.mp4 2,0\na.MKV 1\n")
    assert find_inputs(["many.csv"]) == [Input("b.mp4", ("2", "0")), Input("a.MKV", ("1",))]
    (files / "all.jsonl").write_text('{"path": "b.mp4", "label": "yoga"}\n')
    assert find_inputs(["all.jsonl"]) == [Input("b.mp4", ("yoga",))]


def test_a_label_stays_where_a_video_is_named_twice(files):
    (files / "test.csv").write_text("b.mp4 2\na.MKV 0\n")
    assert find_inputs(["b.mp4", "test.csv"]) == [Input("b.mp4", ("2",)), Input("a.MKV", ("0",))]


def test_names_on_standard_input(files):
    assert paths("-", stdin=io.StringIO("b.mp4\nwith blank.mp4\r\n\nnot there\n")) == [
        *("b.mp4", "with blank.mp4", "not there")
    ]
    with pytest.raises(DataError, match="standard input names no video"):
        find_inputs(["-"], io.StringIO("\n"))
    with pytest.raises(DataError, match="standard input names no video"):
        find_inputs(["-"])


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("nothing.mp4", "there is no 'nothing.mp4'; give a video, a folder with videos, a quoted pattern"),
        ("*.webm", r"no file matches '\*.webm'"),
        ("empty", "'empty' holds no video and no folder of frames; the endings looked for are .3g2"),
        ("@nolist", "there is no list 'nolist'"),
        ("sub/readme.txt", "sub/readme.txt: the list is empty"),
        ("a\0b", "holds a NUL character"),
        ("", "an empty name is no video; give a video, a folder with videos"),
        (" ", "an empty name is no video"),
    ],
)
def test_what_names_nothing(files, word, message):
    with pytest.raises(DataError, match=message) as caught:
        find_inputs(["b.mp4", word])
    assert "\n" not in str(caught.value)


def test_a_list_that_cannot_be_understood_names_its_line(files):
    (files / "bad.csv").write_text("b.mp4 2\nnonsense\n")
    with pytest.raises(DataError, match=r"bad\.csv:2"):
        find_inputs(["bad.csv"])


@given(st.text(max_size=60))
def test_any_list_is_read_or_refused_in_one_line(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("lists") / "list.txt"
    path.write_text(text, encoding="utf-8", errors="surrogateescape" if text.isascii() else "replace")
    try:
        found = find_inputs([str(path)])
    except DataError as error:
        assert "\n" not in str(error)
    else:
        assert found
        assert all(video.path and "\0" not in video.path for video in found)
