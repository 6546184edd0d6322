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


FREEZE = (
    "WARNING: MODEL.FREEZE {} keeps random weights as they are: set UNIFORMER.PRETRAIN_NAME or "
    "TRAIN.CHECKPOINT_FILE_PATH to start from trained ones, or MODEL.FREEZE to the empty word"
)


def test_random_weights_that_are_frozen(remarks):
    assert remarks("MODEL: {FREEZE: backbone}\n") == [FREEZE.format("backbone")]
    assert remarks("MODEL: {FREEZE: 2}\n") == [FREEZE.format(2)]
    for key in ("UNIFORMER.PRETRAIN_NAME", "TRAIN.CHECKPOINT_FILE_PATH"):
        assert remarks("MODEL: {FREEZE: 2}\n", key, "some") == []


def test_rates_by_layer(remarks):
    assert remarks("SOLVER: {LAYER_DECAY: 0.5}\n", "UNIFORMER.DEPTH", "[1, 1, 1, 1]") == [
        "INFO: layer-wise rates: SOLVER.LAYER_DECAY 0.5 leaves the stem 0.0312 of the head's rate, 5 layers behind it"
    ]
    assert remarks("SOLVER: {LAYER_DECAY: 1.0}\n") == []


def test_smoothing_of_plain_labels(remarks):
    line = (
        "WARNING: MIXUP.LABEL_SMOOTH_VALUE 0.1 has no effect: MODEL.LOSS_FUNC cross_entropy is against plain labels; "
        "soft_cross_entropy smooths them, with MIXUP.ENABLE False too"
    )
    assert remarks("MIXUP: {LABEL_SMOOTH_VALUE: 0.1}\n", "MODEL.LOSS_FUNC", "cross_entropy") == [line]
    assert remarks("MIXUP: {LABEL_SMOOTH_VALUE: 0}\n", "MODEL.LOSS_FUNC", "cross_entropy") == []
    assert remarks("MIXUP: {LABEL_SMOOTH_VALUE: 0.1}\n", "MODEL.LOSS_FUNC", "bce_logit") == []
    # The default asks for nothing.
    assert remarks("MODEL: {LOSS_FUNC: cross_entropy}\n") == []


def test_rare_classes_made_up_for_twice(remarks):
    both = "MODEL: {CLASS_WEIGHTS: balanced}\nDATA: {CLASS_BALANCED_SAMPLING: True}\n"
    assert remarks(both) == [
        "WARNING: MODEL.CLASS_WEIGHTS balanced and DATA.CLASS_BALANCED_SAMPLING True both make up for rare classes: "
        "together they count twice; use one of them"
    ]
    assert remarks("MODEL: {CLASS_WEIGHTS: balanced}\n") == []
    assert remarks("DATA: {CLASS_BALANCED_SAMPLING: True}\n") == []
