"""Official annotation files on videos and frames that are really there: the right frames with the right labels."""

from __future__ import annotations

import numpy as np
import pytest
import simplejson
import torch
from PIL import Image

from tests.helpers import barcode_frames, read_barcodes, write_video
from uniformer_video.config import load_config
from uniformer_video.datasets import build_dataset
from uniformer_video.runtime.errors import DataError

LABELS = {"Pushing something from left to right": "1", "Holding something": "0"}
LENGTHS = {"12": 17, "7": 31, "101": 9}


@pytest.fixture
def webm(tmp_path):
    """Return a folder with Something-Something V2's JSON files and VP9 videos whose frames carry their numbers."""
    (tmp_path / "videos").mkdir()
    for name, length in LENGTHS.items():
        path = tmp_path / "videos" / f"{name}.webm"
        write_video(path, barcode_frames(length, 48, 80), codec="libvpx-vp9", codec_options={"deadline": "realtime"})
    (tmp_path / "labels").mkdir()

    def write(name, content):
        (tmp_path / "labels" / name).write_text(simplejson.dumps(content), encoding="utf-8")

    push = {"template": "Pushing [something] from left to right", "placeholders": ["a cup"]}
    write("labels.json", LABELS)
    train = [{"id": "12", "label": "pushing a cup", **push}, {"id": "7", "template": "Holding [something]"}]
    write("train.json", [*train, {"id": "999", "template": "Holding [something]"}])
    write("validation.json", [{"id": "101", "template": "Holding [something]"}])
    return tmp_path


def dataset(folder, name, split, *settings):
    values = (
        *("DATA.PATH_TO_DATA_DIR", str(folder), "DATA.PATH_PREFIX", str(folder / "videos"), "MODEL.NUM_CLASSES", "2"),
        *("DATA.NUM_FRAMES", "4", "DATA.TRAIN_CROP_SIZE", "48", "DATA.TEST_CROP_SIZE", "48"),
        *("DATA.TRAIN_JITTER_SCALES", "[48, 48]", "TEST.NUM_ENSEMBLE_VIEWS", "2", *settings),
    )
    return build_dataset(name, load_config(None, values), split)


def barcodes(reader_path, opener, indices):
    with opener(reader_path) as reader:
        return read_barcodes(reader.frames_at(indices))


def test_something_v2_from_json_on_webm(webm, log):
    train = dataset(webm, "ssv2", "train")
    assert train.class_names == ["Holding something", "Pushing something from left to right"]
    assert [(r.path.rpartition("/")[2], r.label) for r in train.records] == [("12.webm", 1), ("7.webm", 0)]
    assert len(train.absent) == 1
    assert any("1 of 3" in line for line in log)
    for number, length in enumerate((17, 31)):
        sample = train[number]
        assert sample.failures == []
        edges = np.rint((length - 1) / 4 * np.arange(5))
        assert all(low <= k <= high for k, low, high in zip(sample.indices[0], edges, edges[1:], strict=False))
        indices = sample.indices[0].tolist()
        assert barcodes(train.records[number].path, train.opener, indices) == indices
    # No mirror where the label says left or right.
    assert train.flips.mirrored == (0, -1)


def test_the_test_is_of_the_validation_list(webm):
    test = dataset(webm, "sth", "test")
    assert [(r.path.rpartition("/")[2], r.label) for r in test.records] == [("101.webm", 0)]
    clips = test[0].clips
    segment = 8 / 4
    for clip in range(2):
        expected = [round(segment * k) + int(segment / 3 * (clip + 1)) for k in range(4)]
        assert test[0].indices[clip].tolist() == expected
        assert torch.equal(clips[clip], view_of(test, expected))


def view_of(test, indices):
    with test.opener(test.records[0].path) as reader:
        frames = test.clips.transform.resize(reader.frames_at(indices))
    return test.clips.transform(frames, 0)


def test_a_list_none_of_whose_videos_is_there(webm):
    for path in (webm / "videos").iterdir():
        path.unlink()
    with pytest.raises(DataError, match="train.json"):
        dataset(webm, "ssv2", "train")


@pytest.mark.parametrize("template", ["", "img_{:05d}.jpg"])
def test_folders_of_frames_whose_real_count_differs_from_the_list(tmp_path, template, log):
    frames = barcode_frames(12, 48, 80)
    for name, count in (("a", 12), ("b", 7)):
        (tmp_path / "videos" / name).mkdir(parents=True)
        for k in range(count):
            Image.fromarray(frames[k]).save(tmp_path / "videos" / name / f"img_{k + 1:05d}.jpg", quality=95)
    for split in ("train", "val"):
        (tmp_path / f"{split}_videofolder.txt").write_text("a 12 0\nb 40 1\n")
    settings = ("DATA.IMAGE_TEMPLATE", template) if template else ()
    train = dataset(tmp_path, "ssv1", "train", *settings)
    assert [(r.label, r.num_frames) for r in train.records] == [(0, 12), (1, 40)]
    for number, count in enumerate((12, 7)):
        sample = train[number]
        assert sample.failures == []
        indices = sample.indices[0].tolist()
        assert max(indices) < count
        assert barcodes(train.records[number].path, train.opener, indices) == indices
    assert dataset(tmp_path, "ssv1", "test", *settings)[1].indices.max() <= 6
