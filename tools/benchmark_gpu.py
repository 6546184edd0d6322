"""``benchmark.py gpu``: training step, inference and depthwise kernels on a CUDA device, against plain code there.

The plain side is the plain network in contiguous (B, C, T, H, W) under torch's automatic mixed precision, with torch's
own choice of AdamW. Ours is the network as a run has it on a GPU, as it is and compiled (MODEL.COMPILE).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from benchmark_gpu_depthwise import depthwise_timings
from benchmark_gpu_rates import matrix_rate, synchronizer
from benchmark_limits import BACKWARD, product_flops
from benchmark_model import plain_model
from benchmark_timing import HEADING, Subcommand, Timing, compare, relative_difference, table_line, time_sides
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from uniformer_video.config import load_config
from uniformer_video.engine.compiled import OneShape, require_compiler
from uniformer_video.engine.device import hardware_name, set_float32_products
from uniformer_video.models.build import build_model
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.seed import torch_generator
from uniformer_video.solver.build import build_optimizer

RECIPE = Path(__file__).resolve().parents[1] / "configs" / "Kinetics" / "uniformer_b16x4.yaml"
LOGITS, GRADIENTS = 2e-2, 1e-1
"""Largest relative differences between two sides in bf16."""


@dataclass(frozen=True)
class GpuTiming(Timing):
    """A timing of whole networks; ``limit_s`` is the time its products alone take at the measured matrix rate.

    Args:
        plain_clips: clips in a second on the plain side.
        ours_clips: on ours.
        plain_gib: most memory that the plain side held at a time, GiB; None where the device does not tell.
        ours_gib: ours.
    """

    plain_clips: float = 0.0
    ours_clips: float = 0.0
    plain_gib: float | None = None
    ours_gib: float | None = None


class Side:
    """One network with its optimizer, in bf16 mixed precision.

    Args:
        model: holds the parameters, on the device.
        optimizer: of them.
        called: what is called for a forward pass; None: the model.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, called: nn.Module | None = None) -> None:
        self.model, self.optimizer = model, optimizer
        self.called = model if called is None else called
        self.device = next(model.parameters()).device

    def score(self, clips: Tensor) -> Tensor:
        """Return the logits of clips in eval mode."""
        self.called.eval()
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16):
            return self.called(clips)

    def backward(self, clips: Tensor, labels: Tensor) -> None:
        """Give the parameters new gradients, with stochastic depth that depends on nothing before."""
        self.called.train()
        self.optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(1)
        with torch.autocast(self.device.type, torch.bfloat16):
            logits = self.called(clips)
        F.cross_entropy(logits.float(), labels).backward()

    def step(self, clips: Tensor, labels: Tensor) -> None:
        """Do one training step."""
        self.backward(clips, labels)
        self.optimizer.step()

    def state_bytes(self) -> int:
        """Return the bytes of parameters, buffers and the optimizer's state."""
        held = [*self.model.parameters(), *self.model.buffers()]
        held += [value for state in self.optimizer.state.values() for value in state.values()]
        return sum(each.nbytes for each in held if isinstance(each, Tensor))


