"""The one Dataset: a record is opened once, and one that cannot be read is replaced or named."""

from __future__ import annotations

import pickle

import pytest
import torch

from tests.toy import entries, rewrite, toy_cfg
from uniformer_video.datasets.build import build_dataset
from uniformer_video.datasets.dataset import REPLACEMENT_TRIES, Failure, VideoDataset
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError

pytestmark = pytest.mark.usefixtures("random_state_unchanged")


class Reader:
    """A stand-in for a video; notes that it was closed."""

    def __init__(self, path, log, fail_late):
        self.path, self.log, self.fail_late = path, log, fail_late

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.append(f"close {self.path}")


class Clips:
    """A clip maker whose pixels say which epoch and record were asked for."""

    def __len__(self):
        return 2

    def __call__(self, reader, epoch, record):
        if reader.fail_late:
            raise DecodeError(reader.path, "frame 3 is damaged")
        return torch.tensor([epoch, record], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 3, 1, 2, 2)


def make(count, *, broken=(), damaged=(), replace=False, seed=0):
    """Return a dataset of videos v0, v1, ... and the list of what was opened and closed."""
    log = []

    def opener(path):
        log.append(f"open {path}")
        if int(path[1:]) in broken:
            raise DecodeError(path, "no such file")
        return Reader(path, log, fail_late=int(path[1:]) in damaged)

    records = [VideoRecord(f"v{n}", 10 * n) for n in range(count)]
    return VideoDataset(records, Clips(), opener, replace=replace, seed=seed), log


def test_a_sample_is_opened_once_and_closed():
    dataset, log = make(4)
    sample = dataset[(7, 2)]
    assert log == ["open v2", "close v2"]
    assert (sample.label, sample.record, sample.epoch, sample.failures) == (20, 2, 7, [])
    assert sample.clips[:, 0, 0, 0, 0].tolist() == [7, 2]
    assert (len(dataset), dataset.clips_per_record) == (4, 2)


def test_plain_numbers_mean_epoch_0_and_count_from_the_end_too():
    dataset, _ = make(4)
    assert (dataset[1].epoch, dataset[1].record) == (0, 1)
    assert dataset[-1].record == 3
    for number in (4, -5):
        with pytest.raises(IndexError):
            dataset[number]


@pytest.mark.parametrize("late", [False, True])
def test_a_test_video_is_never_replaced(late):
    dataset, log = make(4, **{"damaged" if late else "broken": [2]})
    sample = dataset[(0, 2)]
    cause = "frame 3 is damaged" if late else "no such file"
    assert (sample.clips, sample.label, sample.record) == (None, 20, 2)
    assert sample.failures == [Failure(2, "v2", cause)]
    assert sample.failures[0].reason == f"v2: {cause}"
    assert log == ["open v2"] + ["close v2"] * late


