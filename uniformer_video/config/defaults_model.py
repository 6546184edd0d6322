"""Keys of the network and the optimisation: MODEL, UNIFORMER, BN, SOLVER."""

from uniformer_video.config.kinds import Bool, Choice, Int, Key, List, Maybe, Number, Text

MODEL_KEYS = (
    Key("MODEL.MODEL_NAME", "Uniformer", Text(), "Network, by its name in the model registry."),
    Key("MODEL.NUM_CLASSES", 400, Int(1), "Outputs of the head; labels run from 0 to this less one.", "classes"),
    Key("MODEL.DROPOUT_RATE", 0.0, Number(0, 0.999), "Dropout in front of the head.", "probability"),
    Key(
        "MODEL.LOSS_FUNC",
        "soft_cross_entropy",
        Choice(("soft_cross_entropy", "cross_entropy")),
        "Training loss: against smoothed or mixed label weights, or against plain labels.",
    ),
    Key(
        "MODEL.USE_CHECKPOINT",
        False,
        Bool(),
        "Recompute activations in the backward pass to save memory, in the blocks MODEL.CHECKPOINT_NUM names.",
    ),
    Key(
        "MODEL.CHECKPOINT_NUM",
        [0, 0, 0, 0],
        List(Int(0), 4),
        "How many of the first blocks of each stage are recomputed when MODEL.USE_CHECKPOINT is True.",
        "blocks",
    ),
)

UNIFORMER_KEYS = (
    Key("UNIFORMER.EMBED_DIM", [64, 128, 320, 512], List(Int(1), 4), "Channels of the four stages.", "channels"),
    Key("UNIFORMER.DEPTH", [3, 4, 8, 3], List(Int(0), 4), "Blocks of the four stages.", "blocks"),
    Key("UNIFORMER.HEAD_DIM", 64, Int(1), "Channels of one attention head (stages 3 and 4).", "channels"),
    Key("UNIFORMER.MLP_RATIO", 4.0, Number(0.01), "Hidden channels of an MLP over its input channels.", "ratio"),
    Key(
        "UNIFORMER.LOCAL_KERNEL",
        [3, 5, 5],
        List(Int(1), 3),
        "Kernel (time, height, width) of the local affinity in stages 1 and 2, odd numbers. The published weights need "
        "[5, 5, 5].",
        "positions",
    ),
    Key(
        "UNIFORMER.SPLIT",
        False,
        Bool(),
        "Attention over time, then over space, in each block of stages 3 and 4, in place of joint attention.",
    ),
    Key(
        "UNIFORMER.STD",
        False,
        Bool(),
        "Overlapping temporal kernels (3, 2, 2) in the three downsampling convolutions after the stem.",
    ),
    Key("UNIFORMER.QKV_BIAS", True, Bool(), "Bias in the projection to queries, keys and values."),
    Key("UNIFORMER.QKV_SCALE", None, Maybe(Number(0)), "Scale of attention logits; null: HEAD_DIM ** -0.5."),
    Key(
        "UNIFORMER.DROPOUT_RATE",
        0.0,
        Number(0, 0.999),
        "Dropout after the stem, in MLPs and projections.",
        "probability",
    ),
    Key("UNIFORMER.ATTENTION_DROPOUT_RATE", 0.0, Number(0, 0.999), "Dropout on attention weights.", "probability"),
    Key(
        "UNIFORMER.DROP_DEPTH_RATE",
        0.0,
        Number(0, 0.999),
        "Stochastic depth of the last block; it rises linearly from 0 at the first.",
        "probability",
    ),
)

BN_KEYS = (
    Key(
        "BN.USE_PRECISE_STATS",
        False,
        Bool(),
        "Before each validation recompute batch-norm statistics from training batches (precise BN).",
    ),
    Key("BN.NUM_BATCHES_PRECISE", 200, Int(1), "Training batches used for precise BN, at most an epoch.", "batches"),
    Key("BN.WEIGHT_DECAY", 0.0, Number(0), "Weight decay of batch-norm weights and biases."),
)

SOLVER_KEYS = (
    Key("SOLVER.OPTIMIZING_METHOD", "adamw", Choice(("adamw", "adam", "sgd")), "Optimizer."),
    Key(
        "SOLVER.BASE_LR",
        1e-4,
        Number(0),
        "Learning rate after warm-up. Rates go with the batch: change it in proportion to TRAIN.BATCH_SIZE.",
    ),
    Key(
        "SOLVER.BASE_LR_SCALE_NUM_SHARDS",
        False,
        Bool(),
        "Multiply BASE_LR by NUM_SHARDS, since that many machines take that many times TRAIN.BATCH_SIZE in a step.",
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
)
