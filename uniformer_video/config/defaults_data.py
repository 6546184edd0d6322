"""Keys of the data path: DATA, AUG, MIXUP, DATA_LOADER."""

from uniformer_video.config.kinds import Bool, Choice, Either, Int, Key, List, Number, OrWord, Text

DATA_KEYS = (
    Key(
        "DATA.PATH_TO_DATA_DIR",
        "",
        Text(),
        "Folder that holds train.csv, val.csv and test.csv (`path label` lines), such as tools/prepare_dataset.py "
        "writes, or the official annotation files of a benchmark set (docs/DATASETS.md).",
    ),
    Key(
        "DATA.PATH_PREFIX",
        "",
        Text(),
        "Folder put in front of relative paths of the lists, and searched for the videos that official annotation "
        "files name. Empty: the folder of the list, or the working directory when the first path of the list exists "
        "only there.",
    ),
    Key(
        "DATA.PATH_LABEL_SEPARATOR",
        " ",
        Text(),
        "What stands between path and label in a list. The last one on a line counts, so paths may contain it.",
    ),
    Key(
        "DATA.LABEL_SET",
        "",
        Text(),
        "Names of the classes where the folder of the lists has no classes.json or classes.txt: kinetics400, "
        "kinetics600, ssv1, ssv2, ucf101 or hmdb51 in the published order, with `:alphabetical` behind it in the order "
        "of the alphabet. Empty: told from the folders of the videos, where they are named after known classes.",
    ),
    Key(
        "DATA.MULTI_LABEL",
        False,
        Choice((False, True, "auto")),
        "A video has any number of labels (`path 3,7` in a list): sigmoid in place of softmax, mAP in place of top-1. "
        "auto: as dataset.json beside the lists says, False where there is none.",
    ),
    Key(
        "DATA.SPLIT",
        1,
        Int(1, 3),
        "Which official split of UCF101 and HMDB51 is read, where DATA.PATH_TO_DATA_DIR holds their split files.",
    ),
    Key(
        "DATA.LABEL_PATH_TEMPLATE",
        "",
        Text(),
        "Name of the lists of `folder frames label` (Something-Something), {} standing for the split: "
        "somesomev2_rgb_{}_split.txt. Empty: the usual names.",
    ),
    Key(
        "DATA.IMAGE_TEMPLATE",
        "",
        Text(),
        "Names of the pictures in a folder of frames, such as img_{:05d}.jpg. Empty: told from the folder's files.",
    ),
    Key(
        "DATA.IMAGE_FPS",
        12.0,
        Number(0.01),
        "Rate of folders of frames, used with DATA.TARGET_FPS. Something-Something V1 has 12.",
        "frames / s",
    ),
    Key(
        "DATA.INPUT_CHANNEL_NUM", [3], List(Choice((3,)), 1), "Channels of a frame, as published files name them: RGB."
    ),
    Key("DATA.NUM_FRAMES", 8, Int(1), "Frames in a clip, as the network sees it.", "frames"),
    Key("DATA.SAMPLING_RATE", 8, Int(1), "Distance between two frames of a clip in the video.", "source frames"),
    Key(
        "DATA.TARGET_FPS",
        0.0,
        Number(0),
        "Every video is seen at this rate: frame k is the one on screen at k / TARGET_FPS seconds. 0: each frame of "
        "the file, whatever its rate.",
        "frames / s",
    ),
    Key(
        "DATA.USE_OFFSET_SAMPLING",
        True,
        Bool(),
        "Test clips from the first to the last possible start (True), or at equal fractions of the free length "
        "(False).",
    ),
    Key(
        "DATA.TRAIN_JITTER_SCALES",
        [256, 320],
        List(Int(1), 2),
        "Range of the short side before a random crop, used when AUG.ENABLE is False or "
        "DATA.TRAIN_JITTER_SCALES_RELATIVE is empty.",
        "pixels",
    ),
    Key(
        "DATA.TRAIN_JITTER_SCALES_RELATIVE",
        [0.08, 1.0],
        List(Number(0, 1)),
        "Area range of the random resized crop as a share of the frame. Empty: short-side jitter and random crop.",
        "share of the frame's area",
    ),
    Key(
        "DATA.TRAIN_JITTER_ASPECT_RELATIVE",
        [0.75, 1.3333],
        List(Number(0.01, 100), 2),
        "Range of width / height of the random resized crop.",
        "ratio",
    ),
    Key("DATA.TRAIN_CROP_SIZE", 224, Int(32), "Side of a training clip.", "pixels"),
    Key("DATA.TEST_CROP_SIZE", 224, Int(32), "Side of a validation or test clip.", "pixels"),
    Key(
        "DATA.RANDOM_FLIP",
        True,
        Bool(),
        "Mirror half of the training clips. Classes whose names say left or right are not mirrored, but for those of "
        "DATA.FLIP_LABEL_MAP. False: none, as in the Something-Something recipes.",
    ),
    Key(
        "DATA.FLIP_LABEL_MAP",
        [],
        List(List(Either(Int(0), Text()), 2)),
        "Pairs of classes, by number or name, that a mirrored clip swaps, such as [[86, 87], [93, 94], [166, 167]] of "
        "Something-Something.",
    ),
    Key("DATA.MEAN", [0.45, 0.45, 0.45], List(Number(), 3), "Subtracted from pixels in [0, 1], for R, G, B."),
    Key("DATA.STD", [0.225, 0.225, 0.225], List(Number(1e-6), 3), "Pixels are divided by it, for R, G, B."),
    Key(
        "DATA.DECODING_BACKEND",
        "auto",
        Choice(("auto", "pyav", "decord", "torchcodec")),
        "Library that decodes videos. auto: the fastest one that is exact for a file. What the named one cannot read "
        "exactly is read with another, and the log says so once. No setting changes any frame.",
    ),
    Key(
        "DATA.DECODE_TIMEOUT",
        60.0,
        Number(0),
        "Limit on reading one video; one that takes longer counts as unreadable. 0: none.",
        "seconds",
    ),
    Key(
        "DATA.MAX_BAD_FRACTION",
        0.1,
        Number(0, 1),
        "Training skips and lists videos that cannot be read, and stops when they are more than this share of the "
        "training or the validation list, or when none can be read.",
        "share of the list",
    ),
    Key(
        "DATA.CLASS_BALANCED_SAMPLING",
        False,
        Bool(),
        "Draw training videos so that every class comes equally often, whatever its number of videos. An epoch keeps "
        "its length.",
    ),
)

