"""Keys that contradict each other are refused with their names, their values and the way out."""

from __future__ import annotations

from contextlib import suppress

import pytest

from uniformer_video.config import get_cfg, load_config, set_value, validate
from uniformer_video.config.validate import CHECKS
from uniformer_video.runtime.errors import ConfigError


def configured(**settings):
    """Return an unfrozen configuration; a key's dot is written as two underscores."""
    cfg = get_cfg()
    for name, value in settings.items():
        set_value(cfg, name.replace("__", "."), value)
    return cfg


def refused(**settings) -> str:
    with pytest.raises(ConfigError) as caught:
        validate(configured(**settings))
    return str(caught.value)


REFUSED = [
    (
        {"TRAIN__ENABLE": False, "TEST__ENABLE": False},
        "TRAIN.ENABLE and TEST.ENABLE are both False: nothing to do; set one of them to True",
    ),
    (
        {"NUM_SHARDS": 2, "SHARD_ID": 2},
        "SHARD_ID is 2 of NUM_SHARDS 2; shards are numbered from 0 to NUM_SHARDS - 1",
    ),
    (
        {"DATA__PATH_LABEL_SEPARATOR": ""},
        "DATA.PATH_LABEL_SEPARATOR is empty; set the character between path and label, such as ' ' or ','",
    ),
    (
        {"DATA__TRAIN_JITTER_SCALES": [320, 256]},
        "DATA.TRAIN_JITTER_SCALES is [320, 256]: the first must not be above the second",
    ),
    (
        {"DATA__TRAIN_JITTER_SCALES": [200, 256]},
        "DATA.TRAIN_JITTER_SCALES begins at 200, below DATA.TRAIN_CROP_SIZE 224: the crop would not fit; "
        "raise the one or lower the other",
    ),
    (
        {
            "DATA__TRAIN_JITTER_SCALES": [223, 256],
            "AUG__ENABLE": True,
            "DATA__TRAIN_JITTER_SCALES_RELATIVE": [],
        },
        "DATA.TRAIN_JITTER_SCALES begins at 223, below DATA.TRAIN_CROP_SIZE 224: the crop would not fit; "
        "raise the one or lower the other",
    ),
    *[
        (
            {"DATA__TRAIN_JITTER_SCALES_RELATIVE": area},
            f"DATA.TRAIN_JITTER_SCALES_RELATIVE is {area}; allowed: [] or [low, high] with 0 < low <= high <= 1",
        )
        for area in ([0.5], [0.1, 0.2, 0.3], [0.0, 1.0], [0.5, 0.4])
    ],
    (
        {"DATA__TRAIN_JITTER_ASPECT_RELATIVE": [2.0, 0.5]},
        "DATA.TRAIN_JITTER_ASPECT_RELATIVE is [2, 0.5]: the first must not be above the second",
    ),
    (
        {"UNIFORMER__EMBED_DIM": [64, 128, 300, 512]},
        "UNIFORMER.EMBED_DIM[2] is 300, not a multiple of UNIFORMER.HEAD_DIM 64: attention needs whole heads",
    ),
    (
        {"UNIFORMER__HEAD_DIM": 40},
        "UNIFORMER.EMBED_DIM[3] is 512, not a multiple of UNIFORMER.HEAD_DIM 40: attention needs whole heads",
    ),
    (
        {"UNIFORMER__LOCAL_KERNEL": [3, 4, 5]},
        "UNIFORMER.LOCAL_KERNEL is [3, 4, 5]; allowed: odd numbers, such as [3, 5, 5]",
    ),
    (
        {"UNIFORMER__DEPTH": [0, 0, 0, 0]},
        "UNIFORMER.DEPTH has no block in any stage; the small network has [3, 4, 8, 3]",
    ),
    (
        {"UNIFORMER__AUX_HEAD": True},
        "UNIFORMER.AUX_HEAD is True, but that head is trained by token labelling, which needs a label for each token; "
        "set UNIFORMER.AUX_HEAD False or TRAIN.ENABLE False",
    ),
    (
        {"MODEL__USE_CHECKPOINT": True},
        "MODEL.USE_CHECKPOINT is True, but MODEL.CHECKPOINT_NUM [0, 0, 0, 0] recomputes no block; "
        "set for example MODEL.CHECKPOINT_NUM [3, 4, 8, 3]",
    ),
    (
        {"MODEL__USE_CHECKPOINT": True, "MODEL__CHECKPOINT_NUM": [0, 0, 9, 0]},
        "MODEL.CHECKPOINT_NUM [0, 0, 9, 0] asks for more blocks than UNIFORMER.DEPTH [3, 4, 8, 3] has",
    ),
    (
        {"MIXUP__ENABLE": True, "MODEL__LOSS_FUNC": "cross_entropy"},
        "MIXUP.ENABLE is True, but MODEL.LOSS_FUNC cross_entropy takes no mixed labels; "
        "set MODEL.LOSS_FUNC soft_cross_entropy or MIXUP.ENABLE False",
    ),
    *[
        (
            {"DATA__MULTI_LABEL": True, "MODEL__LOSS_FUNC": loss},
            f"DATA.MULTI_LABEL is True, but MODEL.LOSS_FUNC {loss} is for one label a video; "
            "set MODEL.LOSS_FUNC bce_logit",
        )
        for loss in ("soft_cross_entropy", "cross_entropy")
    ],
    (
        {"MODEL__CLASS_WEIGHTS": [1.0, 2.0], "MODEL__NUM_CLASSES": 3},
        "MODEL.CLASS_WEIGHTS has 2 weights, but MODEL.NUM_CLASSES is 3; give one for each class",
    ),
    (
        {"MODEL__CLASS_WEIGHTS": [0.0, 0.0], "MODEL__NUM_CLASSES": 2},
        "MODEL.CLASS_WEIGHTS are all 0: nothing would be trained; set one of them above 0",
    ),
    (
        {"MIXUP__ENABLE": True, "MIXUP__ALPHA": 0.0, "MIXUP__CUTMIX_ALPHA": 0.0},
        "MIXUP.ENABLE is True, but MIXUP.ALPHA and MIXUP.CUTMIX_ALPHA are both 0; set one above 0",
    ),
    *[
        (
            {"TRAIN__BATCH_SIZE": 1, "DATA__NUM_FRAMES": frames, "DATA__TRAIN_CROP_SIZE": crop},
            f"TRAIN.BATCH_SIZE 1 with DATA.NUM_FRAMES {frames} and DATA.TRAIN_CROP_SIZE {crop} leaves the last batch "
            "norm a single position, from which no statistics can be had; raise one of them",
        )
        for frames, crop in ((1, 32), (2, 32), (1, 63))
    ],
    *[
        (
            {"SOLVER__LR_POLICY": "steps_with_relative_lrs", "SOLVER__STEPS": steps, "SOLVER__LRS": rates},
            f"SOLVER.STEPS {steps} and SOLVER.LRS {rates} must be of one length, STEPS rising from 0; "
            "for example STEPS [0, 20, 30] with LRS [1, 0.1, 0.01]",
        )
        for steps, rates in (
            ([], []),
            ([0, 5], [1.0]),
            ([1, 5], [1.0, 0.1]),
            ([0, 5, 5], [1.0, 0.1, 0.01]),
            ([0, 7, 5], [1.0, 0.1, 0.01]),
        )
    ],
    (
        {"SOLVER__CLIP_GRAD_L2NORM": 1.0, "SOLVER__CLIP_GRAD_VAL": 1.0},
        "SOLVER.CLIP_GRAD_L2NORM and SOLVER.CLIP_GRAD_VAL are both set; set one of them to null",
    ),
    *[
        (
            {"SOLVER__NESTEROV": True, **rest},
            "SOLVER.NESTEROV needs SOLVER.MOMENTUM above 0 and SOLVER.DAMPENING 0",
        )
        for rest in ({"SOLVER__MOMENTUM": 0.0}, {"SOLVER__DAMPENING": 0.1})
    ],
    (
        {"TRAIN__MIXED_PRECISION": "fp16", "NUM_GPUS": 0},
        "TRAIN.MIXED_PRECISION fp16 needs a GPU, but NUM_GPUS is 0; set TRAIN.MIXED_PRECISION bf16 or False",
    ),
    (
        {"TEST__MIXED_PRECISION": "fp16", "NUM_GPUS": 0},
        "TEST.MIXED_PRECISION fp16 needs a GPU, but NUM_GPUS is 0; set TEST.MIXED_PRECISION bf16 or False",
    ),
    (
        {"SOLVER__COSINE_RESTART_EPOCHS": 2.5, "SOLVER__LR_POLICY": "steps_with_relative_lrs"},
        "SOLVER.COSINE_RESTART_EPOCHS is 2.5, but SOLVER.LR_POLICY is steps_with_relative_lrs; set SOLVER.LR_POLICY "
        "cosine or SOLVER.COSINE_RESTART_EPOCHS 0",
    ),
    (
        {"TRAIN__GRAD_ACCUM_STEPS": 9, "TRAIN__BATCH_SIZE": 4, "AUG__NUM_SAMPLE": 2},
        "TRAIN.GRAD_ACCUM_STEPS is 9, more than the 8 clips of a step (TRAIN.BATCH_SIZE x AUG.NUM_SAMPLE); set it to 8 "
        "or less",
    ),
    (
        {"TRAIN__PARALLEL": "fsdp", "MODEL__COMPILE": True},
        "TRAIN.PARALLEL fsdp and MODEL.COMPILE do not go together: a network that is put together block by block "
        "cannot be compiled as one; set MODEL.COMPILE False or TRAIN.PARALLEL ddp",
    ),
    (
        {"TRAIN__PARALLEL": "fsdp", "TRAIN__MIXED_PRECISION": "fp16"},
        "TRAIN.PARALLEL fsdp and TRAIN.MIXED_PRECISION fp16 do not go together: each process would scale its part of "
        "the gradient for itself; set TRAIN.MIXED_PRECISION bf16 or TRAIN.PARALLEL ddp",
    ),
    (
        {"TRAIN__CHECKPOINT_EPOCH_RESET": False},
        "TRAIN.CHECKPOINT_EPOCH_RESET is False, but TRAIN.CHECKPOINT_FILE_PATH names no checkpoint to go on from; "
        "set the path (TRAIN.AUTO_RESUME alone goes on from OUTPUT_DIR)",
    ),
]

