"""Devices and precision, on a machine that is told how many GPUs it has."""

from __future__ import annotations

import os
import re
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from uniformer_video.config import load_config
from uniformer_video.engine import device
from uniformer_video.engine.device import Precision, hardware_name, peak_memory_gib, process_device, resolve_gpus
from uniformer_video.models.hourglass import Hourglass
from uniformer_video.models.rows import batch_rows
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.places import Place

CPU = torch.device("cpu")


@pytest.fixture
def gpus(monkeypatch):
    """Return a function that sets the number of GPUs torch sees."""
    return lambda count: monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def config(*overrides):
    return load_config(None, [str(o) for o in overrides])


@pytest.mark.parametrize(
    ("there", "asked", "used"), [(0, 0, 0), (0, -1, 0), (8, -1, 8), (8, 0, 0), (8, 3, 3), (8, 8, 8), (1, 1, 1)]
)
def test_how_many_gpus_are_used(gpus, there, asked, used):
    gpus(there)
    assert resolve_gpus(config("NUM_GPUS", asked, "TRAIN.BATCH_SIZE", 24)) == used


@pytest.mark.parametrize(
    ("there", "message"),
    [
        (0, "NUM_GPUS is 99, but this machine has 0 GPUs; set NUM_GPUS 0 for the CPU"),
        (4, "NUM_GPUS is 99, but this machine has 4 GPUs; set NUM_GPUS 4 or fewer (0: the CPU)"),
    ],
)
def test_more_gpus_than_there_are(gpus, there, message):
    gpus(there)
    with pytest.raises(ConfigError) as error:
        resolve_gpus(config("NUM_GPUS", 99, "TRAIN.BATCH_SIZE", 99))
    assert str(error.value) == message


def test_fp16_needs_a_gpu(gpus):
    gpus(0)
    with pytest.raises(ConfigError) as error:
        resolve_gpus(config("TRAIN.MIXED_PRECISION", "fp16"))  # NUM_GPUS -1 turns out to be the CPU
    assert str(error.value) == "TRAIN.MIXED_PRECISION fp16 needs a GPU; set TRAIN.MIXED_PRECISION bf16 or False"
    gpus(2)
    assert resolve_gpus(config("TRAIN.MIXED_PRECISION", "fp16")) == 2


@pytest.mark.parametrize(("batch", "better"), [(10, 8), (7, 4), (3, 4), (1, 4)])
@pytest.mark.parametrize("shards", [1, 3])  # the batch is that of one machine
def test_a_batch_must_divide_among_the_gpus_of_a_machine(gpus, batch, better, shards):
    gpus(4)
    overrides = ("TRAIN.BATCH_SIZE", batch, "NUM_SHARDS", shards)
    with pytest.raises(ConfigError) as error:
        resolve_gpus(config(*overrides))
    assert str(error.value) == (
        f"TRAIN.BATCH_SIZE is {batch}, not a multiple of the 4 GPUs it is shared among (NUM_GPUS); "
        f"set {better} or another multiple"
    )
    assert resolve_gpus(config(*overrides, "TRAIN.ENABLE", False)) == 4  # a test does not care
    assert resolve_gpus(config(*overrides, "NUM_GPUS", 0)) == 0
    assert resolve_gpus(config(*overrides, "TRAIN.BATCH_SIZE", better)) == 4


STARTED = Place("torchrun", machines=2, processes=4)


@pytest.mark.parametrize(
    ("there", "asked", "used"), [(0, 0, 0), (0, -1, 0), (8, 0, 0), (8, -1, 4), (4, 4, 4), (1, -1, 4), (1, 4, 4)]
)
def test_one_gpu_for_each_process_that_was_started(gpus, there, asked, used):
    gpus(there)  # one: each process sees its own alone
    assert resolve_gpus(config("NUM_GPUS", asked, "TRAIN.BATCH_SIZE", 24), STARTED) == used


@pytest.mark.parametrize(
    ("there", "asked", "message"),
    [
        (
            8,
            8,
            "NUM_GPUS is 8, but torchrun started 4 processes on this machine; start 8, or set NUM_GPUS -1 (or 0: the",
        ),
        (
            2,
            -1,
            "torchrun started 4 processes on this machine, which has 2 GPUs; start 2, or set NUM_GPUS 0 for the CPU",
        ),
        (0, 4, "NUM_GPUS is 4, but this machine has 0 GPUs; set NUM_GPUS 0 for the CPU"),
    ],
)
def test_processes_that_do_not_fit_the_gpus(gpus, there, asked, message):
    gpus(there)
    with pytest.raises(ConfigError) as error:
        resolve_gpus(config("NUM_GPUS", asked, "TRAIN.BATCH_SIZE", 24), STARTED)
    assert str(error.value).startswith(message)


