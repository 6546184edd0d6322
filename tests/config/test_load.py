"""A configuration from files and a command line: what wins, where it came from, and how mistakes are told."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.config import KEYS, changes, differences, dump, get_cfg, get_value, load_config, with_values
from uniformer_video.config.kinds import Bool, Choice, Either, Int, List, Maybe, Number, OrWord, Text
from uniformer_video.config.load import Change, source_of
from uniformer_video.runtime.errors import ConfigError


@pytest.fixture
def write(tmp_path):
    """Return a function that writes a config file below the test's folder and returns its path."""

    def write_file(text: str, name: str = "a.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def refused(path: Path | None = None, *overrides: str) -> str:
    """Return the message with which a configuration is refused: always one line."""
    with pytest.raises(ConfigError) as caught:
        load_config(path, overrides)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


def cli(*overrides: str) -> object:
    """Return the value of the first key of ``overrides`` as the command line sets it."""
    return get_value(load_config(None, overrides), overrides[0])


class TestWhatWins:
    def test_nothing_given_is_the_defaults(self):
        assert load_config() == get_cfg()
        assert changes(load_config()) == []

    def test_a_file_over_the_defaults_and_the_command_line_over_the_file(self, write):
        path = write("TRAIN:\n  BATCH_SIZE: 4\nSOLVER:\n  BASE_LR: 0.5\n")
        cfg = load_config(path, ["TRAIN.BATCH_SIZE", "6"])
        assert cfg.TRAIN.BATCH_SIZE == 6
        assert cfg.SOLVER.BASE_LR == 0.5
        assert cfg.TEST.BATCH_SIZE == get_cfg().TEST.BATCH_SIZE

    def test_of_two_settings_of_a_command_line_the_later_wins(self):
        assert cli("RNG_SEED", "1", "RNG_SEED", "2") == 2

    def test_the_path_may_be_text(self, write):
        assert load_config(str(write("RNG_SEED: 5\n"))).RNG_SEED == 5

    def test_full_names_work_in_a_file_too(self, write):
        assert load_config(write("DATA.NUM_FRAMES: 4\n")).DATA.NUM_FRAMES == 4

    @pytest.mark.parametrize("text", ["", "# only words\n", "---\n", "TRAIN: {}\n"])
    def test_an_empty_file_is_the_defaults(self, write, text):
        assert load_config(write(text)) == get_cfg()

    def test_a_section_may_stand_twice(self, write):
        cfg = load_config(write("TRAIN: {BATCH_SIZE: 4}\nRNG_SEED: 1\nTRAIN: {EVAL_PERIOD: 2}\n"))
        assert (cfg.TRAIN.BATCH_SIZE, cfg.TRAIN.EVAL_PERIOD) == (4, 2)

    def test_the_result_is_frozen_in_every_section(self):
        cfg = load_config()
        with pytest.raises(AttributeError):
            cfg.RNG_SEED = 1
        with pytest.raises(AttributeError):
            cfg.TRAIN.BATCH_SIZE = 1

    def test_two_loads_share_nothing(self, write):
        path = write("UNIFORMER: {DEPTH: [1, 1, 1, 1]}\n")
        load_config(path).UNIFORMER.DEPTH.append(5)
        assert load_config(path).UNIFORMER.DEPTH == [1, 1, 1, 1]
        load_config().DATA.MEAN.append(5)
        assert load_config().DATA.MEAN == [0.45, 0.45, 0.45]


class TestBases:
    def test_a_chain_of_bases(self, write):
        write("RNG_SEED: 1\nLOG_PERIOD: 1\nNUM_GPUS: 1\n", "far/root.yaml")
        write("_BASE_: far/root.yaml\nRNG_SEED: 2\nLOG_PERIOD: 2\n", "middle.yaml")
        cfg = load_config(write("RNG_SEED: 3\n_BASE_: middle.yaml\n", "top.yaml"))
        assert (cfg.RNG_SEED, cfg.LOG_PERIOD, cfg.NUM_GPUS) == (3, 2, 1)

    def test_a_base_is_relative_to_the_file_that_names_it(self, write, tmp_path, monkeypatch):
        write("RNG_SEED: 1\n", "shared/root.yaml")
        write("_BASE_: root.yaml\n", "shared/base.yaml")
        path = write("_BASE_: ../shared/base.yaml\n", "mine/top.yaml")
        monkeypatch.chdir("/")
        assert load_config(path).RNG_SEED == 1
        monkeypatch.chdir(tmp_path)
        assert load_config("mine/top.yaml").RNG_SEED == 1

    def test_a_base_may_be_an_absolute_path(self, write):
        base = write("RNG_SEED: 1\n", "elsewhere/base.yaml")
        assert load_config(write(f"_BASE_: {base}\n")).RNG_SEED == 1

    def test_of_a_list_the_later_base_wins(self, write):
        write("RNG_SEED: 1\nLOG_PERIOD: 1\n", "one.yaml")
        write("LOG_PERIOD: 2\n", "two.yaml")
        cfg = load_config(write("_BASE_: [one.yaml, two.yaml]\n"))
        assert (cfg.RNG_SEED, cfg.LOG_PERIOD) == (1, 2)
        cfg = load_config(write("_BASE_:\n- two.yaml\n- one.yaml\n"))
        assert (cfg.RNG_SEED, cfg.LOG_PERIOD) == (1, 1)

    def test_an_empty_list_is_no_base(self, write):
        assert load_config(write("_BASE_: []\nRNG_SEED: 1\n")).RNG_SEED == 1

    def test_two_files_may_share_a_base(self, write):
        write("RNG_SEED: 1\n", "root.yaml")
        write("_BASE_: root.yaml\nLOG_PERIOD: 2\n", "left.yaml")
        write("_BASE_: root.yaml\nNUM_GPUS: 3\n", "right.yaml")
        cfg = load_config(write("_BASE_: [left.yaml, right.yaml]\n"))
        assert (cfg.RNG_SEED, cfg.LOG_PERIOD, cfg.NUM_GPUS) == (1, 2, 3)

    def test_a_file_that_is_its_own_base(self, write):
        path = write("RNG_SEED: 1\n_BASE_: a.yaml\n")
        assert refused(path) == f"{path}:2: _BASE_ leads back to {path}; a file cannot be its own base"

    def test_a_circle_of_three(self, write, tmp_path):
        write("_BASE_: b.yaml\n", "a.yaml")
        write("_BASE_: sub/c.yaml\n", "b.yaml")
        write("# c\n_BASE_: ../a.yaml\n", "sub/c.yaml")
        expected = (
            f"{tmp_path}/sub/c.yaml:2: _BASE_ leads back to {tmp_path}/sub/../a.yaml; a file cannot be its own base"
        )
        assert refused(tmp_path / "a.yaml") == expected

    def test_a_missing_base_names_the_file_and_line_that_want_it(self, write, tmp_path):
        write("RNG_SEED: 1\n", "common.yaml")
        path = write("RNG_SEED: 1\n_BASE_: comon.yaml\n", "a.yaml")
        assert refused(path) == (
            f"config {tmp_path}/comon.yaml (_BASE_ of {path}:2): no such file; did you mean {tmp_path}/common.yaml?"
        )

    @pytest.mark.parametrize(
        ("value", "shown"), [("3", "3"), ("", "None"), ("[a.yaml, 3]", "['a.yaml', 3]"), ("{a: b}", "{'a': 'b'}")]
    )
    def test_a_base_of_another_kind(self, write, value, shown):
        path = write(f"RNG_SEED: 1\n_BASE_: {value}\n")
        expected = f"{path}:2: _BASE_ is {shown}; allowed: the path of a YAML file or a list of paths"
        assert refused(path) == expected

    def test_a_mistake_in_a_base_names_the_base(self, write, tmp_path):
        write("\n\nRNG_SEED: x\n", "base.yaml")
        path = write("_BASE_: base.yaml\n")
        assert refused(path).startswith(f"{tmp_path}/base.yaml:3: RNG_SEED is 'x'; allowed: ")


class TestSources:
    def test_each_change_with_value_default_and_source_in_the_tables_order(self, write, tmp_path):
        write("TRAIN:\n  BATCH_SIZE: 64\n  EVAL_PERIOD: 5\n", "base.yaml")
        path = write("# words\n_BASE_: base.yaml\nTRAIN:\n\n  BATCH_SIZE: 16\nDATA.NUM_FRAMES: 4\n")
        cfg = load_config(path, ["RNG_SEED", "7", "DATA.MEAN", "[0, 0, 0]"])
        assert changes(cfg) == [
            Change("RNG_SEED", 7, 0, "command line"),
            Change("DATA.NUM_FRAMES", 4, 8, f"{path}:6"),
            Change("DATA.MEAN", [0.0, 0.0, 0.0], [0.45, 0.45, 0.45], "command line"),
            Change("TRAIN.BATCH_SIZE", 16, 32, f"{path}:5"),
            Change("TRAIN.EVAL_PERIOD", 5, 1, f"{tmp_path}/base.yaml:3"),
        ]

    def test_a_key_set_to_its_default_is_no_change(self, write):
        assert changes(load_config(write("TRAIN: {BATCH_SIZE: 32}\n"), ["RNG_SEED", "0"])) == []

    def test_a_key_set_back_to_its_default_is_no_change(self, write):
        assert changes(load_config(write("RNG_SEED: 4\n"), ["RNG_SEED", "0"])) == []

    def test_a_change_in_code_is_told(self):
        cfg = get_cfg()
        cfg.RNG_SEED = 3
        assert changes(cfg) == [Change("RNG_SEED", 3, 0, "set in code")]

    @pytest.mark.parametrize(
        "travel", [copy.deepcopy, lambda cfg: pickle.loads(pickle.dumps(cfg)), lambda cfg: cfg.clone()]
    )
    def test_sources_and_values_go_along_to_a_copy_and_another_process(self, travel):
        cfg = load_config(None, ["RNG_SEED", "7"])
        there = travel(cfg)
        assert there == cfg
        assert changes(there) == [Change("RNG_SEED", 7, 0, "command line")]

    def test_the_sources_are_no_key(self):
        assert set(load_config(None, ["RNG_SEED", "7"])) == {name.split(".")[0] for name in KEYS}


class TestSourceOf:
    def test_file_command_line_and_default(self, tmp_path):
        (tmp_path / "a.yaml").write_text("SOLVER:\n  BASE_LR: 1.0e-4\n  MAX_EPOCH: 7\n")
        cfg = load_config(tmp_path / "a.yaml", ["SOLVER.MAX_EPOCH", "100"])
        # Also where the value is the default.
        assert source_of(cfg, "SOLVER.BASE_LR") == f"{tmp_path / 'a.yaml'}:2"
        assert source_of(cfg, "SOLVER.MAX_EPOCH") == "command line"
        assert source_of(cfg, "SOLVER.MOMENTUM") == source_of(get_cfg(), "SOLVER.BASE_LR") == ""


class TestWithValues:
    def test_a_copy_has_the_values_and_where_they_come_from(self, write):
        cfg = load_config(write("MODEL: {NUM_CLASSES: auto}\n"), ["DATA.NUM_FRAMES", "4"])
        other = with_values(cfg, {"MODEL.NUM_CLASSES": 7}, "classes.json")
        assert (cfg.MODEL.NUM_CLASSES, other.MODEL.NUM_CLASSES) == ("auto", 7)
        assert source_of(other, "MODEL.NUM_CLASSES") == "classes.json"
        assert source_of(cfg, "MODEL.NUM_CLASSES").endswith("a.yaml:1")
        assert source_of(other, "DATA.NUM_FRAMES") == "command line"
        assert other.is_frozen()
        assert cfg.is_frozen()
        assert differences(other, dump(cfg)) == ["MODEL.NUM_CLASSES: auto -> 7"]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"MODEL.NUM_CLASSES": 0}, "the data: MODEL.NUM_CLASSES is 0; allowed: auto or whole number >= 1"),
            ({"SHARD_ID": 2}, "SHARD_ID is 2 of NUM_SHARDS 1"),
            ({"MODEL.CLASSES": 2}, "the data: unknown key MODEL.CLASSES"),
        ],
    )
    def test_values_are_checked(self, values, message):
        with pytest.raises(ConfigError, match="^" + re.escape(message)):
            with_values(load_config(), values, "the data")


