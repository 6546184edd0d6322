"""A dataset from a configuration: each key reaches the part it is for."""

from __future__ import annotations

import pytest
import simplejson
import torch

from tests.toy import CLASSES, entries, rewrite, toy_cfg
from uniformer_video.config import load_config
from uniformer_video.datasets import DATASETS
from uniformer_video.datasets.build import (
    build_dataset,
    count_classes_from_config,
    dense_sampler,
    opener_from_config,
    train_transform,
)
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.transforms.spatial import resize_short_side, view_crop
from uniformer_video.video.open import VideoOpener, open_video
from uniformer_video.video.sampling import DenseSampler, SegmentSampler

pytestmark = pytest.mark.usefixtures("random_state_unchanged")


def config(*overrides):
    return load_config(None, overrides)


def test_what_each_split_gives(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path, "DATA.TEST_CROP_SIZE", "40", "AUG.NUM_SAMPLE", "5")
    sizes = {"train": (12, (5, 3, 4, 32, 32)), "val": (6, (1, 3, 4, 40, 40)), "test": (6, (6, 3, 4, 40, 40))}
    for split, (videos, shape) in sizes.items():
        dataset = build_dataset("Kinetics", cfg, split)  # any case
        assert len(dataset) == videos
        assert dataset.clips_per_record == shape[0]
        clips = dataset[1].clips
        assert (clips.dtype, tuple(clips.shape)) == (torch.uint8, shape)
        assert dataset.class_names == list(CLASSES)
        assert [record.label for record in dataset.records] == [n % 3 for n in range(videos)]
        assert dataset.replace == (split == "train")


def test_validation_is_the_centre_clip_and_crop(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path)
    dataset = build_dataset("kinetics", cfg, "val")
    for number, record in enumerate(dataset.records):
        with open_video(record.path) as reader:
            length = reader.num_frames
            start = max(length - 8, 0) // 2
            points = [min(start + 7 * k / 3, length - 1) for k in range(4)]
            frames = reader.frames_at([int(p) for p in points])
        expected = view_crop(resize_short_side(frames, 32), 32, 0, 1).permute(3, 0, 1, 2)
        assert torch.equal(dataset[number].clips[0], expected)
        assert torch.equal(dataset[(9, number)].clips[0], expected)


def test_test_views_follow_the_two_numbers(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path, "TEST.NUM_ENSEMBLE_VIEWS", "3", "TEST.NUM_SPATIAL_CROPS", "2")
    dataset = build_dataset("kinetics", cfg, "test")
    assert (dataset.clips.grid.clips, dataset.clips.grid.crops) == (3, 2)
    assert dataset[0].clips.shape[0] == 6


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_the_backend_is_the_one_named(toy_set, tmp_path, backend):
    settings = ("DATA.DECODING_BACKEND", backend, "DATA.DECODE_TIMEOUT", "0")
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path, *settings), "test")
    with dataset.opener(dataset.records[0].path) as reader:
        assert type(reader).__name__.lower() == f"{backend}reader"
    plain = build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "test")
    assert torch.equal(dataset[0].clips, plain[0].clips)


def test_what_opens_a_video(toy_set, tmp_path):
    assert opener_from_config(config()) == VideoOpener("auto", 1, 60.0, 0.0, "", 12.0)
    settings = (
        *("DATA.DECODING_BACKEND", "pyav", "DATA.DECODE_TIMEOUT", "5", "DATA.TARGET_FPS", "10"),
        *("DATA.IMAGE_TEMPLATE", "img_{:05d}.jpg", "DATA.IMAGE_FPS", "24"),
    )
    assert opener_from_config(config(*settings)) == VideoOpener("pyav", 1, 5.0, 10.0, "img_{:05d}.jpg", 24.0)
    dataset = build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "DATA.TARGET_FPS", "5"), "val")
    record = dataset.records[0]
    with open_video(record.path) as plain, dataset.opener(record.path) as resampled:
        assert resampled.fps == 5
        assert resampled.num_frames == pytest.approx(plain.num_frames / plain.fps * 5, abs=1)


