"""Rewriting all videos: names that no other has, only what is missing, nobody's file overwritten."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers import moving_square, write_empty, write_video
from uniformer_video.prepare.transcode_all import Job, target_names, transcode_all, transcode_one
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.transcode import TranscodeSettings

SMALL = TranscodeSettings(short_side=16)


class TestNames:
    def test_names_are_kept(self):
        assert target_names([("run", "run/a.avi"), ("run", "run/deep/b.c.mkv"), ("sit", "sit/a.avi")]) == [
            "run/a.mp4",
            "run/b.c.mp4",
            "sit/a.mp4",
        ]

    def test_only_names_that_clash_get_more_and_always_the_same(self):
        videos = [("run", "run/x/A.avi"), ("run", "run/y/a.mov"), ("run", "run/b.avi")]
        names = target_names(videos)
        assert names[2] == "run/b.mp4"
        assert re.fullmatch(r"run/A-[0-9a-f]{8}\.mp4", names[0]) and re.fullmatch(r"run/a-[0-9a-f]{8}\.mp4", names[1])
        assert target_names(videos[::-1]) == names[::-1]

    def test_a_set_of_several_labels_keeps_its_folders(self):
        assert target_names(
            [("", "day 1/a.avi"), ("", "/abs/b.avi"), ("", "../c.avi"), ("", "http://host/d.mp4?x=1")]
        ) == [
            "day 1/a.mp4",
            "abs/b.mp4",
            "c.mp4",
            "host/d.mp4",
        ]

    def test_classes_that_are_no_folder_names(self):
        classes = ("a/b", "..", "con:", "x" * 300, " ")
        names = target_names([(label, f"{n}.mp4") for n, label in enumerate(classes)])
        assert [names[n] for n in (0, 1, 2, 4)] == ["a_b/0.mp4", "_/1.mp4", "con_/2.mp4", "_/4.mp4"]
        assert max(len(part) for name in names for part in name.split("/")) < 140
        assert not any(part in ("", ".", "..") for name in names for part in name.split("/"))

    @given(
        st.lists(
            st.tuples(st.text(min_size=1, max_size=8), st.text(min_size=1, max_size=12)),
            max_size=8,
            unique_by=lambda v: v[1],
        )
    )
    def test_any_names_become_files_below_the_folder_that_differ_on_any_system(self, videos):
        names = target_names(videos)
        assert len({name.casefold() for name in names}) == len(names)
        for name in names:
            assert name.endswith(".mp4") and not name.startswith("/")
            assert os.path.normpath(name) == name
            assert not re.search(r'[\x00-\x1f<>:"\\|?*]', name)


class TestFiles:
    @pytest.fixture
    def jobs(self, tmp_path):
        for n in range(3):
            write_video(tmp_path / f"{n}.avi", moving_square(6, 32, 48, color=(200, 40 * n, 0)), codec="mpeg4")
        return [Job(str(tmp_path / f"{n}.avi"), str(tmp_path / "out" / "x" / f"{n}.mp4")) for n in range(3)]

    def test_all_are_written_once(self, jobs):
        assert transcode_all(jobs, SMALL, workers=0) == {}
        stamps = [os.stat(job.target).st_mtime_ns for job in jobs]
        with PyAVReader(jobs[1].target) as reader:
            assert (reader.num_frames, reader.size) == (6, (16, 24))
        os.unlink(jobs[1].target)
        assert transcode_all(jobs, SMALL, workers=0) == {}
        now = [os.stat(job.target).st_mtime_ns for job in jobs]
        assert [a == b for a, b in zip(stamps, now, strict=True)] == [True, False, True]

    def test_other_settings_write_ours_again(self, jobs):
        assert transcode_one_all(jobs[:1], SMALL) == [""]
        assert transcode_one(jobs[0], TranscodeSettings(short_side=8)) == ""
        with PyAVReader(jobs[0].target) as reader:
            assert reader.size == (8, 12)

    def test_a_foreign_file_is_never_overwritten(self, jobs, tmp_path):
        for number, write in enumerate((write_empty, lambda path: write_video(path, moving_square(4)))):
            target = Path(jobs[number].target)
            target.parent.mkdir(parents=True, exist_ok=True)
            write(target)
            before = target.read_bytes()
            assert transcode_all([jobs[number]], SMALL, workers=0) == {
                str(target): f"another file is in the way, which is not overwritten: {target}"
            }
            assert target.read_bytes() == before

    def test_what_cannot_be_read_is_told_and_the_rest_is_done(self, jobs, tmp_path):
        write_empty(tmp_path / "0.avi")
        assert transcode_all(jobs, SMALL, workers=0) == {jobs[0].target: "the file is empty"}
        assert sorted(os.listdir(tmp_path / "out" / "x")) == ["1.mp4", "2.mp4"]

    def test_what_killed_runs_left_is_removed_but_not_what_another_writes_now(self, jobs, tmp_path):
        folder = tmp_path / "out" / "x"
        folder.mkdir(parents=True)
        for name in (".0.abcd1234.mp4", ".1.abcd1234.mp4", ".mine.mp4"):
            (folder / name).write_bytes(b"")
        os.utime(folder / ".0.abcd1234.mp4", (0, 0))
        os.utime(folder / ".mine.mp4", (0, 0))
        transcode_all(jobs, SMALL, workers=0)
        assert sorted(n for n in os.listdir(folder) if n.startswith(".")) == [".1.abcd1234.mp4", ".mine.mp4"]


def transcode_one_all(jobs, settings):
    for job in jobs:
        Path(job.target).parent.mkdir(parents=True, exist_ok=True)
    return [transcode_one(job, settings) for job in jobs]
