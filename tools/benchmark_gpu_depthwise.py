"""Depthwise 3D convolutions of a network, Triton's kernels against cuDNN's: part of ``benchmark.py gpu``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from benchmark_gpu_rates import copy_rate, synchronizer
from benchmark_timing import Timing, compare, relative_difference, time_sides
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from uniformer_video.models.build import build_model
from uniformer_video.models.depthwise import depthwise_conv3d, depthwise_gradients
from uniformer_video.runtime.errors import UserError

TOLERANCE = {torch.float32: 1e-5, torch.float16: 2e-3, torch.bfloat16: 1e-2}
"""Largest relative differences of our results from float64."""

RUNS = 20
"""Launches in one timing: a single one is as short as its launch."""

Case = tuple[tuple[int, int, int, int], tuple[int, int, int]]
"""(T, H, W, C) and the kernel."""


def depthwise_cases(cfg: CfgNode) -> list[Case]:
    """Return the grids and kernels of the depthwise convolutions of a configuration's network, each once.

    Raises:
        UserError: a network that does not tell the grids of its stages.
    """
    with torch.device("meta"):
        model = build_model(cfg).eval()
        clips = torch.empty(1, 3, cfg.DATA.NUM_FRAMES, cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.TRAIN_CROP_SIZE)
    if not hasattr(model, "forward_features"):
        raise UserError(
            f"MODEL.MODEL_NAME {cfg.MODEL.MODEL_NAME} does not tell its grids; set MODEL.MODEL_NAME Uniformer"
        )
    with torch.no_grad():
        maps = model.forward_features(clips)
    found: dict[Case, None] = {}
    for stage, grid in enumerate(maps, start=1):
        channels, *extents = grid.shape[1:]
        for module in getattr(model, f"blocks{stage}").modules():
            if isinstance(module, nn.Conv3d) and module.groups == module.in_channels > 1:
                found[(*extents, channels), tuple(module.kernel_size)] = None
    return list(found)


def depthwise_timings(
    cfg: CfgNode, *, batch: int, device: torch.device, repeats: int, dtype: torch.dtype = torch.bfloat16
) -> Iterator[Timing]:
    """Yield the timings of every case, after a check against float64: forward, gradient of the input, of the weight.

    Args:
        cfg: of the network.
        batch: clips.
        device: where.
        repeats: rounds of which the median counts.
        dtype: of input, output and weight.

    Raises:
        UserError: a result of ours is not that of float64.
    """
    bandwidth = copy_rate(device, repeats=repeats)
    for grid, kernel in depthwise_cases(cfg):
        bench = DepthwiseBench((batch, *grid), kernel, device=device, dtype=dtype)
        bench.check()
        yield from bench.times(repeats, bandwidth)


class DepthwiseBench:
    """One convolution on both sides.

    Args:
        shape: (B, T, H, W, C).
        kernel: odd extents.
        device: where.
        dtype: of input, output and weight.
    """

    def __init__(
        self, shape: tuple[int, ...], kernel: tuple[int, int, int], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.shape, self.kernel, self.device, self.dtype = shape, kernel, device, dtype
        generator = torch.Generator().manual_seed(0)
        self.x, self.grad = (torch.randn(shape, generator=generator).to(device, dtype) for _ in range(2))
        self.weight = torch.randn(shape[-1], 1, *kernel, generator=generator).to(device, dtype)
        self.bias = torch.randn(shape[-1], generator=generator).to(device, dtype)

    def ours(self) -> dict[str, Callable[[], Tensor]]:
        """Return our forward pass and gradients; grids are (B, T, H, W, C)."""
        weight = self.weight.detach()
        return {
            "forward": lambda: depthwise_conv3d(self.x, weight, self.bias),
            "input": lambda: torch.ops.uniformer_video.depthwise_conv3d(self.grad, weight, None, True),
            "weight": lambda: depthwise_gradients(self.x, self.grad, weight)[0],
        }

    def plain(self, layout: torch.memory_format, dtype: torch.dtype | None = None) -> dict[str, Callable[[], Tensor]]:
        """Return torch's forward pass and gradients; grids are (B, C, T, H, W) in that memory order."""
        dtype = dtype or self.dtype
        x, grad = (t.to(dtype).permute(0, 4, 1, 2, 3).contiguous(memory_format=layout) for t in (self.x, self.grad))
        weight, bias = self.weight.to(dtype).contiguous(memory_format=layout), self.bias.to(dtype)
        padding, groups = [extent // 2 for extent in self.kernel], self.shape[-1]

        def gradient(of_x: bool) -> Tensor:
            found = torch.ops.aten.convolution_backward(
                *(grad, x, weight, [groups], [1, 1, 1], padding, [1, 1, 1], False, [0, 0, 0], groups),
                [of_x, not of_x, not of_x],
            )
            return found[0 if of_x else 1]

        return {
            "forward": lambda: F.conv3d(x, weight, bias, padding=padding, groups=groups),
            "input": lambda: gradient(True),
            "weight": lambda: gradient(False),
        }

    def check(self) -> None:
        """Compare our results with float64.

        Raises:
            UserError: they differ.
        """
        exact = self.plain(torch.contiguous_format, torch.float64)
        for what, call in self.ours().items():
            wanted = exact[what]()
            wanted = wanted if what == "weight" else wanted.permute(0, 2, 3, 4, 1)
            difference = relative_difference(call(), wanted)
            if not difference <= TOLERANCE[self.dtype]:
                raise UserError(
                    f"depthwise {what} of {self.shape} with kernel {self.kernel} differs from float64 by "
                    f"{difference:.2g}, more than {TOLERANCE[self.dtype]:g}"
                )

    def times(self, repeats: int, bandwidth: float) -> Iterator[Timing]:
        """Yield forward pass and both gradients; plain is the faster of torch's two layouts.

        Args:
            repeats: rounds of which the median counts.
            bandwidth: bytes a second that the memory reads and writes.
        """
        wait = synchronizer(self.device)
        first, last = self.plain(torch.contiguous_format), self.plain(torch.channels_last_3d)
        for what, call in self.ours().items():
            sides = {"ours": call, "contiguous": first[what], "channels last": last[what]}
            calls = {name: (lambda side=side: [side() for _ in range(RUNS)] and None) for name, side in sides.items()}
            seconds = time_sides(calls, repeats=repeats, synchronize=wait)
            plain = min(seconds["contiguous"], seconds["channels last"]) / RUNS
            grid = "x".join(map(str, self.shape))
            name = f"{what} {grid} {'x'.join(map(str, self.kernel))}"
            # Two grids are read, or one is read and one written.
            yield compare(name, plain, seconds["ours"] / RUNS, 2 * self.x.nbytes / bandwidth)