class TestFlips:
    def names(self, toy_set, tmp_path, *names):
        folder = rewrite(toy_set, tmp_path / "flips")
        (folder / "classes.json").write_text(simplejson.dumps(names))
        return folder

    def test_a_class_that_says_left_is_not_mirrored(self, toy_set, tmp_path, log):
        folder = self.names(toy_set, tmp_path, "push_left", "push_right", "bright")
        dataset = build_dataset("kinetics", toy_cfg(folder, tmp_path), "train")
        assert dataset.flips.mirrored == (-1, -1, 2)
        assert any("2 of 3 classes say left or right and are not mirrored" in line for line in log)
        for number in range(len(dataset)):
            sample = dataset[number]
            assert sample.labels.tolist() == [dataset.records[number].label] * 2
            if dataset.records[number].label < 2:
                assert sample.mirrored == (False, False)

    def test_a_pair_swaps(self, toy_set, tmp_path):
        folder = self.names(toy_set, tmp_path, "push_left", "push_right", "bright")
        cfg = toy_cfg(folder, tmp_path, "DATA.FLIP_LABEL_MAP", "[['push left', 1]]")
        dataset = build_dataset("kinetics", cfg, "train")
        swapped = 0
        for epoch in range(4):
            for number, record in enumerate(dataset.records):
                sample = dataset[(epoch, number)]
                mirror = {0: 1, 1: 0, 2: 2}[record.label]
                assert sample.labels.tolist() == [mirror if flag else record.label for flag in sample.mirrored]
                swapped += sample.labels.tolist() != [record.label] * 2
        assert swapped > 5

    def test_no_flip_where_none_is_set_nor_in_a_test(self, toy_set, tmp_path):
        assert build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "DATA.RANDOM_FLIP", "False"), "train").flips is None
        assert build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "test").flips is None
        assert build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "train").flips.mirrored == (0, 1, 2)

    def test_an_unknown_class_is_refused(self, toy_set, tmp_path):
        with pytest.raises(UserError, match=r"^DATA.FLIP_LABEL_MAP, pair 1: there is no class 'yellow'"):
            build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "DATA.FLIP_LABEL_MAP", "[['red', 'yellow']]"), "train")


class TestCountClasses:
    def test_from_class_names(self, toy_set, tmp_path):
        cfg = toy_cfg(toy_set, tmp_path, "MODEL.NUM_CLASSES", "auto")
        assert count_classes_from_config(cfg) == (3, f"the class names in {toy_set}")

    def test_from_the_labels(self, toy_set, tmp_path):
        folder = rewrite(toy_set, tmp_path / "plain", train=[line[:-1] + "6" for line in entries(toy_set, "train")[:2]])
        (folder / "classes.json").unlink()
        cfg = toy_cfg(folder, tmp_path, "MODEL.NUM_CLASSES", "auto")
        assert count_classes_from_config(cfg) == (7, f"the labels of {folder / 'train.csv'}")
        tested = toy_cfg(folder, tmp_path, "MODEL.NUM_CLASSES", "auto", "TRAIN.ENABLE", "False")
        assert count_classes_from_config(tested) == (3, f"the labels of {folder / 'test.csv'}")

    def test_from_a_label_set(self, toy_set, tmp_path):
        folder = rewrite(toy_set, tmp_path / "plain")
        (folder / "classes.json").unlink()
        cfg = toy_cfg(folder, tmp_path, "MODEL.NUM_CLASSES", "auto", "DATA.LABEL_SET", "ucf101")
        assert count_classes_from_config(cfg) == (101, "DATA.LABEL_SET ucf101")

    def test_nothing_to_count(self):
        with pytest.raises(DataError, match="^DATA.PATH_TO_DATA_DIR is not set"):
            count_classes_from_config(config("MODEL.NUM_CLASSES", "auto"))


