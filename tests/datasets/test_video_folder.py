"""The index of a folder of videos: what it finds, what it prefers, and when it looks again."""

from __future__ import annotations

import os

import pytest

from uniformer_video.datasets import video_folder as module
from uniformer_video.datasets.video_folder import FRAME_FOLDER_PICTURES, names_in, video_folder
from uniformer_video.runtime.errors import DataError


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def settle(root):
    """Make all folders look as if they had not changed for long."""
    for folder, _, _ in os.walk(root):
        os.utime(folder, (1e9, 1e9))


def test_videos_of_all_endings_in_all_folders(tmp_path):
    touch(
        tmp_path, "a.mp4", "x/b.WebM", "x/y/-c_.mkv", "x/d.mp4.part", "e.txt", ".hidden.mp4", ".git/f.mp4", "x/g.h.avi"
    )
    found = video_folder(str(tmp_path))
    assert len(found) == 4
    for name, path in (("a", "a.mp4"), ("b", "x/b.WebM"), ("-c_", "x/y/-c_.mkv"), ("g.h", "x/g.h.avi")):
        assert found.find([name]) == str(tmp_path / path)
    for name in ("A", "d", "d.mp4", "e", ".hidden", "f", "g"):
        assert found.find([name]) is None


def test_the_first_name_that_is_there_wins(tmp_path):
    touch(tmp_path, "id.mp4", "x/id_000001_000011.mp4")
    found = video_folder(str(tmp_path))
    assert found.find(["id_000001_000011", "id_1_11", "id"]) == str(tmp_path / "x/id_000001_000011.mp4")
    assert found.find(["id_000002_000012", "id_2_12", "id"]) == str(tmp_path / "id.mp4")


def test_of_several_files_the_one_in_the_class_folder_wins(tmp_path):
    touch(tmp_path, "a b/v.mp4", "c_d/v.mp4", "z/v.mp4")
    found = video_folder(str(tmp_path))
    assert len(found) == 3
    assert found.find(["v"]) == str(tmp_path / "a b/v.mp4")
    assert found.find(["v"], "CD") == str(tmp_path / "c_d/v.mp4")
    assert found.find(["v"], "other", {"ab", "cd", "other"}) == str(tmp_path / "z/v.mp4")
    assert found.find(["v"], "other", {"ab", "cd", "z"}) is None
    assert found.find(["v"], "ab", {"ab", "cd", "z"}) == str(tmp_path / "a b/v.mp4")


def test_folders_of_frames_are_found_by_name(tmp_path):
    touch(tmp_path, *(f"f1/{n}.jpg" for n in range(3)), *(f"f2/{n}.png" for n in range(FRAME_FOLDER_PICTURES + 5)))
    touch(tmp_path, *(f"class/{n}.jpg" for n in range(5)), "class/v.mp4")  # thumbnails beside a video
    found = video_folder(str(tmp_path))
    assert found.find(["f1"]) == str(tmp_path / "f1")
    assert found.find(["f2"]) == str(tmp_path / "f2")
    assert found.find(["class"]) is None
    assert found.find(["v"]) == str(tmp_path / "class/v.mp4")


def test_links_are_followed_but_not_in_circles(tmp_path):
    touch(tmp_path, "real/a.mp4")
    (tmp_path / "root").mkdir()
    (tmp_path / "root/link").symlink_to(tmp_path / "real")
    (tmp_path / "real/back").symlink_to(tmp_path / "root")
    (tmp_path / "root/b.mp4").symlink_to(tmp_path / "real/a.mp4")
    found = video_folder(str(tmp_path / "root"))
    assert len(found) == 2
    assert found.find(["a"]) == str(tmp_path / "root/link/a.mp4")


def test_it_is_searched_once_while_nothing_changes(tmp_path, monkeypatch):
    touch(tmp_path, "x/a.mp4")
    settle(tmp_path)
    first = video_folder(str(tmp_path))
    assert video_folder(str(tmp_path)) is first
    touch(tmp_path, "x/b.mp4")
    again = video_folder(str(tmp_path))
    assert again is not first
    assert again.find(["b"]) == str(tmp_path / "x/b.mp4")
    # A folder that has just changed may change again within the resolution of its time: it is not kept.
    assert video_folder(str(tmp_path)) is not again
    settle(tmp_path)
    kept = video_folder(str(tmp_path))
    assert video_folder(str(tmp_path)) is kept
    os.remove(tmp_path / "x/a.mp4")
    assert video_folder(str(tmp_path)).find(["a"]) is None


def test_relative_roots_give_relative_paths(tmp_path, monkeypatch):
    touch(tmp_path, "videos/a.mp4")
    settle(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert video_folder("videos").find(["a"]) == os.path.join("videos", "a.mp4")
    assert video_folder(str(tmp_path / "videos")).find(["a"]) == str(tmp_path / "videos/a.mp4")


def test_a_folder_that_cannot_be_listed_is_said(tmp_path, log, monkeypatch):
    touch(tmp_path, "a.mp4", "locked/b.mp4")
    real = os.scandir

    def refuse(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(module.os, "scandir", refuse)
    assert video_folder(str(tmp_path)).find(["a"]) == str(tmp_path / "a.mp4")
    assert log == [
        f"WARNING: 1 folders below {tmp_path} cannot be searched, for example {tmp_path / 'locked'} (Permission denied)"
    ]


@pytest.mark.parametrize("root", ["nowhere", "a\0b", ""])
def test_no_folder(root):
    with pytest.raises(DataError) as error:
        video_folder(root)
    assert str(error.value) == (
        f"DATA.PATH_PREFIX {root!r} is no folder; set DATA.PATH_PREFIX to the folder that holds the videos"
    )


def test_names_in(tmp_path):
    touch(tmp_path, "a.mp4", "x/b.mp4")
    assert names_in(str(tmp_path)) == {"a.mp4", "x"}
    assert names_in(str(tmp_path / "none")) == frozenset()
    assert names_in("a\0b") == frozenset()
