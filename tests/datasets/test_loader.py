"""Loading: any number of workers gives the same batches."""

from __future__ import annotations

import os
import signal

import pytest
import torch

from tests.datasets.samples import sample
from tests.toy import FULL_AUGMENTATION, entries, rewrite, toy_cfg
from uniformer_video.datasets.batches import BalancedBatches, InOrderBatches, TrainBatches, collate
from uniformer_video.datasets.build import build_dataset
from uniformer_video.datasets.dataset import Sample
from uniformer_video.datasets.loader import make_loader

pytestmark = [
    pytest.mark.usefixtures("random_state_unchanged"),
    pytest.mark.filterwarnings("ignore:This DataLoader will create"),
]


def epochs(dataset, workers, numbers=(0, 1)):
    batches = TrainBatches(len(dataset), 4, seed=1)
    loader = make_loader(dataset, batches, num_workers=workers, pin_memory=False)
    result = []
    for epoch in numbers:
        batches.epoch = epoch
        result.append(list(loader))
    return result


def test_no_number_of_workers_changes_a_batch(toy_set, tmp_path, broken_video):
    data = rewrite(toy_set, tmp_path / "set", train=[f"{broken_video} 1", *entries(toy_set, "train")])
    dataset = build_dataset("kinetics", toy_cfg(data, tmp_path, *FULL_AUGMENTATION), "train")
    plain = epochs(dataset, 0)
    assert [len(epoch) for epoch in plain] == [3, 3]
    assert [batch.epoch for epoch in plain for batch in epoch] == [0, 0, 0, 1, 1, 1]
    assert not torch.equal(plain[0][0].clips, plain[1][0].clips)
    assert any(batch.failures for epoch in plain for batch in epoch)
    for workers in (1, 3):
        for one, other in zip(sum(plain, []), sum(epochs(dataset, workers), []), strict=True):
            for name in ("clips", "labels", "records", "parts", "turns"):
                assert torch.equal(getattr(one, name), getattr(other, name)), name
            assert (one.epoch, one.lost, one.failures) == (other.epoch, other.lost, other.failures)


def test_a_video_that_comes_twice_is_drawn_anew(toy_set, tmp_path):
    lines = entries(toy_set, "train")
    data = rewrite(toy_set, tmp_path / "set", train=[*lines[0::3], lines[1], lines[2]])  # 4 red, 1 green, 1 blue
    dataset = build_dataset("kinetics", toy_cfg(data, tmp_path, *FULL_AUGMENTATION), "train")
    loader = make_loader(dataset, BalancedBatches(dataset.records, 6, seed=1), num_workers=0, pin_memory=False)
    (batch,) = loader
    firsts = batch.parts == 0
    assert sorted(batch.labels[firsts].tolist()) == [0, 0, 1, 1, 2, 2]
    assert sorted(batch.turns[firsts & (batch.labels > 0)].tolist()) == [0, 0, 1, 1]
    one, again = batch.clips[batch.labels == 1].unflatten(0, (2, -1))
    assert len({clip.numpy().tobytes() for clip in [*one, *again]}) == 2 * dataset.clips_per_record
    # A first turn is the item of an epoch that has everything once.
    place = int((firsts & (batch.labels == 1) & (batch.turns == 0)).nonzero()[0])
    assert torch.equal(batch.clips[place], dataset[(0, 4)].clips[0])


def test_an_epoch_does_not_depend_on_those_before(toy_set, tmp_path):
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "train")
    straight, resumed = epochs(dataset, 1, (0, 1))[1], epochs(dataset, 1, (1,))[0]
    assert all(torch.equal(a.clips, b.clips) for a, b in zip(straight, resumed, strict=True))


def test_an_epoch_that_is_broken_off_leaves_nothing_behind(toy_set, tmp_path):
    # Precise batch norm takes a few batches and stops; the next epoch must not begin with what was left.
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "train")
    batches = TrainBatches(len(dataset), 4, seed=1)
    loader = make_loader(dataset, batches, num_workers=1, pin_memory=False)
    next(iter(loader))
    batches.epoch = 1
    assert [batch.epoch for batch in loader] == [1, 1, 1]


