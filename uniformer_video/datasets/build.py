"""A dataset from a configuration."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from fvcore.common.config import CfgNode

from uniformer_video.datasets.annotations import read_annotation
from uniformer_video.datasets.class_names import class_folders, find_class_names
from uniformer_video.datasets.clips import ClipMaker, TrainClips, ViewClips
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.flips import FlipRule
from uniformer_video.datasets.label_sets import label_set
from uniformer_video.datasets.record_table import RecordTable
from uniformer_video.datasets.records import Annotation, read_class_names
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.registry import Registry
from uniformer_video.transforms.clip import TrainTransform, ViewTransform
from uniformer_video.transforms.rand_augment import RandAugment
from uniformer_video.video.open import VideoOpener, check_backend
from uniformer_video.video.picture_names import parse_template
from uniformer_video.video.sampling import ClipSampler, DenseSampler, SegmentSampler, ViewGrid

logger = get_logger(__name__)

SPLITS = ("train", "val", "test")


class Source:
    """How one kind of dataset is read: its annotation and its way of choosing frames.

    Args:
        annotation: ``(cfg, split) -> Annotation``.
        sampler: ``cfg -> ClipSampler``.
    """

    def __init__(
        self, annotation: Callable[[CfgNode, str], Annotation], sampler: Callable[[CfgNode], ClipSampler]
    ) -> None:
        self.annotation = annotation
        self.sampler = sampler


DATASETS: Registry[Source] = Registry("dataset")


def dense_sampler(cfg: CfgNode) -> DenseSampler:
    """Return the sampler of ``DATA.NUM_FRAMES`` frames, ``DATA.SAMPLING_RATE`` apart."""
    return DenseSampler(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, use_offset=cfg.DATA.USE_OFFSET_SAMPLING)


def segment_sampler(cfg: CfgNode) -> SegmentSampler:
    """Return the sampler of one frame from each of ``DATA.NUM_FRAMES`` equal parts of the video."""
    return SegmentSampler(cfg.DATA.NUM_FRAMES)


def annotation_from_config(name: str, cfg: CfgNode, split: str) -> Annotation:
    """Return what the files in ``DATA.PATH_TO_DATA_DIR`` say of a split, read as dataset ``name``.

    ``MODEL.NUM_CLASSES`` may still be auto: then any number of classes will do.
    """
    data, classes = cfg.DATA, cfg.MODEL.NUM_CLASSES
    return read_annotation(
        name,
        data.PATH_TO_DATA_DIR,
        split,
        num_classes=None if classes == "auto" else classes,
        # A shell hands over the two characters that stand for a tab.
        separator=data.PATH_LABEL_SEPARATOR.replace("\\t", "\t"),
        prefix=data.PATH_PREFIX,
        multi_label=data.MULTI_LABEL,
        official_split=data.SPLIT,
        label_path_template=data.LABEL_PATH_TEMPLATE,
        label_set=data.LABEL_SET,
    )


# Something-Something, and Kinetics in the recipes of the hourglass networks, take frames from the whole video. Names
# after the first of a line are those of the published configurations.
for _names, _sampler in (
    (("kinetics",), dense_sampler),
    (("kinetics_sparse",), segment_sampler),
    (("ssv1",), segment_sampler),
    (("ssv2", "sth"), segment_sampler),
    (("ucf101",), dense_sampler),
    (("hmdb51", "hmdb"), dense_sampler),
):
    for _name in _names:
        DATASETS.register(_name)(Source(partial(annotation_from_config, _name), _sampler))


def count_classes_from_config(cfg: CfgNode) -> tuple[int, str]:
    """Return how many classes the data of a run have, and what says so.

    The first there is of: ``classes.json`` or ``classes.txt`` in ``DATA.PATH_TO_DATA_DIR``, ``DATA.LABEL_SET``, the
    class names of the annotation, the highest label of its list.

    Raises:
        DataError: files that cannot be used, or without any label.
    """
    folder = Path(cfg.DATA.PATH_TO_DATA_DIR)
    names = read_class_names(folder, None) if cfg.DATA.PATH_TO_DATA_DIR else None
    if names is not None:
        return len(names), f"the class names in {folder}"
    if cfg.DATA.LABEL_SET:
        return len(label_set(cfg.DATA.LABEL_SET)), f"DATA.LABEL_SET {cfg.DATA.LABEL_SET}"
    name, split = (cfg.TRAIN.DATASET, "train") if cfg.TRAIN.ENABLE else (cfg.TEST.DATASET, "test")
    found = DATASETS.get(name).annotation(cfg, split)
    if found.class_names is not None:
        return len(found.class_names), found.source
    highest = int(RecordTable.of(found.records).label_values.max(initial=-1))
    if highest < 0:
        raise DataError(f"{found.source}: no video has a label; set MODEL.NUM_CLASSES, or write classes.json beside it")
    return highest + 1, f"the labels of {found.source}"


def build_dataset(name: str, cfg: CfgNode, split: str) -> VideoDataset:
    """Return a dataset by its registered name.

    Args:
        name: such as ``kinetics`` (any case).
        cfg: a configuration.
        split: ``train`` gives ``AUG.NUM_SAMPLE`` augmented clips of each video; ``val`` the centre clip and crop;
            ``test`` all ``TEST.NUM_ENSEMBLE_VIEWS`` x ``TEST.NUM_SPATIAL_CROPS`` views, clip-major then crop.

    Raises:
        UserError: an unknown name, or a list that cannot be used.
    """
    assert split in SPLITS, split
    source = DATASETS.get(name, "TEST.DATASET" if split == "test" else "TRAIN.DATASET")
    sampler = source.sampler(cfg)
    found = source.annotation(cfg, split)
    names = find_class_names(
        Path(cfg.DATA.PATH_TO_DATA_DIR),
        found.records,
        cfg.MODEL.NUM_CLASSES,
        label_set_name=cfg.DATA.LABEL_SET,
        annotated=found.class_names,
    )
    return VideoDataset(
        found.records,
        _clip_maker(cfg, split, sampler),
        opener_from_config(cfg),
        replace=split == "train",
        seed=cfg.RNG_SEED,
        num_classes=cfg.MODEL.NUM_CLASSES,
        multi_label=cfg.DATA.MULTI_LABEL,
        flips=_flips(cfg, names) if split == "train" else None,
        class_names=names,
        class_folders=class_folders(found.records),
        absent=found.absent,
    )


def opener_from_config(cfg: CfgNode) -> VideoOpener:
    """Return what opens every video of a run: the reader, its reading limit, the rate and the names of pictures."""
    data = cfg.DATA
    # What is wrong with these is to be said here: out of a worker process it would come with a traceback.
    check_backend(data.DECODING_BACKEND)
    if data.IMAGE_TEMPLATE:
        parse_template(data.IMAGE_TEMPLATE)
    return VideoOpener(
        backend=data.DECODING_BACKEND,
        timeout_seconds=data.DECODE_TIMEOUT,
        target_fps=data.TARGET_FPS,
        image_template=data.IMAGE_TEMPLATE,
        image_fps=data.IMAGE_FPS,
    )


def _flips(cfg: CfgNode, class_names: Sequence[str] | None) -> FlipRule | None:
    """Return which videos may be mirrored; None where none are."""
    if not cfg.DATA.RANDOM_FLIP:
        return None
    rule = FlipRule.from_names(class_names, cfg.MODEL.NUM_CLASSES, cfg.DATA.FLIP_LABEL_MAP)
    if line := rule.describe(class_names):
        logger.info("%s", line)
    return rule


def _clip_maker(cfg: CfgNode, split: str, sampler: ClipSampler) -> ClipMaker:
    if split == "train":
        return TrainClips(sampler, train_transform(cfg), repeats=cfg.AUG.NUM_SAMPLE, seed=cfg.RNG_SEED)
    grid = ViewGrid(1, 1) if split == "val" else ViewGrid(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)
    return ViewClips(sampler, ViewTransform(crop_size=cfg.DATA.TEST_CROP_SIZE, crops=grid.crops), grid)


def train_transform(cfg: CfgNode) -> TrainTransform:
    """Return the augmentation of one training clip."""
    augment, aug, data = None, cfg.AUG, cfg.DATA
    if aug.ENABLE and aug.AA_TYPE:
        augment = RandAugment.from_string(aug.AA_TYPE, interpolation=aug.INTERPOLATION)
    return TrainTransform(
        crop_size=data.TRAIN_CROP_SIZE,
        augment=augment,
        color_jitter=aug.COLOR_JITTER if aug.ENABLE else 0.0,
        scale=tuple(data.TRAIN_JITTER_SCALES_RELATIVE) if aug.ENABLE and data.TRAIN_JITTER_SCALES_RELATIVE else None,
        ratio=tuple(data.TRAIN_JITTER_ASPECT_RELATIVE),
        jitter_scales=tuple(data.TRAIN_JITTER_SCALES),
        flip=data.RANDOM_FLIP,
    )
