"""Every published experiment against its recipe: each value, the network, one item of data, the optimizer, the rate.

``tests/data/recipes.csv`` holds the effective settings of the 39 published experiments, their files and command lines
merged; an empty cell is a setting that a file leaves at its default.
"""

from __future__ import annotations

import ast
import csv
import json
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml
from fvcore.common.config import CfgNode
from torch import nn

from tests.helpers import moving_square, write_video
from uniformer_video.config import KEYS, differences, dump, get_cfg, get_value, load_config
from uniformer_video.datasets import DATASETS, Sample
from uniformer_video.datasets.build import build_dataset, train_transform
from uniformer_video.models.build import build_model
from uniformer_video.models.zoo import ZOO
from uniformer_video.solver.build import build_optimizer
from uniformer_video.solver.schedule import Schedule
from uniformer_video.transforms.rand_augment import RandAugment
from uniformer_video.video.sampling import DenseSampler, SegmentSampler

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
DATA = Path(__file__).resolve().parent / "data"
with (DATA / "recipes.csv").open(newline="", encoding="utf-8") as _file:
    ROWS = {row["experiment"]: row for row in csv.DictReader(_file)}
EXPERIMENTS = sorted(ROWS)

FOLDERS = {
    "k400": "Kinetics",
    "k600": "Kinetics",
    "sthv1": "SSv1",
    "sthv2": "SSv2",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
}

# Columns of recipes.csv that are not compared: the machines the authors had. A recipe says nothing of the user's.
HARDWARE = ("NUM_GPUS", "NUM_SHARDS")
# The published files give both editions of Something-Something, and UCF101, the name of the code that read them.
DATASET_NAMES = {
    ("Kinetics", "kinetics"): "kinetics",
    ("Kinetics", "kinetics_sparse"): "kinetics_sparse",
    ("SSv1", "sth"): "ssv1",
    ("SSv2", "sth"): "ssv2",
    ("UCF101", "kinetics"): "ucf101",
    ("HMDB51", "hmdb"): "hmdb51",
}
# The one value that is not the published one: its file says 101, the classes of UCF101, but HMDB51 has 51.
OTHER_VALUES = {("uniformer_s16x4_hmdb51_prek400", "MODEL.NUM_CLASSES"): 51}

SEGMENTED = ("kinetics_sparse", "ssv1", "ssv2")
VIEWS = {
    "kinetics": (4, 1),
    "kinetics_sparse": (1, 1),
    "ssv1": (1, 3),
    "ssv2": (1, 3),
    "ucf101": (5, 3),
    "hmdb51": (5, 3),
}
"""Clips x crops of the published accuracy, by data set."""

TOP1 = {
    "uniformer_s8x8_k400": "78.4",
    "uniformer_s16x4_k400": "80.8",
    "uniformer_s16x8_k400": "80.8",
    "uniformer_s32x4_k400": "82.0",
    "uniformer_b8x8_k400": "79.8",
    "uniformer_b16x4_k400": "82.0",
    "uniformer_b16x8_k400": "81.7",
    "uniformer_b32x4_k400": "82.9",
    "uniformer_s16x4_k600": "82.8",
    "uniformer_s16x8_k600": "82.7",
    "uniformer_b16x4_k600": "84.0",
    "uniformer_b16x8_k600": "83.4",
    "uniformer_b32x4_k600": "84.5",
    "uniformer_s16_sthv1_prek400": "57.2",
    "uniformer_s16_sthv1_prek600": "57.6",
    "uniformer_s32_sthv1_prek400": "58.8",
    "uniformer_s32_sthv1_prek600": "59.9",
    "uniformer_b16_sthv1_prek400": "59.1",
    "uniformer_b16_sthv1_prek600": "58.8",
    "uniformer_b32_sthv1_prek400": "60.9",
    "uniformer_b32_sthv1_prek600": "61.0",
    "uniformer_s16_sthv2_prek400": "67.7",
    "uniformer_s16_sthv2_prek600": "69.4",
    "uniformer_s32_sthv2_prek400": "69.0",
    "uniformer_s32_sthv2_prek600": "70.4",
    "uniformer_b16_sthv2_prek400": "70.4",
    "uniformer_b16_sthv2_prek600": "70.2",
    "uniformer_b32_sthv2_prek400": "71.1",
    "uniformer_b32_sthv2_prek600": "71.2",
    "uniformer_s16x4_ucf101_prek400": "98.3",
    "uniformer_s16x4_hmdb51_prek400": "77.5",
    "uniformer_xxs4_128_k400": "63.2",
    "uniformer_xxs8_128_k400": "68.3",
    "uniformer_xxs16_128_k400": "73.3",
    "uniformer_xxs4_160_k400": "65.8",
    "uniformer_xxs8_160_k400": "71.4",
    "uniformer_xxs16_160_k400": "75.1",
    "uniformer_xxs32_160_k400": "77.9",
    "uniformer_xs32_192_k400": "78.6",
}