class TestPublishedDefaults:
    def test_a_file_that_names_the_family_gets_them(self, tmp_path):
        (tmp_path / "a.yaml").write_text("MODEL:\n  NUM_CLASSES: 3\n  ARCH: uniformer\n", encoding="utf-8")
        cfg = load_config(tmp_path / "a.yaml")
        assert (cfg.UNIFORMER.LOCAL_KERNEL, cfg.SOLVER.CLIP_GRAD_L2NORM) == ([5, 5, 5], 20.0)
        assert cfg.TEST.MIXED_PRECISION is False
        source = f"{tmp_path / 'a.yaml'}:3, the default of the published code"
        assert {c.key: c.source for c in changes(cfg)}["UNIFORMER.LOCAL_KERNEL"] == source
        cfg.UNIFORMER.LOCAL_KERNEL.append(7)
        assert load_config(tmp_path / "a.yaml").UNIFORMER.LOCAL_KERNEL == [5, 5, 5]

    def test_what_is_said_wins(self, tmp_path):
        text = "MODEL: {ARCH: uniformer}\nUNIFORMER: {LOCAL_KERNEL: [1, 3, 3]}\n"
        (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
        cfg = load_config(tmp_path / "a.yaml", ["SOLVER.CLIP_GRAD_L2NORM", "null"])
        assert (cfg.UNIFORMER.LOCAL_KERNEL, cfg.SOLVER.CLIP_GRAD_L2NORM) == ([1, 3, 3], None)
        cfg = load_config(tmp_path / "a.yaml", ["SOLVER.CLIP_GRAD_VAL", "1"])
        assert (cfg.SOLVER.CLIP_GRAD_VAL, cfg.SOLVER.CLIP_GRAD_L2NORM) == (1.0, None)

    def test_no_other_file_does(self, tmp_path):
        (tmp_path / "a.yaml").write_text("MODEL: {NUM_CLASSES: 3}\n", encoding="utf-8")
        for cfg in (load_config(tmp_path / "a.yaml"), load_config(None, ["MODEL.ARCH", "uniformer"])):
            assert (cfg.UNIFORMER.LOCAL_KERNEL, cfg.SOLVER.CLIP_GRAD_L2NORM) == ([3, 5, 5], None)

    def test_what_a_run_wrote_is_read_back_as_it_was(self, tmp_path):
        (tmp_path / "config.yaml").write_text(dump(load_config()), encoding="utf-8")
        assert load_config(tmp_path / "config.yaml") == load_config()


class TestFilesThatCannotBeRead:
    def test_a_missing_file_with_a_near_name_beside_it(self, write, tmp_path):
        write("", "uniformer_b8x8.yaml")
        write("", "other.yaml")
        message = refused(tmp_path / "uniformer_b8x9.yaml")
        assert message == (
            f"config {tmp_path}/uniformer_b8x9.yaml: no such file; did you mean {tmp_path}/uniformer_b8x8.yaml?"
        )

    @pytest.mark.parametrize("name", ["zzz.yaml", "none/such.yaml"])
    def test_a_missing_file_with_nothing_near(self, write, tmp_path, name):
        write("", "uniformer_b8x8.yaml")
        assert refused(tmp_path / name) == f"config {tmp_path / name}: no such file; see the folder configs/"

    def test_a_folder(self, tmp_path):
        message = refused(tmp_path)
        assert message.startswith(f"config {tmp_path}: cannot be read as text (")
        assert "Is a directory" in message

    def test_bytes_that_are_no_text(self, tmp_path):
        path = tmp_path / "weights.yaml"
        path.write_bytes(b"\x80\x02\xff\xfe")
        assert refused(path).startswith(f"config {path}: cannot be read as text ('utf-8' codec")

    @pytest.mark.parametrize(
        ("text", "line", "reason"),
        [
            ("RNG_SEED: 1\nTRAIN: a: b\n", 2, "mapping values are not allowed here"),
            ("RNG_SEED: 1\nTRAIN:\n\tBATCH_SIZE: 1\n", 3, "found character '\\t' that cannot start any token"),
            ("DATA:\n  MEAN: [1, 2\nRNG_SEED: 1\n", 3, "expected ',' or ']', but got ':'"),
            ("RNG_SEED: *other\n", 1, "found undefined alias 'other'"),
            ("RNG_SEED: 1\n---\nLOG_PERIOD: 2\n", 2, "but found another document"),
            ("OUTPUT_DIR: 'runs\n", 2, "found unexpected end of stream"),
        ],
    )
    def test_a_slip_of_yaml_names_the_line(self, write, text, line, reason):
        path = write(text)
        assert refused(path) == f"{path}:{line}: not YAML ({reason})"

    def test_a_character_yaml_has_not(self, write):
        path = write("OUTPUT_DIR: \x01\n")
        message = refused(path)
        assert message.startswith(f"{path}: not YAML (unacceptable character #x0001")

    def test_brackets_a_thousand_deep(self, write):
        path = write("OUTPUT_DIR: " + "[" * 5000)
        assert refused(path) == f"{path}: not YAML (maximum recursion depth exceeded)"

    @pytest.mark.parametrize("text", ["- RNG_SEED\n- 1\n", "train on Kinetics\n", "3\n"])
    def test_yaml_that_is_no_table(self, write, text):
        path = write(text)
        expected = f"{path}:1: a config is made of `KEY: value` lines; see configs/Kinetics for examples"
        assert refused(path) == expected

    @pytest.mark.parametrize("text", ["RNG_SEED: 1\n[1, 2]: 3\n", "RNG_SEED: 1\n? {a: 1}\n: 3\n"])
    def test_a_list_or_table_as_a_key(self, write, text):
        path = write(text)
        assert refused(path) == f"{path}:2: a list or mapping stands where the name of a key belongs"

    def test_a_key_given_twice(self, write):
        path = write("TRAIN:\n  BATCH_SIZE: 4\n  EVAL_PERIOD: 1\n  BATCH_SIZE: 8\n")
        assert refused(path) == f"{path}:4: TRAIN.BATCH_SIZE stands already on line 2; keep one of them"

    def test_a_key_given_twice_in_two_ways_of_writing(self, write):
        path = write("TRAIN:\n  BATCH_SIZE: 4\nRNG_SEED: 1\nTRAIN.BATCH_SIZE: 8\n")
        assert refused(path) == f"{path}:4: TRAIN.BATCH_SIZE stands already on line 2; keep one of them"

    def test_a_key_given_twice_with_one_value_is_that_value(self, write):
        text = "SOLVER:\n  COSINE_AFTER_WARMUP: False\n  MOMENTUM: 0.8\n  COSINE_AFTER_WARMUP: False\nRNG_SEED: 3\n"
        path = write(text + "DATA: {MEAN: [0.1, 0.2, 0.3]}\nDATA.MEAN: [0.1, 0.2, 0.3]\n")
        cfg = load_config(path)
        assert (cfg.SOLVER.COSINE_AFTER_WARMUP, cfg.SOLVER.MOMENTUM, cfg.RNG_SEED) == (False, 0.8, 3)
        assert cfg.DATA.MEAN == [0.1, 0.2, 0.3]
        (source,) = (c.source for c in changes(cfg) if c.key == "SOLVER.COSINE_AFTER_WARMUP")
        assert source == f"{path}:2"

    @pytest.mark.parametrize(("first", "second"), [("4", "8"), ("1", "True"), ("4", "4.0"), ("[4]", "4"), ("x", "X")])
    def test_values_that_only_resemble_each_other_are_two(self, write, first, second):
        path = write(f"TRAIN:\n  BATCH_SIZE: {first}\n  BATCH_SIZE: {second}\n")
        assert refused(path) == f"{path}:3: TRAIN.BATCH_SIZE stands already on line 2; keep one of them"

    def test_an_unknown_key_given_twice_is_unknown(self, write):
        path = write("TRAIN:\n  BATCHSIZE: 4\n  BATCHSIZE: 4\n")
        assert refused(path).startswith(f"{path}:2: unknown key TRAIN.BATCHSIZE;")

    def test_a_base_named_twice_is_read_once(self, write):
        write("RNG_SEED: 4\n", "root.yaml")
        assert load_config(write("_BASE_: root.yaml\nLOG_PERIOD: 1\n_BASE_: root.yaml\n")).RNG_SEED == 4

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            (
                "!!python/object/apply:os.getcwd []",
                "could not determine a constructor for the tag 'tag:yaml.org,2002:python/object/apply:os.getcwd'",
            ),
            ("!!int seven", "invalid literal for int() with base 10: 'seven'"),
            ("2024-13-01", "month must be in 1..12"),
            ("&a [*a]", "found unconstructable recursive node"),
            ("{[1]: 2}", "found unhashable key"),
        ],
    )
    def test_values_beyond_plain_yaml(self, write, value, reason):
        path = write(f"LOG_PERIOD: 1\nRNG_SEED: {value}\n")
        assert refused(path) == f"{path}:2: RNG_SEED has a value that is not plain YAML ({reason})"


