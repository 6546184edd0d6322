"""The whole job, in one process: what is written, said, kept and refused."""

from __future__ import annotations

import csv
import json

import pytest

from tests.helpers import write_empty
from tests.prepare.conftest import listed, prepare, write_clips
from uniformer_video.datasets.kinetics import read_kinetics
from uniformer_video.datasets.records import read_class_names
from uniformer_video.prepare import probe_all
from uniformer_video.prepare.check import check_dataset
from uniformer_video.prepare.source_lists import ListOptions
from uniformer_video.runtime.errors import DataError


class TestAFolderOfClasses:
    def test_the_lists_are_those_that_training_reads(self, made, clips):
        out, _, _ = made
        names = read_class_names(out, None)
        assert names == ["jump up", "run", "sit"]
        records = {split: read_kinetics(str(out), split, num_classes=3) for split in ("train", "val", "test")}
        assert {split: len(found) for split, found in records.items()} == {"train": 6, "val": 2, "test": 2}
        for found in records.values():
            for record in found:
                assert record.path.startswith(f"{clips}/{names[record.label]}/")

    def test_every_class_is_in_its_splits_and_no_video_is_lost(self, made, clips):
        out, _, content = made
        assert content["classes"] == {
            "jump up": {"train": 2, "val": 1, "test": 1},
            "run": {"train": 3, "val": 1, "test": 1},
            "sit": {"train": 1, "val": 0, "test": 0},
        }
        good = {
            str(p) for p in clips.rglob("*.m*") if p.name not in ("empty.mp4", "cut.mp4", "again.mp4", ".hidden.mp4")
        }
        assert listed(out).keys() == good

    def test_bad_files_with_their_reasons(self, made, clips):
        out, _, content = made
        with open(out / "bad.csv", newline="") as file:
            header, *rows = csv.reader(file)
        assert header == ["path", "reason"]
        bad = {path.removeprefix(f"{clips}/"): reason for path, reason in rows}
        assert bad.keys() == {"run/empty.mp4", "sit/cut.mp4", "run/again.mp4"}
        assert bad["run/empty.mp4"] == "the file is empty"
        assert bad["run/again.mp4"] == "the same bytes as run/1.mp4"
        assert content["bad"]["total"] == 3
        assert content["bad"]["duplicate"] == content["bad"]["empty"] == 1

    def test_what_dataset_json_says(self, made, clips):
        out, _, content = made
        assert json.loads((out / "dataset.json").read_text()) == content
        assert (content["format"], content["num_classes"], content["multi_label"]) == (1, 3, False)
        assert content["counts"] == {"train": 6, "val": 2, "test": 2}
        assert content["frames"] == {"min": 8, "median": 9.0, "max": 12, "total": 50 + 36 + 12}
        assert content["seconds"]["total"] == pytest.approx(98 / 25, abs=0.01)
        assert content["frames_per_second"] == {"min": 25, "median": 25, "max": 25}
        assert content["sizes"] == {"48x32": 10}
        assert content["codecs"] == {"h264": 10}
        assert sorted(content["containers"].values()) == [4, 6]
        assert content["source"] == content["root"] == str(clips)
        assert content["command"] == ["prepare_dataset.py"]
        assert content["options"]["fractions"] == {"train": 0.7, "val": 0.15, "test": 0.15}

    def test_what_is_said(self, made):
        out, said, _ = made
        assert said[:2] == ["passed over: 1 file of other kinds (1 .txt)", f"13 videos in {said[1].split(' in ')[1]}"]
        table = [line.split() for line in said[3:8]]
        assert table == [
            ["class", "train", "val", "test", "all"],
            ["jump", "up", "2", "1", "1", "4"],
            ["run", "3", "1", "1", "5"],
            ["sit", "1", "0", "0", "1"],
            ["all", "6", "2", "2", "10"],
        ]
        assert f"3 left out ({out}/bad.csv):" in said
        assert "warning: 1 class has no video in val: 'sit'" in said
        assert said[-1].startswith("next: python tools/run_net.py --cfg configs/finetune.yaml DATA.PATH_TO_DATA_DIR ")
        assert said[-1].endswith(f" {out} OUTPUT_DIR runs/mine")

    def test_the_set_has_no_faults(self, made):
        assert check_dataset(made[0], workers=0) == ([], 10)

    def test_the_sources_are_as_they_were(self, made, clips):
        assert not [p for p in clips.rglob("*") if p.suffix in (".csv", ".json", ".png", ".part")]


