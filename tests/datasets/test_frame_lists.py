"""Lists of `folder frames label` lines."""

from __future__ import annotations

import os

import pytest

from uniformer_video.datasets.frame_lists import is_frame_list, read_frame_list
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def folder(tmp_path):
    touch(tmp_path, "78687/img_00001.jpg", "a b/c/img_00001.jpg", "v.mp4", "w.webm")
    return tmp_path


def read(folder, text, split="train", num_classes=10, **options):
    path = folder / "train_videofolder.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_frame_list(path, split, num_classes=num_classes, **options)


def error_of(folder, text, **options):
    with pytest.raises(DataError) as error:
        read(folder, text, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("separator", "text"),
    [
        (" ", "78687 62 3\na b/c 5 0\n"),
        (" ", "\ufeff78687  62\t3 \r\n\r\n a b/c 5  0\r\n"),
        (",", "78687,62,3\na b/c, 5 ,0\n"),
        ("\t", "78687\t62\t3\na b/c\t5\t0\n"),
    ],
)
def test_folders_of_frames(folder, separator, text):
    found = read(folder, text, separator=separator)
    assert found.records == [VideoRecord(str(folder / "78687"), 3, 62), VideoRecord(str(folder / "a b/c"), 0, 5)]
    assert (found.class_names, found.absent) == (None, ())
    assert is_frame_list(folder / "train_videofolder.txt", separator)


def test_videos_with_and_without_their_ending(folder):
    found = read(folder, "v.mp4 62 3\nw 5 0\n")
    assert found.records == [VideoRecord(str(folder / "v.mp4"), 3, 62), VideoRecord(str(folder / "w.webm"), 0, 5)]


def test_a_prefix_and_whole_paths(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    touch(elsewhere, "9/1.jpg")
    found = read(folder, f"9 1 1\n{folder}/78687 1 2\nhttps://h/x.mp4 1 3\n", prefix=str(elsewhere))
    assert [r.path for r in found.records] == [str(elsewhere / "9"), str(folder / "78687"), "https://h/x.mp4"]


def test_the_working_directory_where_the_first_is_only_there(folder, tmp_path_factory, monkeypatch):
    lists = tmp_path_factory.mktemp("lists")
    monkeypatch.chdir(folder)
    assert [r.path for r in read(lists, "78687 62 3\nv.mp4 1 1\n").records] == ["78687", "v.mp4"]


def test_missing_folders(folder, log):
    text = "78687 62 3\n5 6 7\n"
    for split, paths in (("train", ["78687"]), ("val", ["78687"]), ("test", ["78687", "5"])):
        found = read(folder, text, split)
        assert [r.path for r in found.records] == [str(folder / p) for p in paths]
        assert found.absent == (str(folder / "5"),)
    assert len(log) == 3
    assert log[0].endswith(
        f"train_videofolder.txt: 1 of 2 videos (50.0%) are not in {folder}, for example 5; they are left out"
    )
    assert error_of(folder, "5 6 7\n").endswith(
        f"none of its 1 videos is in {folder}, for example {folder / '5'} (a folder of frames or a video); set "
        "DATA.PATH_PREFIX to the folder of the videos (it is not set)"
    )


def test_category_txt_names_the_classes(folder):
    (folder / "category.txt").write_text("\ufeffHolding something\nClosing something\r\n\n", newline="")
    assert read(folder, "78687 62 1\n", num_classes=2).class_names == ["Holding something", "Closing something"]
    assert read(folder, "78687 62 1\n", num_classes=None).class_names == ["Holding something", "Closing something"]
    assert error_of(folder, "78687 62 1\n") == (
        f"{folder / 'category.txt'} names 2 classes, but MODEL.NUM_CLASSES is 10; make them agree"
    )
    assert error_of(folder, "78687 62 2\n", num_classes=None).endswith(
        ":1: label 2 is outside 0 to 1 (MODEL.NUM_CLASSES 2); correct the one or the other"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("78687 62 3\n\n78687 3\n", ":3: '78687 3' is no `folder frames label` with whole numbers of frames and label"),
        ("78687 x 3\n", ":1: '78687 x 3' is no `folder frames label` with whole numbers of frames and label"),
        ("78687 62 x\n", ":1: '78687 62 x' is no `folder frames label` with whole numbers of frames and label"),
        ("78687 62 10\n", ":1: label 10 is outside 0 to 9 (MODEL.NUM_CLASSES 10); correct the one or the other"),
        ("78687 -1 3\n", ":1: -1 frames; write how many frames '78687' has"),
        ("7\0 1 3\n", ":1: the path '7\\x00' holds a NUL character; remove it"),
        ("\n", ": an empty list; write one with a `folder frames label` on each line"),
    ],
)
def test_wrong_lines_are_named(folder, text, message):
    assert error_of(folder, text) == f"{folder / 'train_videofolder.txt'}{message}"


def test_no_text_and_no_list(folder):
    assert "cannot be read as UTF-8 text" in error_of(folder, b"\xff\xfe1\x00")
    with pytest.raises(DataError, match="no such list; write one with a `folder,frames,label` on each line"):
        read_frame_list(folder / "none.txt", "train", num_classes=3, separator=",")


def test_other_lists_are_no_frame_lists(folder):
    path = folder / "list.txt"
    for text in ("", "a.mp4 3\n", "78687 62 3\na.mp4 3\n", "a x 3\n"):
        path.write_text(text)
        assert not is_frame_list(path)
    path.write_bytes(b"\xff")
    assert not is_frame_list(path)
    assert not is_frame_list(folder / "none.txt")


def test_each_folder_is_listed_once(folder, monkeypatch):
    calls = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (calls.append(str(path)), real(path))[1])
    touch(folder, *(f"x/{n}/1.jpg" for n in range(20)))
    assert len(read(folder, "".join(f"x/{n} 1 1\n" for n in range(20))).records) == 20
    assert calls == [str(folder / "x")]
