"""Which frames the contact sheet of a set shows."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.helpers import barcode_frames, read_barcodes, write_video
from uniformer_video.drawing.dataset_sheet import FRAME_SIZE, FRAMES
from uniformer_video.prepare import sheet as module
from uniformer_video.prepare.prepared import PreparedSet, Video
from uniformer_video.prepare.sheet import draw_sheet, frame_places, small_frame
from uniformer_video.video.open import VideoOpener
from uniformer_video.video.probe import Probe


def video(number, label=0, split="train", path=""):
    return Video(f"{number:03d}", path or f"/{number}.mp4", (label,), split, Probe(""))


@pytest.mark.parametrize(
    ("count", "videos", "shares"),
    [
        (1, [0] * 8, [(k + 0.5) / 8 for k in range(8)]),
        (3, [0, 0, 0, 1, 1, 1, 2, 2], [1 / 6, 1 / 2, 5 / 6] * 2 + [1 / 4, 3 / 4]),
        (8, list(range(8)), [0.5] * 8),
        (80, list(range(0, 80, 10)), [0.5] * 8),
    ],
)
def test_frames_of_as_many_videos_as_there_are(count, videos, shares):
    found = frame_places([video(n) for n in range(count)])
    assert [int(v.name) for v, _ in found] == videos
    assert [share for _, share in found] == pytest.approx(shares)
    assert len(found) == FRAMES


def test_no_video_no_frame():
    assert frame_places([]) == []


def test_a_frame_is_the_one_asked_for_and_small(tmp_path):
    path = str(write_video(tmp_path / "a.mp4", barcode_frames(20, 192, 256)))
    frames = [small_frame((path, share), VideoOpener()) for share in (0.01, 0.5, 0.999)]
    assert {frame.shape for frame in frames} == {(96, 128, 3)} and FRAME_SIZE == (128, 96)
    assert read_barcodes(np.stack(frames)) == [0, 10, 19]


def test_a_video_that_is_gone_leaves_its_place_empty():
    assert small_frame(("/nowhere.mp4", 0.5), VideoOpener()) is None


def test_a_sheet(tmp_path, monkeypatch):
    drawn = {}
    real = module.draw_dataset_sheet
    monkeypatch.setattr(
        module,
        "draw_dataset_sheet",
        lambda rows, path, **more: drawn.update(rows=rows, **more) or real(rows, path, **more),
    )
    monkeypatch.setattr(module, "MOST_CLASSES", 2)
    path = str(write_video(tmp_path / "a.mp4", barcode_frames(8)))
    videos = [video(0, 0, "train", path), video(1, 1, "test", "/nowhere.mp4"), video(2, 2, "val")]
    data = draw_sheet(PreparedSet(videos, ["run", "sit", "jump"], False), title="mine", workers=0)
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
    assert [(row.name, len(row.frames)) for row in drawn["rows"]] == [("run", 8), ("sit", 0)]
    assert drawn["rows"][1].counts == {"train": 0, "val": 0, "test": 1}
    assert (drawn["title"], list(drawn["more"])) == ("mine", ["jump"])
    assert not list(Path(tmp_path).glob("*.png"))