def test_processes_on_a_cpu_share_the_batch_too(gpus):
    gpus(0)
    with pytest.raises(ConfigError) as error:
        resolve_gpus(config("TRAIN.BATCH_SIZE", 6), STARTED)
    assert str(error.value) == (
        "TRAIN.BATCH_SIZE is 6, not a multiple of the 4 processes of a machine it is shared among; set 4 or another "
        "multiple"
    )


@pytest.mark.parametrize("left_over", [None, "3", "none"])
def test_the_device_of_a_process_alone(monkeypatch, left_over):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if left_over is not None:
        monkeypatch.setenv("LOCAL_RANK", left_over)  # from a launcher that this run has nothing to do with
    assert process_device(0) == CPU
    assert chosen == []
    assert process_device(1) == torch.device("cuda", 0)
    assert chosen == [torch.device("cuda", 0)]


def test_the_device_of_a_process_in_a_group(monkeypatch):
    chosen = []
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    assert process_device(0) == CPU
    assert process_device(4) == torch.device("cuda", 3)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)  # each process sees its own
    assert process_device(4) == torch.device("cuda", 0)
    assert chosen == [torch.device("cuda", 3), torch.device("cuda", 0)]


@pytest.mark.parametrize(
    ("mode", "name", "dtype"),
    [
        (False, "float32", torch.float32),
        ("", "float32", torch.float32),
        (True, "bf16", torch.bfloat16),
        ("bf16", "bf16", torch.bfloat16),
    ],
)
def test_precision_on_a_cpu(monkeypatch, mode, name, dtype):
    monkeypatch.setattr(device, "has_bf16", lambda _: True)
    precision = Precision(mode, CPU)
    assert precision.name == name
    assert not precision.scaler.is_enabled()
    layer, x = nn.Linear(3, 2), torch.ones(1, 3)
    with precision.autocast():
        assert layer(x).dtype == dtype
    assert layer(x).dtype == torch.float32
    loss = torch.tensor(3.0)
    assert precision.scaler.scale(loss) is loss


def test_fp16_scales_its_loss():
    precision = Precision("fp16", torch.device("cpu"))
    assert precision.name == "fp16"
    assert precision.scaler.is_enabled()


@pytest.mark.parametrize("features", [(False, False), (True, False), (False, True)])
def test_true_is_no_imitation_of_bf16_on_a_cpu(monkeypatch, features):
    for name, there in zip(("_is_avx512_bf16_supported", "_is_amx_tile_supported"), features, strict=True):
        monkeypatch.setattr(torch.cpu, name, lambda there=there: there, raising=False)
    assert device.has_bf16(CPU) is any(features)
    assert Precision(True, CPU).name == ("bf16" if any(features) else "float32")
    assert Precision("bf16", CPU).name == "bf16"  # asked for by name
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")
    assert device.has_bf16(CPU) is features[1]


@pytest.mark.parametrize(
    ("train", "test", "mode"),
    [
        (True, "train", True),
        (False, "train", False),
        (True, False, False),
        (False, "bf16", "bf16"),
        ("bf16", True, True),
    ],
)
def test_the_mode_of_validation_and_test(train, test, mode):
    cfg = config("TRAIN.MIXED_PRECISION", train, "TEST.MIXED_PRECISION", test)
    assert device.evaluation_mode(cfg) == mode and type(device.evaluation_mode(cfg)) is type(mode)


def test_fp16_of_a_test_needs_a_gpu_too(gpus):
    gpus(0)
    with pytest.raises(ConfigError) as error:
        resolve_gpus(config("TEST.MIXED_PRECISION", "fp16"))
    assert str(error.value) == "TEST.MIXED_PRECISION fp16 needs a GPU; set TEST.MIXED_PRECISION bf16 or False"


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_true_means_what_the_gpu_has(monkeypatch, has_bf16, name):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_bf16)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.amp, "GradScaler", lambda device, enabled: (device, enabled))
    precision = Precision(True, torch.device("cuda", 0))
    assert (precision.name, precision.scaler) == (name, ("cuda", name == "fp16"))


