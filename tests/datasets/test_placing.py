"""Where listed videos lie: records, what is missing, and what is said about it."""

from __future__ import annotations

import os

import pytest

from uniformer_video.datasets import placing
from uniformer_video.datasets.placing import Listed, Listing, place
from uniformer_video.datasets.records import Annotation, VideoRecord
from uniformer_video.runtime.errors import DataError

LISTED = [Listed((name,), label, f"{name}.mp4", num_frames=7) for label, name in enumerate("abc")]


def run(there, split="train", listed=LISTED, prefix="", class_names=("x", "y", "z")):
    return place(
        listed,
        lambda item: f"/v/sub/{item.names[0]}.mkv" if item.names[0] in there else None,
        root="/v",
        split=split,
        source="list.csv",
        class_names=class_names,
        looked_for="by name",
        prefix=prefix,
    )


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_all_there(split, log):
    records = [VideoRecord(f"/v/sub/{name}.mkv", label, 7) for label, name in enumerate("abc")]
    assert run("abc", split) == Annotation(records, ["x", "y", "z"], (), "list.csv")
    assert run("abc", split, class_names=None).class_names is None
    assert log == []


def test_what_is_missing_is_left_out_but_of_a_test(log):
    missing = os.path.join("/v", "b.mp4")
    for split in ("train", "val"):
        found = run("ac", split)
        assert [r.label for r in found.records] == [0, 2]
        assert found.absent == (missing,)
    found = run("ac", "test")
    assert [r.path for r in found.records] == ["/v/sub/a.mkv", missing, "/v/sub/c.mkv"]
    assert found.absent == (missing,)
    said = "WARNING: list.csv: 1 of 3 videos (33.3%) are not in /v, for example b.mp4; "
    assert log == [said + "they are left out"] * 2 + [said + "the test will count them as unread"]


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_nothing_there(split):
    with pytest.raises(DataError) as error:
        run("", split)
    assert str(error.value) == (
        "list.csv: none of its 3 videos is in /v, for example /v/a.mp4 (by name); set DATA.PATH_PREFIX to the folder "
        "of the videos (it is not set)"
    )
    with pytest.raises(DataError, match=r"\(it is '/w'\)$"):
        run("", split, prefix="/w")


def test_an_empty_list():
    with pytest.raises(DataError) as error:
        run("abc", listed=[])
    assert str(error.value) == "list.csv: lists no video"


def test_a_listing_asks_for_each_folder_once(tmp_path, monkeypatch):
    (tmp_path / "sub" / "frames").mkdir(parents=True)
    for name in ("1.webm", "1.mp4", "2.txt"):
        (tmp_path / "sub" / name).touch()
    asked = []
    names_in = placing.names_in
    monkeypatch.setattr(placing, "names_in", lambda folder: asked.append(folder) or names_in(folder))
    there = Listing(str(tmp_path))
    names = ("1", "1.webm", "2", "frames", "frames/", "3")
    assert [there.find(f"sub/{name}") for name in names] == [
        f"{tmp_path}/sub/{name}" if name else None for name in ("1.mp4", "1.webm", "", "frames", "frames/", "")
    ]
    assert there.find("http://host/3") == "http://host/3"
    assert asked == [f"{tmp_path}/sub"]
