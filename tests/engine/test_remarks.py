"""What a run says of its settings: each line in full, and none where there is nothing to say."""

from __future__ import annotations

import pytest

from uniformer_video.config import load_config
from uniformer_video.engine.remarks import remark_on_settings

SCALED = "SOLVER: {BASE_LR: 2.0e-3, BASE_LR_BATCH: 32, MAX_EPOCH: 10}\nTRAIN: {BATCH_SIZE: 32}\n"


@pytest.fixture
def remarks(tmp_path, log):
    """Return a function from a YAML text and overrides to the lines that are logged."""

    def lines(text: str, *overrides: object) -> list[str]:
        (tmp_path / "a.yaml").write_text(text)
        log.clear()
        remark_on_settings(load_config(tmp_path / "a.yaml", [str(o) for o in overrides]))
        return list(log)

    return lines


def test_nothing_to_say(remarks):
    assert remarks("SOLVER: {BASE_LR: 1.0e-3, WARMUP_EPOCHS: 9.5, MAX_EPOCH: 10}\n", "TRAIN.BATCH_SIZE", 4) == []


@pytest.mark.parametrize(
    ("overrides", "rate", "videos"),
    [
        ((), "0.002", 32),
        (("TRAIN.BATCH_SIZE", 4), "0.00025", 4),
        # The videos of all machines, not of this one.
        (("TRAIN.BATCH_SIZE", 4, "NUM_SHARDS", 2), "0.0005", 8),
        (("TRAIN.BATCH_SIZE", 64, "NUM_SHARDS", 4, "SOLVER.BASE_LR_SCALE_NUM_SHARDS", True), "0.016", 256),
    ],
)
def test_the_rate_really_used(remarks, overrides, rate, videos):
    assert remarks(SCALED, *overrides) == [
        f"INFO: learning rate {rate}: SOLVER.BASE_LR 0.002 x {videos} videos a step / SOLVER.BASE_LR_BATCH 32"
    ]


def test_a_rate_that_may_have_been_scaled_by_hand(remarks):
    line = (
        "WARNING: SOLVER.BASE_LR of the command line is taken for a step of SOLVER.BASE_LR_BATCH 32 videos and scaled; "
        "SOLVER.BASE_LR_BATCH 0 takes it as it is"
    )
    both = ("SOLVER.BASE_LR", 1e-4, "TRAIN.BATCH_SIZE", 4)
    assert remarks(SCALED, *both)[1:] == [line]
    assert line not in remarks(SCALED, *both[:2])
    assert line not in remarks(SCALED, *both[2:])
    assert line not in remarks(SCALED, *both, "SOLVER.BASE_LR_BATCH", 64)
    assert remarks(SCALED, *both, "SOLVER.BASE_LR_BATCH", 0) == []
    assert line not in remarks(SCALED, "SOLVER.BASE_LR", 1e-4, "TRAIN.BATCH_SIZE", 32)  # nothing is scaled


def test_a_key_without_effect(remarks):
    assert remarks("MODEL: {DROPOUT_RATE: 0.5}\n") == [
        "WARNING: MODEL.DROPOUT_RATE 0.5 has no effect, as in the published networks; UNIFORMER.HEAD_DROPOUT_RATE has"
    ]


@pytest.mark.parametrize(("warmup", "epochs", "rate"), [(10, 10, "0.001"), (20, 10, "0.000501")])
def test_a_warm_up_as_long_as_the_training(remarks, warmup, epochs, rate):
    text = f"SOLVER: {{BASE_LR: 1.0e-3, WARMUP_EPOCHS: {warmup}, MAX_EPOCH: {epochs}, WARMUP_START_LR: 1.0e-6}}\n"
    assert remarks(text) == [
        f"WARNING: SOLVER.WARMUP_EPOCHS {warmup} is not below SOLVER.MAX_EPOCH {epochs}: training ends in the warm-up, "
        f"at rate {rate}"
    ]