# What the published command lines say beyond recipes.csv: epochs between validations, between checkpoints, and whether
# the checkpoint with the best validation is the one to test.
PERIODS = {
    **dict.fromkeys(EXPERIMENTS, (5, 1, False)),
    # Published: 50, which of 25 epochs keeps none; ours leaves a killed run something to go on from.
    "uniformer_s16x4_ucf101_prek400": (1, 5, True),
    "uniformer_s16x4_hmdb51_prek400": (1, 5, True),
    "uniformer_xxs4_128_k400": (1, 1, True),
    "uniformer_xxs4_160_k400": (1, 1, True),
    "uniformer_xxs8_128_k400": (1, 5, True),
    "uniformer_xxs8_160_k400": (1, 5, True),
    "uniformer_xxs16_128_k400": (1, 1, True),
    "uniformer_xxs16_160_k400": (5, 5, True),
    "uniformer_xxs32_160_k400": (1, 1, True),
    "uniformer_xs32_192_k400": (1, 1, True),
}

# What all published experiments share.
COMMON = {
    "DATA.TRAIN_JITTER_SCALES_RELATIVE": [0.08, 1.0],
    "DATA.TRAIN_JITTER_ASPECT_RELATIVE": [0.75, 1.3333],
    "DATA.MEAN": [0.45, 0.45, 0.45],
    "DATA.STD": [0.225, 0.225, 0.225],
    "DATA.LABEL_SET": "",  # the order of a user's labels is his own
    "MODEL.LOSS_FUNC": "soft_cross_entropy",
    "TEST.MIXED_PRECISION": False,
    "MODEL.DROPOUT_RATE": 0.0,  # 0.5 in the published files, which never use it
    "UNIFORMER.LOCAL_KERNEL": [5, 5, 5],
    "UNIFORMER.SPLIT": False,
    "UNIFORMER.STD": False,
    "UNIFORMER.CONV_STEM": False,
    "UNIFORMER.IMAGE": False,
    "UNIFORMER.LAYER_SCALE": False,  # Uniformer_light_ls_fp32 has it by its name
    "UNIFORMER.QKV_BIAS": True,
    "UNIFORMER.QKV_SCALE": None,
    "UNIFORMER.DROPOUT_RATE": 0.0,
    "UNIFORMER.ATTENTION_DROPOUT_RATE": 0.0,
    "UNIFORMER.HEAD_DROPOUT_RATE": 0.0,
    "TRAIN.ENABLE": True,
    "TRAIN.AUTO_RESUME": True,
    "TRAIN.CHECKPOINT_FILE_PATH": "",
    "TRAIN.CHECKPOINT_INFLATE": "average",
    "SOLVER.OPTIMIZING_METHOD": "adamw",
    "SOLVER.LR_POLICY": "cosine",
    "SOLVER.COSINE_END_LR": 1e-6,
    "SOLVER.COSINE_AFTER_WARMUP": True,
    "SOLVER.WARMUP_START_LR": 1e-6,
    "SOLVER.ZERO_WD_1D_PARAM": True,
    "SOLVER.CLIP_GRAD_L2NORM": 20.0,
    "BN.WEIGHT_DECAY": 0.0,
    "BN.USE_PRECISE_STATS": False,
    "AUG.ENABLE": True,
    "AUG.NUM_SAMPLE": 2,
    "AUG.INTERPOLATION": "bicubic",
    "AUG.RE_PROB": 0.25,
    "AUG.RE_MODE": "pixel",
    "AUG.RE_COUNT": 1,
    "MIXUP.ENABLE": True,
    "MIXUP.ALPHA": 0.8,
    "MIXUP.CUTMIX_ALPHA": 1.0,
    "MIXUP.PROB": 1.0,
    "MIXUP.SWITCH_PROB": 0.5,
    "MIXUP.LABEL_SMOOTH_VALUE": 0.1,
    "TEST.ENABLE": True,
    "TEST.BATCH_SIZE": 64,
    "TEST.ENSEMBLE_METHOD": "sum",
    "TEST.ENSEMBLE_SCORE": "logits",
}

