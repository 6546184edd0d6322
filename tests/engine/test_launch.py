"""Whole runs: one process, two processes, and what they leave behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import simplejson
import torch

from tests.toy import entries, rewrite, same_bits, toy_cfg
from uniformer_video.config import load_config
from uniformer_video.datasets import build_dataset
from uniformer_video.engine import launch, setup
from uniformer_video.engine.checkpoint import checkpoint_path, newest_checkpoint, read_checkpoint
from uniformer_video.engine.device import Precision
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.validator import validate
from uniformer_video.models.weights import load_weights
from uniformer_video.runtime import distributed, stopping
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.runtime.logging import read_json_stats
from uniformer_video.runtime.seed import Stream, seed_everything
from uniformer_video.solver.build import build_optimizer
from uniformer_video.solver.losses import soft_cross_entropy
from uniformer_video.solver.schedule import Schedule

pytestmark = pytest.mark.usefixtures("logger_restored")

RUN_NET = Path(__file__).resolve().parents[2] / "tools" / "run_net.py"
CPU = torch.device("cpu")


def scores(output):
    with np.load(output / "test" / "predictions.npz") as content:
        return content["scores"], content["paths"].tolist()


# ----------------------------------------------------------------------------------------------------- one process


def test_a_whole_run(toy_set, tmp_path, capsys):
    output = tmp_path / "deep" / "out"
    cfg = toy_cfg(toy_set, output, "TENSORBOARD.ENABLE", "True", "DATA_LOADER.NUM_WORKERS", "1")
    assert launch.run(cfg) == 0
    assert sorted(os.listdir(output)) == [
        *("checkpoints", "config.yaml", "curves.png", "stdout.log", "tensorboard", "test"),
    ]
    assert sorted(os.listdir(output / "test")) == ["predictions.csv", "predictions.npz", "summary.json"]
    assert load_config(output / "config.yaml") == cfg
    assert not distributed.is_initialized()

    console, errors = capsys.readouterr()
    assert errors == ""
    assert "json_stats" not in console
    assert "testing 6 videos x 6 views (2 clips x 3 crops)" in console
    assert "training starts from random weights" in console
    assert f"  DATA.NUM_FRAMES: 4  (default 8; {toy_set}/toy.yaml:2)" in console
    assert f"  OUTPUT_DIR: {output}  (default runs/default; command line)" in console
    assert re.search(r"uniformer_video \S+, torch \S+, 1 process\(es\), .+ threads, output in ", console)

    # Two epochs of three steps, a line after step 2 and after the last: the file has both forms of each.
    text = (output / "stdout.log").read_text()
    lines = re.findall(r"epoch (\d/2) step (\d/3)  loss", text)
    assert lines == [("1/2", "2/3"), ("1/2", "3/3"), ("2/2", "2/3"), ("2/2", "3/3")]
    assert re.findall(r"epoch (\d/2) step (\d/3)  loss", console) == lines
    stats = read_json_stats(output / "stdout.log")
    assert [s["_type"] for s in stats] == [*(["train_iter"] * 2 + ["train_epoch", "val_epoch"]) * 2, "test_final"]
    assert [(s["epoch"], s["iter"]) for s in stats if s["_type"] == "train_iter"] == lines
    for entry in stats:
        if entry["_type"] == "train_iter":
            assert {"loss", "lr", "dt_data", "dt_net", "dt", "RAM", "eta", "grad_norm"} <= set(entry)
            assert 0 < entry["dt_data"] < entry["dt"] and entry["loss"] > 0
            assert entry["dt_net"] == pytest.approx(entry["dt"] - entry["dt_data"], abs=1e-6)
            assert float(re.fullmatch(r"(\d+\.\d\d)G", entry["RAM"])[1]) > 0.05
    history = read_checkpoint(checkpoint_path(output, 2)).history
    for name, fields in (
        ("train_epoch", lambda e: {"loss": e["train_loss"], "lr": e["lr"]}),
        (
            "val_epoch",
            lambda e: {"top1_err": 100 - e["val_top1"], "loss": e["val_loss"]},
        ),
    ):
        assert [s for s in stats if s["_type"] == name] == [
            {"_type": name, "epoch": f"{n}/2", **{k: pytest.approx(v, rel=1e-7) for k, v in fields(entry).items()}}
            for n, entry in enumerate(history, 1)
        ]
    summary = simplejson.loads((output / "test" / "summary.json").read_text())
    assert stats[-1]["top1_acc"] == summary["top1"] == 100.0
    assert summary["weights"] == str(checkpoint_path(output, 2))
    assert any(name.startswith("events.out") for name in os.listdir(output / "tensorboard"))


def test_training_alone_and_testing_alone(toy_set, tmp_path):
    both, apart = tmp_path / "both", tmp_path / "apart"
    assert launch.run(toy_cfg(toy_set, both, "SOLVER.MAX_EPOCH", "1")) == 0
    assert launch.run(toy_cfg(toy_set, apart, "SOLVER.MAX_EPOCH", "1", "TEST.ENABLE", "False")) == 0
    assert not (apart / "test").exists()
    assert launch.run(toy_cfg(toy_set, apart, "TRAIN.ENABLE", "False")) == 0
    assert np.array_equal(scores(both)[0], scores(apart)[0])


def test_testing_alone_needs_no_other_list(toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set")
    for split in ("train", "val"):
        (data / f"{split}.csv").unlink()
    assert launch.run(toy_cfg(data, tmp_path / "out", "TRAIN.ENABLE", "False")) == 0


def test_missing_test_videos_are_the_exit_code(toy_set, tmp_path, broken_video, capsys):
    data = rewrite(toy_set, tmp_path / "set", test=[*entries(toy_set, "test"), f"{broken_video} 0"])
    options = ("TRAIN.ENABLE", "False")
    assert launch.run(toy_cfg(data, tmp_path / "out", *options)) == 1
    console = capsys.readouterr().out
    assert "1 of 7 test videos could not be read; exit code 1 (TEST.ALLOW_MISSING True accepts it):" in console
    assert f"  {broken_video}: " in console
    assert launch.run(toy_cfg(data, tmp_path / "out", *options, "TEST.ALLOW_MISSING", "True")) == 0


def test_the_test_list_is_read_before_training(toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set", test=["a.mp4"])
    with pytest.raises(DataError, match=r"test.csv:1: no label"):
        launch.run(toy_cfg(data, tmp_path / "out"))
    assert os.listdir(tmp_path / "out" / "checkpoints") == []
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_the_folders_are_made_that_will_be_needed(toy_set, tmp_path, monkeypatch):
    seen = []

    def work(cfg, gpus):
        seen.append(sorted(os.listdir(cfg.OUTPUT_DIR)))
        return 0

    monkeypatch.setattr(launch, "work", work)
    for number, overrides in enumerate([(), ("TEST.ENABLE", "False"), ("TRAIN.ENABLE", "False")]):
        assert launch.run(toy_cfg(toy_set, tmp_path / f"out{number}", *overrides)) == 0
    assert seen == [["checkpoints", "test"], ["checkpoints"], ["test"]]


@pytest.mark.parametrize("name", ["checkpoints", "test"])
def test_a_file_in_the_place_of_a_folder(toy_set, tmp_path, monkeypatch, name):
    monkeypatch.setattr(launch, "work", lambda *_: pytest.fail("no work was to begin"))
    blocker = tmp_path / name
    blocker.write_text("x")
    with pytest.raises(UserError) as error:
        launch.run(toy_cfg(toy_set, tmp_path))
    assert str(error.value) == (
        f"OUTPUT_DIR {str(blocker)!r} cannot be written (File exists); set OUTPUT_DIR to a folder of yours"
    )


def in_class_folders(toy_set, folder, **orders):
    """Copy the toy set's videos into folders of unknown classes; ``orders`` renumber a list's labels."""
    lists = {}
    for split in ("train", "val", "test"):
        lists[split] = []
        for line in entries(toy_set, split):
            path, label = line.rsplit(" ", 1)
            own = folder / "videos" / ("hop", "skip", "leap")[int(label)]
            own.mkdir(parents=True, exist_ok=True)
            lists[split].append(f"{shutil.copy(path, own)} {orders.get(split, (0, 1, 2))[int(label)]}")
    data = rewrite(toy_set, folder / "lists", **lists)
    (data / "classes.json").unlink()
    return data


def test_class_folders_order_the_head_for_a_test_list_of_other_labels(toy_set, tmp_path, capsys):
    data = in_class_folders(toy_set, tmp_path, test=(0, 2, 1))
    assert launch.run(toy_cfg(data, tmp_path / "out", "SOLVER.MAX_EPOCH", "3")) == 0
    console = capsys.readouterr().out
    assert "class order: the weights and the data have the same classes in different orders" in console
    assert "test: top-1 100.00 %" in console


def test_a_test_list_that_cannot_be_put_in_order_stops_the_run_before_training(toy_set, tmp_path):
    data = in_class_folders(toy_set, tmp_path, test=(0, 2, 1))
    lines = (data / "test.csv").read_text().splitlines()
    (data / "test.csv").write_text("\n".join(line for line in lines if not line.endswith(" 0")) + "\n")
    with pytest.raises(UserError) as error:
        launch.run(toy_cfg(data, tmp_path / "out"))
    assert str(error.value).startswith(
        "the videos in folders 'leap' have label 1 in test.csv and label 2 in train.csv;"
    )
    assert not (tmp_path / "out" / "config.yaml").exists()


def test_a_validation_list_of_other_labels_stops_the_run(toy_set, tmp_path):
    data = in_class_folders(toy_set, tmp_path, val=(0, 2, 1))
    with pytest.raises(UserError, match="folders 'skip' have label 1 in train.csv and label 2 in val.csv"):
        launch.run(toy_cfg(data, tmp_path / "out"))


def test_a_run_is_not_resumed_with_class_folders_of_other_labels(toy_set, tmp_path):
    data = in_class_folders(toy_set, tmp_path / "one")
    settings = ("TEST.ENABLE", "False", "SOLVER.MAX_EPOCH")
    launch.run(toy_cfg(data, tmp_path / "out", *settings, "1"))
    other = in_class_folders(toy_set, tmp_path / "other", train=(1, 0, 2), val=(1, 0, 2))
    with pytest.raises(UserError, match="folders 'skip' have label 0 in train.csv and label 1 in"):
        launch.run(toy_cfg(other, tmp_path / "out", *settings, "2"))
    with pytest.raises(UserError, match="was trained with other attention heads .UNIFORMER.HEAD_DIM: 16 -> 8."):
        launch.run(toy_cfg(data, tmp_path / "out", *settings, "2", "UNIFORMER.HEAD_DIM", "8"))


@pytest.mark.parametrize(
    "mistake", [("TEST.CHECKPOINT_FILE_PATH", "none.pyth"), ("UNIFORMER.PRUNE_RATIO", "[[],[],[],[]]")]
)
def test_a_mistake_in_a_test_alone_keeps_the_configuration_of_the_run_that_lies_there(toy_set, tmp_path, mistake):
    output = tmp_path / "out"
    output.mkdir()
    (output / "config.yaml").write_text("the one of an earlier run\n")
    with pytest.raises(UserError):
        launch.run(toy_cfg(toy_set, output, "TRAIN.ENABLE", "False", *mistake))
    assert (output / "config.yaml").read_text() == "the one of an earlier run\n"


def test_the_configuration_is_written_when_nothing_can_be_wrong_any_more(toy_set, tmp_path, monkeypatch):
    output, order = tmp_path / "out", []
    output.mkdir()
    config = output / "config.yaml"
    config.write_text("the one of an earlier run\n")

    class Part:
        class_names, class_folders = ["a"], None
        dataset = property(lambda self: self)

        def __init__(self, cfg, device):
            order.append((self.name, config.read_text() == "the one of an earlier run\n"))
            if cfg.RNG_SEED == 1 and self.name == "trainer":
                raise UserError("a mistake")

        def run(self):
            order.append(f"{self.name} runs")
            assert load_config(config) == cfg
            return 1

    for name in ("Tester", "Trainer"):
        monkeypatch.setattr(launch, name, type(name, (Part,), {"name": name.lower()}))
    cfg = toy_cfg(toy_set, output, "RNG_SEED", "1")
    with pytest.raises(UserError, match="a mistake"):
        launch.run(cfg)
    assert config.read_text() == "the one of an earlier run\n"
    assert order == [("tester", True), ("trainer", True)]
    order.clear()
    cfg = toy_cfg(toy_set, output, "RNG_SEED", "2")
    assert launch.run(cfg) == 1
    assert order == [("tester", True), ("trainer", True), "trainer runs", "tester runs"]


def test_several_machines_need_a_meeting_place(toy_set, tmp_path):
    cfg = toy_cfg(toy_set, tmp_path / "out", "NUM_SHARDS", "2")
    with pytest.raises(UserError) as error:
        launch.run(cfg)
    assert str(error.value) == (
        "NUM_SHARDS is 2, but --init_method does not say where they meet; "
        "give every machine the same tcp://HOST_OF_SHARD_0:PORT"
    )
    for place in (
        "10.0.0.1:9999",
        "tcp://10.0.0.1",
        "tcp://10.0.0.1:",
        "tcp://h:x",
        "tcp://:1",
        "file://",
        "udp://h:1",
    ):
        with pytest.raises(UserError) as error:
            launch.run(cfg, place)
        assert str(error.value) == f"--init_method {place!r} is no meeting place; it looks like tcp://10.0.0.1:9999"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("place", ["tcp://10.0.0.1:9999", "tcp://[::1]:99", "file:///shared/meet", "env://"])
def test_meeting_places(toy_set, tmp_path, monkeypatch, place):
    seen = []
    monkeypatch.setenv("MASTER_ADDR", "h")
    monkeypatch.setenv("MASTER_PORT", "7")
    monkeypatch.setattr(distributed, "launch", lambda *_, **options: seen.append(options["init_method"]) or 0)
    assert launch.run(toy_cfg(toy_set, tmp_path / "out", "NUM_SHARDS", "2"), place) == 0
    assert seen == ["tcp://h:7" if place == "env://" else place]


def started_by_torchrun(monkeypatch, machines, processes, machine, local):
    numbers = {
        "WORLD_SIZE": machines * processes,
        "RANK": machine * processes + local,
        "LOCAL_WORLD_SIZE": processes,
        "LOCAL_RANK": local,
        "GROUP_WORLD_SIZE": machines,
        "GROUP_RANK": machine,
        "MASTER_PORT": 9,
    }
    texts = {"TORCHELASTIC_RUN_ID": "x", "TORCHELASTIC_USE_AGENT_STORE": "True", "MASTER_ADDR": "h"}
    for name, value in (numbers | texts).items():
        monkeypatch.setenv(name, str(value))


def test_processes_that_torchrun_started(toy_set, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(distributed, "launch", lambda *args, **options: calls.append((args, options)) or 75)
    started_by_torchrun(monkeypatch, 3, 2, 1, 1)
    limits = (
        "DISTRIBUTED.RENDEZVOUS_TIMEOUT",
        "7",
        "DISTRIBUTED.HEARTBEAT_TIMEOUT",
        "8",
        "DISTRIBUTED.BACKEND",
        "gloo",
    )
    assert launch.run(toy_cfg(toy_set, tmp_path / "out", *limits)) == 75
    (((function, (cfg, gpus)), options),) = calls
    # What the launcher says stands in the configuration, from which batches and rates follow.
    assert (function, gpus, cfg.NUM_SHARDS, cfg.SHARD_ID) == (launch.work, 0, 3, 1)
    agreed = options.pop("agreed")
    assert agreed["TRAIN.BATCH_SIZE"] == "4" and agreed["DATA.PATH_TO_DATA_DIR"] == repr(str(toy_set))
    assert not {"SHARD_ID", "NUM_SHARDS", "NUM_GPUS"} & set(agreed)
    assert options == {
        "processes": 2,
        "shards": 3,
        "shard": 1,
        "local": 1,
        "init_method": "agent://h:9",
        "use_cuda": False,
        "backend": "gloo",
        "limits": distributed.Limits(meeting=7, collective=1800, heartbeat=8),
    }


def test_a_process_that_torchrun_started_alone(toy_set, tmp_path, monkeypatch):
    started_by_torchrun(monkeypatch, 1, 1, 0, 0)
    assert launch.run(toy_cfg(toy_set, tmp_path / "out", "SOLVER.MAX_EPOCH", "1", "TEST.ENABLE", "False")) == 0
    assert checkpoint_path(tmp_path / "out", 1).exists()


def test_only_the_first_process_of_a_machine_tells_a_mistake_that_all_meet(toy_set, tmp_path, monkeypatch):
    cfg = toy_cfg(toy_set, tmp_path / "out", "TRAIN.BATCH_SIZE", "3")
    started_by_torchrun(monkeypatch, 1, 2, 0, 0)
    with pytest.raises(UserError, match="TRAIN.BATCH_SIZE is 3, not a multiple of the 2 processes of a machine"):
        launch.run(cfg)
    started_by_torchrun(monkeypatch, 1, 2, 0, 1)
    timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGTERM))  # as torchrun does when the first ended
    timer.start()
    assert launch.run(cfg) == 2
    timer.join()
    monkeypatch.setattr(launch, "_FIRST_SPEAKS_SECONDS", 0.1)
    with pytest.raises(UserError):  # nobody else has met it
        launch.run(cfg)


def test_nccl_without_gpus(toy_set, tmp_path):
    with pytest.raises(UserError, match="DISTRIBUTED.BACKEND nccl needs GPUs; set DISTRIBUTED.BACKEND auto or gloo"):
        launch.run(toy_cfg(toy_set, tmp_path / "out", "DISTRIBUTED.BACKEND", "nccl"))


def test_a_run_that_is_stopped(toy_set, tmp_path, monkeypatch, capfd):
    def stopped(self):
        raise stopping.Stopped("stopped by SIGTERM, all kept")

    monkeypatch.setattr(launch.Trainer, "run", stopped)
    assert launch.run(toy_cfg(toy_set, tmp_path / "out")) == stopping.EXIT_STOPPED
    assert capfd.readouterr().out.count("stopped by SIGTERM, all kept\n") == 1
    monkeypatch.setattr(distributed, "launch", lambda *_, **__: stopped(None))
    assert launch.run(toy_cfg(toy_set, tmp_path / "out")) == stopping.EXIT_STOPPED
    assert capfd.readouterr().err == "stopped by SIGTERM, all kept\n"


def test_a_signal_while_lists_are_read(toy_set, tmp_path, monkeypatch, capfd):
    def slow(self, *_):
        signal.raise_signal(signal.SIGTERM)
        pytest.fail("went on")

    monkeypatch.setattr(launch.Tester, "__init__", slow)
    assert launch.run(toy_cfg(toy_set, tmp_path / "out")) == stopping.EXIT_STOPPED
    assert "stopped by SIGTERM before the run began; the same command begins it\n" in capfd.readouterr().out


# -------------------------------------------------------------------------------------------- processes on a machine


@pytest.fixture
def two_gpus(monkeypatch):
    """Let this machine have two GPUs, and note what would be launched on them, with exit code 1."""
    calls = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(distributed, "launch", lambda *args, **options: calls.append((args, options)) or 1)
    return calls


def test_one_process_for_each_gpu(toy_set, tmp_path, two_gpus):
    cfg = toy_cfg(toy_set, tmp_path / "out", "NUM_GPUS", "2", "NUM_SHARDS", "2", "SHARD_ID", "1")
    assert launch.run(cfg, "tcp://host:1") == 1
    ((function, args), options) = two_gpus[0]
    assert (function, args) == (launch.work, (cfg, 2))
    assert options.pop("agreed") and options == {
        "processes": 2,
        "shards": 2,
        "shard": 1,
        "local": None,
        "init_method": "tcp://host:1",
        "use_cuda": True,
        "backend": "auto",
        "limits": distributed.Limits(),
    }


SPAWN = """
import sys
from uniformer_video.config import load_config
from uniformer_video.engine.launch import work
from uniformer_video.runtime import distributed

