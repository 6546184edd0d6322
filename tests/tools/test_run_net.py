"""The main command line: examples, exit codes, and one line for every mistake."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers import write_text
from tests.tools.loading import load_tool
from tests.toy import entries, restoring_logger, rewrite

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "run_net.py"

pytestmark = pytest.mark.usefixtures("logger_restored")


@pytest.fixture(scope="module")
def tool():
    return load_tool("run_net")


@pytest.fixture
def run(tool, toy_set, tmp_path, capsys):
    """Return a function that runs the tool here with words added and gives (exit code, stdout, stderr)."""

    def call(*words, cfg=None, data=toy_set, output=tmp_path / "out"):
        capsys.readouterr()
        code = tool.main(
            [
                *("--cfg", str(cfg or toy_set / "toy.yaml"), "OUTPUT_DIR", str(output)),
                *(("DATA.PATH_TO_DATA_DIR", str(data)) if data is not None else ()),
                *map(str, words),
            ]
        )
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def mistake(run):
    """Return a function like ``run`` that checks for exit code 2 and one line, and gives the line after ``error: ``."""

    def call(*words, **options):
        code, _, errors = run(*words, **options)
        assert code == 2
        assert re.fullmatch(r"error: [^\n]+\n", errors), errors
        assert "Traceback" not in errors
        return errors.removeprefix("error: ").rstrip("\n")

    return call


def process(*words, cwd):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=120
    )


# -------------------------------------------------------------------------------------------------------- as a user


def test_help_shows_examples_that_run(tool, tmp_path):
    done = process("--help", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    joined = done.stdout.replace("\\\n", "")
    commands = re.findall(r"python tools/run_net.py (.+)", joined)
    assert len(commands) >= 4
    from uniformer_video.config import load_config

    for command in commands:
        args = tool.parse_args(command.split())
        assert (ROOT / args.cfg).is_file()
        load_config(ROOT / args.cfg, args.opts)  # every key is known, every value allowed
    for word in ("--cfg FILE", "--num_shards N", "--shard_id I", "--init_method URL", "KEY VALUE", "make demo"):
        assert word in done.stdout
    told = " ".join(done.stdout.split())
    assert re.search(r"Exit codes: 0 .*; 1 .*; 2 .*; 74 .*75 .*; 130 ", told)
    assert "torchrun --nnodes=2" in told and "srun --ntasks-per-node" in told and "tools/submit.py" in told


def test_a_run_from_another_folder(toy_set, tmp_path):
    # Relative paths of the command line are relative to where it is given.
    shutil.copytree(toy_set, tmp_path / "set")
    words = ("--cfg", "set/toy.yaml", "DATA.PATH_TO_DATA_DIR", "set", "OUTPUT_DIR", "out", "SOLVER.MAX_EPOCH", 1)
    done = process(*words, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "json_stats" not in done.stdout
    assert re.search(r"test: top-1 [\d.]+ %  mean class accuracy [\d.]+ %", done.stdout)
    assert (tmp_path / "out" / "test" / "predictions.csv").is_file()
    assert (tmp_path / "out" / "curves.png").is_file()


def test_a_mistake_as_a_user_sees_it(toy_set, tmp_path):
    done = process("--cfg", toy_set / "toy.yaml", "OUTPUT_DIR", "out", "DATA.PATH_TO_DATA_DIR", "nowhere", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == (
        "error: DATA.PATH_TO_DATA_DIR 'nowhere' is no folder; set it to the folder that holds train.csv, val.csv and "
        "test.csv, such as tools/prepare_dataset.py makes of your videos (`make demo` shows the toolkit on generated "
        "ones)\n"
    )


def test_missing_test_videos(run, toy_set, tmp_path, broken_video):
    data = rewrite(toy_set, tmp_path / "set", test=[f"{broken_video} 0", *entries(toy_set, "test")])
    code, out, errors = run("TRAIN.ENABLE", "False", data=data)
    assert (code, errors) == (1, "")
    assert f"  {broken_video}: " in out
    assert run("TRAIN.ENABLE", "False", "TEST.ALLOW_MISSING", "True", data=data)[0] == 0


def test_options_and_settings_in_any_order(tool):
    for words in (
        ["A", "1", "--cfg", "f", "B", "-1", "--num_shards", "2"],
        ["--cfg", "f", "--num_shards", "2", "A", "1", "B", "-1"],
        ["--num_shards", "2", "A", "1", "B", "-1", "--cfg_file", "f"],
    ):
        args = tool.parse_args(words)
        assert (args.cfg, args.num_shards, args.shard_id, args.init_method) == ("f", 2, None, "")
        assert args.opts == ["A", "1", "B", "-1"]


def test_shards_reach_the_configuration(mistake):
    assert mistake("--num_shards", 2) == (
        "NUM_SHARDS is 2, but --init_method does not say where they meet; "
        "give every machine the same tcp://HOST_OF_SHARD_0:PORT"
    )
    assert mistake("--num_shards", 2, "--shard_id", 2, "--init_method", "tcp://h:1").startswith(
        "SHARD_ID is 2 of NUM_SHARDS 2;"
    )


@pytest.mark.parametrize("place", ["tcp://10.0.0.1", "tcp://10.0.0.1:", "tcp://:9999", "host:9999", "tcp://h:1/x"])
def test_a_meeting_place_that_is_none(mistake, tmp_path, place):
    assert mistake("--num_shards", 2, "--init_method", place) == (
        f"--init_method {place!r} is no meeting place; it looks like tcp://10.0.0.1:9999"
    )
    assert not (tmp_path / "out").exists()


def test_a_meeting_place_that_is_taken(mistake, tmp_path):
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", 0))
        taker.listen()
        place = f"tcp://127.0.0.1:{taker.getsockname()[1]}"
        text = mistake("--num_shards", 2, "--shard_id", 0, "--init_method", place)
    assert text.startswith(f"process 0 cannot meet the others at {place}: port ")
    assert "--init_method" in text and "--shard_id" in text


def test_ctrl_c_is_no_traceback(run, monkeypatch):
    from uniformer_video.engine import launch

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(launch, "run", interrupted)
    code, _, errors = run()
    assert (code, errors) == (130, "interrupted\n")


def test_a_defect_of_ours_shows_itself(run, monkeypatch):
    from uniformer_video.engine import launch

    def defect(*_):
        raise RuntimeError("ours")

    monkeypatch.setattr(launch, "run", defect)
    with pytest.raises(RuntimeError, match="ours"):
        run()


# ---------------------------------------------------------------------------------------------------- configuration


def test_a_config_that_is_missing(mistake, tmp_path):
    path = tmp_path / "none.yaml"
    assert mistake(cfg=path) == f"config {path}: no such file; see the folder configs/"
    (tmp_path / "nine.yaml").touch()
    assert mistake(cfg=path).endswith(f"did you mean {tmp_path / 'nine.yaml'}?")


def test_no_config_at_all(tool, capsys):
    with pytest.raises(SystemExit) as ended:
        tool.main(["TRAIN.BATCH_SIZE", "4"])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: the following arguments are required: --cfg/--cfg_file; see ")


def test_an_unknown_key(mistake, tmp_path):
    text = mistake("TRAIN.BATCHSIZE", 4)
    assert text.startswith("command line: unknown key TRAIN.BATCHSIZE; did you mean TRAIN.BATCH_SIZE")
    path = tmp_path / "c.yaml"
    path.write_text("NUM_GPUS: 0\nTRAIN:\n  BATCH_SIZES: 4\n")
    assert mistake(cfg=path).startswith(f"{path}:3: unknown key TRAIN.BATCH_SIZES; did you mean TRAIN.BATCH_SIZE")


def test_a_wrong_type(mistake, tmp_path):
    assert mistake("TRAIN.BATCH_SIZE", "four") == (
        "command line: TRAIN.BATCH_SIZE is 'four'; allowed: whole number >= 1 (videos)"
    )
    path = tmp_path / "c.yaml"
    path.write_text("TRAIN:\n  BATCH_SIZE: [4]\n")
    assert mistake(cfg=path) == f"{path}:2: TRAIN.BATCH_SIZE is [4]; allowed: whole number >= 1 (videos)"


def test_a_setting_without_a_value(mistake):
    assert "'TRAIN.BATCH_SIZE' has no partner" in mistake("TRAIN.BATCH_SIZE")


def test_more_gpus_than_there_are(mistake):
    there = torch.cuda.device_count()
    assert mistake("NUM_GPUS", 99).startswith(
        f"NUM_GPUS is 99, but this machine has {there} GPUs; set NUM_GPUS {there}"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("gpus", [0, -1])
def test_fp16_on_a_cpu(mistake, gpus):
    text = mistake("TRAIN.MIXED_PRECISION", "fp16", "NUM_GPUS", gpus)
    assert text.startswith("TRAIN.MIXED_PRECISION fp16 needs a GPU") and "bf16 or False" in text


def test_an_output_folder_that_cannot_be_written(mistake, tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("x")
    assert mistake(output=blocker / "out") == (
        f"OUTPUT_DIR {str(blocker / 'out')!r} cannot be written (Not a directory); set OUTPUT_DIR to a folder of yours"
    )
    assert mistake(output=blocker) == (
        f"OUTPUT_DIR {str(blocker)!r} cannot be written (File exists); set OUTPUT_DIR to a folder of yours"
    )


@pytest.mark.parametrize(
    ("name", "words"), [("checkpoints", ()), ("checkpoints", ("TEST.ENABLE", "False")), ("test", ()),
                        ("test", ("TRAIN.ENABLE", "False"))]
)  # fmt: skip
def test_a_file_in_the_place_of_a_folder(mistake, tmp_path, name, words):
    blocker = tmp_path / "out" / name
    blocker.parent.mkdir()
    blocker.write_text("x")
    # Also where another mistake would be met later: nothing has been read yet.
    for data in ({}, {"data": tmp_path / "nowhere"}):
        assert mistake(*words, **data) == (
            f"OUTPUT_DIR {str(blocker)!r} cannot be written (File exists); set OUTPUT_DIR to a folder of yours"
        )
    assert blocker.read_text() == "x"


def test_a_file_where_no_folder_is_needed(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "checkpoints").write_text("x")
    assert run("TRAIN.ENABLE", "False")[0] == 0


def test_a_data_set_that_is_unknown(mistake):
    assert mistake("TEST.DATASET", "kinetic").startswith(
        "unknown dataset 'kinetic' (TEST.DATASET); known: hmdb, hmdb51, kinetics, kinetics_sparse, ssv1, ssv2, sth, ucf"
    )


def test_a_network_that_is_unknown(mistake):
    assert mistake("MODEL.MODEL_NAME", "Uniforner").startswith(
        "unknown model 'Uniforner' (MODEL.MODEL_NAME); known: Uniformer"
    )


# ------------------------------------------------------------------------------------------------------------- data


def test_no_data_folder(mistake, tmp_path):
    text = mistake(data=None)
    assert text.startswith("DATA.PATH_TO_DATA_DIR is not set;") and "`make demo`" in text
    text = mistake(data=tmp_path / "nowhere")
    assert "is no folder" in text and "`make demo`" in text


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], ": an empty list; write one with a `path label` on each line"),
        (["", "a.mp4"], ":2: no label after a ' ' in 'a.mp4'; a list is `path label` lines"),
        (["path label", "a.mp4 1"], ":1: 'path label' looks like a header; remove it"),
        (["path,label", "a.mp4,1"], ":1: 'path,label' looks like a header; remove it (a list is `path label` lines"),
        (["a.mp4 3"], ":1: label 3 is outside 0 to 2 (MODEL.NUM_CLASSES 3); correct the one or the other"),
        (["a.mp4 x1"], ":1: label 'x1' is no whole number"),
        (["a.mp4,1"], ":1: no label after a ' ' in 'a.mp4,1'; if ',' separates them, set DATA.PATH_LABEL_SEPARATOR"),
        (["gone.mp4 1"], ": none of its first 1 videos exists"),
    ],
)
def test_wrong_lists(mistake, toy_set, tmp_path, split, lines, message):
    data = rewrite(toy_set, tmp_path / "set", **{split: lines})
    assert mistake(data=data).startswith(f"{data / f'{split}.csv'}{message}")
    assert sorted(str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*")) == [
        *("checkpoints", "stdout.log", "test"),
    ]


def test_a_list_that_is_missing(mistake, toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set")
    (data / "val.csv").unlink()
    assert mistake(data=data).startswith(f"{data}: no list for val; looked for val.csv, ")


def test_all_labels_the_same_in_a_test_list_is_a_warning(run, toy_set, tmp_path):
    lines = entries(toy_set, "test")
    data = rewrite(toy_set, tmp_path / "set", test=[lines[0], lines[3]])
    code, out, errors = run("TRAIN.ENABLE", "False", data=data)
    assert (code, errors) == (0, "")
    assert f"{data / 'test.csv'}: all 2 labels are 0; the accuracy will say little" in out


def test_a_training_list_shorter_than_a_batch(mistake):
    assert mistake("TRAIN.BATCH_SIZE", 13) == (
        "the training list has 12 videos, fewer than a step takes (TRAIN.BATCH_SIZE 13); set TRAIN.BATCH_SIZE 12 or "
        "less (and SOLVER.BASE_LR in proportion)"
    )


@pytest.mark.parametrize("workers", [0, 1])
def test_no_training_video_can_be_read(mistake, toy_set, tmp_path, workers):
    names = [write_text(tmp_path / f"b{n}.mp4") for n in range(4)]
    data = rewrite(toy_set, tmp_path / "set", train=[f"{name} 1" for name in names])
    text = mistake("DATA_LOADER.NUM_WORKERS", workers, data=data)
    assert text.startswith("none of the 4 videos of the training list can be read, for example ")


@pytest.mark.parametrize("workers", [0, 1])
def test_decord_that_is_not_installed(mistake, monkeypatch, workers):
    monkeypatch.setitem(sys.modules, "decord", None)  # makes its import fail, also in a forked worker
    text = mistake("DATA.DECODING_BACKEND", "decord", "DATA_LOADER.NUM_WORKERS", workers)
    assert "pip install decord" in text


# ---------------------------------------------------------------------------------------------------------- weights


@pytest.fixture(scope="module")
def finished(tool, toy_set, tmp_path_factory):
    """Return the OUTPUT_DIR of a run of one epoch."""
    output = tmp_path_factory.mktemp("finished") / "out"
    words = ("DATA.PATH_TO_DATA_DIR", toy_set, "OUTPUT_DIR", output, "SOLVER.MAX_EPOCH", 1, "TEST.ENABLE", False)
    with restoring_logger():
        assert tool.main(["--cfg", str(toy_set / "toy.yaml"), *map(str, words)]) == 0
    return output


TRAIN_FILE, TEST_FILE = ("TRAIN.CHECKPOINT_FILE_PATH",), ("TRAIN.ENABLE", "False", "TEST.CHECKPOINT_FILE_PATH")


@pytest.mark.parametrize("key", [TRAIN_FILE, TEST_FILE])
def test_weight_files_that_cannot_be_read(mistake, finished, tmp_path, key):
    good = (finished / "checkpoints" / "checkpoint_epoch_00001.pyth").read_bytes()
    contents = {
        "text.pyth": b"<html>not found</html>\n",
        "empty.pyth": b"",
        "cut.pyth": good[: len(good) // 2],
    }
    for name, content in contents.items():
        path = tmp_path / name
        path.write_bytes(content)
        assert str(path) in mistake(*key, path)
    assert mistake(*key, tmp_path / "none.pyth").startswith(f"there is no weight file {str(tmp_path / 'none.pyth')!r}")


class Malice:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("key", [TRAIN_FILE, TEST_FILE])
def test_a_weight_file_with_code_in_it_is_not_run(mistake, tmp_path, key):
    path, proof = tmp_path / "w.pyth", tmp_path / "ran"
    torch.save({"model_state": {"head.weight": Malice(proof)}}, path)
    assert "was not loaded, because building it could run code" in mistake(*key, path)
    assert not proof.exists()


@pytest.mark.parametrize("key", [TRAIN_FILE, TEST_FILE])
def test_weights_of_another_network(mistake, finished, tmp_path, key):
    path = finished / "checkpoints" / "checkpoint_epoch_00001.pyth"
    text = mistake(*key, path, "UNIFORMER.LOCAL_KERNEL", "[5, 5, 5]")
    assert "the local kernel is 3x5x5 in the file and 5x5x5 here: set UNIFORMER.LOCAL_KERNEL [3, 5, 5]" in text
    other = tmp_path / "resnet.pyth"
    torch.save({"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3), "fc.bias": torch.zeros(9)}, other)
    assert "layer1.0.conv1.weight" in mistake(*key, other)


@pytest.mark.parametrize(
    "words",
    [
        ("UNIFORMER.DEPTH", "[2, 1, 1, 1]"),
        ("UNIFORMER.EMBED_DIM", "[16, 16, 32, 48]"),
        ("SOLVER.OPTIMIZING_METHOD", "sgd"),
    ],
)
def test_a_resume_of_another_run(mistake, finished, tmp_path, words):
    shutil.copytree(finished, tmp_path / "out")
    text = mistake(*words, "SOLVER.MAX_EPOCH", 2, "TEST.ENABLE", "False")
    assert text.startswith(f"{tmp_path}/out/checkpoints/checkpoint_epoch_00001.pyth cannot be resumed, ")
    assert text.endswith("; set OUTPUT_DIR to a new folder, or the configuration to that of the run")


def test_auto_resume_off_in_the_folder_of_a_run(mistake, finished, tmp_path):
    shutil.copytree(finished, tmp_path / "out")
    assert mistake("TRAIN.AUTO_RESUME", "False", "TEST.ENABLE", "False") == (
        f"TRAIN.AUTO_RESUME is False, but OUTPUT_DIR {str(tmp_path / 'out')!r} holds checkpoint_epoch_00001.pyth of an "
        "earlier run, which would be mixed up with this one; set OUTPUT_DIR to a new folder"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("UNIFORMER.DEPTH", "[2, 1, 1, 1]"),
        ("TRAIN.AUTO_RESUME", "False"),
        ("TRAIN.BATCH_SIZE", 13),
        ("DATA.PATH_TO_DATA_DIR", "nowhere"),
        ("TEST.CHECKPOINT_FILE_PATH", "nowhere.pyth"),
        ("NUM_GPUS", 99),
    ],
)
def test_a_mistake_leaves_the_configuration_of_the_run_that_lies_there(mistake, finished, tmp_path, words):
    shutil.copytree(finished, tmp_path / "out")
    config = tmp_path / "out" / "config.yaml"
    before = config.read_bytes()
    mistake(*words)
    assert config.read_bytes() == before
    assert sorted(os.listdir(tmp_path / "out" / "checkpoints")) == sorted(os.listdir(finished / "checkpoints"))


def test_weights_to_test_are_tried_before_the_training(mistake, finished, tmp_path):
    path = finished / "checkpoints" / "checkpoint_epoch_00001.pyth"
    text = mistake("TEST.CHECKPOINT_FILE_PATH", path, "UNIFORMER.DEPTH", "[2, 1, 1, 1]")
    assert text.startswith(f"weight file {str(path)!r} does not fit") and "UNIFORMER.DEPTH" in text
    assert os.listdir(tmp_path / "out" / "checkpoints") == []
    assert "epoch 1/" not in (tmp_path / "out" / "stdout.log").read_text()


@pytest.mark.parametrize("name", ["epoch", "optimizer_state", "history"])
def test_a_resume_file_with_a_field_of_another_kind(mistake, finished, tmp_path, name):
    shutil.copytree(finished, tmp_path / "out")
    path = tmp_path / "out" / "checkpoints" / "checkpoint_epoch_00001.pyth"
    content = torch.load(path, weights_only=True)
    del content["digest"]  # another program's file has none
    torch.save({**content, name: "x"}, path)
    assert mistake() == f"{path} is no checkpoint of this toolkit: its {name} is a str"


@pytest.mark.parametrize("content", [b"", b"text, no checkpoint\n", b"PK\x03\x04 cut off"])
def test_a_resume_file_that_is_damaged(mistake, tmp_path, content):
    path = tmp_path / "out" / "checkpoints" / "checkpoint_epoch_00003.pyth"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    text = mistake()
    assert text.startswith(f"no checkpoint in {str(path.parent)!r} is sound: {path.name} is damaged")
    assert text.endswith("; remove them to start anew, or set OUTPUT_DIR to a new folder")


def test_random_weights_are_said(run):
    out = run("TRAIN.ENABLE", "False")[1]
    assert "testing random weights: no TEST.CHECKPOINT_FILE_PATH and no checkpoint in OUTPUT_DIR" in out


def test_tensorboard_that_is_not_installed(mistake, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert mistake("TENSORBOARD.ENABLE", "True") == (
        "TENSORBOARD.ENABLE needs tensorboard: pip install 'uniformer_video[tensorboard]', or set it to False"
    )


def test_a_loss_that_is_no_number(mistake):
    text = mistake("SOLVER.OPTIMIZING_METHOD", "sgd", "SOLVER.BASE_LR", "1e30", "SOLVER.MAX_NONFINITE", 2)
    assert text.startswith("2 steps in a row had an infinite or NaN loss or gradient") and "SOLVER.BASE_LR" in text
