"""The demonstration set on disk: layout, encoding, sameness, reuse and mistakes."""

from __future__ import annotations

import io
import json
from fractions import Fraction

import av
import numpy as np
import pytest
import torch

from uniformer_video.datasets import shapes
from uniformer_video.datasets.shapes import CLASSES, SPLITS, Item, render, write_shapes_dataset
from uniformer_video.runtime.errors import DataError, UserError

COUNTS = {"train": 2, "val": 1, "test": 1}


def contents(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "new" / "set"
    write_shapes_dataset(folder, videos_per_class=COUNTS, seed=3, progress=False)
    return folder


def decode(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def test_lists_name_every_video_once_with_its_class(small_set):
    listed = []
    for split in SPLITS:
        lines = (small_set / f"{split}.csv").read_text().splitlines()
        assert len(lines) == COUNTS[split] * 10
        for line in lines:
            path, label = line.split(" ")
            assert path.split("/")[:3] == ["videos", split, CLASSES[int(label)]]
            listed.append(path)
        assert [int(line.split()[1]) for line in lines[:10]] == list(range(10))  # classes in turn
    assert sorted(listed) == sorted(p.relative_to(small_set).as_posix() for p in small_set.rglob("*.mp4"))
    assert len(set(listed)) == 40


def test_class_names_in_label_order(small_set):
    assert (small_set / "classes.txt").read_text().splitlines() == list(CLASSES)
    assert json.loads((small_set / "classes.json").read_text()) == list(CLASSES)
    assert CLASSES == (
        "left_to_right",
        "right_to_left",
        "top_to_bottom",
        "bottom_to_top",
        "growing",
        "shrinking",
        "clockwise",
        "counter_clockwise",
        "blinking",
        "still",
    )


def test_nothing_else_is_left_in_the_folder(small_set):
    names = {p.name for p in small_set.iterdir()}
    assert names == {"videos", "train.csv", "val.csv", "test.csv", "classes.txt", "classes.json", "shapes.json"}
    assert not list(small_set.rglob("*.part"))


@pytest.mark.parametrize("label", range(10))
def test_a_file_is_h264_and_holds_the_rendered_frames(small_set, label):
    item = Item("train", label, 1)
    expected, fps = render(3, item)
    with av.open(str(small_set / item.path)) as container:
        stream = container.streams.video[0]
        assert len(container.streams) == 1
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.height, stream.width) == expected.shape[1:3]
        assert stream.average_rate == Fraction(fps)
    frames = decode(small_set / item.path)
    assert frames.shape == expected.shape
    error = np.abs(frames.astype(float) - expected).mean(axis=(1, 2, 3))
    assert error.max() < 12  # of 255, in every frame: chroma of half resolution and compression, no lost frame


def brightest_change(frames, background):
    """Return per frame the centre and area of what differs from the background, by brightness."""
    luma = np.array([0.299, 0.587, 0.114])
    found = []
    for frame in frames:
        share = np.abs(frame.astype(float) @ luma - background.astype(float) @ luma) > 40
        y, x = np.nonzero(share)
        found.append((x.mean(), y.mean(), len(x)) if len(x) else (np.nan, np.nan, 0))
    return np.array(found)


@pytest.mark.parametrize("label", range(10))
def test_the_motion_is_in_the_decoded_pixels(small_set, label):
    item = Item("test", label, 0)
    scene = shapes.random_scene(shapes.numpy_generator(3, 2, label, 0))
    x, y, area = brightest_change(decode(small_set / item.path), scene.background).T
    name = CLASSES[label]
    thirds = [slice(0, len(x) // 3), slice(len(x) // 3, 2 * len(x) // 3), slice(2 * len(x) // 3, None)]
    x3, y3, area3 = (np.array([np.nanmean(v[t]) for t in thirds]) for v in (x, y, area))
    rising = {"left_to_right": x3, "top_to_bottom": y3, "growing": area3}
    falling = {"right_to_left": x3, "bottom_to_top": y3, "shrinking": area3}
    if name in rising:
        assert (np.diff(rising[name]) > 3).all()
    elif name in falling:
        assert (np.diff(falling[name]) < -3).all()
    elif "clockwise" in name:
        middle_x, middle_y = (x.max() + x.min()) / 2, (y.max() + y.min()) / 2
        swept = np.unwrap(np.arctan2(y - middle_y, x - middle_x))
        turns = (swept[-1] - swept[0]) / (2 * np.pi)
        assert (turns if name == "clockwise" else -turns) > 0.5
    elif name == "blinking":
        assert (area == 0).sum() >= 4 and (area > 50).sum() >= 4
    else:
        assert np.ptp(x) < 1 and np.ptp(y) < 1 and area.min() > 50


def test_the_same_seed_gives_the_same_bytes_in_any_number_of_processes(small_set, tmp_path, monkeypatch):
    monkeypatch.setattr(shapes, "_TOO_FEW_FOR_PROCESSES", 1)
    write_shapes_dataset(tmp_path, videos_per_class=COUNTS, seed=3, progress=False, processes=2)
    assert contents(tmp_path) == contents(small_set)


def test_encoding_the_same_frames_again_gives_the_same_bytes():
    # This video is one that x264's macroblock tree encoded in 11 ways in 60 encodings.
    frames, fps = render(3, Item("test", 5, 0))
    encoded = set()
    for _ in range(20):
        file = io.BytesIO()
        shapes._encode(file, frames.copy(), fps)
        encoded.add(file.getvalue())
    assert len(encoded) == 1


def test_another_seed_split_class_or_number_gives_another_video():
    items = [(3, Item("train", 0, 0)), (4, Item("train", 0, 0)), (3, Item("val", 0, 0)), (3, Item("train", 0, 1))]
    first_frames = [render(seed, item)[0][0].tobytes() for seed, item in [*items, (3, Item("train", 9, 0))]]
    assert len(set(first_frames)) == 5


def test_a_video_does_not_depend_on_the_size_of_the_set(small_set, tmp_path):
    write_shapes_dataset(tmp_path, videos_per_class={"train": 1, "val": 1, "test": 1}, seed=3, progress=False)
    larger = contents(small_set)
    videos = {name: data for name, data in contents(tmp_path).items() if name.endswith(".mp4")}
    assert len(videos) == 30
    assert all(larger[name] == data for name, data in videos.items())


def test_global_generators_are_not_touched(tmp_path):
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    render(0, Item("train", 0, 0))
    assert torch.equal(torch.random.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


ONE = {"train": 1, "val": 1, "test": 1}


@pytest.fixture
def counted(monkeypatch):
    """Replace the encoding by a quick stand-in and count the videos written."""
    written = []

    def write(folder, seed, item):
        (folder / item.path).write_bytes(b"%d" % seed)
        written.append(item)

    monkeypatch.setattr(shapes, "_write_item", write)
    return written


def test_a_complete_set_is_kept(tmp_path, counted):
    for _ in range(2):
        write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=1, progress=False)
        assert len(counted) == 30


@pytest.mark.parametrize("lost", ["videos/val/still/0000.mp4", "train.csv", "classes.json", "shapes.json"])
def test_a_set_with_a_lost_file_is_made_again(tmp_path, counted, lost):
    write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=1, progress=False)
    (tmp_path / lost).unlink()
    write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=1, progress=False)
    assert len(counted) == 60
    assert (tmp_path / lost).is_file()


def test_a_marker_that_cannot_be_read_counts_as_none(tmp_path, counted):
    write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=1, progress=False)
    (tmp_path / "shapes.json").write_text("{")
    write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=1, progress=False)
    assert len(counted) == 60