class GpuBench:
    """The plain network and ours with the same weights, on the same clips.

    Args:
        cfg: a configuration without dropout, which would make gradients differ.
        batch: clips in a batch.
        device: where all run.
        compile_mode: as MODEL.COMPILE; None: ours is not compiled besides.

    Raises:
        UserError: a configuration that cannot be compared.
    """

    def __init__(self, cfg: CfgNode, *, batch: int, device: torch.device, compile_mode: str | None) -> None:
        for key in ("DROPOUT_RATE", "ATTENTION_DROPOUT_RATE", "HEAD_DROPOUT_RATE"):
            if cfg.UNIFORMER[key]:
                raise UserError(f"dropout makes the sides' gradients differ; set UNIFORMER.{key} 0")
        self.batch, self.device = batch, device
        size = cfg.DATA.TRAIN_CROP_SIZE
        shape = (batch, 3, cfg.DATA.NUM_FRAMES, size, size)
        torch.manual_seed(0)
        ours, plain = build_model(cfg), plain_model(cfg)
        plain.load_state_dict(ours.state_dict())
        self.flops = product_flops(ours, shape)
        ours, plain = ours.to(device), plain.to(device)
        generator = torch_generator(0)
        self.clips = torch.randn(shape, generator=generator).to(device)
        self.labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,), generator=generator).to(device)
        optimizer = build_optimizer(ours, cfg)
        self.sides = {
            "plain": Side(plain, torch.optim.AdamW(plain.parameters(), lr=1e-5)),
            "ours": Side(ours, optimizer),
        }
        if compile_mode is not None:
            called = OneShape(ours, train_clips=batch, eval_clips=batch, mode=compile_mode)
            self.sides["compiled"] = Side(ours, optimizer, called)

    def clips_of(self, name: str) -> Tensor:
        """Return the clips as a side takes them: ours channels last, as ``DeviceInputs`` makes them."""
        return self.clips if name == "plain" else self.clips.contiguous(memory_format=torch.channels_last_3d)

    def check(self) -> str:
        """Return a line that says how well logits and gradients of all sides agree.

        Raises:
            UserError: they do not, so that times would compare different things.
        """
        # All scores first: a backward pass moves the statistics of batch norms.
        found = {name: {"logits": side.score(self.clips_of(name)).float().clone()} for name, side in self.sides.items()}
        order = [name for name, _ in self.sides["ours"].model.named_parameters()]
        for name, side in self.sides.items():
            side.backward(self.clips_of(name), self.labels)
            own = dict(side.model.named_parameters())
            found[name]["gradients"] = torch.cat([own[key].grad.flatten() for key in order])
        parts = []
        for name in [name for name in self.sides if name != "plain"]:
            for what, allowed in (("logits", LOGITS), ("gradients", GRADIENTS)):
                difference = relative_difference(found[name][what], found["plain"][what])
                if not difference <= allowed:
                    raise UserError(
                        f"{what} of {name} and plain differ by {difference:.2g}, more than {allowed:g}: not comparable"
                    )
                parts.append(f"{what} of {name} {difference:.1e}")
        return "relative differences from plain: " + ", ".join(parts)

    def peaks(self, run: Callable[[str], object]) -> dict[str, float | None]:
        """Return the GiB that each side needs for a run: its weights and optimizer, and what it makes on the way."""
        if self.device.type != "cuda":
            return dict.fromkeys(self.sides)
        found = {}
        for name, side in self.sides.items():
            run(name)
            for other in self.sides.values():
                other.optimizer.zero_grad(set_to_none=True)
            torch.cuda.synchronize(self.device)
            torch.cuda.reset_peak_memory_stats(self.device)
            before = torch.cuda.memory_allocated(self.device)
            run(name)
            torch.cuda.synchronize(self.device)
            found[name] = (torch.cuda.max_memory_allocated(self.device) - before + side.state_bytes()) / 2**30
        return found

    def times(self, repeats: int, rate: float) -> list[GpuTiming]:
        """Return training step and inference of ours, and of ours compiled, against plain.

        Args:
            repeats: rounds of which the median counts.
            rate: floating-point operations a second of the device's bf16 products.
        """
        kinds = {"training step": (self._step, BACKWARD), "inference": (self._score, 1)}
        timings = []
        for kind, (run, factor) in kinds.items():
            calls = {name: (lambda run=run, name=name: run(name)) for name in self.sides}
            peaks = self.peaks(run)
            seconds = time_sides(calls, repeats=repeats, synchronize=synchronizer(self.device))
            limit = factor * self.flops / rate
            for name in [name for name in self.sides if name != "plain"]:
                label = f"{kind} bf16 x{self.batch}" + ("" if name == "ours" else " compiled")
                timings.append(gpu_timing(label, seconds, peaks, name, self.batch, limit))
        return timings

    def _step(self, name: str) -> None:
        self.sides[name].step(self.clips_of(name), self.labels)

    def _score(self, name: str) -> None:
        self.sides[name].score(self.clips_of(name))