def test_several_labels(toy_set, tmp_path):
    lines = [line + ",2" if line.endswith(("0", "1")) else line for line in entries(toy_set, "train")]
    folder = rewrite(toy_set, tmp_path / "several", train=lines)
    settings = ("DATA.MULTI_LABEL", "True", "MODEL.LOSS_FUNC", "bce_logit")
    dataset = build_dataset("kinetics", toy_cfg(folder, tmp_path, *settings), "train")
    assert dataset.records[0].label == (0, 2)
    assert dataset[0].labels.tolist() == [[1, 0, 1], [1, 0, 1]]
    with pytest.raises(DataError, match="train.csv:1: "):
        build_dataset("kinetics", toy_cfg(folder, tmp_path), "train")


def test_unknown_names_are_answered_with_the_known(toy_set, tmp_path):
    with pytest.raises(UserError, match=r"^unknown dataset 'kinetisc' \(TRAIN.DATASET\); known: .*kinetics"):
        build_dataset("kinetisc", toy_cfg(toy_set, tmp_path), "train")
    assert "KINETICS" in DATASETS


def test_an_unknown_split_is_a_defect(toy_set, tmp_path):
    with pytest.raises(AssertionError):
        build_dataset("kinetics", toy_cfg(toy_set, tmp_path), "training")


def test_list_keys_reach_the_list(toy_set, tmp_path):
    lines = [line.removeprefix(f"{toy_set}/").rpartition(" ") for line in entries(toy_set, "train")]
    lists = {"train": [f"{name}\t{label}" for name, _, label in lines]}
    data = rewrite(toy_set, tmp_path / "set", **lists)
    options = ("DATA.PATH_PREFIX", str(toy_set))
    expected = [(str(toy_set / name), int(label)) for name, _, label in lines]
    # A shell passes the tab itself, or the two characters of the error's hint.
    for tab in ("\t", "\\t"):
        cfg = toy_cfg(data, tmp_path, *options, "DATA.PATH_LABEL_SEPARATOR", tab)
        assert [(r.path, r.label) for r in build_dataset("kinetics", cfg, "train").records] == expected
    with pytest.raises(DataError, match=r"if '\\t' separates them, set DATA.PATH_LABEL_SEPARATOR '\\t'$"):
        build_dataset("kinetics", toy_cfg(data, tmp_path, *options), "train")


def test_the_number_of_classes_bounds_the_labels(toy_set, tmp_path):
    with pytest.raises(DataError, match=r"train.csv:3: label 2 is outside 0 to 1 \(MODEL.NUM_CLASSES 2\); correct"):
        build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "MODEL.NUM_CLASSES", "2"), "train")
    with pytest.raises(DataError, match=r"classes.json names 3 classes, but MODEL.NUM_CLASSES is 4"):
        build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "MODEL.NUM_CLASSES", "4"), "train")


def test_class_names_come_from_the_setting_and_the_folders(toy_set, tmp_path):
    folder = rewrite(toy_set, tmp_path / "other")
    (folder / "classes.json").unlink()
    cfg = toy_cfg(folder, tmp_path, "MODEL.NUM_CLASSES", "51", "DATA.LABEL_SET", "hmdb51")
    assert build_dataset("kinetics", cfg, "test").class_names[:2] == ["brush_hair", "cartwheel"]
    assert build_dataset("kinetics", toy_cfg(folder, tmp_path), "test").class_names is None
    with pytest.raises(UserError, match="DATA.LABEL_SET 'hmdb51' has 51 classes, but MODEL.NUM_CLASSES is 3"):
        build_dataset("kinetics", toy_cfg(folder, tmp_path, "DATA.LABEL_SET", "hmdb51"), "test")


def test_the_seed_reaches_the_draws(toy_set, tmp_path):
    def clips(seed):
        return build_dataset("kinetics", toy_cfg(toy_set, tmp_path, "RNG_SEED", seed), "train")[0].clips

    assert torch.equal(clips("1"), clips("1"))
    assert not torch.equal(clips("1"), clips("2"))


