"""Keys of a run: TRAIN, TEST, DISTRIBUTED, TENSORBOARD and those without a section."""

from uniformer_video.config.kinds import Bool, Choice, Int, Key, Number, Text

TRAIN_KEYS = (
    Key("TRAIN.ENABLE", True, Bool(), "Train."),
    Key("TRAIN.DATASET", "kinetics", Text(), "Data set for training and validation, by its name in the registry."),
    Key(
        "TRAIN.BATCH_SIZE",
        32,
        Int(1),
        "Videos in one step on one machine, shared among its GPUs; each gives AUG.NUM_SAMPLE clips. Several machines "
        "(NUM_SHARDS) together take so many times as many. A last incomplete batch of an epoch is left out.",
        "videos",
    ),
    Key("TRAIN.EVAL_PERIOD", 1, Int(1), "Validate after every so many epochs, and after the last.", "epochs"),
    Key("TRAIN.CHECKPOINT_PERIOD", 1, Int(1), "Save after every so many epochs, and after the last.", "epochs"),
    Key(
        "TRAIN.CHECKPOINT_STEPS",
        0,
        Int(0),
        "Save inside an epoch too, after every so many of its steps. 0: not by steps.",
        "steps",
    ),
    Key(
        "TRAIN.CHECKPOINT_MINUTES",
        30.0,
        Number(0),
        "Save inside an epoch too, at the next step once so much time has passed since the last checkpoint. 0: not by "
        "time. Neither this nor TRAIN.CHECKPOINT_STEPS changes a bit of the training.",
        "minutes",
    ),
    Key(
        "TRAIN.KEEP_CHECKPOINTS",
        3,
        Int(0),
        "How many checkpoints to go on from are kept: the newest ones, and checkpoint_best.pyth besides. Older ones "
        "are removed when a new one is on the disk. 0: all are kept.",
        "files",
    ),
    Key(
        "TRAIN.GRAD_ACCUM_STEPS",
        1,
        Int(1),
        "Take the clips of a step in so many parts, one after another, and add up their gradients: less memory for the "
        "same TRAIN.BATCH_SIZE, rate and schedule. Batch norms see the parts (docs/RELIABILITY.md).",
        "parts",
    ),
    Key(
        "TRAIN.PARALLEL",
        "ddp",
        Choice(("ddp", "fsdp")),
        "How several processes share the training. ddp: each has the whole network and optimizer. fsdp: weights, "
        "gradients and optimizer are cut up among them, for networks that one GPU cannot hold.",
    ),
    Key(
        "TRAIN.EARLY_STOP_PATIENCE",
        0,
        Int(0),
        "Stop after so many validations in a row without a better top-1 (or mAP), or an equal one with a lower loss. "
        "0: train to SOLVER.MAX_EPOCH.",
        "validations",
    ),
    Key(
        "TRAIN.AUTO_RESUME",
        True,
        Bool(),
        "Go on from the newest checkpoint in OUTPUT_DIR/checkpoints, if there is one.",
    ),
    Key(
        "TRAIN.CHECKPOINT_FILE_PATH",
        "",
        Text(),
        "Weights to start from: an image or video network, by path, URL or its name in the zoo. A head of other "
        "classes, or one the file lacks, starts anew, named in the log; anything else that does not fit stops the run. "
        "Empty: those of UNIFORMER.PRETRAIN_NAME, or random weights.",
    ),
    Key(
        "TRAIN.CHECKPOINT_INFLATE",
        "",
        Choice(("", "average", "center", True, False)),
        "How 2D weights of an image network become 3D: spread over time (average; True means the same) or at the "
        "centre tap (center). Empty or False: 2D weights are refused, but for those of UNIFORMER.PRETRAIN_NAME, which "
        "empty spreads over time. Weights that are 3D already are not changed.",
    ),
    Key(
        "TRAIN.CHECKPOINT_EPOCH_RESET",
        True,
        Bool(),
        "Start at epoch 0 with a new optimizer after TRAIN.CHECKPOINT_FILE_PATH. False: the file is a checkpoint of "
        "this toolkit and training goes on from its epoch and optimizer.",
    ),
    Key(
        "TRAIN.MIXED_PRECISION",
        False,
        Choice((False, True, "bf16", "fp16")),
        "Automatic mixed precision in training. True: bf16 where the hardware has it, else fp16 on a GPU and none on a "
        "CPU. fp16 needs a GPU.",
    ),
)