NETWORKS = {
    ("Uniformer", "[3, 4, 8, 3]"): "video_small",
    ("Uniformer", "[5, 8, 20, 7]"): "video_base",
    ("Uniformer_light", "[2, 5, 8, 2]"): "video_xxs",
    ("Uniformer_light_fp32", "[2, 5, 8, 2]"): "video_xxs",
    ("Uniformer_light_ls_fp32", "[2, 5, 8, 2]"): "video_xxs_layer_scale",
    ("Uniformer_light_fp32", "[3, 5, 9, 3]"): "video_xs",
}
"""Names in state_keys.json, by model name and depth."""


def recipe_path(experiment: str) -> Path:
    """Return the recipe of a published experiment: uniformer_b16_sthv1_prek400 is SSv1/uniformer_b16_prek400.yaml."""
    parts = experiment.split("_")
    (dataset,) = (part for part in parts if part in FOLDERS)
    name = "_".join(part for part in parts if part != dataset or part == "k600")
    return CONFIGS / FOLDERS[dataset] / f"{name}.yaml"


def load(experiment: str, *overrides: str) -> CfgNode:
    return load_config(recipe_path(experiment), overrides)


def published(experiment: str, name: str) -> object:
    """Return what the recipe is to have for a column of recipes.csv: the cell, or the default where it is empty."""
    cell = ROWS[experiment][name]
    if (experiment, name) in OTHER_VALUES:
        return OTHER_VALUES[experiment, name]
    if name == "TRAIN.DATASET":
        return DATASET_NAMES[recipe_path(experiment).parent.name, cell]
    if cell == "":
        return get_value(get_cfg(), name)
    try:
        value = ast.literal_eval(cell)
    except (ValueError, SyntaxError):
        value = cell
    return KEYS[name].kind.parse(value)


def published_number(experiment: str, name: str) -> float:
    return float(ROWS[experiment][name])