def test_other_parameters_replace_the_set_and_take_its_rest_away(tmp_path, counted):
    write_shapes_dataset(tmp_path, videos_per_class={**ONE, "train": 3}, seed=1, progress=False)
    kept = tmp_path / "videos" / "train" / "still" / "mine.mp4"
    kept.write_bytes(b"a file of the user")
    write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=2, progress=False)
    videos = {p.name for p in (tmp_path / "videos" / "train" / "still").iterdir()}
    assert videos == {"0000.mp4", "mine.mp4"}
    assert (tmp_path / "videos" / "train" / "still" / "0000.mp4").read_bytes() == b"2"
    assert len((tmp_path / "train.csv").read_text().splitlines()) == 10
    assert json.loads((tmp_path / "shapes.json").read_text())["seed"] == 2


def test_an_interrupted_run_leaves_no_marker(tmp_path, monkeypatch, counted):
    write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=1, progress=False)

    def stop(folder, seed, item):
        raise KeyboardInterrupt

    monkeypatch.setattr(shapes, "_write_item", stop)
    with pytest.raises(KeyboardInterrupt):
        write_shapes_dataset(tmp_path, videos_per_class=ONE, seed=2, progress=False)
    assert not (tmp_path / "shapes.json").exists()


@pytest.mark.parametrize("progress", [True, False])
def test_progress_bar(tmp_path, counted, capfd, progress):
    write_shapes_dataset(tmp_path, videos_per_class=ONE, progress=progress)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert ("writing videos: 100%" in captured.err and "30/30" in captured.err) == progress


@pytest.mark.parametrize(
    ("counts", "seed", "message"),
    [
        ({**ONE, "train": 0}, 0, "0 train videos per class: it must be from 1 to 9999"),
        ({**ONE, "test": -2}, 0, "-2 test videos per class: it must be from 1 to 9999"),
        ({**ONE, "val": 10000}, 0, "10000 val videos per class: it must be from 1 to 9999"),
        ({"train": 1}, 0, "videos_per_class has ['train']; it needs exactly train, val and test"),
        (
            {**ONE, "extra": 1},
            0,
            "videos_per_class has ['extra', 'test', 'train', 'val']; it needs exactly train, val and test",
        ),
        (ONE, -1, "seed -1: it must be 0 or more"),
    ],
)
def test_impossible_parameters(tmp_path, counts, seed, message):
    with pytest.raises(DataError) as raised:
        write_shapes_dataset(tmp_path / "x", videos_per_class=counts, seed=seed)
    assert str(raised.value) == message
    assert not (tmp_path / "x").exists()


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError) as raised:
        write_shapes_dataset(tmp_path / "file" / "set", videos_per_class=ONE)
    assert str(raised.value).startswith(f"folder '{tmp_path}/file/set' cannot be written (")


def test_a_full_disk(tmp_path, monkeypatch):
    def full(folder, seed, item):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shapes, "_write_item", full)
    with pytest.raises(DataError) as raised:
        write_shapes_dataset(tmp_path, videos_per_class=ONE, progress=False)
    assert str(raised.value) == (
        f"the demonstration set cannot be written to '{tmp_path}' (No space left on device); "
        "free some space or choose another folder"
    )
    assert not (tmp_path / "shapes.json").exists()
