"""The one Dataset: a record is opened once, and one that cannot be read is replaced or named."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch

from tests.toy import entries, rewrite, toy_cfg
from uniformer_video.datasets.build import build_dataset
from uniformer_video.datasets.clips import Clips
from uniformer_video.datasets.dataset import REPLACEMENT_TRIES, Failure, VideoDataset
from uniformer_video.datasets.flips import FlipRule
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import DataError
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.watch import NotInTimeError

pytestmark = pytest.mark.usefixtures("random_state_unchanged")


class Reader:
    """A stand-in for a video; notes that it was closed."""

    def __init__(self, path, log, fail_late):
        self.path, self.log, self.fail_late = path, log, fail_late

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.append(f"close {self.path}")


class Maker:
    """A clip maker whose pixels say which epoch and record were asked for."""

    def __len__(self):
        return 2

    def __call__(self, reader, epoch, record, *, turn=0, may_mirror=True):
        if reader.fail_late:
            raise DecodeError(reader.path, "frame 3 is damaged")
        pixels = torch.tensor([epoch, record], dtype=torch.uint8).view(2, 1, 1, 1, 1).expand(2, 3, 1, 2, 2)
        return Clips(pixels, np.array([[turn], [7]]), (False, may_mirror))


def make(count, *, broken=(), damaged=(), slow=(), replace=False, seed=0, labels=None, **options):
    """Return a dataset of videos v0, v1, ... and the list of what was opened and closed."""
    log = []

    def opener(path):
        log.append(f"open {path}")
        if int(path[1:]) in broken:
            raise DecodeError(path, "no such file")
        if int(path[1:]) in slow:
            raise NotInTimeError(path, "took longer than 60 s")
        return Reader(path, log, fail_late=int(path[1:]) in damaged)

    records = [VideoRecord(f"v{n}", labels[n] if labels else 10 * n) for n in range(count)]
    return VideoDataset(records, Maker(), opener, replace=replace, seed=seed, **options), log


def test_a_sample_is_opened_once_and_closed():
    dataset, log = make(4)
    sample = dataset[(7, 2)]
    assert log == ["open v2", "close v2"]
    assert (sample.labels.tolist(), sample.record, sample.epoch, sample.failures) == ([20, 20], 2, 7, [])
    assert sample.clips[:, 0, 0, 0, 0].tolist() == [7, 2]
    assert (sample.turn, sample.source, sample.mirrored) == (0, 2, (False, True))
    assert sample.labels.dtype == torch.int64
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
    assert (sample.clips, sample.labels.tolist(), sample.record) == (None, [], 2)
    assert sample.failures == [Failure(2, "v2", cause)]
    assert sample.failures[0].reason == f"v2: {cause}"
    assert log == ["open v2"] + ["close v2"] * late


@pytest.mark.parametrize("late", [False, True])
def test_a_training_video_is_replaced_by_another_with_its_label(late):
    dataset, log = make(20, replace=True, **{"damaged" if late else "broken": [2]})
    sample = dataset[(1, 2)]
    *_, chosen = (int(line.removeprefix("close v")) for line in log if line.startswith("close"))
    assert chosen != 2
    assert sample.labels.tolist() == [10 * chosen] * 2  # the label goes with the clips
    # The draws are those of the record asked for, so that two places in an epoch never hold the same clips.
    assert sample.clips[:, 0, 0, 0, 0].tolist() == [1, 2]
    assert dataset[(1, chosen)].clips[:, 0, 0, 0, 0].tolist() == [1, chosen]
    assert (sample.record, sample.epoch, sample.source) == (2, 1, chosen)
    assert sample.failures == [Failure(2, "v2", "frame 3 is damaged" if late else "no such file")]


def chosen(seed, epoch, record, turn=0):
    return make(50, broken=[record], replace=True, seed=seed)[0][(epoch, record, turn)].source


def test_the_replacement_depends_on_seed_epoch_and_record_alone():
    assert chosen(0, 1, 2) == chosen(0, 1, 2)
    by_epoch = {chosen(0, epoch, 2) for epoch in range(12)}
    by_seed = {chosen(seed, 1, 2) for seed in range(12)}
    by_record = {chosen(0, 1, record) for record in range(12)}
    by_turn = {chosen(0, 1, 2, turn) for turn in range(12)}
    assert min(len(by_epoch), len(by_seed), len(by_record), len(by_turn)) > 6
    first, again = (make(50, broken=[2], replace=True)[0][place] for place in [(1, 2), (1, 2, 0)])
    assert first.source == again.source


def test_the_search_goes_on_and_tells_every_failure():
    broken = set(range(30)) - {11}
    dataset, log = make(30, broken=broken, replace=True)
    found = [sample for epoch in range(40) if (sample := dataset[(epoch, 2)]).clips is not None]
    assert found and all(sample.labels.tolist() == [110, 110] for sample in found)
    opened = 0
    for sample in found:
        assert sample.failures[0] == Failure(2, "v2", "no such file")
        assert all(f.record in broken for f in sample.failures)
        opened += len(sample.failures) + 1
    assert opened <= len(found) * (REPLACEMENT_TRIES + 1) and len(log) > opened


def test_the_search_ends():
    dataset, log = make(30, broken=range(30), replace=True)
    sample = dataset[(0, 4)]
    assert (sample.clips, sample.labels.tolist(), sample.record) == (None, [], 4)
    assert len(log) == len(sample.failures) == REPLACEMENT_TRIES + 1


def test_a_single_record_has_no_replacement():
    dataset, log = make(1, broken=[0], replace=True)
    assert dataset[0].clips is None
    assert log == ["open v0"]


def test_a_defect_is_not_taken_for_a_broken_video():
    def opener(path):
        raise IndexError("frame 12 of 10")

    dataset = VideoDataset([VideoRecord("a", 0), VideoRecord("b", 0)], Maker(), opener, replace=True)
    with pytest.raises(IndexError, match="frame 12 of 10"):
        dataset[0]


def test_a_turn_reaches_the_clips():
    dataset, _ = make(4)
    sample = dataset[(1, 2, 5)]
    assert (sample.epoch, sample.record, sample.turn) == (1, 2, 5)
    assert sample.indices.tolist() == [[5], [7]]


# ------------------------------------------------------------------------------------------------- the reading limit


@pytest.mark.parametrize("replace", [False, True])
def test_a_video_over_the_reading_limit_is_tried_once(replace):
    dataset, log = make(20, slow=[2], broken=[3], replace=replace)
    first, other = dataset[(0, 2)], dataset[(0, 3)]
    assert first.failures == [Failure(2, "v2", "took longer than 60 s")]
    assert (first.clips is None) == (other.clips is None) == (not replace)
    for epoch in range(1, 4):
        assert dataset[(epoch, 2)].failures[0] == first.failures[0]  # counted each time
        assert dataset[(epoch, 3)].failures[0] == Failure(3, "v3", "no such file")
    assert log.count("open v2") == 1
    assert log.count("open v3") >= 4  # what is missing may be there again


def test_the_stand_in_is_the_same_whether_the_limit_was_met_now_or_before():
    often, _ = make(30, slow=range(0, 30, 2), replace=True)
    for epoch in range(5):
        for number in range(30):
            fresh, _ = make(30, slow=range(0, 30, 2), replace=True)
            known, met = often[(epoch, number)], fresh[(epoch, number)]
            assert (known.source, known.failures) == (met.source, met.failures)


# ------------------------------------------------------------------------------------------------- labels and mirrors


def test_a_mirrored_clip_has_the_label_of_the_mirror_class():
    rule = FlipRule((0, 2, 1, -1))
    dataset, _ = make(4, labels=[0, 1, 2, 3], flips=rule)
    # The second of two clips is mirrored where that may be.
    assert [dataset[n].labels.tolist() for n in range(4)] == [[0, 0], [1, 2], [2, 1], [3, 3]]
    assert [dataset[n].mirrored for n in (2, 3)] == [(False, True), (False, False)]


def test_without_a_rule_labels_stay():
    dataset, _ = make(2, labels=[0, 1])
    assert dataset[1].labels.tolist() == [1, 1] and dataset[1].mirrored == (False, True)


def test_several_labels_are_rows_of_ones():
    dataset, _ = make(4, labels=[(0,), (), (1, 3), (2, 3)], multi_label=True, num_classes=5, broken=[3])
    assert [dataset[n].labels.tolist() for n in range(3)] == [
        [[1, 0, 0, 0, 0]] * 2,
        [[0, 0, 0, 0, 0]] * 2,
        [[0, 1, 0, 1, 0]] * 2,
    ]
    assert dataset[0].labels.dtype == torch.float32
    assert (dataset[3].clips, tuple(dataset[3].labels.shape)) == (None, (0, 5))


def test_of_several_labels_one_can_forbid_the_mirror():
    options = {"multi_label": True, "num_classes": 4, "flips": FlipRule((0, 2, 1, -1))}
    dataset, _ = make(3, labels=[(0, 1), (1, 3), ()], **options)
    assert dataset[0].labels.tolist() == [[1, 1, 0, 0], [1, 0, 1, 0]]
    assert dataset[1].labels.tolist() == [[0, 1, 0, 1]] * 2
    assert dataset[2].mirrored == (False, True)


def test_several_labels_where_there_should_be_one():
    with pytest.raises(DataError, match=r"^v1 has 2 labels, but DATA.MULTI_LABEL is False; set DATA.MULTI_LABEL True"):
        make(2, labels=[0, (1, 2)])
    with pytest.raises(AssertionError):
        make(1, labels=[(0,)], multi_label=True)


def test_what_the_set_knows_is_kept():
    dataset, _ = make(2, class_names=["a", "b"], class_folders={0: "a"}, absent=["x.mp4"], num_classes=2)
    assert (dataset.class_names, dataset.class_folders) == (["a", "b"], {0: "a"})
    assert (dataset.absent, dataset.num_classes, dataset.multi_label) == (("x.mp4",), 2, False)


# ------------------------------------------------------------------------------------------------- real files


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
    assert (stand_in.labels.unique().tolist(), stand_in.record, own.record) == ([0], 0, 1)
    assert not any(torch.equal(a, b) for a in stand_in.clips for b in own.clips)
    with dataset.opener(dataset.records[1].path) as reader:
        assert torch.equal(stand_in.clips, dataset.clips(reader, 0, 0).pixels)


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