def test_a_pass_that_begins_inside_an_epoch(toy_set, tmp_path):
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path, *FULL_AUGMENTATION), "train")
    batches = TrainBatches(len(dataset), 4, seed=1)
    loader = make_loader(dataset, batches, num_workers=2, pin_memory=False)
    whole = list(loader)
    batches.start = 1
    rest = list(loader)
    assert (len(loader), len(whole), len(rest)) == (3, 3, 2)
    for one, other in zip(whole[1:], rest, strict=True):
        assert torch.equal(one.clips, other.clips) and one.places() == other.places()


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_loader_tells_of_itself(workers):
    batches = InOrderBatches(6, 4)
    loader = make_loader(Squares(), batches, num_workers=workers, pin_memory=False)
    assert (len(loader), loader.num_workers, loader.batch_sampler) == (2, workers, batches)
    assert isinstance(loader.dataset, Squares) and loader.worker_pids == []
    list(loader)
    assert len(loader.worker_pids) == workers and os.getpid() not in loader.worker_pids
    pids = loader.worker_pids
    list(loader)
    assert loader.worker_pids == pids  # the same ones for all passes
    for _ in range(2):
        loader.close()
        assert loader.worker_pids == []
    assert [batch.records.tolist() for batch in loader] == [[0, 0, 1, 1, 2, 2, 3, 3], [4, 4, 5, 5]]


@pytest.mark.parametrize("workers", [0, 2])
def test_any_batches_and_any_way_to_collate(workers):
    items = [[(0, 4)], [(0, 1), (0, 3)]]
    options = {"num_workers": workers, "pin_memory": False, "collate": lambda samples: [s.record for s in samples]}
    loader = make_loader(Squares(), items, **options)
    assert len(loader) == 2 and list(loader) == list(loader) == [[4], [1, 3]]


def test_one_pass_at_a_time():
    loader = make_loader(Squares(), InOrderBatches(6, 2), num_workers=1, pin_memory=False)
    old = iter(loader)
    next(old)
    new = iter(loader)
    with pytest.raises(AssertionError, match="another pass"):
        next(old)
    assert len(list(new)) == 3


class Environment:
    """A dataset that tells what a worker process is like."""

    records = range(4)

    def __len__(self):
        return 4

    def __getitem__(self, index):
        signals = signal.SIGINT, signal.SIGTERM, signal.SIGUSR1
        ignored = {signal.getsignal(number) for number in signals} == {signal.SIG_IGN}
        ignored = ignored and not signal.pthread_sigmask(signal.SIG_BLOCK, [])
        threads = torch.tensor([torch.get_num_threads()])
        return Sample(torch.zeros((1, 3, 1, 1, 1), dtype=torch.uint8), threads, int(ignored))


def test_a_worker_has_one_thread_and_leaves_signals_to_the_main_process():
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        loader = make_loader(Environment(), InOrderBatches(4, 2), num_workers=1, pin_memory=False, prefetch_factor=1)
        batches = list(loader)
    finally:
        torch.set_num_threads(threads)
    assert [batch.labels.tolist() for batch in batches] == [[1, 1], [1, 1]]
    assert [batch.records.tolist() for batch in batches] == [[1, 1], [1, 1]]
    assert signal.getsignal(signal.SIGINT) != signal.SIG_IGN  # this process is as it was
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == blocked


# ---------------------------------------------------------------------------------------------------- shared memory


class Squares:
    """A dataset of samples whose clips have the shape ``clips``, turned where ``turned``."""

    def __init__(self, clips=2, turned=False):
        self.clips, self.turned = clips, turned

    def __len__(self):
        return 6

    def __getitem__(self, index):
        made = sample(index[1], 10 * index[1], clips=self.clips)
        made.clips = made.clips.transpose(-1, -2) if self.turned else made.clips
        return made


def collate_there(samples):
    """Collate, and tell in the place of the epoch whether the clips were in shared memory before they were sent."""
    batch = collate(samples)
    batch.epoch = int(batch.clips is not None and batch.clips.is_shared())
    return batch


@pytest.mark.parametrize(("options", "shared"), [({}, 1), ({"turned": True}, 0)])
def test_a_worker_collates_into_shared_memory(options, shared):
    settings = {"pin_memory": False, "collate": collate_there}
    dataset = Squares(**options)
    there, here = (list(make_loader(dataset, InOrderBatches(6, 4), num_workers=n, **settings)) for n in (2, 0))
    assert [batch.epoch for batch in there] == [shared] * 2
    assert [batch.epoch for batch in here] == [0] * 2
    for one, other in zip(there, here, strict=True):
        assert torch.equal(one.clips, other.clips) and one.clips.dtype == torch.uint8
        assert one.clips.stride() == other.clips.stride()
        assert one.records.tolist() == other.records.tolist()