@pytest.mark.parametrize("offset", [True, False])
def test_the_sampler(offset):
    cfg = config("DATA.NUM_FRAMES", "5", "DATA.SAMPLING_RATE", "7", "DATA.USE_OFFSET_SAMPLING", str(offset))
    sampler = dense_sampler(cfg)
    assert (sampler.num_frames, sampler.stride, sampler.use_offset) == (5, 7, offset)
    # 60 frames leave 25 free: clip 1 of 3 starts at floor(25 / 2), or at 25 / 3.
    start = 12 if offset else 25 / 3
    assert sampler.view(60, 1, 3).tolist() == [int(start + 34 * k / 4) for k in range(5)]
    assert isinstance(sampler, DenseSampler)


@pytest.mark.parametrize("name", ["kinetics_sparse", "Kinetics_sparse", "ssv1", "ssv2", "sth", "Sth"])
def test_sets_whose_clips_cover_the_whole_video(toy_set, tmp_path, name):
    dataset = build_dataset(name, toy_cfg(toy_set, tmp_path), "test")
    assert isinstance(dataset.clips.sampler, SegmentSampler) and dataset.clips.sampler.num_frames == 4
    with open_video(dataset.records[0].path) as reader:
        length = reader.num_frames
        first = reader.frames_at([round((length - 1) / 4 * i) + int((length - 1) / 4 / 3) for i in range(4)])
    assert torch.equal(dataset[0].clips[1], view_crop(resize_short_side(first, 32), 32, 1, 3).permute(3, 0, 1, 2))


@pytest.mark.parametrize("name", ["kinetics", "ucf101", "UCF101", "hmdb51", "hmdb"])
def test_sets_whose_clips_are_a_stretch(toy_set, tmp_path, name):
    sampler = build_dataset(name, toy_cfg(toy_set, tmp_path), "train").clips.sampler
    assert isinstance(sampler, DenseSampler) and (sampler.num_frames, sampler.stride) == (4, 2)


def test_the_published_augmentation():
    cfg = config(
        *("AUG.ENABLE", "True", "AUG.AA_TYPE", "rand-m3-n2-inc1", "AUG.INTERPOLATION", "bilinear"),
        *("DATA.TRAIN_CROP_SIZE", "96", "DATA.TRAIN_JITTER_SCALES_RELATIVE", "[0.2, 0.7]"),
        *("DATA.TRAIN_JITTER_ASPECT_RELATIVE", "[0.5, 2.0]", "DATA.RANDOM_FLIP", "False"),
    )
    transform = train_transform(cfg)
    assert transform.augment is not None
    assert (transform.crop_size, transform.scale, transform.ratio) == (96, (0.2, 0.7), (0.5, 2.0))
    assert transform.flip is False


def test_no_augmentation_means_jitter_crop_and_flip_alone():
    cfg = config("AUG.ENABLE", "False", "AUG.AA_TYPE", "rand-m3-n2", "DATA.TRAIN_JITTER_SCALES", "[240, 300]")
    transform = train_transform(cfg)
    assert (transform.augment, transform.color_jitter, transform.scale) == (None, 0.0, None)
    assert (transform.jitter_scales, transform.flip) == ((240, 300), True)


def test_colour_jitter_where_there_is_no_rand_augment():
    transform = train_transform(config("AUG.ENABLE", "True", "AUG.AA_TYPE", "", "AUG.COLOR_JITTER", "0.3"))
    assert (transform.augment, transform.color_jitter) == (None, 0.3)
    assert transform.scale == (0.08, 1.0)


def test_no_area_range_means_short_side_jitter():
    transform = train_transform(config("AUG.ENABLE", "True", "DATA.TRAIN_JITTER_SCALES_RELATIVE", "[]"))
    assert transform.scale is None
    assert transform.augment is not None