class TestValues:
    def test_there_are_39_and_each_has_its_file(self):
        assert len(EXPERIMENTS) == 39
        assert sorted(TOP1) == EXPERIMENTS
        paths = {recipe_path(experiment) for experiment in EXPERIMENTS}
        assert len(paths) == 39
        assert [str(p) for p in paths if not p.exists()] == []

    def test_every_file_is_a_published_recipe_or_our_own(self):
        files = {p for p in CONFIGS.rglob("*.yaml") if not p.name.startswith("_") and p.parent.name != "Demo"}
        own = {CONFIGS / "Kinetics" / "uniformer_b8x32.yaml", CONFIGS / "finetune.yaml"}
        assert files == {recipe_path(experiment) for experiment in EXPERIMENTS} | own

    def test_the_examples_of_names(self):
        assert recipe_path("uniformer_b16x4_k400") == CONFIGS / "Kinetics" / "uniformer_b16x4.yaml"
        assert recipe_path("uniformer_b16x4_k600") == CONFIGS / "Kinetics" / "uniformer_b16x4_k600.yaml"
        assert recipe_path("uniformer_xs32_192_k400") == CONFIGS / "Kinetics" / "uniformer_xs32_192.yaml"
        assert recipe_path("uniformer_b16_sthv2_prek400") == CONFIGS / "SSv2" / "uniformer_b16_prek400.yaml"
        assert recipe_path("uniformer_s16x4_hmdb51_prek400") == CONFIGS / "HMDB51" / "uniformer_s16x4_prek400.yaml"

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_every_published_value(self, experiment):
        cfg = load(experiment)
        names = [name for name in ROWS[experiment] if name not in ("experiment", *HARDWARE)]
        assert len(names) == 28
        expected = {name: published(experiment, name) for name in names}
        assert {name: get_value(cfg, name) for name in names} == expected

    def test_the_columns_left_out_are_there_and_the_recipes_say_nothing_of_them(self):
        for experiment, row in ROWS.items():
            assert int(row["NUM_GPUS"]) in (4, 8)
            cfg = load(experiment)
            assert (cfg.NUM_GPUS, cfg.NUM_SHARDS) == (get_cfg().NUM_GPUS, get_cfg().NUM_SHARDS) == (-1, 1)
        assert {e for e, row in ROWS.items() if row["NUM_SHARDS"] != "1"} == {"uniformer_b32x4_k600"}

    def test_the_one_value_that_is_not_the_published_one(self):
        ((experiment, name),) = OTHER_VALUES
        assert ROWS[experiment][name] == "101"
        assert load(experiment).MODEL.NUM_CLASSES == 51

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_what_all_share(self, experiment):
        cfg = load(experiment)
        layer_scale = ROWS[experiment]["MODEL.MODEL_NAME"] == "Uniformer_light_ls_fp32"
        expected = {
            **COMMON,
            "TEST.DATASET": cfg.TRAIN.DATASET,
            "SOLVER.BASE_LR_BATCH": int(ROWS[experiment]["TRAIN.BATCH_SIZE"]),
            "UNIFORMER.INIT_VALUE": 0.1 if layer_scale else get_cfg().UNIFORMER.INIT_VALUE,
        }
        assert {name: get_value(cfg, name) for name in expected} == expected
        # The published training program is in mixed precision but for the hourglass networks, its test is not.
        assert cfg.TRAIN.MIXED_PRECISION is (cfg.MODEL.MODEL_NAME == "Uniformer")
        assert PERIODS[experiment] == (cfg.TRAIN.EVAL_PERIOD, cfg.TRAIN.CHECKPOINT_PERIOD, cfg.TEST.TEST_BEST)

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_views_and_what_the_head_of_the_file_says(self, experiment):
        cfg = load(experiment)
        clips, crops = VIEWS[cfg.TRAIN.DATASET]
        assert (clips, crops) == (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)
        lines = recipe_path(experiment).read_text(encoding="utf-8").splitlines()
        head = " ".join(line[2:] for line in lines if line.startswith("# "))
        machines = "4 x " if experiment == "uniformer_b32x4_k600" else ""
        gpus = f"with {machines}{ROWS[experiment]['NUM_GPUS']} GPUs"
        views = f"{clips} clip{'s' * (clips > 1)} x {crops} crop{'s' * (crops > 1)}"
        assert f"Published {gpus}: top-1 {TOP1[experiment]} with {views}." in head
        assert f" {cfg.DATA.NUM_FRAMES} frames" in head

    def test_each_writes_to_a_folder_of_its_name(self):
        for experiment in EXPERIMENTS:
            path = recipe_path(experiment)
            folder = "" if path.parent.name == "Kinetics" else f"{path.parent.name.lower()}/"
            assert f"runs/{folder}{path.stem}" == load(experiment).OUTPUT_DIR

    def test_they_are_short(self):
        for experiment in EXPERIMENTS:
            text = recipe_path(experiment).read_text(encoding="utf-8")
            assert "_BASE_" in yaml.safe_load(text)
            assert len(text.splitlines()) <= 40

    def test_b8x32_is_b8x8_with_this_projects_kernel_and_a_wider_stride(self):
        folder = CONFIGS / "Kinetics"
        cfg, other = load_config(folder / "uniformer_b8x32.yaml"), load_config(folder / "uniformer_b8x8.yaml")
        assert differences(cfg, dump(other)) == [
            "OUTPUT_DIR: runs/uniformer_b8x8 -> runs/uniformer_b8x32",
            "DATA.SAMPLING_RATE: 8 -> 32",
            "UNIFORMER.LOCAL_KERNEL: [5, 5, 5] -> [3, 5, 5]",
        ]