# Each stands just on the right side of a check above, or is saved from it by a second key.
ALLOWED = [
    {},
    {"TRAIN__ENABLE": False},
    {"TEST__ENABLE": False},
    {"NUM_SHARDS": 2, "SHARD_ID": 1},
    {"DATA__PATH_LABEL_SEPARATOR": ","},
    {"DATA__TRAIN_JITTER_SCALES": [224, 224]},
    {"DATA__TRAIN_JITTER_SCALES": [100, 120], "AUG__ENABLE": True},
    {"DATA__TRAIN_JITTER_SCALES": [100, 120], "DATA__TRAIN_CROP_SIZE": 96},
    {"DATA__TRAIN_JITTER_SCALES_RELATIVE": []},
    {"DATA__TRAIN_JITTER_SCALES_RELATIVE": [0.5, 0.5]},
    {"DATA__TRAIN_JITTER_ASPECT_RELATIVE": [1.0, 1.0]},
    {"UNIFORMER__EMBED_DIM": [7, 9, 64, 128]},
    {"UNIFORMER__LOCAL_KERNEL": [1, 1, 1]},
    {"UNIFORMER__DEPTH": [0, 0, 0, 1]},
    {"MODEL__CHECKPOINT_NUM": [9, 9, 9, 9]},
    {"MODEL__USE_CHECKPOINT": True, "MODEL__CHECKPOINT_NUM": [3, 4, 8, 3]},
    {"MODEL__LOSS_FUNC": "cross_entropy"},
    {"MIXUP__ENABLE": True, "MIXUP__ALPHA": 0.0},
    {"MIXUP__ENABLE": True, "MODEL__LOSS_FUNC": "bce_logit"},
    {"DATA__MULTI_LABEL": True, "MODEL__LOSS_FUNC": "bce_logit"},
    {"DATA__MULTI_LABEL": True, "MODEL__LOSS_FUNC": "auto"},
    {"DATA__MULTI_LABEL": "auto"},
    {"MODEL__LOSS_FUNC": "bce_logit"},
    {"MODEL__CLASS_WEIGHTS": "balanced"},
    {"MODEL__CLASS_WEIGHTS": [0.0, 2.0], "MODEL__NUM_CLASSES": 2},
    {"MODEL__CLASS_WEIGHTS": [1.0], "MODEL__NUM_CLASSES": "auto"},
    {"DATA__FLIP_LABEL_MAP": [[0, 1], ["push left", "push right"]]},
    {"MIXUP__ENABLE": True, "MIXUP__CUTMIX_ALPHA": 0.0},
    {"MIXUP__ALPHA": 0.0, "MIXUP__CUTMIX_ALPHA": 0.0},
    {"SOLVER__WARMUP_EPOCHS": 10.5, "SOLVER__MAX_EPOCH": 10},
    {"TRAIN__BATCH_SIZE": 2, "DATA__NUM_FRAMES": 1, "DATA__TRAIN_CROP_SIZE": 32},
    {"TRAIN__BATCH_SIZE": 1, "AUG__NUM_SAMPLE": 2, "DATA__NUM_FRAMES": 1, "DATA__TRAIN_CROP_SIZE": 32},
    {"TRAIN__BATCH_SIZE": 1, "DATA__NUM_FRAMES": 3, "DATA__TRAIN_CROP_SIZE": 32},
    {"TRAIN__BATCH_SIZE": 1, "DATA__NUM_FRAMES": 1, "DATA__TRAIN_CROP_SIZE": 64},
    {"TRAIN__BATCH_SIZE": 1, "DATA__NUM_FRAMES": 2, "DATA__TRAIN_CROP_SIZE": 32, "UNIFORMER__IMAGE": True},
    {"UNIFORMER__AUX_HEAD": True, "TRAIN__ENABLE": False},
    {"TRAIN__ENABLE": False, "TRAIN__BATCH_SIZE": 1, "DATA__NUM_FRAMES": 1, "DATA__TRAIN_CROP_SIZE": 32},
    {"SOLVER__STEPS": [3, 2, 1]},
    {"SOLVER__LR_POLICY": "steps_with_relative_lrs"},
    {"SOLVER__LR_POLICY": "steps_with_relative_lrs", "SOLVER__STEPS": [0, 1, 9], "SOLVER__LRS": [1.0, 2.0, 0.0]},
    {"SOLVER__CLIP_GRAD_L2NORM": 1.0},
    {"SOLVER__CLIP_GRAD_VAL": 1.0},
    {"SOLVER__NESTEROV": True},
    {"SOLVER__MOMENTUM": 0.0},
    {"TRAIN__MIXED_PRECISION": "fp16"},
    {"TRAIN__MIXED_PRECISION": "bf16", "NUM_GPUS": 0},
    {"TRAIN__MIXED_PRECISION": True, "NUM_GPUS": 0},
    {"TRAIN__CHECKPOINT_EPOCH_RESET": False, "TRAIN__CHECKPOINT_FILE_PATH": "a.pyth"},
    {"SOLVER__COSINE_RESTART_EPOCHS": 2.5},
    {"TRAIN__GRAD_ACCUM_STEPS": 8, "TRAIN__BATCH_SIZE": 4, "AUG__NUM_SAMPLE": 2},
    {"TRAIN__GRAD_ACCUM_STEPS": 9, "TRAIN__BATCH_SIZE": 4, "AUG__NUM_SAMPLE": 2, "TRAIN__ENABLE": False},
    {"TRAIN__PARALLEL": "fsdp", "TRAIN__MIXED_PRECISION": "bf16"},
    {"TRAIN__PARALLEL": "fsdp", "MODEL__COMPILE": True, "TRAIN__ENABLE": False},
    {"MODEL__COMPILE": True, "TRAIN__MIXED_PRECISION": "fp16"},
]


