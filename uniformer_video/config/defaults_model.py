"""Keys of the network: MODEL, UNIFORMER, BN."""

from uniformer_video.config.kinds import Bool, Choice, Either, Int, Key, List, Maybe, Number, OrWord, Text

MODEL_KEYS = (
    Key(
        "MODEL.MODEL_NAME",
        "Uniformer",
        Text(),
        "Network, by its name in the model registry: Uniformer; Uniformer_light, the hourglass network (also by its "
        "published name Uniformer_light_fp32); Uniformer_light_ls_fp32, the same with layer scale.",
    ),
    Key(
        "MODEL.ARCH",
        "uniformer",
        Choice(("uniformer",)),
        "Family of the network, as published files name it. A file that sets it gets the defaults of the published "
        "code where it says nothing else: UNIFORMER.LOCAL_KERNEL [5, 5, 5], SOLVER.CLIP_GRAD_L2NORM 20 and "
        "TEST.MIXED_PRECISION False.",
    ),
    Key(
        "MODEL.NUM_CLASSES",
        400,
        OrWord("auto", Int(1)),
        "Outputs of the head; labels run from 0 to this less one. auto: as many as the data have.",
        "classes",
    ),
    Key(
        "MODEL.DROPOUT_RATE",
        0.0,
        Number(0, 0.999),
        "Read so that published files load, and without effect: the published networks never used it, although "
        "their files set 0.5. Dropout in front of the head is UNIFORMER.HEAD_DROPOUT_RATE.",
        "probability",
    ),
    Key(
        "MODEL.LOSS_FUNC",
        "soft_cross_entropy",
        Choice(("soft_cross_entropy", "cross_entropy", "bce_logit", "auto")),
        "Training loss: against smoothed or mixed label weights, against plain labels, or for several labels a video "
        "(DATA.MULTI_LABEL) the sigmoid cross-entropy of each class. auto: bce_logit for several labels, else "
        "soft_cross_entropy. A network with a second head (Uniformer_light) is trained with the mean of the losses of "
        "both.",
    ),
    Key(
        "MODEL.CLASS_WEIGHTS",
        "",
        Either(Choice(("", "balanced")), List(Number(0))),
        "Weight of each class in the loss: a list in label order, or balanced, in inverse proportion to its training "
        "videos; with bce_logit it is the weight of a class where it is there (pos_weight). Empty: all the same.",
    ),
    Key(
        "MODEL.FREEZE",
        "",
        Choice(("", "backbone", 1, 2, 3, 4)),
        "What is not trained: the stem and so many first stages, or backbone, all but the head. Frozen batch norms "
        "keep their statistics, and frozen blocks have no stochastic depth.",
    ),
    Key(
        "MODEL.FROZEN_BN",
        False,
        Bool(),
        "Train with every batch norm in evaluation mode: it normalises by the statistics it has and keeps them; its "
        "scale and offset are trained.",
    ),
    Key(
        "MODEL.COMPILE",
        False,
        Either(Bool(), Choice(("default", "reduce-overhead", "max-autotune"))),
        "Compile the network with torch.compile in training and test, for one batch size each. True: default. "
        "reduce-overhead replays a step as CUDA graphs. max-autotune chooses kernels by timing them, so two runs may "
        "differ in the last bits. Needs a C++ compiler on a CPU, Triton on a GPU.",
    ),
    Key(
        "MODEL.TF32",
        False,
        Bool(),
        "Let a GPU take float32 products and convolutions in TF32, with 10 bits of fraction: several times faster "
        "where MIXED_PRECISION is False.",
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

_SHARES = Maybe(List(List(Number(0, 1)), 4))

UNIFORMER_KEYS = (
    Key(
        "UNIFORMER.PRETRAIN_NAME",
        "",
        Text(),
        "Weights to start training from, by their name in the zoo (`python tools/zoo.py list`), a path or a URL. 2D "
        "weights are inflated as TRAIN.CHECKPOINT_INFLATE says, spread over time where it is empty. Empty, or with "
        "TRAIN.CHECKPOINT_FILE_PATH set: not used.",
    ),
    Key(
        "UNIFORMER.WEIGHTS_DIR",
        "",
        Text(),
        "Folder where weights are looked for by name before they are downloaded. Empty: the environment variable "
        "UNIFORMER_WEIGHTS, if it is set.",
    ),
    Key("UNIFORMER.EMBED_DIM", [64, 128, 320, 512], List(Int(1), 4), "Channels of the four stages.", "channels"),
    Key("UNIFORMER.DEPTH", [3, 4, 8, 3], List(Int(0), 4), "Blocks of the four stages.", "blocks"),
    Key("UNIFORMER.HEAD_DIM", 64, Int(1), "Channels of one attention head (stages 3 and 4).", "channels"),
    Key(
        "UNIFORMER.MLP_RATIO",
        4.0,
        Either(Number(0.01), List(Number(0.01), 4)),
        "Hidden channels of an MLP over its input channels: one number, or one for each stage.",
        "ratio",
    ),
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
    Key(
        "UNIFORMER.CONV_STEM",
        False,
        Bool(),
        "Overlapping 3x3 convolutions with batch norm at the head of the stages, two in the first, as in small-plus.",
    ),
    Key(
        "UNIFORMER.LAYER_SCALE",
        False,
        Either(Bool(), List(Bool(), 4)),
        "A learned factor for each channel on both branches of a block: in all stages, or one word for each stage.",
    ),
    Key("UNIFORMER.INIT_VALUE", 1e-6, Number(), "Start value of layer scale. Published recipes that use it: 0.1."),
    Key(
        "UNIFORMER.IMAGE",
        False,
        Bool(),
        "Every temporal extent is 1: the image network, with DATA.NUM_FRAMES 1. Attention spans what frames there are.",
    ),
    Key(
        "UNIFORMER.AUX_HEAD",
        False,
        Bool(),
        "The second head of image networks trained with token labelling (image large), used in testing alone.",
    ),
    Key(
        "UNIFORMER.PRUNE_RATIO",
        None,
        _SHARES,
        "Uniformer_light: for each stage a list with the share of patch tokens that each block keeps, 1 for all; for "
        "stages 1 and 2 it is empty. null: 1 for the first block of stage 3, 0.5 for the others.",
        "share of the tokens",
    ),
    Key(
        "UNIFORMER.TRADE_OFF",
        None,
        _SHARES,
        "Uniformer_light: for each block the weight of its fresh token scores against the running ones, in the form of "
        "UNIFORMER.PRUNE_RATIO. null: as for UNIFORMER.PRUNE_RATIO.",
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
    Key("UNIFORMER.HEAD_DROPOUT_RATE", 0.0, Number(0, 0.999), "Dropout in front of the head.", "probability"),
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
    Key(
        "BN.NORM_TYPE",
        "batchnorm",
        Choice(("batchnorm", "sync_batchnorm")),
        "sync_batchnorm: statistics of a training step over the clips of all processes, not of each for itself.",
    ),
    Key("BN.WEIGHT_DECAY", 0.0, Number(0), "Weight decay of batch-norm weights and biases."),
)