class TestUnknownKeys:
    def test_in_a_file(self, write):
        path = write("TRAIN:\n  BATCHSIZE: 4\n")
        message = refused(path)
        assert message.startswith(f"{path}:2: unknown key TRAIN.BATCHSIZE; did you mean TRAIN.BATCH_SIZE")
        assert message.endswith("? All keys: docs/CONFIG.md")

    def test_on_a_command_line(self):
        message = refused(None, "TRAIN.BATCHSIZE", "4")
        assert message.startswith("command line: unknown key TRAIN.BATCHSIZE; did you mean TRAIN.BATCH_SIZE")

    def test_nothing_near(self):
        expected = "command line: unknown key QQQQ.ZZZZ; no known name is near. All keys: docs/CONFIG.md"
        assert refused(None, "QQQQ.ZZZZ", "4") == expected

    @pytest.mark.parametrize(
        ("name", "meant"),
        [
            ("NUM_FRAMES", "DATA.NUM_FRAMES"),
            ("num_frames", "DATA.NUM_FRAMES"),
            ("TRAIN.NUM_FRAMES", "DATA.NUM_FRAMES"),
            ("train.batch_size", "TRAIN.BATCH_SIZE"),
            ("TRAIN.BASE_LR", "SOLVER.BASE_LR"),
            ("SOLVER.CHECKPOINT_NUM", "MODEL.CHECKPOINT_NUM"),
            ("DATA.RNG_SEED", "RNG_SEED"),
            ("TRAIN.MEAN", "DATA.MEAN"),
        ],
    )
    def test_a_right_key_in_the_wrong_section_is_found(self, name, meant):
        assert meant in refused(None, name, "4").split("did you mean ")[1].split("?")[0].split(" or ")

    @given(st.sampled_from(sorted(KEYS)), st.data())
    def test_a_key_with_one_letter_lost_is_among_the_hints(self, name, data):
        at = data.draw(st.integers(0, len(name) - 1))
        slip = name[:at] + name[at + 1 :]
        if slip in KEYS or len(name) < 6:
            return
        assert name in refused(None, slip, "4").split("did you mean ")[1].split("?")[0].split(" or ")

    @pytest.mark.parametrize("text", ["TRIAN:\n  BATCH_SIZE: 4\n", "TRIAN: {}\n", "TRIAN: 3\n"])
    def test_an_unknown_section(self, write, text):
        path = write(text)
        message = refused(path)
        assert message.startswith(f"{path}:1: unknown key TRIAN; did you mean TRAIN")

    def test_a_section_in_place_of_a_key(self):
        expected = "command line: BN is a section, not a key; its keys: "
        expected += "BN.USE_PRECISE_STATS, BN.NUM_BATCHES_PRECISE, BN.NORM_TYPE, BN.WEIGHT_DECAY"
        assert refused(None, "BN", "4") == expected

    def test_a_long_section_is_cut(self, write):
        path = write("DATA: 4\n")
        message = refused(path)
        assert message.startswith(f"{path}:1: DATA is a section, not a key; its keys: DATA.PATH_TO_DATA_DIR, ")
        assert message.endswith(", ...")
        assert message.count("DATA.") == 6

    def test_a_merge_key_of_yaml_is_no_key(self, write):
        path = write("TRAIN:\n  <<: {BATCH_SIZE: 4}\n")
        assert refused(path).startswith(f"{path}:2: unknown key TRAIN.<<;")