@pytest.mark.parametrize(("settings", "message"), REFUSED, ids=[str(s) for s, _ in REFUSED])
def test_refused(settings, message):
    assert refused(**settings) == message


@pytest.mark.parametrize("settings", ALLOWED, ids=str)
def test_allowed(settings):
    validate(configured(**settings))


def test_the_way_out_of_recomputation_is_itself_allowed():
    advice = refused(MODEL__USE_CHECKPOINT=True, UNIFORMER__DEPTH=[1, 2, 0, 1]).split("MODEL.CHECKPOINT_NUM ")[-1]
    assert load_config(
        None,
        ["MODEL.USE_CHECKPOINT", "True", "UNIFORMER.DEPTH", "[1, 2, 0, 1]", "MODEL.CHECKPOINT_NUM", advice],
    ).MODEL.CHECKPOINT_NUM == [1, 2, 0, 1]


def test_every_check_refuses_something_here():
    speaking = set()
    for settings, _ in REFUSED:
        cfg = configured(**settings)
        for check in CHECKS:
            try:
                check(cfg)
            except ConfigError:
                speaking.add(check.__name__)
    assert speaking == {check.__name__ for check in CHECKS}


def test_no_check_changes_the_configuration():
    for settings in (*ALLOWED, *(s for s, _ in REFUSED)):
        cfg = configured(**settings)
        for check in CHECKS:
            with suppress(ConfigError):
                check(cfg)
        assert cfg == configured(**settings)
