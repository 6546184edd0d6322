"""The benchmark's items: both sides make the same clips, a difference is an error, and what is measured is named."""

from __future__ import annotations

import pytest
import torch

from tests.helpers import moving_square, write_video
from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_items as items  # noqa: E402
from benchmark_plain_items import PlainTestItems, PlainTrainItems, decode  # noqa: E402

from uniformer_video.datasets.records import VideoRecord  # noqa: E402
from uniformer_video.runtime.errors import UserError  # noqa: E402
from uniformer_video.transforms.clip import normalize  # noqa: E402
from uniformer_video.video.pyav import PyAVReader  # noqa: E402


@pytest.fixture(autouse=True)
def _threads_stay():
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """90 frames with B-frames, a key frame every 30."""
    frames = moving_square(90, 72, 96)
    return str(write_video(tmp_path_factory.mktemp("items") / "a.mp4", frames, gop=30, b_frames=3))


def small(cfg, frames: int = 4):
    cfg.defrost()
    cfg.DATA.NUM_FRAMES, cfg.DATA.TEST_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE = frames, 56, 56
    return cfg


def test_plain_decoding_gives_the_reader_s_frames(path):
    with PyAVReader(path) as reader:
        for numbers in ([0, 5, 89], [40, 41, 60], [7]):
            expected = reader.frames_at(numbers)
            assert decode(path, lambda count, n=numbers: torch.tensor(n) if count == 90 else None).equal(expected)


def test_test_items_are_the_same_views(path):
    cfg = small(items.test_config())
    records = [VideoRecord(path, 3), VideoRecord(path, 5)]
    views, label, number = PlainTestItems(cfg, records)[1]
    assert (views.shape, views.dtype, label, number) == ((12, 3, 4, 56, 56), torch.float32, 5, 1)
    ours = items.our_items(cfg, records, "test")[1].clips
    items.check_same("views", views, ours, cfg)
    with pytest.raises(UserError, match=r"views: both sides' clips differ by .* levels of 255; not comparable"):
        items.check_same("views", views.flip(0), ours, cfg)


def test_training_items_are_the_same_clips(path):
    cfg = small(items.train_config(8, 8), 8)
    records = [VideoRecord(path, 3)]
    plain, ours = PlainTrainItems(cfg, records), items.our_items(cfg, records, "train")
    for epoch in range(12):
        plain.epoch = epoch
        clips, label, number = plain[0]
        assert (clips.shape, clips.dtype, label, number) == ((2, 3, 8, 56, 56), torch.float32, 3, 0)
        sample = ours[epoch, 0]
        difference = clips - normalize(sample.clips, cfg.DATA.MEAN, cfg.DATA.STD)
        assert difference.abs().max() <= 0.5001 / 255 / cfg.DATA.STD[0]
        assert items._window(cfg, ours, epoch, 0).tolist() == sample.indices[0].tolist()


def test_measures_both_sides_and_a_limit(path, monkeypatch, capsys):
    for name in ("test_config", "train_config"):
        make = getattr(items, name)
        monkeypatch.setattr(items, name, lambda *args, make=make: small(make(*args)))
    monkeypatch.setattr(items, "EPOCHS", 2)
    timings = items.measure(1, [path])
    assert [timing.name for timing in timings] == [
        "test item 8x32, 4 clips x 3 crops",
        "test item 8x32, 4 clips x 3 crops, normalised",
        "training item 8x8, 2 clips",
        "training item 8x8, 2 clips, ours transcoded",
        "training item 16x4, 2 clips",
        "training item 16x4, 2 clips, ours transcoded",
    ]
    for timing in timings:
        assert timing.ratio == timing.plain_s / timing.ours_s
        assert timing.limit_s > 0


def test_command(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(items, "measure", lambda repeats, paths: [items.compare(f"{repeats} {len(paths)}", 2.0, 1.0)])
    (tmp_path / "a.mp4").symlink_to(path)
    arguments = type("Arguments", (), {"repeats": 3, "videos": str(tmp_path)})
    assert items.run_items(arguments)[0].ratio == 2
    assert "3 1 " in capsys.readouterr().out
