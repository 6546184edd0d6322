"""What a run begins with: initial weights and loaders."""

from __future__ import annotations

import os

import pytest
import torch

from tests.toy import same_bits, toy_cfg
from uniformer_video.datasets import build_dataset
from uniformer_video.engine import setup
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import DataError

CPU = torch.device("cpu")


@pytest.fixture
def cfg(toy_set, tmp_path):
    """Return a function from overrides to the toy configuration."""
    return lambda *overrides: toy_cfg(toy_set, tmp_path / "out", *map(str, overrides))


def test_initial_weights_depend_on_the_seed_alone(cfg, log):
    torch.manual_seed(1)
    first = setup.new_model(cfg(), CPU).state_dict()
    torch.manual_seed(2)
    assert same_bits(setup.new_model(cfg("TRAIN.BATCH_SIZE", 8), CPU).state_dict(), first)
    assert not same_bits(setup.new_model(cfg("RNG_SEED", 8), CPU).state_dict(), first)
    parameters = sum(v.numel() for name, v in first.items() if "running" not in name and "num_b" not in name)
    assert log[0] == f"INFO: network Uniformer: {parameters / 1e6:.3f} M parameters"


# --------------------------------------------------------------------------------------------------------- loaders


def test_a_list_shorter_than_a_batch(cfg):
    dataset = build_dataset("kinetics", cfg(), "train")
    with pytest.raises(DataError) as error:
        setup.train_loader(cfg("TRAIN.BATCH_SIZE", 13), dataset, CPU)
    assert str(error.value) == (
        "the training list has 12 videos, fewer than a step takes (TRAIN.BATCH_SIZE 13); set TRAIN.BATCH_SIZE 12 or "
        "less (and SOLVER.BASE_LR in proportion)"
    )
    assert len(setup.train_loader(cfg("TRAIN.BATCH_SIZE", 12), dataset, CPU)) == 1


@pytest.mark.parametrize(("batch", "shards", "better"), [(7, 2, 6), (4, 5, 2), (1, 13, 1)])
def test_a_list_shorter_than_the_batches_of_all_machines(cfg, monkeypatch, batch, shards, better):
    dataset = build_dataset("kinetics", cfg(), "train")
    as_process(monkeypatch, 0, shards)
    with pytest.raises(DataError) as error:
        setup.train_loader(cfg("TRAIN.BATCH_SIZE", batch, "NUM_SHARDS", shards), dataset, CPU)
    assert str(error.value) == (
        f"the training list has 12 videos, fewer than a step takes (TRAIN.BATCH_SIZE {batch} on each of {shards} "
        f"machines); set TRAIN.BATCH_SIZE {better} or less (and SOLVER.BASE_LR in proportion)"
    )
    if shards <= 12:
        loader = setup.train_loader(cfg("TRAIN.BATCH_SIZE", better, "NUM_SHARDS", shards), dataset, CPU)
        assert len(loader) == 1


@pytest.mark.parametrize(
    ("world", "shards", "batch", "of_all", "share"),
    [(1, 1, 12, 12, 12), (4, 1, 12, 12, 3), (2, 2, 12, 24, 12), (8, 2, 12, 24, 3), (8, 1, 6, 6, 1), (8, 2, 7, 14, 1)],
)
def test_a_batch_is_that_of_one_machine(cfg, monkeypatch, world, shards, batch, of_all, share):
    as_process(monkeypatch, 0, world)
    config = cfg("TRAIN.BATCH_SIZE", batch, "NUM_SHARDS", shards)
    assert setup.global_batch(config) == of_all
    assert setup.process_share(config, batch) == share


def as_process(monkeypatch, rank, world):
    monkeypatch.setattr(distributed, "rank", lambda: rank)
    monkeypatch.setattr(distributed, "world_size", lambda: world)


