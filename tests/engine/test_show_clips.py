"""The sheet of clips shows what training and test really make, not something like it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.toy import FULL_AUGMENTATION, entries, rewrite, toy_cfg
from uniformer_video.datasets import build_dataset
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.flips import FlipRule
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.engine import setup
from uniformer_video.engine import show_clips as room
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.show_clips import show_clips
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.transforms.clip import denormalize
from uniformer_video.video.open import VideoOpener, open_video

CPU = torch.device("cpu")


@pytest.fixture
def drawn(monkeypatch):
    """Collect the cards and options of what is drawn."""
    calls = []
    real = room.draw_clip_sheet

    def draw(cards, path, **options):
        calls.append((cards, options))
        return real(cards, path, **options)

    monkeypatch.setattr(room, "draw_clip_sheet", draw)
    return calls


@pytest.fixture
def show(tmp_path, drawn):
    """Return a function that draws and returns the cards and the lines."""

    def shown(cfg, split, **options):
        lines = show_clips(cfg, split, tmp_path / "clips.png", **options)
        assert (tmp_path / "clips.png").read_bytes()[:4] == b"\x89PNG"
        cards, how = drawn[-1]
        assert len(lines) == len(cards)
        return cards, lines, how

    return shown


def pixels(card):
    """Return the frames of all strips of a card as clips (clips, 3, T, H, W)."""
    return torch.stack([torch.from_numpy(strip.frames) for strip in card.strips]).permute(0, 4, 1, 2, 3)


def trained_on(cfg, epoch, step):
    """Return the batch, clips and targets of a step as the trainer gets them."""
    dataset = build_dataset(cfg.TRAIN.DATASET, cfg, "train")
    loader = setup.train_loader(cfg, dataset, CPU)
    loader.batch_sampler.epoch = epoch
    batch = list(loader)[step]
    inputs = DeviceInputs.from_config(cfg)
    clips, targets = inputs.train(batch, CPU)
    return batch, denormalize(clips, inputs.mean, inputs.std), targets


@pytest.mark.parametrize("settings", [(), FULL_AUGMENTATION, (*FULL_AUGMENTATION, "MIXUP.ENABLE", "False")])
@pytest.mark.parametrize("epoch", [0, 3])
def test_training_clips_are_those_of_the_first_step(toy_set, tmp_path, show, settings, epoch):
    cfg = toy_cfg(toy_set, tmp_path, "AUG.NUM_SAMPLE", "2", *settings)
    batch, clips, targets = trained_on(cfg, epoch, 0)
    cards, lines, how = show(cfg, "train", count=3, epoch=epoch)
    assert len(cards) == 3
    for number, card in enumerate(cards):
        mine = slice(2 * number, 2 * number + 2)
        assert torch.equal(pixels(card), clips[mine])
        for strip, target in zip(card.strips, targets[mine], strict=True):
            weights = [float(line.split()[0]) for line in strip.lines]
            names = [line.split()[1] for line in strip.lines]
            expected = [target[["red", "green", "blue"].index(name)].item() for name in names]
            assert weights == pytest.approx(expected, abs=0.006) and weights == sorted(weights, reverse=True)
            assert sum(weights) > 0.95
        record = int(batch.records[2 * number])
        assert lines[number].startswith(f"record {record}: ") and card.source.startswith(f"record {record}: ")
    assert how["title"] == f"training: what the network sees in epoch {epoch + 1}, step 1"
    assert how["note"].startswith("clips of 4 frames, 32 x 32; ")


def test_a_named_record_is_shown_as_the_step_that_has_it_makes_it(toy_set, tmp_path, show):
    cfg = toy_cfg(toy_set, tmp_path, "AUG.NUM_SAMPLE", "2", *FULL_AUGMENTATION)
    steps = [trained_on(cfg, 1, step) for step in range(3)]
    cards, lines, how = show(cfg, "train", numbers=[7, 2, 11], epoch=1)
    for number, card in zip((7, 2, 11), cards, strict=True):
        ((clips, rows),) = [(c, b.records == number) for b, c, _ in steps if (b.records == number).any()]
        assert torch.equal(pixels(card), clips[rows])
        assert card.source.startswith(f"record {number}: ")
    assert how["title"] == "training: what the network sees in epoch 2"


def test_a_record_that_the_epoch_leaves_out(toy_set, tmp_path, show):
    cfg = toy_cfg(toy_set, tmp_path, "TRAIN.BATCH_SIZE", "10")
    dataset = build_dataset("kinetics", cfg, "train")
    (batch,) = setup.train_loader(cfg, dataset, CPU).batch_sampler
    (left_out, *_) = set(range(12)) - {record for _, record in batch}
    with pytest.raises(DataError, match=f"^epoch 1 leaves record {left_out} out, .*; choose another --epoch$"):
        show(cfg, "train", numbers=[left_out])


def test_each_process_mixes_its_own_share(toy_set, tmp_path, show):
    cfg = toy_cfg(toy_set, tmp_path, *FULL_AUGMENTATION, "NUM_SHARDS", "2", "AUG.NUM_SAMPLE", "1")
    dataset, inputs = build_dataset("kinetics", cfg, "train"), DeviceInputs.from_config(cfg)
    batch = next(iter(setup.train_loader(cfg, dataset, CPU)))
    assert len(batch.records) == 8
    clips, _ = inputs.train(batch.select(torch.arange(0, 8, 2)), CPU)
    cards, _, _ = show(cfg, "train", count=4)
    for card, clip in zip(cards, clips, strict=True):
        assert torch.equal(pixels(card)[0], denormalize(clip, inputs.mean, inputs.std))


def test_frames_have_the_numbers_and_times_of_the_video(toy_set, tmp_path, show):
    cfg = toy_cfg(toy_set, tmp_path, "TEST.NUM_ENSEMBLE_VIEWS", "2", "TEST.NUM_SPATIAL_CROPS", "1")
    dataset = build_dataset("kinetics", cfg, "test")
    cards, _, _ = show(cfg, "test", numbers=[4])
    with open_video(dataset.records[4].path) as reader:
        for strip in cards[0].strips:
            assert strip.seconds == pytest.approx([index / 25 for index in strip.indices])
            frames = dataset.clips.transform.resize(reader.frames_at(strip.indices))
            assert torch.equal(dataset.clips.transform(frames, 0), torch.from_numpy(strip.frames).permute(3, 0, 1, 2))


def test_frames_of_a_resampled_video_have_the_numbers_of_the_file(toy_set, tmp_path, show, monkeypatch):
    cfg = toy_cfg(toy_set, tmp_path, "TEST.NUM_ENSEMBLE_VIEWS", "1", "TEST.NUM_SPATIAL_CROPS", "1")
    dataset = build_dataset("kinetics", cfg, "test")
    dataset.opener = VideoOpener("pyav", target_fps=12.5)
    monkeypatch.setattr(room, "build_dataset", lambda *_: dataset)
    cards, _, _ = show(cfg, "test", numbers=[4])
    (strip,) = cards[0].strips
    assert all(index % 2 == 0 for index in strip.indices) and max(strip.indices) > 4
    assert cards[0].source.endswith("(48 x 64, seen as 8 frames, 12.5 frames / s)")
    assert strip.seconds == pytest.approx([index / 25 for index in strip.indices])


@pytest.mark.parametrize("split", ["test", "val"])
def test_views_are_those_of_the_dataset(toy_set, tmp_path, show, split):
    cfg = toy_cfg(toy_set, tmp_path)
    dataset = build_dataset("kinetics", cfg, split)
    cards, lines, how = show(cfg, split, count=5)
    assert len(cards) == 5
    for number, card in enumerate(cards):
        assert torch.equal(pixels(card), dataset[number].clips)
        assert card.title == ["red", "green", "blue"][number % 3]
    if split == "val":
        assert [(s.title, s.lines, s.joined) for s in cards[0].strips] == [("centre", (), False)]
        assert how["title"] == "validation: what the network sees"
        return
    assert how["title"] == "test: what the network sees"
    # Videos 0 to 2 are wide, 3 to 5 high.
    for card, sides in ((cards[0], ("left", "middle", "right")), (cards[4], ("top", "middle", "bottom"))):
        assert [s.title for s in card.strips] == ["clip 1 of 2"] * 3 + ["clip 2 of 2"] * 3
        assert [s.lines for s in card.strips] == [(f"crop {n + 1} of 3: {sides[n]}",) for n in range(3)] * 2
        assert [s.joined for s in card.strips] == [False, True, True] * 2
    assert "(64 x 48, 9 frames, 25 frames / s)" in cards[0].source
    assert lines[0] == f"record 0: red, {dataset.records[0].path}, frames 0 to 8 (0.00 to 0.32 s), 6 clips"


def test_fewer_frames_where_there_are_many_views(toy_set, tmp_path, show):
    few = toy_cfg(toy_set, tmp_path, "TEST.NUM_SPATIAL_CROPS", "1")
    assert show(few, "test", count=1)[2]["most_frames"] == 16
    assert show(toy_cfg(toy_set, tmp_path), "test", count=1)[2]["most_frames"] == 8
    assert show(toy_cfg(toy_set, tmp_path), "test", count=1, most_frames=3)[2]["most_frames"] == 3


def test_a_test_video_that_cannot_be_read_says_why(toy_set, tmp_path, broken_video, show):
    data = rewrite(toy_set, tmp_path / "set", test=[f"{broken_video} 1", *entries(toy_set, "test")])
    cards, lines, _ = show(toy_cfg(data, tmp_path), "test", count=2)
    assert [len(card.strips) for card in cards] == [0, 6]
    assert cards[0].warning.startswith("cannot be read: ") and cards[0].title == "green"
    assert lines[0].startswith(f"record 0: {broken_video} cannot be read: ")


def test_a_stand_in_is_named(toy_set, tmp_path, broken_video, show):
    data = rewrite(toy_set, tmp_path / "set", train=[f"{broken_video} 1", *entries(toy_set, "train")[:5]])
    cfg = toy_cfg(data, tmp_path, "TRAIN.BATCH_SIZE", "6", *FULL_AUGMENTATION)
    batch, clips, _ = trained_on(cfg, 0, 0)
    dataset = build_dataset("kinetics", cfg, "train")
    sample = dataset[(0, 0)]
    (card,), (line,), _ = show(cfg, "train", numbers=[0])
    assert torch.equal(pixels(card), clips[batch.records == 0])
    assert card.warning.startswith(f"record {sample.source} stands in, for this cannot be read: {broken_video}: ")
    assert dataset.records[sample.source].path in card.source and line.endswith(card.warning)


def test_a_batch_of_which_nothing_can_be_read(toy_set, tmp_path, broken_video, show):
    data = rewrite(toy_set, tmp_path / "set", train=[f"{broken_video} {n % 3}" for n in range(4)])
    cards, _, _ = show(toy_cfg(data, tmp_path, *FULL_AUGMENTATION), "train", count=2)
    assert [card.strips for card in cards] == [(), ()]
    assert all(card.warning.startswith("cannot be read: ") for card in cards)


def test_mirrored_clips_and_their_labels(toy_set, tmp_path, show, monkeypatch):
    cfg = toy_cfg(toy_set, tmp_path, "AUG.NUM_SAMPLE", "6", "MIXUP.LABEL_SMOOTH_VALUE", "0")
    dataset = build_dataset("kinetics", cfg, "train")
    dataset.flips = FlipRule((1, 0, -1))
    monkeypatch.setattr(room, "build_dataset", lambda *_: dataset)
    cards, lines, _ = show(cfg, "train", count=4)
    swapped = {"red": "green", "green": "red"}
    for card, line in zip(cards, lines, strict=True):
        for strip in card.strips:
            expected = swapped[card.title] if strip.mirrored else card.title
            assert strip.lines == [f"1.00  {expected}"]
        count = sum(strip.mirrored for strip in card.strips)
        assert (f", {count} mirrored" in line) == (count > 0)
        assert (count == 0) == (card.title == "blue")


def test_a_later_turn_of_a_record_is_said(toy_set, tmp_path, show):
    lines = entries(toy_set, "train")
    data = rewrite(toy_set, tmp_path / "set", train=[*lines[0::3], lines[1], lines[2]])  # 4 red, 1 green, 1 blue
    cfg = toy_cfg(data, tmp_path, "TRAIN.BATCH_SIZE", "6", "DATA.CLASS_BALANCED_SAMPLING", "True", *FULL_AUGMENTATION)
    batch, clips, _ = trained_on(cfg, 0, 0)
    cards, _, _ = show(cfg, "train", count=6)
    assert torch.equal(torch.cat([pixels(card) for card in cards]), clips)
    heads = [card.source.split(":")[0] for card in cards]
    assert sorted(heads)[-4:] == [
        "record 4",
        "record 4, turn 2 in this epoch",
        "record 5",
        "record 5, turn 2 in this epoch",
    ]
    assert batch.turns.sum() == 4


def test_names_of_repeats(toy_set, tmp_path, show):
    for repeats, titles in (("1", ["clip"]), ("2", ["repeat 1 of 2", "repeat 2 of 2"])):
        cards, _, _ = show(toy_cfg(toy_set, tmp_path, "AUG.NUM_SAMPLE", repeats), "train", count=1)
        assert [strip.title for strip in cards[0].strips] == titles


def test_workers_change_nothing(toy_set, tmp_path, show):
    cards, one = ([], []), ("DATA_LOADER.NUM_WORKERS", "2")
    for settings, found in zip(((), one), cards, strict=True):
        found += show(toy_cfg(toy_set, tmp_path, *FULL_AUGMENTATION, *settings), "train", count=2)[0]
    assert all(torch.equal(pixels(a), pixels(b)) for a, b in zip(*cards, strict=True))


def test_plain_labels_and_several_labels(toy_set, tmp_path, show, monkeypatch):
    cfg = toy_cfg(toy_set, tmp_path, "MODEL.LOSS_FUNC", "cross_entropy")
    cards, _, _ = show(cfg, "train", count=1)
    assert cards[0].strips[0].lines == [cards[0].title]

    cfg = toy_cfg(toy_set, tmp_path, *("MODEL.LOSS_FUNC", "bce_logit", "DATA.MULTI_LABEL", "True"))
    cfg.defrost()
    cfg.MIXUP.LABEL_SMOOTH_VALUE = 0.0
    plain = build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "train")
    records = [VideoRecord(r.path, ((), (0, 2), (1,), (0, 1, 2))[n % 4]) for n, r in enumerate(plain.records)]
    dataset = VideoDataset(
        records, plain.clips, plain.opener, class_names=plain.class_names, num_classes=3, multi_label=True
    )
    monkeypatch.setattr(room, "build_dataset", lambda *_: dataset)
    cards, _, _ = show(cfg, "train", numbers=[0, 1, 3])
    assert [card.title for card in cards] == ["no label", "red, blue", "red, green, blue"]
    assert [list(card.strips[0].lines) for card in cards] == [
        ["no label"],
        ["1.00  red", "1.00  blue"],
        ["1.00  red", "1.00  green", "1.00  blue"],
    ]


def test_many_classes_are_summed_up():
    target = torch.tensor([0.1, 0.2, 0.05, 0.3, 0.25, 0.01, 0.09])
    names = [f"c{n}" for n in range(7)]
    assert room._target_lines(target, names) == ["0.30  c3", "0.25  c4", "0.20  c1", "0.10  c0", "and 2 more"]
    assert room._target_lines(torch.tensor(9), names) == ["class 9"]


@pytest.mark.parametrize(("split", "numbers", "last"), [("train", [3, 12], 11), ("test", [-1], 5)])
def test_a_record_that_is_not_there(toy_set, tmp_path, show, split, numbers, last):
    message = f"^there is no record {numbers[-1]}: the {split} list has records 0 to {last}$"
    with pytest.raises(DataError, match=message):
        show(toy_cfg(toy_set, tmp_path), split, numbers=numbers)


def test_a_picture_that_would_be_too_high(toy_set, tmp_path, show):
    cfg = toy_cfg(toy_set, tmp_path, "TEST.NUM_ENSEMBLE_VIEWS", "30")
    with pytest.raises(UserError, match=r"^a picture of 6 records would be \d+ pixels high, at most 30000 are drawn; "):
        show(cfg, "test", count=6)
    assert not (tmp_path / "clips.png").exists()


def test_nothing_global_moves(toy_set, tmp_path, show):
    before = torch.get_num_threads(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()
    first, _, _ = show(toy_cfg(toy_set, tmp_path, *FULL_AUGMENTATION), "train", count=1)
    again, _, _ = show(toy_cfg(toy_set, tmp_path, *FULL_AUGMENTATION), "train", count=1)
    assert np.array_equal(first[0].strips[0].frames, again[0].strips[0].frames)
    assert (torch.get_num_threads(), torch.get_rng_state().tolist(), np.random.get_state()[1].tolist()) == before
