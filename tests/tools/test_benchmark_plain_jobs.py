"""The plain parts in the engine: what is put in, that it gives the same, and that it is taken out again."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from tests.tools.job_settings import SMALL, TINY
from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_plain_jobs as plain_jobs  # noqa: E402
from benchmark_job_runs import JobBench  # noqa: E402
from benchmark_plain import PlainUniformer  # noqa: E402
from benchmark_videos import make_videos  # noqa: E402

from uniformer_video.datasets import VideoDataset, build_dataset  # noqa: E402
from uniformer_video.datasets.loader import collate  # noqa: E402
from uniformer_video.engine import tester, trainer  # noqa: E402
from uniformer_video.engine.inputs import DeviceInputs  # noqa: E402
from uniformer_video.models.build import build_model  # noqa: E402

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    make_videos(folder, 4, 1.0, 30, SMALL)
    return JobBench(folder, TINY)


@pytest.mark.parametrize(("split", "clips"), [("train", 2), ("val", 1), ("test", 12)])
def test_plain_samples_are_ours_in_float(bench, split, clips):
    cfg = bench.config("train", "fp32")
    ours, plain = (build("kinetics", cfg, split) for build in (build_dataset, plain_jobs.build_plain_dataset))
    assert (len(plain), plain.clips_per_record) == (4, clips)
    assert list(plain.records) == list(ours.records)
    for index in (3, (1, 2), (0, 1, 0)):
        wanted, got = ours[index], plain[index]
        assert got.clips.shape == wanted.clips.shape == (clips, 3, 2, 32, 32)
        assert (got.clips.dtype, wanted.clips.dtype) == (torch.float32, torch.uint8)
        bytes_ = (got.clips * 0.225 + 0.45) * 255
        assert (bytes_ - wanted.clips).abs().mean() < 1.5, "the same draws: frames, operations, boxes"
        assert torch.equal(got.labels, wanted.labels)
        assert (got.record, got.epoch, got.turn) == (wanted.record, wanted.epoch, wanted.turn)


def test_epochs_differ(bench):
    plain = plain_jobs.build_plain_dataset("kinetics", bench.config("train", "fp32"), "train")
    assert not torch.equal(plain[0, 1].clips, plain[1, 1].clips)
    assert torch.equal(plain[1, 1].clips, plain[1, 1].clips)


def test_plain_inputs_are_erased_and_mixed_by_the_same_draws(bench):
    cfg = bench.config("train", "fp32", ["AUG.RE_PROB", "1.0"])
    batch = collate([build_dataset("kinetics", cfg, "train")[0, record] for record in range(4)])
    ours, plain = DeviceInputs.from_config(cfg), plain_jobs.PlainInputs.from_config(cfg)
    assert type(plain) is plain_jobs.PlainInputs
    wanted = ours.train(batch, CPU)
    batch.clips = ours.normalized(batch.clips, CPU)
    for got, want in zip(plain.train(batch, CPU), wanted, strict=True):
        assert_close(got, want)


@pytest.mark.parametrize(
    "settings", [["MIXUP.ENABLE", "False"], ["MIXUP.ENABLE", "False", "MODEL.LOSS_FUNC", "cross_entropy"]]
)
def test_plain_targets_without_mixing(bench, settings):
    cfg = bench.config("train", "fp32", settings)
    batch = collate([build_dataset("kinetics", cfg, "train")[0, record] for record in range(2)])
    ours, plain = DeviceInputs.from_config(cfg), plain_jobs.PlainInputs.from_config(cfg)
    wanted = ours.train(batch, CPU)
    batch.clips = ours.normalized(batch.clips, CPU)
    for got, want in zip(plain.train(batch, CPU), wanted, strict=True):
        assert_close(got, want)


def test_plain_inputs_take_no_bytes(bench):
    plain = plain_jobs.PlainInputs.from_config(bench.config("train", "fp32"))
    with pytest.raises(AssertionError):
        plain.normalized(torch.zeros(1, 3, 2, 8, 8, dtype=torch.uint8), CPU)


def test_parts_are_put_in_and_taken_out(bench):
    cfg = bench.config("test", "fp32")

    def parts():
        built = tester.Tester(cfg, CPU)
        return [type(part) for part in (build_model(cfg), built.ready[0], built.dataset, built.inputs)]

    ours = parts()
    assert PlainUniformer not in ours and ours[2:] == [VideoDataset, DeviceInputs]
    with pytest.raises(KeyError), plain_jobs.plain_parts():
        assert parts() == [PlainUniformer, PlainUniformer, plain_jobs.PlainDataset, plain_jobs.PlainInputs]
        assert trainer.build_dataset is plain_jobs.build_plain_dataset
        raise KeyError
    assert parts() == ours and trainer.build_dataset is build_dataset