AUG_KEYS = (
    Key(
        "AUG.ENABLE",
        False,
        Bool(),
        "The published augmentation: RandAugment or colour jitter, random resized crop, random erasing. "
        "False: short-side jitter, random crop and flip alone.",
    ),
    Key(
        "AUG.NUM_SAMPLE",
        1,
        Int(1),
        "Augmented clips made from each decoded training video (repeated augmentation). The network sees "
        "TRAIN.BATCH_SIZE times as many clips in a step.",
        "clips",
    ),
    Key(
        "AUG.AA_TYPE",
        "rand-m7-n4-mstd0.5-inc1",
        Text(),
        "RandAugment in timm's notation: m magnitude (0-10), n operations, mstd magnitude noise, inc1 increasing "
        "variants. One draw for all frames of a clip. Empty: none.",
    ),
    Key(
        "AUG.COLOR_JITTER",
        0.4,
        Number(0),
        "Strength of brightness, contrast and saturation jitter, factors in [1 - x, 1 + x]. As in timm it is used only "
        "where AUG.AA_TYPE is empty.",
    ),
    Key(
        "AUG.INTERPOLATION",
        "bicubic",
        Choice(("bilinear", "bicubic", "nearest", "random")),
        "Interpolation of RandAugment's rotations, shears and shifts.",
    ),
    Key("AUG.RE_PROB", 0.25, Number(0, 1), "Probability that a clip has a box erased.", "probability"),
    Key(
        "AUG.RE_MODE",
        "pixel",
        Choice(("pixel", "rand", "const")),
        "What fills an erased box: normal noise for each pixel, one normal colour, or zeros (the mean colour).",
    ),
    Key("AUG.RE_COUNT", 1, Int(1), "Most boxes erased in a clip.", "boxes"),
    Key(
        "AUG.RE_SPLIT",
        False,
        Choice((False,)),
        "Read so that published files load: no part of a batch is kept free of random erasing.",
    ),
)

MIXUP_KEYS = (
    Key(
        "MIXUP.ENABLE", False, Bool(), "Mix pairs of clips and their labels. Needs MODEL.LOSS_FUNC soft_cross_entropy."
    ),
    Key("MIXUP.ALPHA", 0.8, Number(0), "Mixup: the weight of a pair is drawn from Beta(alpha, alpha). 0: no mixup."),
    Key("MIXUP.CUTMIX_ALPHA", 1.0, Number(0), "Cutmix: the area kept is drawn from Beta(alpha, alpha). 0: no cutmix."),
    Key("MIXUP.PROB", 1.0, Number(0, 1), "Probability that a batch is mixed at all.", "probability"),
    Key("MIXUP.SWITCH_PROB", 0.5, Number(0, 1), "Probability of cutmix where both are on.", "probability"),
    Key(
        "MIXUP.LABEL_SMOOTH_VALUE",
        0.1,
        Number(0, 0.999),
        "Label smoothing of soft_cross_entropy and bce_logit, with or without MIXUP.ENABLE: this share of weight is "
        "spread over all classes. cross_entropy has none.",
    ),
)

LOADER_KEYS = (
    Key(
        "DATA_LOADER.NUM_WORKERS",
        "auto",
        OrWord("auto", Int(0)),
        "Processes that decode videos, for each training process. auto: the cores that this run may use on its machine "
        "(a container's or scheduler's limit counts), shared among its training processes, at most 16. 0: decode in "
        "the training process itself. Each computes with one thread. No setting changes any sample.",
        "processes",
    ),
    Key("DATA_LOADER.PIN_MEMORY", True, Bool(), "Page-locked batches for faster copies to a GPU (ignored on a CPU)."),
    Key("DATA_LOADER.PREFETCH_FACTOR", 2, Int(1), "Batches each worker makes in advance.", "batches"),
)