class TestAgain:
    def test_the_same_call_makes_the_same_files_and_probes_nothing(self, clips, tmp_path, monkeypatch):
        first, _ = prepare(clips, tmp_path / "out")
        files = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

        def refuse(*_, **__):
            raise AssertionError("probed again")

        monkeypatch.setattr(probe_all, "probe_video", refuse)
        second, _ = prepare(clips, tmp_path / "out")
        assert second == first
        now = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
        del files[".prepare.json"], now[".prepare.json"]
        assert now == files

    def test_an_interrupted_run_goes_on_where_it_was(self, clips, tmp_path, monkeypatch):
        whole, _ = prepare(clips, tmp_path / "whole")
        probe, seen = probe_all.probe_video, []

        def until_five(path, **more):
            if len(seen) == 5:
                raise KeyboardInterrupt
            seen.append(path)
            return probe(path, **more)

        monkeypatch.setattr(probe_all, "probe_video", until_five)
        with pytest.raises(KeyboardInterrupt):
            prepare(clips, tmp_path / "out")
        assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [".prepare.json", ".probes.jsonl"]
        rest = []
        monkeypatch.setattr(probe_all, "probe_video", lambda path, **more: rest.append(path) or probe(path, **more))
        content, _ = prepare(clips, tmp_path / "out")
        assert not set(rest) & set(seen)
        assert len(rest) + len(seen) == 13
        assert content["fingerprint"] == whole["fingerprint"]

    def test_a_file_that_changed_is_probed_again(self, tmp_path):
        folder = write_clips(tmp_path / "in", {"a/1.mp4": 6, "a/2.mp4": 6, "b/1.mp4": 6})
        before, _ = prepare(folder, tmp_path / "out")
        write_empty(folder / "a" / "2.mp4")
        after, _ = prepare(folder, tmp_path / "out")
        assert (before["bad"]["total"], after["bad"]["total"]) == (0, 1)


class TestOptions:
    def test_short_videos_are_left_out(self, clips, tmp_path):
        content, said = prepare(clips, tmp_path / "out", min_frames=10)
        assert content["frames"]["min"] == 10
        assert content["bad"]["too short"] == 7
        assert "warning: class 'jump up' is left out: it has no usable video, of 4 videos" in said
        assert read_class_names(tmp_path / "out", None) == ["run", "sit"]

    def test_seconds(self, clips, tmp_path):
        content, _ = prepare(clips, tmp_path / "out", min_seconds=0.4)
        assert content["frames"]["min"] == 10  # at 25 a second

    def test_fast_does_not_decode(self, clips, tmp_path, monkeypatch):
        seen = []
        probe = probe_all.probe_video
        monkeypatch.setattr(probe_all, "probe_video", lambda *a, **more: seen.append(more["full"]) or probe(*a, **more))
        prepare(clips, tmp_path / "out", fast=True)
        assert set(seen) == {False}

    def test_duplicates_that_are_kept_stay_in_one_split(self, clips, tmp_path):
        for seed in range(3):
            content, _ = prepare(clips, tmp_path / f"out{seed}", keep_duplicates=True, seed=seed)
            assert content["counts"]["train"] + content["counts"]["val"] + content["counts"]["test"] == 11
            where = listed(tmp_path / f"out{seed}")
            assert where[f"{clips}/run/1.mp4"] == where[f"{clips}/run/again.mp4"]
        assert check_dataset(tmp_path / "out0", workers=0)[0] == []

    def test_groups_by_pattern(self, tmp_path):
        folder = write_clips(
            tmp_path / "in", {f"{c}/g{g}_{n}.mp4": 5 for c in "ab" for g in range(3) for n in range(2)}
        )
        content, said = prepare(folder, tmp_path / "out", group_pattern=r"^\w/g\d")
        assert said[0] == "6 groups by --group-pattern, such as 'a/g0'"
        splits = {}
        for path, (split, _) in listed(tmp_path / "out").items():
            splits.setdefault(path[:-6], set()).add(split)
        assert [len(found) for found in splits.values()] == [1] * 6
        assert content["counts"] == {"train": 4, "val": 4, "test": 4}

    def test_a_pattern_that_matches_nothing(self, clips, tmp_path):
        with pytest.raises(
            DataError, match=r"--group-pattern 'person' matches none of the 13 paths, such as jump up/deep"
        ):
            prepare(clips, tmp_path / "out", group_pattern="person")

    def test_no_test_split(self, clips, tmp_path):
        content, said = prepare(clips, tmp_path / "out", fractions=(0.7, 0.3, 0.0))
        assert content["counts"]["test"] == 0
        assert not (tmp_path / "out" / "test.csv").exists()
        assert "warning: no test.csv: --split gives it nothing; add videos, or set TEST.ENABLE False" in said
        assert check_dataset(tmp_path / "out", workers=0)[0] == []


