"""One whole job of either side: its configuration, what it gives, and that it leaves nothing behind."""

from __future__ import annotations

import logging

import pytest
import torch
from torch.testing import assert_close

from tests.tools.job_settings import SMALL, TINY
from tests.tools.test_benchmark import benchmark

assert benchmark, "puts the tools' folder on the path"
import benchmark_job_runs as runs  # noqa: E402
from benchmark_videos import make_videos  # noqa: E402

from uniformer_video.config import changes  # noqa: E402
from uniformer_video.models.build import build_model  # noqa: E402
from uniformer_video.models.weights import load_weights  # noqa: E402
from uniformer_video.runtime.errors import UserError  # noqa: E402
from uniformer_video.runtime.logging import LOGGER_NAME  # noqa: E402


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folder = tmp_path_factory.mktemp("jobs")
    make_videos(folder, 5, 1.0, 30, SMALL)
    return runs.JobBench(folder, TINY)


def test_a_configuration_is_the_recipe_but_for_what_a_job_needs(bench):
    cfg = bench.config("test", "bf16", ["TEST.BATCH_SIZE", "6"])
    assert (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.TEST.BATCH_SIZE) == (4, 3, 6)
    assert (cfg.TEST.ENABLE, cfg.TRAIN.ENABLE, cfg.TEST.MIXED_PRECISION) == (True, False, "bf16")
    assert (cfg.AUG.AA_TYPE, cfg.AUG.NUM_SAMPLE, cfg.MIXUP.ENABLE) == ("rand-m7-n4-mstd0.5-inc1", 2, True)
    train = bench.config("train", "fp32")
    assert (train.TEST.ENABLE, train.TRAIN.ENABLE, train.TRAIN.MIXED_PRECISION) == (False, True, False)
    assert (1, str(bench.weights)) == (train.SOLVER.MAX_EPOCH, train.TRAIN.CHECKPOINT_FILE_PATH)
    assert {"DATA.NUM_FRAMES", "UNIFORMER.DEPTH"} <= {change.key for change in changes(train)}


def test_weights_tell_videos_apart(bench):
    model = build_model(bench.config("test", "fp32"))
    assert load_weights(model, bench.weights).missing == []
    assert 0.5 < float(model.head.weight.detach().std()) * 32**0.5 < 1.5, "of the size 1 / sqrt(inputs)"
    assert float(model.norm.running_var.std()) > 0, "statistics of clips, not those of a new network"
    before = bench.weights.read_bytes()
    runs.make_weights(bench.config("test", "fp32"), bench.weights)
    assert bench.weights.read_bytes() == before


def test_a_test_of_both_sides(bench):
    ours, plain = (bench.run("test", side) for side in ("ours", "plain"))
    assert ours.scores.shape == plain.scores.shape == (5, 8) and ours.losses == plain.losses == ()
    assert ours.seconds > 0 and plain.seconds > 0
    assert_close(ours.scores, plain.scores, rtol=0.05, atol=0.05 * float(plain.scores.std()))
    assert float(plain.scores.std(0).min()) > 0.01, "scores depend on the video"
    few = bench.run("test", "ours", 2)
    assert_close(few.scores, ours.scores[:2], rtol=1e-4, atol=1e-4)


def test_an_epoch_of_both_sides(bench):
    ours, plain, again = (bench.run("train", side) for side in ("ours", "plain", "ours"))
    assert len(ours.losses) == len(plain.losses) == 1 and ours.scores is None
    assert plain.losses[0] == pytest.approx(ours.losses[0], rel=1e-2)
    assert again.losses == ours.losses
    assert bench.run("train", "ours bf16").losses[0] == pytest.approx(ours.losses[0], rel=2e-2)


def test_a_job_is_silent_and_leaves_nothing(bench, capfd):
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.propagate, logger.level, list(logger.handlers)
    files = sorted(bench.folder.iterdir())
    bench.run("test", "plain", 1)
    assert (logger.propagate, logger.level, list(logger.handlers)) == before
    assert sorted(bench.folder.iterdir()) == files
    assert capfd.readouterr() == ("", "")


def test_a_job_that_fails_says_so(bench, monkeypatch):
    monkeypatch.setattr(runs.launch, "run", lambda cfg: 1)
    with pytest.raises(UserError, match="^the test job of the ours side ended with exit code 1$"):
        bench.run("test", "ours", 1)


def test_threads_and_gradients_are_as_before(bench):
    before = torch.get_num_threads(), torch.is_grad_enabled()
    bench.run("test", "ours", 1)
    assert (torch.get_num_threads(), torch.is_grad_enabled()) == before
