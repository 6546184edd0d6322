"""The network compiled for one batch size in training and one in evaluation (MODEL.COMPILE).

A compiler makes code for one shape. Left alone it compiles again for every last, shorter batch. Here a training step of
another size (videos of it could not be read) runs uncompiled, and an evaluation of fewer clips is filled up with zeros
whose scores are cut off: the network sees every clip for itself then, and what stands beside it does not matter.
"""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)

BACKEND = "inductor"
"""torch's own compiler."""


class OneShape(nn.Module):
    """Calls a network compiled where the batch has the size it was compiled for.

    Parameters and buffers are the network's own; take names and state from it, not from this module.

    Args:
        model: the network.
        train_clips: clips of a training step.
        eval_clips: most clips of an evaluation.
        mode: ``default``, ``reduce-overhead`` (CUDA graphs) or ``max-autotune``.
        backend: what compiles, as ``torch.compile`` takes it; only torch's own knows modes.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        train_clips: int,
        eval_clips: int,
        mode: str = "default",
        backend: Any = BACKEND,
    ) -> None:
        super().__init__()
        self.model = model
        self.clips = {True: train_clips, False: eval_clips}
        options = _options(mode) if backend == "inductor" else None
        # Not a submodule: it holds the same network under other names.
        self._compiled = [torch.compile(model, dynamic=False, backend=backend, options=options)]

    def forward(self, clips: Tensor) -> Any:
        """Return what the network returns for ``clips``, (B, 3, T, H, W)."""
        count, size = len(clips), self.clips[self.training]
        if count > size or (self.training and count < size):
            return self.model(clips)
        clips = _channels_last(clips)  # another order in memory would be another compilation
        if count == size:
            return self._call(clips)
        scores = self._call(torch.cat([clips, _channels_last(clips.new_zeros(size - count, *clips.shape[1:]))]))
        return tuple(each[:count] for each in scores) if isinstance(scores, tuple) else scores[:count]

    def _call(self, clips: Tensor) -> Any:
        torch.compiler.cudagraph_mark_step_begin()  # outputs of the call before may be overwritten
        return self._compiled[0](clips)


def _channels_last(clips: Tensor) -> Tensor:
    return clips.contiguous(memory_format=torch.channels_last_3d)


def compiled_network(
    model: nn.Module, cfg: CfgNode, device: torch.device, *, train_clips: int = 0, eval_clips: int
) -> nn.Module:
    """Return what to call in place of ``model``: itself, or a :class:`OneShape` where MODEL.COMPILE asks for it.

    Args:
        model: the network, on ``device``.
        cfg: read: MODEL.COMPILE, MODEL.USE_CHECKPOINT.
        device: where it runs.
        train_clips: clips of a training step; 0: it is not trained.
        eval_clips: most clips of an evaluation.

    Raises:
        ConfigError: there is nothing on this machine to compile with.
    """
    mode = cfg.MODEL.COMPILE
    if mode is False:
        return model
    mode = "default" if mode is True else mode
    require_compiler(device)
    if cfg.MODEL.USE_CHECKPOINT:
        # Of several processes: torch would split the graph between buckets of gradients, and cannot where a block is
        # computed again.
        torch._dynamo.config.optimize_ddp = False
    sizes = f"{train_clips} clips in training, {eval_clips} in evaluation" if train_clips else f"{eval_clips} clips"
    logger.info("the network is compiled (MODEL.COMPILE %s) for %s; the first step takes a while", mode, sizes)
    return OneShape(model, train_clips=train_clips, eval_clips=eval_clips, mode=mode, backend=BACKEND)


def require_compiler(device: torch.device) -> None:
    """Raise ``ConfigError`` where torch has nothing to compile with for ``device``."""
    if device.type == "cuda":
        from torch.utils._triton import has_triton

        if not has_triton():
            raise ConfigError(
                "MODEL.COMPILE needs Triton on a GPU, and it is missing or does not know this one; pip install triton, "
                "or set MODEL.COMPILE False"
            )
        names = [os.environ["CC"]] if os.environ.get("CC") else ["gcc", "clang", "cc"]
        kind = "C"
    else:
        names = [os.environ["CXX"]] if os.environ.get("CXX") else ["clang++" if sys.platform == "darwin" else "g++"]
        kind = "C++"
    if not any(shutil.which(name) for name in names):
        variable = "CC" if kind == "C" else "CXX"
        raise ConfigError(
            f"MODEL.COMPILE needs a {kind} compiler, and there is no {' or '.join(names)}; install {names[0]}, set the "
            f"environment variable {variable} to one, or set MODEL.COMPILE False"
        )


def _options(mode: str) -> dict[str, Any]:
    """Return the options of torch's own compiler for a mode."""
    # Stochastic depth and dropout then draw what they draw without the compiler.
    return {**torch._inductor.list_mode_options(mode), "fallback_random": True}
