"""What a set says of itself: lines, names, numbers and fingerprint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.datasets.kinetics import parse_line
from uniformer_video.prepare.prepared import (
    Bad,
    PreparedSet,
    Video,
    describe,
    fingerprint_of,
    list_line,
    listed_path,
    portable_name,
    unlistable,
)
from uniformer_video.video.probe import Probe

FOLDER = Path("/data/mine")


def video(name="a.mp4", labels=(0,), split="train", **more):
    probe = Probe(
        f"/v/{name}",
        **({"ok": True, "frames": 10, "fps": 5.0, "seconds": 2.0, "height": 30, "width": 40, "codec": "h264"} | more),
    )
    return Video(name, f"/v/{name}", labels, split, probe)


@pytest.mark.parametrize(
    ("path", "listed", "portable"),
    [
        ("/data/mine/videos/a.mp4", "videos/a.mp4", "videos/a.mp4"),
        ("/v/run/a.mp4", "/v/run/a.mp4", "run/a.mp4"),
        ("/else/a.mp4", "/else/a.mp4", "/else/a.mp4"),
        ("/data/mine2/a.mp4", "/data/mine2/a.mp4", "/data/mine2/a.mp4"),
        ("http://host/a.mp4", "http://host/a.mp4", "http://host/a.mp4"),
    ],
)
def test_how_a_video_is_called(path, listed, portable):
    assert listed_path(path, FOLDER) == listed
    assert portable_name(path, FOLDER, Path("/v")) == portable


def test_lines():
    assert list_line("a b.mp4", (3,), multi_label=False) == "a b.mp4 3"
    assert list_line("a b.mp4", (3, 7), multi_label=True) == "a b.mp4 3,7"
    assert list_line("a b.mp4", (), multi_label=True) == "a b.mp4 -"


@given(st.text(min_size=1, max_size=20), st.sets(st.integers(0, 30), max_size=3), st.booleans())
def test_every_path_that_can_be_listed_is_read_back(name, labels, several):
    path = f"/v/{name}"
    labels = tuple(sorted(labels)) if several else (min(labels, default=0),)
    if unlistable(path, multi_label=several) or "\0" in path:  # no file has that in its name
        return
    line = list_line(path, labels, multi_label=several)
    assert "\n" not in line
    found, label = parse_line(Path("x.csv"), 2, line, " ", None, several)
    assert (found, label if several else (label,)) == (path, labels)


class TestDescribe:
    def test_numbers(self):
        videos = [
            video("a.mp4", bytes=10, sha256="1", key_frames=5.0),
            video("b.mp4", (1,), "val", frames=20, seconds=4.0, bytes=30, sha256="2", rotation=90, codec="vp9"),
            video("c.mp4", (1,), "test", frames=60, fps=30.0, bytes=50, sha256="3", variable_rate=True, height=100),
        ]
        content = describe(PreparedSet(videos, ["x", "y"], False, [Bad("/z", "empty", "")], root="/v"), FOLDER)
        assert content["counts"] == {"train": 1, "val": 1, "test": 1}
        assert content["classes"] == {"x": {"train": 1, "val": 0, "test": 0}, "y": {"train": 0, "val": 1, "test": 1}}
        assert content["frames"] == {"min": 10, "median": 20, "max": 60, "total": 90}
        assert content["seconds"] == {"min": 2.0, "median": 2.0, "max": 4.0, "total": 8.0}
        assert content["frames_per_second"] == {"min": 5.0, "median": 5.0, "max": 30.0}
        assert content["short_side"] == {"min": 30, "median": 30, "max": 40}
        assert content["bytes"]["total"] == 90
        assert content["key_frame_distance"] == {"min": 5.0, "median": 5.0, "max": 5.0}  # of those that are known
        assert (content["variable_rate"], content["rotated"]) == (1, 1)
        assert content["sizes"] == {"40x30": 2, "40x100": 1}
        assert content["codecs"] == {"h264": 2, "vp9": 1}
        assert content["bad"] == {"total": 1, "empty": 1}
        assert content["fingerprint_of"] == "sha256"

    def test_a_video_of_two_classes_counts_in_both(self):
        content = describe(PreparedSet([video(labels=(0, 1))], ["x", "y"], True), FOLDER)
        assert content["counts"]["train"] == 1
        assert [counts["train"] for counts in content["classes"].values()] == [1, 1]
        assert content["multi_label"] is True


class TestFingerprint:
    rows = [("a.mp4", Probe("", sha256="1"), (0,), "train"), ("b.mp4", Probe("", sha256="2"), (1,), "val")]

    def fingerprint(self, rows, names=("x", "y")):
        return fingerprint_of(rows, names)[0]

    def test_it_is_pinned(self):
        # A set that was made by an older version of this tool must still check without a fault.
        assert self.fingerprint(self.rows) == PINNED

    def test_order_does_not_count(self):
        assert self.fingerprint(self.rows[::-1]) == self.fingerprint(self.rows)

    def test_everything_else_does(self):
        (name, probe, labels, split), second = self.rows
        others = [
            [("A.mp4", probe, labels, split), second],
            [(name, replace(probe, sha256="3"), labels, split), second],
            [(name, probe, (1,), split), second],
            [(name, probe, labels, "test"), second],
            [second],
        ]
        found = {self.fingerprint(rows) for rows in [self.rows, *others]}
        found.add(self.fingerprint(self.rows, ("y", "x")))
        assert len(found) == 7

    def test_sizes_stand_for_hashes_that_were_not_taken(self):
        rows = [("a", Probe("", bytes=5), (0,), "train"), ("b", Probe("", bytes=6, sha256="1"), (0,), "train")]
        text, of = fingerprint_of(rows, ["x"])
        assert of == "bytes"
        assert text == fingerprint_of([rows[0], ("b", Probe("", bytes=6), (0,), "train")], ["x"])[0]


PINNED = "e607f9a017621570fba153d86d708139b130f3cc22c04923d65bd8b953d9d918"