def test_the_processor_has_a_name():
    assert re.fullmatch(rf".+, {torch.get_num_threads()} threads", hardware_name(CPU))


def test_memory_is_that_of_this_process_at_its_peak():
    before = peak_memory_gib(CPU)
    with open("/proc/self/status", encoding="utf-8") as file:
        kib = {line.split(":")[0]: int(line.split()[1]) for line in file if line.startswith(("VmHWM", "VmRSS"))}
    # The system also counts what the parent had when it made this process, so it is the high-water mark or more.
    assert before >= kib["VmHWM"] / 2**20 * 0.98
    more = 0.06  # GiB above the peak so far
    block = torch.ones(int((before - kib["VmRSS"] / 2**20 + more) * 2**28))
    assert before + more * 0.7 < peak_memory_gib(CPU) < before + more * 1.5
    del block
    assert peak_memory_gib(CPU) > before  # the peak stays


@pytest.mark.parametrize("tf32", [True, False])
def test_products_of_float32_on_a_gpu_are_set_both(monkeypatch, tf32):
    matmul, cudnn = SimpleNamespace(allow_tf32=None), SimpleNamespace(allow_tf32=None, benchmark=True)
    monkeypatch.setattr(torch.backends.cuda, "matmul", matmul)
    monkeypatch.setattr(torch.backends, "cudnn", cudnn)
    device.set_float32_products(CPU, tf32=tf32)
    assert (matmul.allow_tf32, cudnn.allow_tf32) == (None, None)
    device.set_float32_products(torch.device("cuda", 0), tf32=tf32)
    assert (matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark) == (tf32, tf32, False)


class TestDeterministic:
    @pytest.fixture(autouse=True)
    def _as_before(self, monkeypatch):
        monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
        yield
        device._before.clear()
        torch.use_deterministic_algorithms(False)
        torch.backends.cudnn.deterministic = False
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)

    @staticmethod
    def settings():
        return torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic

    @pytest.mark.parametrize("before", [(False, False), (False, True), (True, False)])
    def test_on_and_off_again_whatever_it_was(self, before):
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.deterministic = before[1]
        device.set_deterministic(False)
        assert self.settings() == before and "CUBLAS_WORKSPACE_CONFIG" not in os.environ
        for _ in range(2):
            device.set_deterministic(True)
            assert self.settings() == (True, True)
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
            assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        for _ in range(2):
            device.set_deterministic(False)
            assert self.settings() == before

    def test_the_workspace_of_the_user(self, monkeypatch):
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
        device.set_deterministic(True)
        assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":16:8"
        device.set_deterministic(False)
        monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":0:0")
        with pytest.raises(ConfigError) as error:
            device.set_deterministic(True)
        assert str(error.value) == (
            "RNG_DETERMINISTIC is True, but the environment variable CUBLAS_WORKSPACE_CONFIG is ':0:0'; allowed: "
            ":4096:8 or :16:8, or not set"
        )
        assert self.settings() == (False, False)

    def test_an_operation_without_such_a_kernel_is_refused(self):
        device.set_deterministic(True)
        with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
            torch.zeros(3).put_(torch.tensor([0]), torch.ones(1))

    @pytest.mark.parametrize("autocast", [False, True])
    @pytest.mark.parametrize("network", [Uniformer, Hourglass])
    def test_a_training_step_has_kernels_for_all_and_the_same_bits_each_time(self, network, autocast):
        small = {"depths": (1, 1, 2, 1), "widths": (16, 16, 32, 32), "head_dim": 16, "mlp_ratio": 2, "num_classes": 3}
        drawing = {"dropout": 0.2, "attention_dropout": 0.2, "drop_path_rate": 0.4, "head_dropout": 0.2}
        torch.manual_seed(0)
        model = network(**small, **drawing).train()
        optimizer = torch.optim.AdamW(model.parameters())
        begin = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        clips = torch.randn(2, 3, 8, 64, 64)
        device.set_deterministic(True)
        results = []
        for _ in range(2):
            model.load_state_dict(begin)
            optimizer.state.clear()
            optimizer.zero_grad()
            torch.manual_seed(1)
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast), batch_rows([3, 1], 4):
                out = model(clips)
                loss = (torch.stack(out) if isinstance(out, tuple) else out).float().square().sum()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            results.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        for name, tensor in results[0].items():
            assert torch.equal(tensor, results[1][name]) and tensor.isfinite().all(), name
        assert not torch.equal(results[0]["head.weight"], begin["head.weight"])
