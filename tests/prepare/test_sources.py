"""Folders of videos in every layout, with nothing in the files: only names count here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from uniformer_video.prepare.sources import Entry, scan_folder, split_of, with_groups
from uniformer_video.runtime.errors import DataError, UserError


def touch(root, *names):
    for name in names:
        path = Path(root, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def found(source):
    return [(entry.name, *entry.labels, entry.split) for entry in source.entries]


class TestClassFolders:
    def test_nested_files_belong_to_the_class_above(self, tmp_path):
        touch(tmp_path, "run/a.mp4", "run/day 1/b.AVI", "sit/c.webm")
        source = scan_folder(tmp_path)
        assert found(source) == [("run/a.mp4", "run", ""), ("run/day 1/b.AVI", "run", ""), ("sit/c.webm", "sit", "")]
        assert source.entries[1] == Entry(f"{tmp_path}/run/day 1/b.AVI", "run/day 1/b.AVI", ("run",))
        assert (source.root, source.multi_label, source.notes) == (str(tmp_path), False, [])

    def test_hidden_things_are_not_there_and_others_are_counted_once(self, tmp_path):
        touch(tmp_path, "run/a.mp4", "run/.b.mp4", ".git/c.mp4", "__MACOSX/d.mp4", "run/.x/e.mp4", "sit/f.mp4")
        touch(tmp_path, "run/a.srt", "run/b.srt", "sit/README", "sit/c.txt")
        source = scan_folder(tmp_path)
        assert [entry.name for entry in source.entries] == ["run/a.mp4", "sit/f.mp4"]
        assert source.notes == ["passed over: 4 files of other kinds (2 .srt, 1 no ending, 1 .txt)"]

    def test_videos_beside_the_class_folders_and_folders_without_any(self, tmp_path):
        touch(tmp_path, "run/a.mp4", "sit/b.mp4", "loose.mp4", "docs/readme.md")
        assert scan_folder(tmp_path).notes == [
            f"passed over: 1 video in {tmp_path} itself, outside of class folders",
            f"passed over: folder {tmp_path}/docs has no videos",
            "passed over: 1 file of other kinds (1 .md)",
        ]

    def test_the_folder_that_is_written_to_is_no_class(self, tmp_path):
        touch(tmp_path, "run/a.mp4", "sit/b.mp4", "out/videos/run/a.mp4")
        source = scan_folder(tmp_path, leave_out=tmp_path / "out")
        assert {entry.labels for entry in source.entries} == {("run",), ("sit",)}

    def test_links_are_followed_once(self, tmp_path):
        touch(tmp_path, "elsewhere/a.mp4", "in/sit/b.mp4")
        os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "run")
        os.symlink(tmp_path / "in" / "sit", tmp_path / "in" / "sit" / "circle")
        assert [e.name for e in scan_folder(tmp_path / "in").entries] == ["run/a.mp4", "sit/b.mp4"]

    def test_the_working_directory(self, tmp_path, monkeypatch):
        touch(tmp_path, "run/a.mp4")
        monkeypatch.chdir(tmp_path)
        assert scan_folder(Path(".")).entries[0].path == f"{tmp_path}/run/a.mp4"


class TestSplitFolders:
    def test_train_val_test(self, tmp_path):
        touch(tmp_path, "train/run/a.mp4", "train/sit/b.mp4", "validation/run/c.mp4", "Test/sit/d.mp4")
        assert found(scan_folder(tmp_path)) == [
            ("Test/sit/d.mp4", "sit", "test"),
            ("train/run/a.mp4", "run", "train"),
            ("train/sit/b.mp4", "sit", "train"),
            ("validation/run/c.mp4", "run", "val"),
        ]

    def test_train_alone(self, tmp_path):
        touch(tmp_path, "train/run/a.mp4", "train/sit/b.mp4")
        assert {entry.split for entry in scan_folder(tmp_path).entries} == {"train"}

    def test_a_class_called_train(self, tmp_path):
        touch(tmp_path, "train/a.mp4", "bus/b.mp4", "tram/c.mp4")
        assert [entry.labels + (entry.split,) for entry in scan_folder(tmp_path).entries] == [
            ("bus", ""),
            ("train", ""),
            ("tram", ""),
        ]

    def test_other_folders_beside_them_are_told(self, tmp_path):
        touch(tmp_path, "train/run/a.mp4", "val/run/b.mp4", "raw/c.mp4")
        source = scan_folder(tmp_path)
        assert len(source.entries) == 2
        assert source.notes == ["passed over beside the folders of the splits: raw"]

    def test_videos_without_class_folders_in_a_split(self, tmp_path):
        touch(tmp_path, "train/a.mp4", "val/b.mp4")
        with pytest.raises(
            DataError, match="train has videos but no class folders; make a folder for each class in it"
        ):
            scan_folder(tmp_path)


class TestFrames:
    def names(self, *videos):
        return [f"{video}/img_{n:05d}.jpg" for video in videos for n in range(1, 4)]

    def test_folders_of_pictures_by_template(self, tmp_path):
        touch(tmp_path, *self.names("run/v1", "run/v2", "sit/v3"), "run/clip.mp4")
        source = scan_folder(tmp_path, image_template="img_{:05d}.jpg")
        assert [entry.name for entry in source.entries] == ["run/clip.mp4", "run/v1", "run/v2", "sit/v3"]

    def test_where_there_are_no_video_files_numbered_pictures_are_videos(self, tmp_path):
        touch(tmp_path, *self.names("run/v1", "sit/a/v2"))
        source = scan_folder(tmp_path)
        assert [(entry.name, entry.labels) for entry in source.entries] == [
            ("run/v1", ("run",)),
            ("sit/a/v2", ("sit",)),
        ]
        assert source.notes == ["no video files: folders of numbered pictures are taken for videos"]

    def test_beside_video_files_they_need_a_template(self, tmp_path):
        touch(tmp_path, *self.names("run/v1"), "run/a.mp4")
        (note,) = scan_folder(tmp_path).notes
        assert note.startswith(
            "passed over: 3 files of other kinds (3 .jpg); if they are frames of videos, name them with"
        )

    def test_a_template_that_is_none(self, tmp_path):
        with pytest.raises(UserError, match="'img.jpg' has 0 numbers"):
            scan_folder(touch(tmp_path, "a/b.mp4"), image_template="img.jpg")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], "has no videos in class folders; give a folder with a folder for each class"),
        (["a.mp4", "b.mp4"], "has 2 videos but no class folders; make a folder for each class in it, or give a list"),
        (["run/a.txt"], "has no videos in class folders"),
    ],
)
def test_folders_that_are_no_source(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        scan_folder(touch(tmp_path, *names))


def test_no_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere: No such file or directory; give a folder or a list of videos"):
        scan_folder(tmp_path / "nowhere")


def entries(*names):
    return [Entry(f"/v/{name}", name, ("x",)) for name in names]


class TestGroups:
    def test_the_first_group_of_the_pattern_names_the_group(self):
        grouped, alone = with_groups(entries("run/run_g01_c1.avi", "run/run_g02_c1.avi", "run/odd.avi"), "_(g[0-9]+)_")
        assert ([entry.group for entry in grouped], alone) == (["g01", "g02", ""], 1)

    def test_else_the_whole_match_does(self):
        grouped, _ = with_groups(entries("p1/a.avi", "p1/b.avi", "p2/a.avi"), "^p[0-9]")
        assert [entry.group for entry in grouped] == ["p1", "p1", "p2"]

    def test_a_group_that_takes_no_part_is_none(self):
        grouped, alone = with_groups(entries("a.avi"), "(x)?a")
        assert ([entry.group for entry in grouped], alone) == ([""], 1)

    def test_no_regular_expression(self):
        with pytest.raises(UserError, match=r"--group-pattern '\(' is no regular expression \("):
            with_groups([], "(")


@pytest.mark.parametrize(
    ("word", "split"),
    [
        ("train", "train"),
        (" Training ", "train"),
        ("VALID", "val"),
        ("dev", "val"),
        ("test", "test"),
        ("", ""),
        (" ", ""),
    ],
)
def test_words_for_splits(word, split):
    assert split_of(word, "x.csv:1") == split


def test_a_word_for_no_split():
    with pytest.raises(DataError, match=r"x.csv:3: 'holdout' is no split; write train, val \(or validation\) or test"):
        split_of("holdout", "x.csv:3")
