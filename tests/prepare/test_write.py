"""The folder of a set: whose it is, what is replaced, what is kept, and what a kill leaves behind."""

from __future__ import annotations

import json

import pytest

from uniformer_video.prepare import write as module
from uniformer_video.prepare.prepared import Bad, PreparedSet, Video
from uniformer_video.prepare.write import claim_folder, write_set
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.video.probe import Probe

NAMES = {"train.csv", "val.csv", "test.csv", "classes.json", "dataset.json", "bad.csv", "contact_sheet.png"}


def prepared(count=1, splits=("train", "val", "test"), bad=()):
    videos = [
        Video(f"{split}{n}", f"/v/{split}{n}.mp4", (n % 2,), split, Probe("", ok=True))
        for split in splits
        for n in range(count)
    ]
    return PreparedSet(videos, ["ä b", "y"], False, bad, root="/v")


def names(folder):
    return {path.name for path in folder.iterdir()} - {".prepare.json"}


class TestClaim:
    def test_a_new_folder_an_empty_one_and_our_own(self, tmp_path):
        out = claim_folder(tmp_path / "a" / "b", "/v")
        assert out == tmp_path / "a" / "b"
        assert json.loads((out / ".prepare.json").read_text())["source"] == "/v"
        write_set(out, prepared(), b"png")
        assert claim_folder(out, "/v") == out
        (tmp_path / "empty").mkdir()
        (tmp_path / "empty" / ".DS_Store").write_text("")
        claim_folder(tmp_path / "empty", "/v")

    def test_relative_folders_become_absolute(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        assert claim_folder("x", "/v") == tmp_path / "x"

    def test_a_folder_with_other_things(self, tmp_path):
        (tmp_path / "thesis.tex").write_text("")
        with pytest.raises(
            DataError, match="holds other things, such as thesis.tex; give a new folder, or --overwrite"
        ):
            claim_folder(tmp_path, "/v")
        assert names(tmp_path) == {"thesis.tex"}
        claim_folder(tmp_path, "/v", overwrite=True)

    def test_the_set_of_another_source(self, tmp_path):
        write_set(claim_folder(tmp_path / "x", "/v"), prepared(), b"")
        with pytest.raises(DataError, match="is the set of another source, /v; give a new folder, or --overwrite"):
            claim_folder(tmp_path / "x", "/w")
        claim_folder(tmp_path / "x", "/w", overwrite=True)

    def test_a_claim_without_a_set_binds_nobody(self, tmp_path):
        claim_folder(tmp_path / "x", "/v")
        (tmp_path / "x" / ".probes.jsonl").write_text("")
        claim_folder(tmp_path / "x", "/w")

    def test_the_source_itself(self, tmp_path):
        (tmp_path / "link").symlink_to(tmp_path)
        for overwrite in (False, True):
            with pytest.raises(DataError, match="is the folder of the videos itself; give another one, such as"):
                claim_folder(tmp_path / "link", str(tmp_path), overwrite=overwrite)

    def test_a_file(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match="--out .* cannot be written"):
            claim_folder(tmp_path / "file", "/v")


class TestWrite:
    def test_the_files(self, tmp_path):
        out = claim_folder(tmp_path, "/w")
        content = write_set(out, prepared(2, bad=[Bad("/v/x,\n\udc80", "empty", 'the "file"')]), b"png")
        assert names(out) == NAMES
        assert (out / "train.csv").read_text() == "/v/train0.mp4 0\n/v/train1.mp4 1\n"
        assert (out / "classes.json").read_text() == '[\n"ä b",\n"y"\n]\n'
        assert json.loads((out / "dataset.json").read_text()) == content
        assert (out / "bad.csv").read_text() == 'path,reason\n"/v/x,\n\\udc80","the ""file"""\n'
        assert (out / "contact_sheet.png").read_bytes() == b"png"

    def test_lists_are_sorted_by_name(self, tmp_path):
        found = prepared(3)
        backwards = PreparedSet(found.videos[::-1], found.class_names, False, root="/v")
        write_set(claim_folder(tmp_path, "/w"), backwards, b"")
        assert (tmp_path / "val.csv").read_text() == "/v/val0.mp4 0\n/v/val1.mp4 1\n/v/val2.mp4 0\n"

    def test_a_split_without_videos_has_no_list_and_keeps_none(self, tmp_path):
        out = claim_folder(tmp_path, "/w")
        write_set(out, prepared(), b"")
        write_set(out, prepared(splits=("train", "val")), b"")
        assert names(out) == NAMES - {"test.csv"}

    def test_what_a_user_had_or_changed_stays_as_old(self, tmp_path):
        (tmp_path / "train.csv").write_text("mine 0\n")
        (tmp_path / "notes").write_text("mine")
        out = claim_folder(tmp_path, "/w", overwrite=True)
        write_set(out, prepared(), b"")
        assert (out / "train.csv.old").read_text() == "mine 0\n"
        (out / "train.csv").write_text("changed 0\n")
        (out / "classes.json").write_text("[]")
        write_set(out, prepared(), b"")
        assert (out / "train.csv.old2").read_text() == "changed 0\n"
        assert (out / "classes.json.old").read_text() == "[]"
        assert names(out) == NAMES | {"notes", "train.csv.old", "train.csv.old2", "classes.json.old"}

    def test_what_we_wrote_is_replaced_without_a_trace(self, tmp_path):
        out = claim_folder(tmp_path, "/w")
        for count in (1, 2, 3):
            write_set(out, prepared(count), b"%d" % count)
        assert names(out) == NAMES
        assert len((out / "train.csv").read_text().splitlines()) == 3

    @pytest.mark.parametrize("writes", range(1, 8))
    def test_a_kill_leaves_no_mixture_and_the_next_run_mends_it(self, tmp_path, monkeypatch, writes):
        out = claim_folder(tmp_path, "/w")
        write_set(out, prepared(1), b"1")
        real, done = module.atomic_write, []

        def dies(path, mode="w"):
            if len(done) == writes:
                raise KeyboardInterrupt
            done.append(path)
            return real(path, mode)

        monkeypatch.setattr(module, "atomic_write", dies)
        with pytest.raises(KeyboardInterrupt):
            write_set(out, prepared(2), b"2")
        assert not (out / "train.csv").exists()  # the last one written: without it nothing can be trained
        monkeypatch.setattr(module, "atomic_write", real)
        claim_folder(out, "/w")
        write_set(out, prepared(2), b"2")
        assert names(out) == NAMES

    def test_a_mangled_claim_is_no_claim(self, tmp_path):
        out = claim_folder(tmp_path, "/w")
        write_set(out, prepared(), b"")
        (out / ".prepare.json").write_text('{"source": "/w", "files": {"train.csv": "x", "val.csv": [1]}}')
        write_set(out, prepared(), b"")
        assert {"train.csv.old", "val.csv.old", *NAMES} <= names(out)
