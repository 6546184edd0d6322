"""The table of keys, and the configuration made from it."""

from __future__ import annotations

import copy
import re

import pytest
from fvcore.common.config import CfgNode

from uniformer_video.config import KEYS, get_cfg, get_value, set_value
from uniformer_video.config.validate import validate

SECTIONS = {
    *("DATA", "DATA_LOADER", "AUG", "MIXUP", "MODEL", "BN", "SOLVER", "TRAIN", "TEST", "TENSORBOARD"),  # PySlowFast's
    *("UNIFORMER", "DISTRIBUTED"),
}


def each_key():
    return pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)


class TestTable:
    @each_key()
    def test_a_default_is_of_its_kind_and_parses_to_itself(self, key):
        parsed = key.kind.parse(key.default)
        assert parsed == key.default
        assert type(parsed) is type(key.default)

    @each_key()
    def test_a_key_is_documented(self, key):
        assert len(key.meaning) >= 5
        values = ("auto:", "steps_with_relative_lrs:", "sync_batchnorm:")
        assert key.meaning[0].isupper() or key.meaning.split()[0] in values
        assert key.meaning.endswith(".")
        assert "\n" not in key.meaning
        assert key.unit == key.unit.strip()
        assert key.kind.describe()

    @each_key()
    def test_names_are_upper_case_with_at_most_one_section(self, key):
        assert re.fullmatch(r"([A-Z_]+\.)?[A-Z][A-Z0-9_]*", key.name)

    @each_key()
    def test_keys_named_in_a_meaning_exist(self, key):
        for name in re.findall(r"\b[A-Z][A-Z_]+\.[A-Z][A-Z0-9_]+\b", key.meaning):
            assert name in KEYS, f"{key.name} speaks of {name}"

    def test_no_name_stands_twice(self):
        from uniformer_video.config import defaults_data, defaults_model, defaults_run, defaults_solver

        parts = [
            group
            for module in (defaults_data, defaults_model, defaults_run, defaults_solver)
            for name, group in vars(module).items()
            if name.endswith("_KEYS")
        ]
        names = [key.name for group in parts for key in group]
        assert sorted(names) == sorted(set(names)) == sorted(KEYS)
        assert all(name == key.name for name, key in KEYS.items())

    def test_sections_stand_together_and_are_the_known_ones(self):
        order = list(dict.fromkeys(name.split(".")[0] for name in KEYS if "." in name))
        assert sorted(order) == sorted(SECTIONS)
        runs = [name.rpartition(".")[0] for name in KEYS]
        assert len([s for k, s in enumerate(runs) if k == 0 or s != runs[k - 1]]) == len(SECTIONS) + 1

    @pytest.mark.parametrize(
        ("name", "default"),
        [
            ("DATA.NUM_FRAMES", 8),
            ("DATA.SAMPLING_RATE", 8),
            ("DATA.PATH_LABEL_SEPARATOR", " "),
            ("DATA.MEAN", [0.45, 0.45, 0.45]),
            ("DATA.STD", [0.225, 0.225, 0.225]),
            ("DATA.DECODING_BACKEND", "auto"),
            ("MODEL.NUM_CLASSES", 400),
            ("UNIFORMER.EMBED_DIM", [64, 128, 320, 512]),
            ("UNIFORMER.DEPTH", [3, 4, 8, 3]),
            ("UNIFORMER.LOCAL_KERNEL", [3, 5, 5]),
            ("TEST.ENSEMBLE_METHOD", "sum"),
            ("TEST.ENSEMBLE_SCORE", "logits"),
            ("SOLVER.CLIP_GRAD_L2NORM", None),
            ("AUG.AA_TYPE", "rand-m7-n4-mstd0.5-inc1"),
            ("MIXUP.LABEL_SMOOTH_VALUE", 0.1),
            ("NUM_SHARDS", 1),
        ],
    )
    def test_defaults_that_others_rely_on(self, name, default):
        assert KEYS[name].default == default


class TestGetCfg:
    def test_every_key_is_there_with_its_default_and_nothing_else(self):
        cfg = get_cfg()
        for name, key in KEYS.items():
            assert get_value(cfg, name) == key.default
        leaves = {
            f"{section}.{key}" if isinstance(node, CfgNode) else section
            for section, node in cfg.items()
            for key in (node if isinstance(node, CfgNode) else [""])
        }
        assert leaves == set(KEYS)

    def test_sections_are_attributes(self):
        cfg = get_cfg()
        assert cfg.TRAIN.BATCH_SIZE == 32
        cfg.TRAIN.BATCH_SIZE = 4  # and not frozen
        assert cfg.TRAIN.BATCH_SIZE == 4

    def test_two_configurations_share_no_list(self):
        first = get_cfg()
        kept = copy.deepcopy({name: key.default for name, key in KEYS.items()})
        first.UNIFORMER.DEPTH[0] = 99
        first.DATA.MEAN.append(1.0)
        assert get_cfg().UNIFORMER.DEPTH == [3, 4, 8, 3]
        assert {name: key.default for name, key in KEYS.items()} == kept

    def test_the_defaults_contradict_nothing(self):
        validate(get_cfg())


class TestGetAndSet:
    def test_a_value_by_its_full_name(self):
        cfg = get_cfg()
        set_value(cfg, "SOLVER.BASE_LR", 0.5)
        set_value(cfg, "RNG_SEED", 7)
        assert (cfg.SOLVER.BASE_LR, cfg.RNG_SEED) == (0.5, 7)
        assert (get_value(cfg, "SOLVER.BASE_LR"), get_value(cfg, "RNG_SEED")) == (0.5, 7)

    def test_a_missing_section_is_made(self):
        cfg = CfgNode()
        set_value(cfg, "A.B", 1)
        set_value(cfg, "A.C", 2)
        assert cfg == {"A": {"B": 1, "C": 2}}

    def test_a_name_that_is_not_there(self):
        with pytest.raises(KeyError):
            get_value(get_cfg(), "TRAIN.NOTHING")