@pytest.mark.parametrize("rank", [0, 1, 2, 3])
def test_machines_together_take_the_batches_of_one_with_a_larger_batch(cfg, monkeypatch, rank):
    train = build_dataset("kinetics", cfg(), "train")
    whole = [batch.records.tolist() for batch in setup.train_loader(cfg("TRAIN.BATCH_SIZE", 12), train, CPU)]
    as_process(monkeypatch, rank, 4)  # two GPUs in each of two machines
    loader = setup.train_loader(cfg("TRAIN.BATCH_SIZE", 6, "NUM_SHARDS", 2), train, CPU)
    assert [batch.records.tolist() for batch in loader] == [
        [r for n, r in enumerate(batch) if n // 2 % 4 == rank] for batch in whole
    ]
    assert [len(batch) for batch in whole] == [24]


@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_gets_its_share(cfg, monkeypatch, rank):
    cfg = cfg()
    train, val = (build_dataset("kinetics", cfg, split) for split in ("train", "val"))
    whole = [batch.records.tolist() for batch in setup.train_loader(cfg, train, CPU)]
    as_process(monkeypatch, rank, 2)
    mine = [batch.records.tolist() for batch in setup.train_loader(cfg, train, CPU)]
    # Two clips of each record; every second record of the same global batch.
    assert mine == [[r for n, r in enumerate(batch) if n // 2 % 2 == rank] for batch in whole]
    ordered = [batch.records.tolist() for batch in setup.ordered_loader(cfg, val, 2, CPU)]
    assert ordered == ([[0, 2], [4]] if rank == 0 else [[1, 3], [5]])


def test_the_loader_follows_its_keys(cfg):
    config = cfg("DATA_LOADER.NUM_WORKERS", 2, "DATA_LOADER.PREFETCH_FACTOR", 5)
    loader = setup.train_loader(config, build_dataset("kinetics", config, "train"), CPU)
    assert (loader.num_workers, loader.prefetch_factor, loader.pin_memory) == (2, 5, False)
    loader = setup.train_loader(config, build_dataset("kinetics", config, "train"), torch.device("cuda", 0))
    assert loader.pin_memory is True


@pytest.mark.parametrize(
    ("cores", "world", "shards", "workers"), [(2, 1, 1, 2), (1, 1, 1, 1), (64, 1, 1, 16), (64, 8, 1, 8), (64, 16, 2, 8),
                                              (4, 8, 1, 1), (2, 2, 2, 2)]
)  # fmt: skip
def test_automatic_workers_share_the_cores(cfg, monkeypatch, cores, world, shards, workers):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    dataset = build_dataset("kinetics", cfg(), "val")
    config = cfg("DATA_LOADER.NUM_WORKERS", "auto", "NUM_SHARDS", shards)
    as_process(monkeypatch, 0, world)
    assert setup.ordered_loader(config, dataset, 1, CPU).num_workers == workers


@pytest.mark.parametrize(
    ("cores", "threads", "processes", "device", "fitted"),
    [
        (2, 8, 1, "cpu", 2),  # torch counts a container's host
        (8, 8, 2, "cpu", 4),
        (8, 1, 2, "cpu", 1),  # fewer stay
        (2, 8, 8, "cpu", 1),
        (64, 64, 1, "cuda", 4),
        (16, 16, 8, "cuda", 2),
        (16, 3, 1, "cuda", 3),
    ],
)
def test_threads_fit_the_cores(monkeypatch, cores, threads, processes, device, fitted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(cores)), raising=False)
    now = [threads]
    monkeypatch.setattr(torch, "get_num_threads", lambda: now[0])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: now.__setitem__(0, count))
    setup.fit_threads(processes, torch.device(device))
    assert now == [fitted]


@pytest.mark.parametrize("workers", [0, 1, 7, "auto"])
def test_the_threads_of_a_network_do_not_depend_on_the_workers(cfg, monkeypatch, workers, log):
    asked = []
    monkeypatch.setattr(setup, "fit_threads", lambda *arguments: asked.append(arguments))
    setup.new_model(cfg("DATA_LOADER.NUM_WORKERS", workers), CPU)
    assert asked == [(1, CPU)]
