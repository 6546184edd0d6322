"""Keys of the optimisation: SOLVER."""

from uniformer_video.config.kinds import Bool, Choice, Int, Key, List, Maybe, Number

SOLVER_KEYS = (
    Key("SOLVER.OPTIMIZING_METHOD", "adamw", Choice(("adamw", "adam", "sgd")), "Optimizer."),
    Key(
        "SOLVER.BASE_LR",
        1e-4,
        Number(0),
        "Learning rate after warm-up, of a step of SOLVER.BASE_LR_BATCH videos where that is set. Rates go with the "
        "batch: without SOLVER.BASE_LR_BATCH change it in proportion to TRAIN.BATCH_SIZE.",
    ),
    Key(
        "SOLVER.BASE_LR_BATCH",
        0,
        Int(0),
        "Videos in a step that BASE_LR was chosen for. The rate really used is BASE_LR times the videos of a step on "
        "all machines over this number, and the log says so. 0: BASE_LR as it is.",
        "videos",
    ),
    Key(
        "SOLVER.BASE_LR_SCALE_NUM_SHARDS",
        False,
        Bool(),
        "Multiply BASE_LR by NUM_SHARDS, since that many machines take that many times TRAIN.BATCH_SIZE in a step. "
        "SOLVER.BASE_LR_BATCH, where set, does so by itself.",
    ),
    Key(
        "SOLVER.LR_POLICY",
        "cosine",
        Choice(("cosine", "steps_with_relative_lrs")),
        "Shape of the schedule, a function of the fractional epoch.",
    ),
    Key("SOLVER.COSINE_END_LR", 1e-6, Number(0), "Learning rate at the end of the cosine."),
    Key(
        "SOLVER.COSINE_AFTER_WARMUP",
        True,
        Bool(),
        "The cosine begins where the warm-up ends (True) or at epoch 0 (False).",
    ),
    Key(
        "SOLVER.COSINE_RESTART_EPOCHS",
        0.0,
        Number(0),
        "Warm restarts: the cosine begins anew after so many epochs (counted from where it begins first). 0: none.",
        "epochs",
    ),
    Key(
        "SOLVER.COSINE_RESTART_FACTOR",
        1.0,
        Number(1),
        "Each cosine after a warm restart is so many times as long as the one before.",
        "ratio",
    ),
    Key(
        "SOLVER.LAYER_DECAY",
        1.0,
        Number(0.01, 1),
        "Layer-wise decay of the learning rate: each block's rate is this factor of the next one's, counted back from "
        "the head. 1: none.",
        "ratio",
    ),
    Key(
        "SOLVER.STEPS",
        [0],
        List(Int(0)),
        "steps_with_relative_lrs: epochs at which each rate begins; the first is 0.",
        "epochs",
    ),
    Key("SOLVER.LRS", [1.0], List(Number(0)), "steps_with_relative_lrs: rates as multiples of BASE_LR.", "ratio"),
    Key("SOLVER.MAX_EPOCH", 100, Int(1), "Epochs to train.", "epochs"),
    Key("SOLVER.WARMUP_EPOCHS", 0.0, Number(0), "Length of the linear warm-up.", "epochs"),
    Key("SOLVER.WARMUP_START_LR", 1e-6, Number(0), "Learning rate at the start of the warm-up."),
    Key("SOLVER.WEIGHT_DECAY", 0.05, Number(0), "Weight decay (decoupled for adamw)."),
    Key(
        "SOLVER.ZERO_WD_1D_PARAM",
        True,
        Bool(),
        "No weight decay on one-dimensional parameters and biases.",
    ),
    Key("SOLVER.MOMENTUM", 0.9, Number(0, 0.9999), "Momentum of sgd."),
    Key("SOLVER.DAMPENING", 0.0, Number(0, 1), "Dampening of sgd's momentum."),
    Key("SOLVER.NESTEROV", False, Bool(), "Nesterov momentum of sgd."),
    Key("SOLVER.BETAS", [0.9, 0.999], List(Number(0, 0.999999), 2), "Running-average factors of adam and adamw."),
    Key(
        "SOLVER.CLIP_GRAD_L2NORM",
        None,
        Maybe(Number(1e-12)),
        "Clip the norm of all gradients to this; null: no clipping.",
    ),
    Key("SOLVER.CLIP_GRAD_VAL", None, Maybe(Number(1e-12)), "Clip each gradient value to this; null: no clipping."),
    Key(
        "SOLVER.MAX_NONFINITE",
        10,
        Int(1),
        "A step whose loss or gradient is infinite or NaN is left out, and its videos are listed in nonfinite.csv. "
        "So many of them in a row end the run.",
        "steps",
    ),
    Key(
        "SOLVER.EMA_DECAY",
        0.0,
        Number(0, 0.999999),
        "Keep an exponential moving average of the weights, of which each step leaves this share as it is (0.9999 "
        "say). The average is validated, tested and what a checkpoint predicts with. 0: none.",
        "ratio",
    ),
    Key(
        "SOLVER.EMA_WARMUP",
        True,
        Bool(),
        "After n steps the share is at most (1 + n) / (10 + n), so that the first weights are soon forgotten.",
    ),
)