class TestListsAndSplits:
    def test_given_splits_are_kept(self, clips, tmp_path):
        text = "path,label,split\n" + "".join(f"run/{n}.mp4,run,{s}\n" for n, s in enumerate(["train", "val", "test"]))
        (tmp_path / "list.csv").write_text(text + "sit/only.mp4,sit,train\n")
        prepare(tmp_path / "list.csv", tmp_path / "out", lists=ListOptions(videos=str(clips)))
        assert listed(tmp_path / "out") == {
            f"{clips}/run/0.mp4": ("train", "0"),
            f"{clips}/run/1.mp4": ("val", "0"),
            f"{clips}/run/2.mp4": ("test", "0"),
            f"{clips}/sit/only.mp4": ("train", "1"),
        }

    def test_several_labels(self, clips, tmp_path):
        rows = [{"path": f"run/{n}.mp4", "labels": ["run", "fast"][: n % 3]} for n in range(5)]
        (tmp_path / "list.json").write_text(json.dumps(rows))
        content, said = prepare(tmp_path / "list.json", tmp_path / "out", lists=ListOptions(videos=str(clips)))
        assert content["multi_label"] is True
        assert read_class_names(tmp_path / "out", None) == ["fast", "run"]
        labels = {path[-5]: label for path, (_, label) in listed(tmp_path / "out").items()}
        assert labels == {"0": "-", "1": "1", "2": "0,1", "3": "-", "4": "1"}
        record = read_kinetics(str(tmp_path / "out"), "train", num_classes=2, multi_label=True)[0]
        assert isinstance(record.label, tuple)
        assert any(line.startswith("all videos") for line in said)
        assert check_dataset(tmp_path / "out", workers=0)[0] == []

    def test_names_beside_a_list_of_numbers(self, clips, tmp_path):
        (tmp_path / "list.txt").write_text("run/0.mp4 2\nrun/1.mp4 0\nrun/2.mp4 2\nrun/3.mp4 0\n")
        (tmp_path / "classes.txt").write_text("still\nunused\nmoving\n")
        content, said = prepare(tmp_path / "list.txt", tmp_path / "out", lists=ListOptions(videos=str(clips)))
        assert read_class_names(tmp_path / "out", None) == ["still", "unused", "moving"]
        assert content["classes"]["unused"] == {"train": 0, "val": 0, "test": 0}
        assert any("no video in train: 'unused'" in line for line in said)


class TestRefused:
    def test_a_single_class(self, clips, tmp_path):
        (tmp_path / "list.csv").write_text("path,label\nrun/0.mp4,run\nrun/1.mp4,run\n")
        with pytest.raises(DataError, match="only the class 'run' has usable videos, and at least 2 are needed; add"):
            prepare(tmp_path / "list.csv", tmp_path / "out", lists=ListOptions(videos=str(clips)))

    def test_no_usable_video(self, tmp_path):
        for name in ("a", "b"):
            (tmp_path / "in" / name).mkdir(parents=True)
            write_empty(tmp_path / "in" / name / "1.mp4")
        with pytest.raises(
            DataError, match=r"none of the 2 videos can be used \(2 empty\), for example .*/in/a/1.mp4: "
        ):
            prepare(tmp_path / "in", tmp_path / "out")

    def test_a_wrong_root(self, tmp_path):
        (tmp_path / "list.csv").write_text("path,label\nx/0.mp4,run\nx/1.mp4,sit\n")
        with pytest.raises(DataError, match=r"\(2 missing\).*list.csv:2\); if their paths begin in another folder"):
            prepare(tmp_path / "list.csv", tmp_path / "out")

    def test_nothing_to_train_on(self, clips, tmp_path):
        (tmp_path / "list.csv").write_text("path,label,split\nrun/0.mp4,run,val\nsit/only.mp4,sit,test\n")
        with pytest.raises(DataError, match="no usable video is in train"):
            prepare(tmp_path / "list.csv", tmp_path / "out", lists=ListOptions(videos=str(clips)))

    def test_too_few_for_a_val_list(self, tmp_path):
        folder = write_clips(tmp_path / "in", {"a/1.mp4": 5, "b/1.mp4": 5})
        _, said = prepare(folder, tmp_path / "out")
        assert "warning: no val.csv: there are too few videos; training needs it: add videos" in said