class TestValues:
    @pytest.mark.parametrize(
        ("key", "value", "allowed"),
        [
            ("DATA.NUM_FRAMES", "0", "whole number >= 1 (frames)"),
            ("DATA.NUM_FRAMES", "2.5", "whole number >= 1 (frames)"),
            ("RNG_SEED", "-1", "whole number >= 0"),
            ("TRAIN.ENABLE", "1", "True or False"),
            ("SOLVER.BASE_LR", ".nan", "number >= 0"),
            ("DATA.DECODING_BACKEND", "opencv", "one of auto, pyav, decord, torchcodec"),
            ("UNIFORMER.LOCAL_KERNEL", "[5, 5]", "list of 3, each a whole number >= 1 (positions)"),
            ("UNIFORMER.LOCAL_KERNEL", "5", "list of 3, each a whole number >= 1 (positions)"),
            ("SOLVER.CLIP_GRAD_L2NORM", "none at all", "null or number >= 1e-12"),
            ("DATA_LOADER.NUM_WORKERS", "many", "auto or whole number >= 0 (processes)"),
            ("OUTPUT_DIR", "[a]", "string"),
            ("MODEL.NUM_CLASSES", "", "auto or whole number >= 1 (classes)"),
        ],
    )
    def test_a_wrong_value_in_a_file_is_told_with_line_value_and_what_is_allowed(self, write, key, value, allowed):
        path = write(f"# first line\n{key}: {value}\n")
        shown = repr(yaml.safe_load(value) if value else None)
        assert refused(path) == f"{path}:2: {key} is {shown}; allowed: {allowed}"

    def test_a_wrong_value_on_a_command_line_is_shown_as_it_was_typed(self):
        expected = "command line: DATA.NUM_FRAMES is 'eight'; allowed: whole number >= 1 (frames)"
        assert refused(None, "DATA.NUM_FRAMES", "eight") == expected

    @pytest.mark.parametrize("sign", ["", "-"])
    def test_a_number_beyond_all_floats(self, write, sign):
        path = write(f"SOLVER.BASE_LR: {sign}1{'0' * 400}\n")
        assert refused(path).endswith("; allowed: number >= 0")
        assert refused(None, "SOLVER.BASE_LR", f"{sign}1{'0' * 400}").endswith("; allowed: number >= 0")

    def test_a_table_in_place_of_a_value(self, write):
        path = write("DATA:\n  NUM_FRAMES: {a: 1}\n")
        assert refused(path) == f"{path}:2: DATA.NUM_FRAMES is {{'a': 1}}; allowed: whole number >= 1 (frames)"

    def test_a_file_writes_1e_4_as_people_do(self, write):
        assert isinstance(yaml.safe_load("1e-4"), str)  # which is why kinds read text
        cfg = load_config(write("SOLVER:\n  BASE_LR: 1e-4\n  COSINE_END_LR: 2.5e-7\n"))
        assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.COSINE_END_LR) == (1e-4, 2.5e-7)

    @pytest.mark.parametrize("text", ["007", "2024-11-01", "2024-13-01", "12:30:45", "1_000", "0x1F", "1.50", "1e5"])
    def test_bare_numbers_and_dates_stay_as_written_where_text_is_wanted(self, write, text):
        assert text == load_config(write(f"OUTPUT_DIR: {text} # a name\n")).OUTPUT_DIR
        assert cli("OUTPUT_DIR", text) == text

    def test_an_anchor_of_yaml_serves_two_keys(self, write):
        cfg = load_config(write("DATA: {MEAN: &m [0.1, 0.2, 0.3], STD: *m}\n"))
        assert cfg.DATA.MEAN == cfg.DATA.STD == [0.1, 0.2, 0.3]

    def test_every_contradiction_stops_the_load(self, write):
        path = write("TRAIN: {ENABLE: False}\n")
        assert "TRAIN.ENABLE and TEST.ENABLE are both False" in refused(path, "TEST.ENABLE", "False")