def gpu_timing(
    label: str,
    seconds: Mapping[str, float],
    peaks: Mapping[str, float | None],
    name: str,
    batch: int,
    limit_s: float,
) -> GpuTiming:
    """Return the timing of side ``name`` against ``plain``.

    Args:
        label: what was done.
        seconds: of each side.
        peaks: GiB of each side.
        name: of our side.
        batch: clips of one run.
        limit_s: seconds of its products at the matrix rate.
    """
    basis = compare(label, seconds["plain"], seconds[name], limit_s)
    return GpuTiming(
        **vars(basis),
        plain_clips=batch / basis.plain_s,
        ours_clips=batch / basis.ours_s,
        plain_gib=peaks["plain"],
        ours_gib=peaks[name],
    )


def describe(timing: Timing) -> str:
    """Return a line of the table, of whole networks with clips a second and memory of both sides."""
    line = table_line(timing)
    if not isinstance(timing, GpuTiming):
        return line
    line += f"   {timing.plain_clips:.1f} -> {timing.ours_clips:.1f} clips/s"
    if timing.plain_gib is None or timing.ours_gib is None:
        return line
    return f"{line}   {timing.plain_gib:.2f} -> {timing.ours_gib:.2f} GiB"


def add_gpu_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py gpu``."""
    parser.add_argument("--cfg", metavar="FILE", default=str(RECIPE), help="recipe (default: base 16x4)")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="clips in a batch (default 16)")
    parser.add_argument("--depthwise-batch", type=int, default=8, metavar="N", help="clips of a kernel (default 8)")
    modes = ("default", "reduce-overhead", "max-autotune", "none")
    parser.add_argument("--compile", choices=modes, default="default", help="MODEL.COMPILE of the compiled side")


def run_gpu(args: argparse.Namespace) -> list[Timing]:
    """Measure on the first CUDA device."""
    for option in ("batch", "depthwise_batch"):
        if getattr(args, option) < 1:
            raise UserError(f"--{option.replace('_', '-')} must be 1 or more, got {getattr(args, option)}")
    if not torch.cuda.is_available():
        raise UserError("benchmark.py gpu needs a CUDA device, and torch sees none here; on a CPU: benchmark.py model")
    device = torch.device("cuda", 0)
    if args.compile != "none":
        require_compiler(device)
    return measure(load_config(args.cfg, args.opts), args, device, matrix_rate(device))


def measure(cfg: CfgNode, args: Any, device: torch.device, rate: float) -> list[Timing]:
    """Print and return all measurements.

    Args:
        cfg: the network's configuration.
        args: batch, depthwise_batch, compile, repeats.
        device: where.
        rate: floating-point operations a second of its bf16 products.
    """
    set_float32_products(device, tf32=False)
    print(f"hardware: {hardware_name(device)}; torch {torch.__version__}; bf16 products {rate / 1e12:.4g} TFLOP/s")
    mode = None if args.compile == "none" else args.compile
    bench = GpuBench(cfg, batch=args.batch, device=device, compile_mode=mode)
    print(
        f"{cfg.MODEL.MODEL_NAME}, clips {tuple(bench.clips.shape)}, {bench.flops / 1e12:.4g} TFLOP of products forward"
    )
    print(bench.check(), flush=True)
    timings: list[Timing] = list(bench.times(args.repeats, rate))
    print(HEADING)
    for timing in timings:
        print(describe(timing), flush=True)
    del bench
    print("depthwise kernels: plain is cuDNN, in the faster of its two layouts; the limit is the memory's")
    for timing in depthwise_timings(cfg, batch=args.depthwise_batch, device=device, repeats=args.repeats):
        print(describe(timing), flush=True)
        timings.append(timing)
    return timings


GPU = Subcommand("training step, inference and depthwise kernels on a CUDA device", add_gpu_arguments, run_gpu)
