"""Where and in which precision a process computes."""

from __future__ import annotations

import os
import platform
import resource
from contextlib import AbstractContextManager, nullcontext

import torch
from fvcore.common.config import CfgNode

from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.places import Place

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
_FIXED_WORKSPACES = (":4096:8", ":16:8")
"""Those that cuBLAS is deterministic with: 24 MiB of a GPU's memory, or hardly any and slower."""

_before: dict[str, bool] = {}
"""What :func:`set_deterministic` found when it was first told True."""


def resolve_gpus(cfg: CfgNode, place: Place | None = None) -> int:
    """Return how many GPUs of this machine the run uses; 0 means the CPU.

    Args:
        cfg: the configuration.
        place: of this process, which may be one of several that were started on this machine; None: it is alone.

    Raises:
        ConfigError: NUM_GPUS is more than there are, or not the number of processes that were started, or the batch
            does not divide among the processes.
    """
    there = torch.cuda.device_count()
    started = place.processes if place else 0
    gpus = _gpus_of_started(cfg, place, there) if place and started else there if cfg.NUM_GPUS < 0 else cfg.NUM_GPUS
    if gpus > there and not started:
        raise ConfigError(
            f"NUM_GPUS is {gpus}, but this machine has {there} GPUs; set NUM_GPUS {there}"
            + (" for the CPU" if there == 0 else " or fewer (0: the CPU)")
        )
    for section in ("TRAIN", "TEST"):
        if gpus == 0 and cfg[section].MIXED_PRECISION == "fp16":
            key = f"{section}.MIXED_PRECISION"
            raise ConfigError(f"{key} fp16 needs a GPU; set {key} bf16 or False")
    processes = started or max(gpus, 1)
    size = cfg.TRAIN.BATCH_SIZE
    if cfg.TRAIN.ENABLE and size % processes:
        sharers = (
            f"{processes} processes of a machine it is shared among"
            if started
            else f"{processes} GPUs it is shared among (NUM_GPUS)"
        )
        raise ConfigError(
            f"TRAIN.BATCH_SIZE is {size}, not a multiple of the {sharers}; "
            f"set {size - size % processes or processes} or another multiple"
        )
    return gpus


def _gpus_of_started(cfg: CfgNode, place: Place, there: int) -> int:
    """Return one GPU for each process that ``place.launcher`` has started on this machine, or 0."""
    started, asked = place.processes, cfg.NUM_GPUS
    if asked == 0 or (asked < 0 and there == 0):
        return 0
    if there == 0:
        raise ConfigError(f"NUM_GPUS is {asked}, but this machine has 0 GPUs; set NUM_GPUS 0 for the CPU")
    if 0 < asked != started:
        raise ConfigError(
            f"NUM_GPUS is {asked}, but {place.launcher} started {started} process{'es' * (started > 1)} on this "
            f"machine; start {asked}, or set NUM_GPUS -1 (or 0: the CPU)"
        )
    # Whoever starts one process for each GPU may let each see its own alone.
    if 1 < there < started:
        raise ConfigError(
            f"{place.launcher} started {started} processes on this machine, which has {there} GPUs; start {there}, or "
            "set NUM_GPUS 0 for the CPU"
        )
    return started


def process_device(gpus: int) -> torch.device:
    """Return the device of this process: its own GPU, or the CPU where ``gpus`` is 0."""
    if gpus == 0:
        return torch.device("cpu")
    # LOCAL_RANK may also be left over from a launcher that this run has nothing to do with.
    local = int(os.environ["LOCAL_RANK"]) if distributed.is_initialized() else 0
    device = torch.device("cuda", distributed.own_gpu(local))
    torch.cuda.set_device(device)
    return device


def set_float32_products(device: torch.device, *, tf32: bool) -> None:
    """Say how a GPU takes products and convolutions of float32: as such, or in TF32 (MODEL.TF32).

    torch's own start is one for products and the other for convolutions. Kernels of cuDNN are chosen by rule, not by
    timing them (``cudnn.benchmark``): a run that goes on must come to the same bits.
    """
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = False


def set_deterministic(deterministic: bool) -> None:
    """Let torch take only kernels that give the same bits each time (RNG_DETERMINISTIC); False: as it was before.

    An operation that has none raises torch's own error. cuBLAS needs a workspace of fixed size, which torch takes from
    the environment variable CUBLAS_WORKSPACE_CONFIG at the first product on a GPU: call this before. A process that
    has multiplied there already keeps the workspace it has, and is only sure of its bits where the variable was set
    when it began. The kernels of this package add up in a fixed order, asked or not.

    Raises:
        ConfigError: CUBLAS_WORKSPACE_CONFIG is set to a value that is not deterministic.
    """
    if deterministic:
        workspace = os.environ.setdefault(_WORKSPACE, _FIXED_WORKSPACES[0])
        if workspace not in _FIXED_WORKSPACES:
            raise ConfigError(
                f"RNG_DETERMINISTIC is True, but the environment variable {_WORKSPACE} is {workspace!r}; allowed: "
                f"{' or '.join(_FIXED_WORKSPACES)}, or not set"
            )
        _before.setdefault("algorithms", torch.are_deterministic_algorithms_enabled())
        _before.setdefault("cudnn", torch.backends.cudnn.deterministic)
        torch.use_deterministic_algorithms(True)
        torch.backends.cudnn.deterministic = True
    elif _before:
        torch.use_deterministic_algorithms(_before.pop("algorithms"))
        torch.backends.cudnn.deterministic = _before.pop("cudnn")


def has_bf16(device: torch.device) -> bool:
    """Return whether ``device`` computes in bfloat16 by itself; a processor that imitates it is slow."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    # torch says so of x86 processors alone, and in functions that a later release may take away.
    asked = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(ask() for ask in asked if ask is not None)


def evaluation_mode(cfg: CfgNode) -> bool | str:
    """Return the mode of :class:`Precision` for validation and test."""
    return cfg.TRAIN.MIXED_PRECISION if cfg.TEST.MIXED_PRECISION == "train" else cfg.TEST.MIXED_PRECISION


class Precision:
    """Automatic mixed precision on one device.

    Args:
        mode: False (float32); True (bf16 where the device has it, else fp16 on a GPU and float32 on a CPU); ``"bf16"``
            or ``"fp16"``.
        device: where the network runs.
    """

    def __init__(self, mode: bool | str, device: torch.device) -> None:
        if mode is True:
            mode = "bf16" if has_bf16(device) else "fp16" if device.type == "cuda" else False
        self.name = mode or "float32"
        self.device = device
        self._dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.name)
        # Only fp16 has too small a range for gradients; a disabled scaler passes everything through.
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.name == "fp16")

    def autocast(self) -> AbstractContextManager:
        """Return the context in which the network and the loss are computed."""
        return torch.autocast(self.device.type, self._dtype) if self._dtype else nullcontext()


def hardware_name(device: torch.device) -> str:
    """Return the name of the GPU, or of the processor and its threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            name = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {torch.get_num_threads()} threads"


def peak_memory_gib(device: torch.device) -> float:
    """Return the most memory used so far in GiB: allocated on the GPU, or resident in this process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    # ru_maxrss is in KiB on Linux and in bytes on macOS.
    unit = 1 if platform.system() == "Darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