class TestCommandLine:
    @pytest.mark.parametrize(
        "text", ["(5,5,5)", "[5, 5, 5]", "[5,5,5]", "5,5,5", "(5.0, 5, '5')", " [5, 5, 5] ", "['5', 5, 5]"]
    )
    def test_lists(self, text):
        assert cli("UNIFORMER.LOCAL_KERNEL", text) == [5, 5, 5]

    @pytest.mark.parametrize(
        ("key", "text", "value"),
        [
            ("SOLVER.CLIP_GRAD_L2NORM", "None", None),
            ("SOLVER.CLIP_GRAD_L2NORM", "null", None),
            ("SOLVER.CLIP_GRAD_L2NORM", "~", None),
            ("SOLVER.CLIP_GRAD_L2NORM", "1", 1.0),
            ("NUM_GPUS", "-1", -1),
            ("NUM_GPUS", "1e1", 10),
            ("NUM_GPUS", "0x10", 16),
            ("SOLVER.BASE_LR", "1e-4", 1e-4),
            ("TRAIN.ENABLE", "false", False),
            ("TRAIN.MIXED_PRECISION", "True", True),
            ("TRAIN.MIXED_PRECISION", "BF16", "bf16"),
            ("TRAIN.CHECKPOINT_INFLATE", "", ""),
            ("DATA_LOADER.NUM_WORKERS", "auto", "auto"),
            ("DATA_LOADER.NUM_WORKERS", "0", 0),
            ("DATA.TRAIN_JITTER_SCALES_RELATIVE", "[]", []),
            ("SOLVER.LRS", "[1, 1e-1]", [1.0, 0.1]),
            ("SOLVER.LRS", "[1, 1.0e-1,]", [1.0, 0.1]),
            ("OUTPUT_DIR", "runs/a b", "runs/a b"),
            ("OUTPUT_DIR", "'quoted'", "'quoted'"),
            ("OUTPUT_DIR", "None", "None"),
            ("OUTPUT_DIR", "12", "12"),
            ("OUTPUT_DIR", "[x]", "[x]"),
            ("OUTPUT_DIR", "{[1]: 2}", "{[1]: 2}"),
            ("OUTPUT_DIR", "!!int x", "!!int x"),
            ("DATA.PATH_LABEL_SEPARATOR", ",", ","),
            ("DATA.PATH_LABEL_SEPARATOR", "\t", "\t"),
            ("DATA.PATH_LABEL_SEPARATOR", " ", " "),
        ],
    )
    def test_readings(self, key, text, value):
        assert cli(key, text) == value
        assert type(cli(key, text)) is type(value)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[",
            "(5,5",
            "[5, 5, 5",
            "{[1]: 2}",
            "2024-13-01",
            "!!int x",
            "*x",
            "\x00",
            "'",
            "[" * 300,
            "[010, 5, 5]",
            "5 5 5",
        ],
    )
    def test_words_with_no_reading_are_refused_in_one_line(self, text):
        message = refused(None, "UNIFORMER.LOCAL_KERNEL", text)
        assert message.startswith("command line: UNIFORMER.LOCAL_KERNEL is ")
        assert message.endswith("; allowed: list of 3, each a whole number >= 1 (positions)")

    @given(st.text(max_size=30), st.sampled_from(sorted(KEYS)))
    def test_any_word_is_taken_or_refused_in_one_line(self, text, key):
        try:
            cfg = load_config(None, [key, text])
        except ConfigError as error:
            assert key in str(error)
            assert len(str(error).splitlines()) == 1
        else:
            assert get_value(cfg, key) == KEYS[key].kind.parse(get_value(cfg, key))

    @pytest.mark.parametrize("text", ["12:30", "1 2", "eight", "None", "[8]", "8 frames", "０x8"])
    def test_words_that_are_no_whole_number(self, text):
        assert refused(None, "DATA.NUM_FRAMES", text).startswith(f"command line: DATA.NUM_FRAMES is {text!r};")

    def test_leading_zeros_are_of_no_account(self):
        assert cli("DATA.NUM_FRAMES", "010") == 10

    def test_a_key_without_a_value(self):
        expected = (
            "command line: settings are KEY VALUE pairs, but 'RNG_SEED' has no partner; "
            "for example: TRAIN.BATCH_SIZE 8 NUM_GPUS 0"
        )
        assert refused(None, "TRAIN.BATCH_SIZE", "4", "RNG_SEED") == expected

    def test_equals_signs_are_no_pairs(self):
        assert "'TRAIN.BATCH_SIZE=4' has no partner" in refused(None, "TRAIN.BATCH_SIZE=4")

    def test_values_need_not_be_text(self):
        assert load_config(None, ["UNIFORMER.DEPTH", [1, 1, 1, 1], "RNG_SEED", 5]).UNIFORMER.DEPTH == [1, 1, 1, 1]

    def test_the_base_key_is_of_files_alone(self):
        assert refused(None, "_BASE_", "a.yaml").startswith("command line: unknown key _BASE_;")