@cache
def meta_model(experiment: str) -> nn.Module:
    """Return the network of a recipe without memory for its weights."""
    with torch.device("meta"):
        return build_model(load(experiment))


class TestNetwork:
    STATES = json.loads((DATA / "state_keys.json").read_text())

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_it_is_the_published_network_but_for_the_size_of_the_head(self, experiment):
        row = ROWS[experiment]
        expected = dict(self.STATES[NETWORKS[row["MODEL.MODEL_NAME"], row["UNIFORMER.DEPTH"]]]["state"])
        for name in expected:
            if name.startswith(("head.", "head_cls.")):
                expected[name] = [published(experiment, "MODEL.NUM_CLASSES"), *expected[name][1:]]
        state = meta_model(experiment).state_dict()
        assert {name: list(value.shape) for name, value in state.items()} == expected

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_its_pretraining_is_in_the_zoo(self, experiment):
        # 2D weights for Kinetics, those of a Kinetics run for the rest; of the same size as the network.
        cfg = load(experiment)
        entry = ZOO[cfg.UNIFORMER.PRETRAIN_NAME]
        assert (entry.sampling == "image") == cfg.TRAIN.DATASET.startswith("kinetics")
        own, pretrained = (
            self.STATES[name]["state"]
            for name in (NETWORKS[cfg.MODEL.MODEL_NAME, str(cfg.UNIFORMER.DEPTH)], entry.network)
        )
        left_out = ("head.", "head_cls.")
        names = {name for name in own if "gamma_" not in name and not name.startswith(left_out)}
        assert names == {name for name in pretrained if "gamma_" not in name and not name.startswith(left_out)}
        for name in names:
            theirs = pretrained[name]
            assert own[name] == theirs or own[name][:2] + own[name][3:] == theirs, name


