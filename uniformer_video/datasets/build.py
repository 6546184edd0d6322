"""A dataset from a configuration."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from fvcore.common.config import CfgNode

from uniformer_video.datasets.class_names import class_folders, find_class_names
from uniformer_video.datasets.clips import ClipMaker, TrainClips, ViewClips
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.kinetics import read_kinetics
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.registry import Registry
from uniformer_video.transforms.clip import TrainTransform, ViewTransform
from uniformer_video.transforms.rand_augment import RandAugment
from uniformer_video.video.decord import import_decord
from uniformer_video.video.open import open_video
from uniformer_video.video.reader import VideoReader
from uniformer_video.video.sampling import ClipSampler, DenseSampler, SegmentSampler, ViewGrid

SPLITS = ("train", "val", "test")


class Source:
    """How one kind of dataset is read: its records and its way of choosing frames.

    Args:
        records: ``(cfg, split) -> list of VideoRecord``.
        sampler: ``cfg -> ClipSampler``.
    """

    def __init__(
        self, records: Callable[[CfgNode, str], list[VideoRecord]], sampler: Callable[[CfgNode], ClipSampler]
    ) -> None:
        self.records = records
        self.sampler = sampler


DATASETS: Registry[Source] = Registry("dataset")


def dense_sampler(cfg: CfgNode) -> DenseSampler:
    """Return the sampler of ``DATA.NUM_FRAMES`` frames, ``DATA.SAMPLING_RATE`` apart."""
    return DenseSampler(cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, use_offset=cfg.DATA.USE_OFFSET_SAMPLING)


def segment_sampler(cfg: CfgNode) -> SegmentSampler:
    """Return the sampler of one frame from each of ``DATA.NUM_FRAMES`` equal parts of the video."""
    return SegmentSampler(cfg.DATA.NUM_FRAMES)


def _kinetics_records(cfg: CfgNode, split: str) -> list[VideoRecord]:
    return read_kinetics(
        cfg.DATA.PATH_TO_DATA_DIR,
        split,
        num_classes=cfg.MODEL.NUM_CLASSES,
        # A shell hands over the two characters that stand for a tab.
        separator=cfg.DATA.PATH_LABEL_SEPARATOR.replace("\\t", "\t"),
        prefix=cfg.DATA.PATH_PREFIX,
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
        DATASETS.register(_name)(Source(_kinetics_records, _sampler))


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
    records = source.records(cfg, split)
    return VideoDataset(
        records,
        _clip_maker(cfg, split, sampler),
        _opener(cfg.DATA.DECODING_BACKEND),
        replace=split == "train",
        seed=cfg.RNG_SEED,
        class_names=find_class_names(
            Path(cfg.DATA.PATH_TO_DATA_DIR), records, cfg.MODEL.NUM_CLASSES, label_set_name=cfg.DATA.LABEL_SET
        ),
        class_folders=class_folders(records),
    )


def _opener(backend: str) -> Callable[[str], VideoReader]:
    if backend == "decord":
        import_decord()  # its absence is to be said here: out of a worker process it would come with a traceback
    return partial(open_video, backend=backend)


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