@pytest.mark.parametrize("late", [False, True])
def test_a_training_video_is_replaced_by_another_with_its_label(late):
    dataset, log = make(20, replace=True, **{"damaged" if late else "broken": [2]})
    sample = dataset[(1, 2)]
    *_, chosen = (int(line.removeprefix("close v")) for line in log if line.startswith("close"))
    assert chosen != 2
    assert sample.label == 10 * chosen  # the label goes with the clips
    # The draws are those of the record asked for, so that two places in an epoch never hold the same clips.
    assert sample.clips[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert dataset[(1, chosen)].clips[:, 0, 0, 0, 0].tolist() == [1, chosen]
    assert (sample.record, sample.epoch) == (2, 1)
    assert sample.failures == [Failure(2, "v2", "frame 3 is damaged" if late else "no such file")]


def chosen(seed, epoch, record):
    return make(50, broken=[record], replace=True, seed=seed)[0][(epoch, record)].label


def test_the_replacement_depends_on_seed_epoch_and_record_alone():
    assert chosen(0, 1, 2) == chosen(0, 1, 2)
    by_epoch = {chosen(0, epoch, 2) for epoch in range(12)}
    by_seed = {chosen(seed, 1, 2) for seed in range(12)}
    by_record = {chosen(0, 1, record) for record in range(12)}
    assert min(len(by_epoch), len(by_seed), len(by_record)) > 6


def test_the_search_goes_on_and_tells_every_failure():
    broken = set(range(30)) - {11}
    dataset, log = make(30, broken=broken, replace=True)
    found = [sample for epoch in range(40) if (sample := dataset[(epoch, 2)]).clips is not None]
    assert found and all(sample.label == 110 for sample in found)
    opened = 0
    for sample in found:
        assert sample.failures[0] == Failure(2, "v2", "no such file")
        assert all(f.record in broken for f in sample.failures)
        opened += len(sample.failures) + 1
    assert opened <= len(found) * (REPLACEMENT_TRIES + 1) and len(log) > opened


def test_the_search_ends():
    dataset, log = make(30, broken=range(30), replace=True)
    sample = dataset[(0, 4)]
    assert (sample.clips, sample.label, sample.record) == (None, 40, 4)
    assert len(log) == len(sample.failures) == REPLACEMENT_TRIES + 1


def test_a_single_record_has_no_replacement():
    dataset, log = make(1, broken=[0], replace=True)
    assert dataset[0].clips is None
    assert log == ["open v0"]


def test_a_defect_is_not_taken_for_a_broken_video():
    def opener(path):
        raise IndexError("frame 12 of 10")

    dataset = VideoDataset([VideoRecord("a", 0), VideoRecord("b", 0)], Clips(), opener, replace=True)
    with pytest.raises(IndexError, match="frame 12 of 10"):
        dataset[0]


@pytest.mark.parametrize("split", ["train", "test"])
def test_real_files(toy_set, tmp_path, broken_video, split):
    lines = entries(toy_set, "test")
    data = rewrite(toy_set, tmp_path / "set", **{split: [f"{broken_video} 1", *lines]})
    dataset = build_dataset("kinetics", toy_cfg(data, tmp_path), split)
    broken, good = dataset[(0, 0)], dataset[(0, 1)]
    assert good.failures == []
    with pytest.raises(DecodeError) as error:
        open_video(broken_video)
    failure = Failure(0, broken_video, error.value.cause)
    assert set(broken.failures) == {failure}  # a draw may hit it again
    assert failure.reason == str(error.value)
    assert (broken.clips is None) == (split == "test")
    copy = pickle.loads(pickle.dumps(dataset))[(0, 1)]  # a worker that is not forked gets it so
    assert torch.equal(copy.clips, good.clips)


def test_a_stand_in_differs_from_its_own_turn_in_the_epoch(toy_set, tmp_path, broken_video):
    data = rewrite(toy_set, tmp_path / "set", train=[f"{broken_video} 1", entries(toy_set, "train")[0]])
    dataset = build_dataset("kinetics", toy_cfg(data, tmp_path), "train")
    stand_in, own = dataset[(0, 0)], dataset[(0, 1)]
    assert (stand_in.label, stand_in.record, own.record) == (0, 0, 1)
    assert not any(torch.equal(a, b) for a in stand_in.clips for b in own.clips)
    with dataset.opener(dataset.records[1].path) as reader:
        assert torch.equal(stand_in.clips, dataset.clips(reader, 0, 0))


def test_a_training_video_is_decoded_once_and_its_clips_differ(toy_set, tmp_path, monkeypatch):
    calls = []
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "AUG.NUM_SAMPLE", "3"), "train")
    opener = dataset.opener

    def spy(path):
        calls.append("open")
        reader = opener(path)
        frames_at = reader.frames_at
        monkeypatch.setattr(reader, "frames_at", lambda indices: calls.append("frames_at") or frames_at(indices))
        return reader

    dataset.opener = spy
    sample = dataset[(3, 1)]
    assert calls == ["open", "frames_at"]
    assert tuple(sample.clips.shape) == (3, 3, 4, 32, 32)
    assert len({clip.numpy().tobytes() for clip in sample.clips}) == 3