TEST_KEYS = (
    Key("TEST.ENABLE", True, Bool(), "Test, after training when that is on too."),
    Key("TEST.DATASET", "kinetics", Text(), "Data set for the test, by its name in the registry."),
    Key(
        "TEST.BATCH_SIZE",
        8,
        Int(1),
        "Views put through the network at a time on one machine, shared among its GPUs.",
        "views",
    ),
    Key("TEST.NUM_ENSEMBLE_VIEWS", 4, Int(1), "Clips along the time of each video.", "clips"),
    Key(
        "TEST.NUM_SPATIAL_CROPS",
        1,
        Int(1),
        "Crops of each clip: 1 is the centre, 3 are left, centre and right (top, centre and bottom of a tall video).",
        "crops",
    ),
    Key("TEST.ENSEMBLE_METHOD", "sum", Choice(("sum", "max")), "How the scores of a video's views become one."),
    Key(
        "TEST.ENSEMBLE_SCORE",
        "logits",
        Choice(("logits", "softmax")),
        "What is summed over views. Published numbers use logits.",
    ),
    Key(
        "TEST.CHECKPOINT_FILE_PATH",
        "",
        Text(),
        "Weights to test, by path, URL or their name in the zoo. Empty: the newest checkpoint in OUTPUT_DIR, else "
        "TRAIN.CHECKPOINT_FILE_PATH, else random weights, which the log says.",
    ),
    Key(
        "TEST.TEST_BEST",
        False,
        Bool(),
        "Test the checkpoint of OUTPUT_DIR with the best validation, not the newest one, where "
        "TEST.CHECKPOINT_FILE_PATH is empty.",
    ),
    Key(
        "TEST.MIXED_PRECISION",
        "train",
        Choice(("train", False, True, "bf16", "fp16")),
        "Automatic mixed precision in validation and test; train: as TRAIN.MIXED_PRECISION. Published recipes train in "
        "mixed precision and test without.",
    ),
    Key(
        "TEST.ALLOW_MISSING",
        False,
        Bool(),
        "Exit code 0 although some test videos could not be read. They are listed and left out of the accuracy.",
    ),
)

TENSORBOARD_KEYS = (
    Key("TENSORBOARD.ENABLE", False, Bool(), "Write TensorBoard events (needs the extra `tensorboard`)."),
    Key("TENSORBOARD.LOG_DIR", "", Text(), "Folder of the events; empty: OUTPUT_DIR/tensorboard."),
)

DISTRIBUTED_KEYS = (
    Key(
        "DISTRIBUTED.BACKEND",
        "auto",
        Choice(("auto", "nccl", "gloo")),
        "How the processes of a run talk to each other. auto: nccl between GPUs, gloo between CPUs.",
    ),
    Key(
        "DISTRIBUTED.RENDEZVOUS_TIMEOUT",
        300.0,
        Number(1),
        "How long the processes of a run wait for each other at its start. Then the run ends with an error.",
        "seconds",
    ),
    Key(
        "DISTRIBUTED.COLLECTIVE_TIMEOUT",
        1800.0,
        Number(1),
        "How long a process waits for the others in any one exchange. They may differ by minutes in how long their "
        "share of a test takes.",
        "seconds",
    ),
    Key(
        "DISTRIBUTED.HEARTBEAT_TIMEOUT",
        45.0,
        Number(0),
        "The run ends when a process of it has shown no sign of life for so long: it was killed, or its machine is "
        "gone. 0: no watch is kept.",
        "seconds",
    ),
)

TOP_KEYS = (
    Key("OUTPUT_DIR", "runs/default", Text(), "Folder for everything a run writes."),
    Key(
        "NUM_GPUS",
        -1,
        Int(-1),
        "GPUs of this machine, one process for each. 0: the CPU. -1: all GPUs there are, or the CPU.",
        "GPUs",
    ),
    Key("NUM_SHARDS", 1, Int(1), "Machines in the run (also --num_shards).", "machines"),
    Key("SHARD_ID", 0, Int(0), "Number of this machine, from 0 (also --shard_id)."),
    Key(
        "RNG_SEED",
        0,
        Int(0),
        "Every random number of a run is a function of this and of its place in the run: same seed, same draws, for "
        "any number of workers.",
    ),
    Key(
        "RNG_DETERMINISTIC",
        False,
        Bool(),
        "Only kernels that give the same bits each time, which a GPU has slower ones for: two runs on the same GPUs "
        "then end with the same weights. On a CPU they do so anyway.",
    ),
    Key("LOG_PERIOD", 10, Int(1), "Steps between two log lines.", "steps"),
)
