"""One network on many processes: whole on each of them (DDP), or cut up among them (FSDP2)."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from inspect import signature
from itertools import chain
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh

from uniformer_video.engine.compiled import OneShape
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.sharded import is_sharded, own_part, whole

logger = get_logger(__name__)

# The second is what torch before 2.13 calls it.
_NAMES = ("forward_sync_buffers", "broadcast_buffers")
_BUFFERS = next(name for name in _NAMES if name in signature(nn.parallel.DistributedDataParallel).parameters)
"""DDP's word for buffers that go round before every pass."""

METHODS = ("ddp", "fsdp")
"""The values of TRAIN.PARALLEL."""


def data_parallel(model: nn.Module, device: torch.device, method: str = "ddp") -> nn.Module:
    """Return ``model`` so that its gradients are averaged over the processes of the run; itself where there is one.

    Parameters change: with ``"ddp"`` their layout in memory, with ``"fsdp"`` they are other objects (DTensors), of
    which each process holds a part. So this comes after weights are loaded and parts are frozen, and before an
    optimizer is built or its state is loaded.

    Args:
        model: the network on ``device``, perhaps compiled (not with ``"fsdp"``). The main process's weights are used.
        device: of this process.
        method: ``"ddp"``: each process has the whole network, Li et al., "PyTorch Distributed", 2020. ``"fsdp"``: the
            network is cut up in place among all processes, block by block, and each block is put together while it
            runs: Zhao et al., "PyTorch FSDP", 2023, after Rajbhandari et al., "ZeRO", 2020.

    Raises:
        ConfigError: ``"fsdp"`` of a compiled network.
    """
    assert method in METHODS, f"{method!r} is none of {METHODS}"
    if not distributed.is_initialized():
        if method == "fsdp":
            logger.warning("TRAIN.PARALLEL fsdp has nothing to cut up in a run of one process, which trains as ever")
        return model
    return _sharded(model, device) if method == "fsdp" else _replicated(model, device)


def _replicated(model: nn.Module, device: torch.device) -> nn.Module:
    # Gradients of kernels wider than one pixel come channels-last; buckets of the same layout spare a copy of each.
    for p in model.parameters():
        if p.ndim == 5 and p[0, 0].numel() > 1:
            p.data = p.data.to(memory_format=torch.channels_last_3d)
    return nn.parallel.DistributedDataParallel(
        model,
        device_ids=[device.index] if device.type == "cuda" else None,
        gradient_as_bucket_view=True,
        # Looking for them costs a walk over the graph in every step.
        find_unused_parameters=_has_idle_parameters(model),
        # Training looks at the statistics of the batch alone; share_statistics() is for evaluations.
        **{_BUFFERS: False},
    )


def _has_idle_parameters(model: nn.Module) -> bool:
    """Return whether some trainable parameters never get a gradient: the head for token labelling has no part in it."""
    return any(p.requires_grad and "aux_head" in name.split(".") for name, p in model.named_parameters())


def _sharded(model: nn.Module, device: torch.device) -> nn.Module:
    # Not at the top: it takes a while to import, and most runs do without.
    from torch.distributed.fsdp import fully_shard

    if isinstance(model, OneShape):
        raise ConfigError(
            "TRAIN.PARALLEL fsdp and MODEL.COMPILE do not go together: a network that is put together block by block "
            "cannot be compiled as one; set MODEL.COMPILE False or TRAIN.PARALLEL ddp"
        )
    for tensor in chain(model.parameters(), model.buffers()):
        tensor.data = tensor.data.contiguous()
        dist.broadcast(tensor.detach(), 0)  # as DDP does
    # Blocks of the hourglass return views. It would matter if what calls them wrote into what they return.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    mesh = init_device_mesh(device.type, (distributed.world_size(),))
    # A block reads the weights of its layers itself. What is left belongs to the network, which reads those too.
    for block in _blocks(model):
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    own = sum(own_part(p).numel() for p in model.parameters())
    total = sum(p.numel() for p in model.parameters())
    logger.info(
        "TRAIN.PARALLEL fsdp: this process keeps %.3f of %.3f M parameters, and as much of gradients and optimizer",
        *(own / 1e6, total / 1e6),
    )
    return model


def _blocks(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks of the network: what stands in a list of modules, without what is inside of it."""
    for child in model.children():
        if isinstance(child, nn.ModuleList):
            yield from child
        else:
            yield from _blocks(child)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Let a sharded network be a plain one inside the ``with`` block, whole on every process: for evaluations.

    Entering is a collective; inside nothing is, so that processes may call the network as often as each has batches.
    Inside, parameters are plain copies: what is written into them is lost, what is written into buffers is kept. An
    average of weights is put into the network before (``WeightAverage.applied``). A network that is not sharded is
    what it was all along.

    Args:
        model: the network that :func:`data_parallel` was given.
    """
    with ExitStack() as undo:
        for module in model.modules():
            if hasattr(module, "reshard"):  # FSDP leaves the outermost module put together after a pass
                module.reshard()
        copies: dict[int, nn.Parameter] = {}
        for module in model.modules():
            _make_plain(module, copies, undo)
        yield


def _make_plain(module: nn.Module, copies: dict[int, nn.Parameter], undo: ExitStack) -> None:
    """Give a module whole parameters and take FSDP's hooks away until ``undo`` is closed.

    Args:
        copies: by the id of the sharded parameter: one that has two places has one copy.
    """
    for name, parameter in module._parameters.items():
        if not is_sharded(parameter):
            continue
        if id(parameter) not in copies:
            copies[id(parameter)] = nn.Parameter(whole(parameter), requires_grad=parameter.requires_grad)
        undo.callback(module._parameters.__setitem__, name, parameter)
        module._parameters[name] = copies[id(parameter)]
    if not hasattr(module, "reshard"):
        return
    for kind in ("_forward_pre_hooks", "_forward_hooks"):
        hooks = getattr(module, kind)
        undo.callback(setattr, module, kind, hooks)
        kept = type(hooks)((number, hook) for number, hook in hooks.items() if not _is_of_fsdp(hook))
        setattr(module, kind, kept)


def _is_of_fsdp(hook: Callable[..., Any]) -> bool:
    return type(getattr(hook, "__self__", None)).__module__.startswith("torch.distributed.")


def share_statistics(model: nn.Module) -> None:
    """Give every process the main one's batch-norm statistics: those that a checkpoint holds are validated."""
    if distributed.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)