def values_of(kind) -> st.SearchStrategy:
    """Return a strategy of values that ``kind`` allows."""
    if isinstance(kind, Bool):
        return st.booleans()
    if isinstance(kind, Int):
        low = kind.low if kind.low is not None else -(10**6)
        return st.integers(low, kind.high if kind.high is not None else low + 10**6)
    if isinstance(kind, Number):
        return st.floats(kind.low if kind.low is not None else -1e9, kind.high if kind.high is not None else 1e9)
    if isinstance(kind, Text):
        return st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
    if isinstance(kind, Choice):
        return st.sampled_from(kind.values)
    if isinstance(kind, List):
        length = {"max_size": 4} if kind.length is None else {"min_size": kind.length, "max_size": kind.length}
        return st.lists(values_of(kind.inner), **length)
    if isinstance(kind, Maybe):
        return st.none() | values_of(kind.inner)
    if isinstance(kind, Either):
        return values_of(kind.first) | values_of(kind.second)
    assert isinstance(kind, OrWord)
    return st.just(kind.word) | values_of(kind.inner)


class TestDump:
    @given(st.data())
    def test_what_is_dumped_is_read_back_equal(self, tmp_path_factory, data):
        names = data.draw(st.lists(st.sampled_from(sorted(KEYS)), unique=True, max_size=6))
        overrides = [part for name in names for part in (name, data.draw(values_of(KEYS[name].kind), name))]
        try:
            cfg = load_config(None, overrides)
        except ConfigError:  # a contradiction between the keys drawn, or an empty separator
            return
        path = tmp_path_factory.mktemp("dump") / "config.yaml"
        path.write_text(dump(cfg), encoding="utf-8")
        back = load_config(path)
        assert back == cfg
        assert [(c.key, c.value) for c in changes(back)] == [(c.key, c.value) for c in changes(cfg)]
        for name in names:
            assert type(get_value(back, name)) is type(get_value(cfg, name))

    @pytest.mark.parametrize(
        "word", ["null", "true", "1e5", "007", "2024-11-01", " ", "\t", "~", "", "a: b", "#", "'", "\r\n", "\x85"]
    )
    def test_text_that_yaml_would_take_for_something_else(self, tmp_path, word):
        cfg = load_config(None, ["OUTPUT_DIR", word])
        (tmp_path / "c.yaml").write_text(dump(cfg), encoding="utf-8")
        assert word == load_config(tmp_path / "c.yaml").OUTPUT_DIR

    def test_it_has_every_key_once_in_order_and_nothing_else(self):
        tree = yaml.safe_load(dump(load_config()))
        names = [
            f"{s}.{k}" if isinstance(v, dict) else s
            for s, v in tree.items()
            for k in (v if isinstance(v, dict) else [0])
        ]
        assert names == list(KEYS)
        assert "_provenance" not in dump(load_config(None, ["RNG_SEED", "1"]))

    def test_lists_stand_on_one_line(self):
        assert "  DEPTH: [3, 4, 8, 3]\n" in dump(load_config())


class TestDifferences:
    def test_names_old_and_new_in_the_order_of_the_table(self):
        old = dump(load_config(None, ["TRAIN.BATCH_SIZE", "8", "RNG_SEED", "3", "UNIFORMER.DEPTH", "[1, 1, 1, 1]"]))
        new = load_config(None, ["TRAIN.BATCH_SIZE", "8", "UNIFORMER.DEPTH", "[1, 1, 2, 1]"])
        assert differences(new, old) == ["RNG_SEED: 3 -> 0", "UNIFORMER.DEPTH: [1, 1, 1, 1] -> [1, 1, 2, 1]"]

    def test_the_same_configuration_has_none(self):
        cfg = load_config(None, ["SOLVER.CLIP_GRAD_L2NORM", "20", "TRAIN.CHECKPOINT_INFLATE", "True"])
        assert differences(cfg, dump(cfg)) == []

    @pytest.mark.parametrize("text", ["", "a list:\n- 1", "{", "TRAIN: 3", "OTHER: {KEY: 1}", "- 1"])
    def test_what_is_no_dump_has_none(self, text):
        assert differences(load_config(), text) == []