if __name__ == "__main__":
    sys.exit(distributed.launch(work, (load_config(sys.argv[1], sys.argv[2:]), 0), processes=2))
"""


def test_processes_of_one_machine(toy_set, tmp_path):
    # What NUM_GPUS 2 does, without the GPUs: new processes import the package and get the configuration.
    script = tmp_path / "spawn.py"
    script.write_text(SPAWN)
    words = ["DATA.PATH_TO_DATA_DIR", toy_set, "OUTPUT_DIR", tmp_path, "SOLVER.MAX_EPOCH", 1]
    done = subprocess.run(
        [str(word) for word in (sys.executable, script, toy_set / "toy.yaml", *words)],
        capture_output=True,
        text=True,
        timeout=150,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(RUN_NET.parents[1])},
    )
    assert done.returncode == 0, done.stderr
    assert "2 process(es)" in done.stdout
    # The batch of a machine is shared among its processes.
    assert "training on 12 videos, 3 steps an epoch of 4 videos x 2 clips; validating on 6 videos" in done.stdout
    assert f"OUTPUT_DIR: {tmp_path}  (default runs/default; command line)" in done.stdout  # sources come along
    assert read_checkpoint(checkpoint_path(tmp_path, 1)).epoch == 1
    assert simplejson.loads((tmp_path / "test" / "summary.json").read_text())["videos"] == 6
    # Only the first process writes files; the other would warn on standard error, if it had anything to say.
    assert done.stderr == ""
    assert not list(tmp_path.glob("*rank*"))
    assert done.stdout.count("training starts from random weights") == 1


# ---------------------------------------------------------------------------------------------------- two processes


def start(data, output, shard, port, *overrides):
    command = [
        *(sys.executable, RUN_NET, "--cfg", data / "toy.yaml", "--num_shards", 2, "--shard_id", shard),
        *("--init_method", f"tcp://127.0.0.1:{port}", "DATA.PATH_TO_DATA_DIR", data, "OUTPUT_DIR", output),
    ]
    # One thread and the loopback interface: two processes share the cores of the machine the tests run on.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    return subprocess.Popen(
        [str(word) for word in (*command, *overrides)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def run_two(data, output, *overrides, timeout=150):
    """Run two processes; return their exit codes, and the text of standard output and standard error of each."""
    port = distributed.free_port()
    processes = [start(data, output, shard, port, *overrides) for shard in range(2)]
    try:
        texts = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [process.returncode for process in processes], texts


@pytest.fixture(scope="module")
def two_processes(toy_set, tmp_path_factory):
    """Train and test with two processes, on lists with an odd number of test and validation videos."""
    folder = tmp_path_factory.mktemp("two")
    broken = folder / "broken.mp4"
    broken.write_text("no video\n" * 10)
    lists = {
        "train": [*entries(toy_set, "train")[:7], f"{broken} 1"],
        "val": entries(toy_set, "val")[:5],
        "test": [*entries(toy_set, "test"), *entries(toy_set, "val")[:1]],
    }
    data = rewrite(toy_set, folder / "set", **lists)
    codes, texts = run_two(data, folder / "out", "DATA.MAX_BAD_FRACTION", "0.2")
    assert codes == [0, 0], texts
    return data, folder / "out", texts


def test_two_processes_train(two_processes):
    data, output, texts = two_processes
    assert "2 process(es)" in texts[0][0]
    # Each machine takes TRAIN.BATCH_SIZE videos, so that both take twice as many.
    assert "training on 8 videos, 1 steps an epoch of 8 videos x 2 clips; validating on 5 videos" in texts[0][0]
    checkpoint = read_checkpoint(newest_checkpoint(output))
    assert checkpoint.epoch == 2
    assert checkpoint.history[1]["train_loss"] < checkpoint.history[0]["train_loss"]
    steps = [s for s in read_json_stats(output / "stdout.log") if s["_type"] == "train_iter"]
    assert [(s["epoch"], s["iter"]) for s in steps] == [("1/2", "1/1"), ("2/2", "1/1")]
    # Only the main process writes; the other has no console and no warnings of its own.
    assert texts[1][0] == ""
    # Nor does torch complain, of gradients that have another layout than their buckets.
    assert not any("Warning" in errors for _, errors in texts), texts
    rows = (output / "unreadable.csv").read_text().splitlines()
    assert len(rows) == 2 and rows[1].startswith(f"train,{data.parent}/broken.mp4,")
    assert sorted(os.listdir(output / "checkpoints")) == [
        *("checkpoint_best.pyth", "checkpoint_epoch_00001.pyth", "checkpoint_epoch_00002.pyth"),
    ]


def test_two_processes_take_the_step_of_one_with_twice_the_batch(two_processes, tmp_path):
    data, output, _ = two_processes
    cfg = toy_cfg(data, tmp_path, "TRAIN.BATCH_SIZE", "8")
    train_set, inputs = build_dataset("kinetics", cfg, "train"), DeviceInputs.from_config(cfg)
    (batch,) = setup.train_loader(cfg, train_set, CPU)
    model = setup.new_model(cfg, CPU).train()
    losses = []
    for rank in (0, 1):  # batch norm sees the share of its process
        mine = torch.tensor([n for n in range(16) if n // 2 % 2 == rank])
        share = batch.select(mine)
        assert len(share.records.unique()) == 4
        seed_everything(cfg.RNG_SEED, Stream.NETWORK, 0, 0, rank)
        clips, targets = inputs.train(share, CPU)
        losses.append(soft_cross_entropy(model(clips), targets))
    (sum(losses) / 2).backward()
    gradients = [p.grad for p in model.parameters()]
    norm = torch.stack([g.norm() for g in gradients]).norm().item()

    first = next(s for s in read_json_stats(output / "stdout.log") if s["_type"] == "train_iter")
    assert first["loss"] == pytest.approx(sum(losses).item() / 2, rel=1e-5)
    assert first["grad_norm"] == pytest.approx(norm, rel=1e-4)
    assert first["lr"] == Schedule.from_config(cfg)(0)
    # After one step AdamW's first moment is a tenth of the gradient.
    checkpoint = read_checkpoint(checkpoint_path(output, 1))
    optimizer = build_optimizer(model, cfg)
    optimizer.load_state_dict(checkpoint.optimizer_state)
    for (name, p), gradient in zip(model.named_parameters(), gradients, strict=True):
        moment = optimizer.state[p]["exp_avg"]
        assert optimizer.state[p]["step"] == 1
        torch.testing.assert_close(moment, 0.1 * gradient, rtol=1e-3, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")


def test_two_processes_validate_the_checkpoint_they_save(two_processes, tmp_path):
    data, output, _ = two_processes
    cfg = toy_cfg(data, tmp_path)
    model = setup.new_model(cfg, CPU)
    checkpoint = read_checkpoint(newest_checkpoint(output))
    load_weights(model, checkpoint.model_state)
    loader = setup.ordered_loader(cfg, build_dataset("kinetics", cfg, "val"), 4, CPU)
    result = validate(model, loader, DeviceInputs.from_config(cfg), Precision(False, CPU), FailureLog(None, "val"))
    assert result.videos == 5
    entry = checkpoint.history[-1]
    assert entry["val_loss"] == pytest.approx(result.loss, rel=1e-5)
    assert entry["val_top1"] == pytest.approx(result.top1)


def test_two_processes_test_every_video_once_to_the_scores_of_one(two_processes, tmp_path):
    data, output, texts = two_processes
    summary = simplejson.loads((output / "test" / "summary.json").read_text())
    assert (summary["videos"], summary["missing"]) == (7, [])
    assert "testing 7 videos x 6 views (2 clips x 3 crops)" in texts[0][0]
    path = newest_checkpoint(output)
    cfg = toy_cfg(data, tmp_path / "one", "TRAIN.ENABLE", "False", "TEST.CHECKPOINT_FILE_PATH", str(path))
    assert launch.run(cfg) == 0
    (two, two_paths), (one, one_paths) = scores(output), scores(tmp_path / "one")
    assert two_paths == one_paths == [line.rpartition(" ")[0] for line in (data / "test.csv").read_text().splitlines()]
    np.testing.assert_allclose(two, one, atol=1e-5)
    assert np.array_equal(two.argmax(1), one.argmax(1))


@pytest.mark.slow
def test_two_processes_resume_to_the_same_bits(two_processes, tmp_path):
    data, output, _ = two_processes
    shutil.copytree(output, tmp_path / "out")
    checkpoint_path(tmp_path / "out", 2).unlink()
    codes, texts = run_two(data, tmp_path / "out", "TEST.ENABLE", "False", "DATA.MAX_BAD_FRACTION", "0.2")
    assert codes == [0, 0], texts
    one, other = (read_checkpoint(checkpoint_path(folder, 2)) for folder in (output, tmp_path / "out"))
    assert same_bits(one.model_state, other.model_state)
    assert one.history == other.history


@pytest.mark.slow
def test_two_processes_agree_on_the_exit_code(two_processes, toy_set, tmp_path, broken_video):
    lines = entries(toy_set, "test")
    data = rewrite(toy_set, tmp_path / "set", test=[lines[0], f"{broken_video} 1", *lines[1:4]])
    codes, texts = run_two(data, tmp_path / "out", "TRAIN.ENABLE", "False")
    assert codes == [1, 1], texts
    summary = simplejson.loads((tmp_path / "out" / "test" / "summary.json").read_text())
    assert summary["videos"] == 4
    # Read by the second process, told by the first.
    (missing,) = summary["missing"]
    assert set(missing) == {"path", "cause"} and missing["path"] == broken_video
    assert f"  {broken_video}: {missing['cause']}\n" in texts[0][0]


@pytest.mark.slow
def test_two_processes_end_with_one_line_each(toy_set, tmp_path):
    data = rewrite(toy_set, tmp_path / "set", train=["a.mp4 99"])
    codes, texts = run_two(data, tmp_path / "out")
    assert codes == [2, 2], texts
    for _, errors in texts:
        (line,) = errors.strip().splitlines()
        assert line.startswith(f"error: {data}/train.csv:1: label 99 is outside 0 to 2 (MODEL.NUM_CLASSES 3)")
