"""Training does not die of data: what cannot be read is left out, counted and listed, up to a share of the list."""

from __future__ import annotations

import csv
import math
import re

import pytest
import torch

from tests.engine.training import assert_same_run, curves, last, train
from tests.helpers import write_text
from tests.toy import entries, rewrite
from uniformer_video.datasets import dataset
from uniformer_video.engine.checkpoint import best_path
from uniformer_video.runtime.errors import DataError

__all__ = ["curves", "train"]

SHARE = "DATA.MAX_BAD_FRACTION"


def broken(folder, count):
    """Write ``count`` text files under the names of videos and return their lines."""
    return [f"{write_text(folder / f'b{n}.mp4')} 1" for n in range(count)]


def listed(made):
    with open(made.output / "unreadable.csv", encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_broken_video_is_replaced_and_told_once(train, toy_set, tmp_path, broken_video, log):
    data = rewrite(
        toy_set,
        tmp_path / "set",
        train=[f"{broken_video} 1", *entries(toy_set, "train")[:11]],
        val=[*entries(toy_set, "val"), f"{broken_video} 2"],
    )
    options = ("SOLVER.MAX_EPOCH", 3, SHARE, 0.15)
    made = train(*options, data=data)
    assert [entry["epoch"] for entry in made.history] == [1, 2, 3]
    told = [line for line in log if line.startswith("WARNING: unreadable")]
    assert [line.partition(f"{broken_video}: ")[0] for line in told] == [
        "WARNING: unreadable train video ",
        "WARNING: unreadable val video ",
    ]
    header, *rows = listed(made)
    assert header == ["split", "path", "cause"]
    assert [row[:2] for row in rows] == [["train", broken_video], ["val", broken_video]]
    assert [f"{row[1]}: {row[2]}" for row in rows] == [line.partition(" video ")[2] for line in told]
    assert log[-1] == (f"WARNING: videos that could not be read: 1 train, 1 val; see {made.output / 'unreadable.csv'}")
    assert_same_run(last(made), last(train(*options, data=data, out="again")))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_list_of_nothing_but_broken_videos_is_one_line(train, toy_set, tmp_path, workers):
    data = rewrite(toy_set, tmp_path / "set", train=broken(tmp_path, 4))
    with pytest.raises(DataError) as error:
        train("DATA_LOADER.NUM_WORKERS", workers, SHARE, 1.0, data=data)
    file = tmp_path / "out" / "unreadable.csv"
    assert re.fullmatch(
        rf"none of the 4 videos of the training list can be read, for example \S*/b0\.mp4: [^;]+; \S*/b1\.mp4: [^;]+; "
        rf"\S*/b2\.mp4: [^;]+ \(all in {file}\); mend the videos, correct the list or DATA.PATH_PREFIX",
        str(error.value),
    )
    assert len(file.read_text(encoding="utf-8").splitlines()) == 5


@pytest.mark.parametrize("share", [0.25, 0.24])
def test_the_share_of_a_list_that_may_be_broken(train, toy_set, tmp_path, share):
    data = rewrite(toy_set, tmp_path / "set", train=[*broken(tmp_path, 4), *entries(toy_set, "train")])
    options = ("SOLVER.MAX_EPOCH", 2, SHARE, share)
    if share == 0.25:  # 4 of 16 exactly
        made = train(*options, data=data)
        assert len(made.failures["train"]) == 4 and len(listed(made)) == 5
        assert all(math.isfinite(entry["train_loss"]) for entry in made.history)
        return
    with pytest.raises(DataError) as error:
        train(*options, data=data)
    assert str(error.value).startswith(
        "4 of the 16 videos of the training list cannot be read, more than DATA.MAX_BAD_FRACTION 0.24 allows, "
        f"for example {tmp_path}/b0.mp4: "
    )
    assert str(error.value).endswith(
        f" (all in {tmp_path}/out/unreadable.csv); mend the videos, correct the list or DATA.PATH_PREFIX, or raise "
        "DATA.MAX_BAD_FRACTION"
    )
    assert "\n" not in str(error.value)


def test_no_broken_video_at_all_may_be_asked_for(train, toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set", train=[*broken(tmp_path, 1), *entries(toy_set, "train")])
    with pytest.raises(DataError, match=r"^1 of the 13 videos .* more than DATA.MAX_BAD_FRACTION 0 allows"):
        train(SHARE, 0, "SOLVER.MAX_EPOCH", 3, data=data)


def test_a_video_that_fails_again_and_again_counts_once(train, toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set", train=[*broken(tmp_path, 1), *entries(toy_set, "train")[:7]])
    made = train("SOLVER.MAX_EPOCH", 4, SHARE, 0.13, data=data)  # 1 of 8, met up to four times
    assert len(made.failures["train"]) == 1


def test_a_step_without_a_readable_video_is_left_out(train, toy_set, tmp_path, monkeypatch, log):
    # Nothing stands in, so that the fate of each step is that of its own videos.
    monkeypatch.setattr(dataset, "REPLACEMENT_TRIES", 0)
    data = rewrite(toy_set, tmp_path / "set", train=[*broken(tmp_path, 3), *entries(toy_set, "train")[:3]])
    options = ("TRAIN.BATCH_SIZE", 1, "SOLVER.MAX_EPOCH", 2, SHARE, 0.5, "BN.USE_PRECISE_STATS", True)
    made = train(*options, data=data)
    out = [line for line in log if "left out" in line]
    assert len(out) == 6
    assert all(
        re.fullmatch(r"WARNING: epoch [12] step [1-6] left out: no video of it can be read", line) for line in out
    )
    assert len({line for line in out if "epoch 1" in line}) == 3
    assert {int(group["step"]) for group in last(made).optimizer_state["state"].values()} == {6}
    assert all(math.isfinite(entry["train_loss"]) for entry in made.history)
    assert_same_run(last(made), last(train(*options, data=data, out="again")))


def test_a_step_with_some_readable_videos_is_done_with_them(train, toy_set, tmp_path, monkeypatch, log):
    monkeypatch.setattr(dataset, "REPLACEMENT_TRIES", 0)
    data = rewrite(toy_set, tmp_path / "set", train=[*broken(tmp_path, 2), *entries(toy_set, "train")[:2]])
    made = train("TRAIN.BATCH_SIZE", 4, "SOLVER.MAX_EPOCH", 1, SHARE, 0.5, data=data)
    assert not any("left out" in line for line in log)
    assert {int(group["step"]) for group in last(made).optimizer_state["state"].values()} == {1}


def test_an_epoch_without_a_step_is_the_end(train, toy_set, tmp_path, monkeypatch):
    monkeypatch.setattr(dataset, "REPLACEMENT_TRIES", 0)
    data = rewrite(toy_set, tmp_path / "set", train=[*broken(tmp_path, 3), *entries(toy_set, "train")[:1]])
    order = torch.tensor([0, 1, 2, 3])  # a batch of 3, and the good video is in the one that is cut off
    monkeypatch.setattr("uniformer_video.datasets.batches.numpy_generator", lambda *_: Order(order))
    with pytest.raises(DataError, match=r"^epoch 1 has no step with a video that can be read, for example "):
        train("TRAIN.BATCH_SIZE", 3, SHARE, 0.9, data=data)


class Order:
    """A generator whose permutations are all the same."""

    def __init__(self, order):
        self.order = order

    def permutation(self, count):
        return self.order.numpy()[:count]


def test_broken_validation_videos_are_left_out_and_counted_by_themselves(train, toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set", val=[*entries(toy_set, "val"), *broken(tmp_path, 2)])
    made = train("SOLVER.MAX_EPOCH", 1, SHARE, 0.25, data=data)  # 2 of 8
    assert (len(made.failures["train"]), len(made.failures["val"])) == (0, 2)
    assert [row[0] for row in listed(made)] == ["split", "val", "val"]
    plain = train("SOLVER.MAX_EPOCH", 1, out="plain")
    assert made.history == plain.history
    with pytest.raises(DataError, match=r"^2 of the 8 videos of the validation list cannot be read, more than"):
        train("SOLVER.MAX_EPOCH", 1, SHARE, 0.2, data=data, out="strict")


def test_no_readable_validation_video_is_the_end(train, toy_set, tmp_path, broken_video):
    data = rewrite(toy_set, tmp_path / "set", val=[f"{broken_video} 1"])
    with pytest.raises(DataError, match=r"^none of the 1 videos of the validation list can be read, for example "):
        train("SOLVER.MAX_EPOCH", 1, SHARE, 1.0, data=data)
    assert not best_path(tmp_path / "out").exists()
