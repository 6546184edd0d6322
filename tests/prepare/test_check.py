"""Every fault that a set can have, each with its file and line."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.helpers import barcode_frames, write_damaged, write_empty, write_video
from tests.prepare.conftest import write_clips
from uniformer_video.prepare.check import check_dataset
from uniformer_video.prepare.prepare import PrepareOptions, prepare_dataset
from uniformer_video.runtime.errors import DataError


def faults(folder, **more):
    """Return the faults without the folder in front."""
    found, _ = check_dataset(folder, workers=0, **more)
    assert all(line.startswith(f"{folder}/") for line in found)
    return [line.removeprefix(f"{folder}/") for line in found]


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    return write_clips(tmp_path_factory.mktemp("videos"), {f"{c}/{n}.mp4": 5 for c in "ab" for n in range(4)})


@pytest.fixture
def by_hand(videos, tmp_path):
    """Return a folder with lists that somebody wrote, without a fault."""
    shutil.copytree(videos, tmp_path, dirs_exist_ok=True)
    for split, numbers in (("train", (0, 1)), ("val", (2,)), ("test", (3,))):
        lines = [f"{c}/{n}.mp4 {k}\n" for n in numbers for k, c in enumerate("ab")]
        (tmp_path / f"{split}.csv").write_text("".join(lines))
    (tmp_path / "classes.json").write_text('["a",\n "b"]\n')
    return tmp_path


@pytest.fixture
def tool_made(videos, tmp_path):
    """Return the folder of a set that the tool made of its own copies of the videos."""
    shutil.copytree(videos, tmp_path / "in")
    prepare_dataset(PrepareOptions(str(tmp_path / "in"), str(tmp_path / "set"), workers=0), lambda _: None)
    return tmp_path / "set"


def add(path, text):
    path.write_text(path.read_text() + text)


class TestByHand:
    def test_no_fault(self, by_hand):
        assert check_dataset(by_hand, workers=0) == ([], 8)

    def test_every_bad_line_is_told_not_only_the_first(self, by_hand):
        add(by_hand / "train.csv", "a/2.mp4\n\nb/3.mp4 x\na/3.mp4 -1\nnone.mp4 1\na/3.mp4 7\n")
        found = faults(by_hand)
        assert [line.split(" ")[0] for line in found] == [
            "train.csv:5:",
            "train.csv:7:",
            "train.csv:8:",
            "train.csv:9:",
            "train.csv:10:",
            "test.csv:1:",
        ]
        assert found[0].startswith("train.csv:5: no label after a ' ' in 'a/2.mp4'")
        assert found[1].startswith("train.csv:7: label 'x' is no whole number")
        assert found[2].startswith("train.csv:8: label -1 is outside 0 to")
        assert found[3] == "train.csv:9: none.mp4: No such file or directory"
        assert found[4] == "train.csv:10: label 7 is outside 0 to 1, the classes of classes.json"
        assert found[5] == "test.csv:1: a/3.mp4 is also in train.csv:10: it leaks from one split into another"

    def test_unreadable_files(self, by_hand):
        write_empty(by_hand / "a" / "0.mp4")
        (by_hand / "b" / "3.mp4").write_text("no video")
        found = faults(by_hand)
        assert found[0] == "train.csv:1: a/0.mp4: the file is empty"
        assert found[1].startswith("test.csv:2: b/3.mp4: ")
        assert len(found) == 2

    def test_damage_is_seen_by_decoding_alone(self, by_hand):
        target = by_hand / "a" / "1.mp4"
        write_video(target, barcode_frames(60), container_options={"movflags": "faststart"})
        write_damaged(target, target, 0.5, 0.7)
        (fault,) = faults(by_hand)
        assert fault.startswith("train.csv:3: a/1.mp4: ") and "damaged" in fault
        assert faults(by_hand, fast=True) == []

    def test_a_video_twice_in_a_list_and_in_two(self, by_hand):
        add(by_hand / "train.csv", "./a/0.mp4 0\nb/2.mp4 1\n")
        assert faults(by_hand) == [
            "train.csv:5: ./a/0.mp4 is also in train.csv:1",
            "val.csv:2: b/2.mp4 is also in train.csv:6: it leaks from one split into another",
        ]

    def test_the_same_bytes_under_two_names(self, by_hand):
        shutil.copy(by_hand / "a" / "0.mp4", by_hand / "a" / "2.mp4")
        shutil.copy(by_hand / "b" / "0.mp4", by_hand / "b" / "1.mp4")
        assert faults(by_hand) == [
            "train.csv:4: b/1.mp4 has the same bytes as b/0.mp4 in train.csv:2",
            "val.csv:1: a/2.mp4 has the same bytes as a/0.mp4 in train.csv:1: it leaks from one split into another",
        ]

    def test_a_class_without_a_training_video(self, by_hand):
        (by_hand / "classes.json").write_text('[\n"a",\n"b",\n"c"\n]')
        assert faults(by_hand) == ["classes.json:4: class 2 'c' has no video in train.csv"]
        (by_hand / "classes.json").unlink()
        add(by_hand / "val.csv", "")
        (by_hand / "train.csv").write_text("b/0.mp4 1\n")
        assert faults(by_hand) == ["train.csv: class 0 has no video in it"]

    def test_a_class_is_not_missing_where_lines_cannot_be_read(self, by_hand):
        (by_hand / "train.csv").write_text("a/0.mp4 0\nb/0.mp4,1\n")
        (fault,) = faults(by_hand)
        assert fault.startswith(
            "train.csv:2: no label after a ' ' in 'b/0.mp4,1'; if ',' separates them, say --delimiter"
        )

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("[1]", "classes.json:1: must be a list of class names"),
            ("[", "classes.json:1: not JSON"),
            ('["a", "a"]', "classes.json:1: class 'a' is named twice"),
        ],
    )
    def test_class_names(self, by_hand, text, fault):
        (by_hand / "classes.json").write_text(text)
        (found,) = faults(by_hand)
        assert found.startswith(fault)

    def test_lists_that_are_missing_empty_or_no_text(self, by_hand):
        (by_hand / "test.csv").unlink()
        (by_hand / "val.csv").write_text("\n")
        assert faults(by_hand) == [
            "val.csv:1: an empty list",
            "test.csv: no such list; without a test, set TEST.ENABLE False",
        ]
        (by_hand / "val.csv").write_bytes(b"\xff\xfe 0\n")
        assert faults(by_hand)[0].startswith("val.csv:1: cannot be read as UTF-8 text")

    def test_another_separator_and_another_folder(self, by_hand, tmp_path_factory):
        lists = tmp_path_factory.mktemp("lists")
        for split in ("train", "val", "test"):
            (lists / f"{split}.csv").write_text((by_hand / f"{split}.csv").read_text().replace(" ", ","))
        assert faults(lists, separator=",", videos=str(by_hand)) == []
        assert len(faults(lists, separator=",")) == 8

    def test_several_labels(self, by_hand):
        add(by_hand / "train.csv", "")
        (by_hand / "train.csv").write_text("a/0.mp4 0,1\nb/0.mp4 -\na/1.mp4 1,1\n")
        assert faults(by_hand) == ["train.csv:3: label 1 twice in '1,1'; write each label once"]

    @pytest.mark.parametrize(
        ("folder", "message"),
        [("nowhere", "no such folder; give one"), (".", "it holds none of train.csv, val.csv and test.csv")],
    )
    def test_what_is_no_set_is_a_mistake_not_a_fault(self, tmp_path, folder, message):
        with pytest.raises(DataError, match=message):
            check_dataset(tmp_path / folder, workers=0)


class TestMadeByTheTool:
    def test_no_fault(self, tool_made):
        assert check_dataset(tool_made, workers=0) == ([], 8)

    def test_another_file_under_a_name(self, tool_made, tmp_path):
        line = (tool_made / "train.csv").read_text().splitlines()[0]
        write_clips(tmp_path, {"other.mp4": 6})
        shutil.copy(tmp_path / "other.mp4", line.rpartition(" ")[0])
        (fault,) = faults(tool_made)
        number = 1 + next(
            n for n, text in enumerate((tool_made / "dataset.json").read_text().splitlines()) if '"fingerprint"' in text
        )
        assert fault.startswith(f"dataset.json:{number}: the fingerprint is another: a file, a label or a split has")

    def test_a_line_that_was_removed(self, tool_made):
        lines = (tool_made / "train.csv").read_text().splitlines(keepends=True)
        (tool_made / "train.csv").write_text("".join(lines[:-1]))
        first, second = faults(tool_made)
        assert first == "dataset.json:6: train is 4, but train.csv has 3 videos"
        assert (
            second.startswith("dataset.json:")
            and "b is {'train': 2" in second
            and "but the lists have train 1" in second
        )

    def test_a_label_that_was_changed(self, tool_made):
        text = (tool_made / "train.csv").read_text()
        (tool_made / "train.csv").write_text(text.replace(" 0\n", " 1\n", 1))
        found = faults(tool_made)
        assert len(found) == 2 and all("but the lists have train" in fault for fault in found)

    def test_names_that_are_gone_or_more(self, tool_made):
        (tool_made / "classes.json").write_text('["a", "b", "c"]')
        assert "dataset.json:3: num_classes is 2, but classes.json names 3" in faults(tool_made)
        (tool_made / "classes.json").unlink()
        assert faults(tool_made) == ["classes.json: no such file, but dataset.json says that the set has class names"]

    @pytest.mark.parametrize(
        ("text", "fault"),
        [
            ("{", "dataset.json:1: not JSON"),
            ("[]", "dataset.json:1: not of format 1"),
            ('{"format": 9}', "dataset.json:1: not"),
        ],
    )
    def test_a_description_that_is_none(self, tool_made, text, fault):
        (tool_made / "dataset.json").write_text(text)
        (found,) = faults(tool_made)
        assert found.startswith(fault)

    def test_a_description_of_other_shapes(self, tool_made):
        content = json.loads((tool_made / "dataset.json").read_text())
        content |= {"counts": 5, "classes": [], "options": [], "root": 7, "multi_label": "no"}
        (tool_made / "dataset.json").write_text(json.dumps(content))
        assert len(faults(tool_made)) >= 3

    def test_nothing_is_written(self, tool_made):
        before = {p: p.stat().st_mtime_ns for p in tool_made.parent.rglob("*")}
        check_dataset(tool_made, workers=0)
        assert {p: p.stat().st_mtime_ns for p in tool_made.parent.rglob("*")} == before