class TestOptimizer:
    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_published_groups(self, experiment):
        model = meta_model(experiment)
        optimizer = build_optimizer(model, load(experiment))
        assert type(optimizer) is torch.optim.AdamW
        decay = {name: group["weight_decay"] for group in optimizer.param_groups for name in group["names"]}
        state = model.state_dict()
        expected = {}
        for name, value in state.items():
            module, _, leaf = name.rpartition(".")
            if leaf in ("running_mean", "running_var", "num_batches_tracked"):
                continue
            free = f"{module}.running_mean" in state or value.ndim == 1 or leaf in ("bias", "cls_token")
            expected[name] = 0.0 if free else published_number(experiment, "SOLVER.WEIGHT_DECAY")
        assert decay == expected
        assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.999)}
        assert {group["lr"] for group in optimizer.param_groups} == {published_number(experiment, "SOLVER.BASE_LR")}
        assert ("cls_token" in decay) == ROWS[experiment]["MODEL.MODEL_NAME"].startswith("Uniformer_light")

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_the_schedule_at_the_published_batch_and_at_others(self, experiment):
        rate = published_number(experiment, "SOLVER.BASE_LR")
        batch = int(ROWS[experiment]["TRAIN.BATCH_SIZE"])
        warmup, end = (published_number(experiment, f"SOLVER.{key}") for key in ("WARMUP_EPOCHS", "MAX_EPOCH"))
        schedule = Schedule.from_config(load(experiment))
        assert [schedule(epoch) for epoch in (0.0, warmup, end)] == pytest.approx([1e-6, rate, 1e-6])
        assert schedule((warmup + end) / 2) == pytest.approx((rate + 1e-6) / 2)
        for size, shards in ((1, 1), (batch // 2, 1), (batch, 4), (2, 3)):
            cfg = load(experiment, "TRAIN.BATCH_SIZE", str(size), "NUM_SHARDS", str(shards))
            assert Schedule.from_config(cfg)(warmup) == pytest.approx(rate * size * shards / batch)

    def test_the_run_on_four_machines_has_the_published_rate(self):
        cfg = load("uniformer_b32x4_k600", "NUM_SHARDS", "4")
        assert cfg.SOLVER.BASE_LR_SCALE_NUM_SHARDS
        assert Schedule.from_config(cfg)(10) == pytest.approx(4e-4)


@pytest.fixture(scope="module")
def video_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with one video of 40 frames and its three lists."""
    folder = tmp_path_factory.mktemp("recipes")
    write_video(folder / "video.mp4", moving_square(40, 48, 64), crf=28)
    for split in ("train", "val", "test"):
        (folder / f"{split}.csv").write_text("video.mp4 5\n")
    return folder


@pytest.fixture(scope="module")
def items(video_folder: Path):
    """Return a function from a recipe to its first item of a split; recipes with equal data settings share it."""
    made: dict[tuple, tuple] = {}

    def item(experiment: str, split: str) -> tuple[object, Sample]:
        cfg = load(experiment, "DATA.PATH_TO_DATA_DIR", str(video_folder))
        name = cfg.TEST.DATASET if split == "test" else cfg.TRAIN.DATASET
        views = (cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS, cfg.DATA.USE_OFFSET_SAMPLING)
        draws = (cfg.AUG, cfg.RNG_SEED, cfg.DATA.TRAIN_JITTER_SCALES, cfg.DATA.RANDOM_FLIP)
        sampler = "segments" if DATASETS.get(name, "name").sampler is DATASETS.get("ssv2", "name").sampler else "dense"
        key = (split, sampler, cfg.DATA.NUM_FRAMES, cfg.DATA.SAMPLING_RATE, cfg.DATA.TEST_CROP_SIZE)
        key += (str(views if split == "test" else draws),)
        if key not in made:
            dataset = build_dataset(name, cfg, split)
            made[key] = (dataset.clips.sampler, dataset[0])
        return made[key]

    return item


class TestData:
    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_frames_are_chosen_as_published(self, experiment):
        cfg = load(experiment)
        sampler = DATASETS.get(cfg.TRAIN.DATASET, "TRAIN.DATASET").sampler(cfg)
        assert sampler.num_frames == published_number(experiment, "DATA.NUM_FRAMES")
        if cfg.TRAIN.DATASET in SEGMENTED:
            assert isinstance(sampler, SegmentSampler)
        else:
            assert isinstance(sampler, DenseSampler)
            assert sampler.stride == published_number(experiment, "DATA.SAMPLING_RATE")
            assert sampler.use_offset is True

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_one_training_item(self, experiment, items):
        sampler, sample = items(experiment, "train")
        frames, size = (int(ROWS[experiment][f"DATA.{key}"]) for key in ("NUM_FRAMES", "TRAIN_CROP_SIZE"))
        assert sampler.num_frames == frames
        assert sample.clips.dtype == torch.uint8
        assert sample.clips.shape == (2, 3, frames, size, size)
        assert (sample.labels.tolist(), sample.failures) == ([5, 5], [])
        assert not torch.equal(sample.clips[0], sample.clips[1])

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_one_test_item_with_all_its_views(self, experiment, items):
        _, sample = items(experiment, "test")
        frames, size = (int(ROWS[experiment][f"DATA.{key}"]) for key in ("NUM_FRAMES", "TEST_CROP_SIZE"))
        clips, crops = VIEWS[load(experiment).TEST.DATASET]
        assert sample.clips.dtype == torch.uint8
        assert sample.clips.shape == (clips * crops, 3, frames, size, size)
        assert (sample.labels.tolist(), sample.failures) == ([5] * (clips * crops), [])

    @pytest.mark.parametrize("experiment", EXPERIMENTS)
    def test_the_augmentation(self, experiment):
        transform = train_transform(load(experiment))
        assert transform.augment == RandAugment.from_string(ROWS[experiment]["AUG.AA_TYPE"], "bicubic")
        assert transform.flip == (ROWS[experiment]["DATA.RANDOM_FLIP"] != "False")
        assert (transform.scale, transform.ratio) == ((0.08, 1.0), (0.75, 1.3333))

    def test_rand_alone_is_magnitude_10_and_two_operations(self):
        augment = train_transform(load("uniformer_xxs4_128_k400")).augment
        assert (augment.magnitude, augment.layers, augment.magnitude_std) == (10.0, 2, 0.0)
        assert (augment.weighted, augment.increasing, augment.probability) == (False, False, 0.5)


# Every key that occurs in the published files, with a value as they give it; the files of the hourglass networks and of
# the runs on UCF101 have the most.
PUBLISHED_KEYS = {
    "TRAIN": {
        "ENABLE": "True",
        "DATASET": "kinetics_sparse",
        "BATCH_SIZE": "8",
        "EVAL_PERIOD": "10",
        "CHECKPOINT_PERIOD": "10",
        "AUTO_RESUME": "True",
    },
    "DATA": {
        "USE_OFFSET_SAMPLING": "True",
        "DECODING_BACKEND": "decord",
        "NUM_FRAMES": "4",
        "SAMPLING_RATE": "32",
        "RANDOM_FLIP": "False",
        "TRAIN_JITTER_SCALES": "[160, 192]",
        "TRAIN_CROP_SIZE": "128",
        "TEST_CROP_SIZE": "128",
        "INPUT_CHANNEL_NUM": "[3]",
        "TRAIN_JITTER_SCALES_RELATIVE": "[0.08, 1.0]",
        "TRAIN_JITTER_ASPECT_RELATIVE": "[0.75, 1.3333]",
    },
    "UNIFORMER": {
        "EMBED_DIM": "[56, 112, 224, 448]",
        "DEPTH": "[2, 5, 8, 2]",
        "HEAD_DIM": "28",
        "MLP_RATIO": "[3.0, 3.0, 3.0, 3.0]",
        "DROPOUT_RATE": "0",
        "ATTENTION_DROPOUT_RATE": "0",
        "DROP_DEPTH_RATE": "0.",
        "HEAD_DROPOUT_RATE": "0",
        "SPLIT": "False",
        "PRUNE_RATIO": "[[], [], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5]]",
        "TRADE_OFF": "[[], [], [1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5]]",
        "INIT_VALUE": "0.1",
        "PRETRAIN_NAME": "'uniformer_xxs_128_in1k'",
    },
    "AUG": {
        "NUM_SAMPLE": "2",
        "ENABLE": "True",
        "COLOR_JITTER": "0.4",
        "AA_TYPE": "rand",
        "INTERPOLATION": "bicubic",
        "RE_PROB": "0.25",
        "RE_MODE": "pixel",
        "RE_COUNT": "1",
        "RE_SPLIT": "False",
    },
    "MIXUP": {
        "ENABLE": "True",
        "ALPHA": "0.8",
        "CUTMIX_ALPHA": "1.0",
        "PROB": "1.0",
        "SWITCH_PROB": "0.5",
        "LABEL_SMOOTH_VALUE": "0.1",
    },
    "BN": {"USE_PRECISE_STATS": "False", "NUM_BATCHES_PRECISE": "200"},
    "SOLVER": {
        "ZERO_WD_1D_PARAM": "True",
        "BASE_LR_SCALE_NUM_SHARDS": "True",
        "BASE_LR": "0.0001",
        "COSINE_END_LR": "1e-6",
        "WARMUP_START_LR": "1e-6",
        "WARMUP_EPOCHS": "30.0",
        "LR_POLICY": "cosine",
        "MAX_EPOCH": "200",
        "MOMENTUM": "0.9",
        "WEIGHT_DECAY": "0.05",
        "OPTIMIZING_METHOD": "adamw",
        "COSINE_AFTER_WARMUP": "True",
    },
    "MODEL": {
        "NUM_CLASSES": "400",
        "ARCH": "uniformer",
        "MODEL_NAME": "Uniformer_light_ls_fp32",
        "LOSS_FUNC": "soft_cross_entropy",
        "DROPOUT_RATE": "0.5",
        "USE_CHECKPOINT": "True",
        "CHECKPOINT_NUM": "[0, 0, 4, 0]",
    },
    "TEST": {"ENABLE": "True", "DATASET": "kinetics_sparse", "BATCH_SIZE": "64", "NUM_SPATIAL_CROPS": "1"},
    "DATA_LOADER": {"NUM_WORKERS": "8", "PIN_MEMORY": "True"},
    "TENSORBOARD": {"ENABLE": "True"},
}
PUBLISHED_TOP = {"NUM_GPUS": "8", "NUM_SHARDS": "1", "RNG_SEED": "0", "OUTPUT_DIR": "."}


def published_yaml(model_name: str = "Uniformer_light_ls_fp32") -> str:
    """Return a file with every published key, SOLVER.COSINE_AFTER_WARMUP twice as in all of them."""
    lines = []
    for section, keys in PUBLISHED_KEYS.items():
        lines.append(f"{section}:")
        if section == "SOLVER":
            lines.append(f"  COSINE_AFTER_WARMUP: {keys['COSINE_AFTER_WARMUP']}")
        lines += [f"  {key}: {model_name if key == 'MODEL_NAME' else value}" for key, value in keys.items()]
    return "\n".join([*lines, *(f"{key}: {value}" for key, value in PUBLISHED_TOP.items())]) + "\n"


class TestPublishedFiles:
    def test_every_key_is_read(self, tmp_path):
        (tmp_path / "config.yaml").write_text(published_yaml())
        cfg = load_config(tmp_path / "config.yaml")
        given = {f"{section}.{key}": v for section, keys in PUBLISHED_KEYS.items() for key, v in keys.items()}
        assert len(given) == 73
        for name, text in (given | PUBLISHED_TOP).items():
            assert get_value(cfg, name) == KEYS[name].kind.parse(yaml.safe_load(text)), name

    @pytest.mark.parametrize("name", sorted({row["MODEL.MODEL_NAME"] for row in ROWS.values()}))
    def test_every_published_name_of_a_network_builds_from_it(self, tmp_path, name):
        text = published_yaml(name)
        if name == "Uniformer":  # whose files have none of what only an hourglass network knows
            text = "".join(line for line in text.splitlines(keepends=True) if "PRUNE_RATIO" not in line)
            text = "".join(line for line in text.splitlines(keepends=True) if "TRADE_OFF" not in line)
        (tmp_path / "config.yaml").write_text(text)
        with torch.device("meta"):
            state = build_model(load_config(tmp_path / "config.yaml")).state_dict()
        assert ("cls_token" in state) == (name != "Uniformer")
        assert ("blocks1.0.gamma_1" in state) == (name == "Uniformer_light_ls_fp32")
        # The published kernel, of which these files say nothing; so do they of the clipping.
        assert state["blocks1.0.attn.weight"].shape[2:] == (5, 5, 5)
        assert load_config(tmp_path / "config.yaml").SOLVER.CLIP_GRAD_L2NORM == 20.0

    def test_what_a_published_command_line_adds(self, tmp_path):
        (tmp_path / "config.yaml").write_text(published_yaml())
        words = "TRAIN.BATCH_SIZE 256 SOLVER.BASE_LR 4e-4 SOLVER.WARMUP_EPOCHS 5. UNIFORMER.DROP_DEPTH_RATE 0.05 "
        words += "TEST.NUM_ENSEMBLE_VIEWS 1 TEST.TEST_BEST True DATA.PATH_LABEL_SEPARATOR , NUM_GPUS 4 RNG_SEED 66667"
        cfg = load_config(tmp_path / "config.yaml", words.split())
        assert (cfg.TRAIN.BATCH_SIZE, cfg.SOLVER.BASE_LR, cfg.SOLVER.WARMUP_EPOCHS) == (256, 4e-4, 5.0)
        assert (cfg.UNIFORMER.DROP_DEPTH_RATE, cfg.TEST.TEST_BEST, cfg.RNG_SEED) == (0.05, True, 66667)
