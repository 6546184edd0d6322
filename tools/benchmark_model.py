"""``benchmark.py model``: forward pass and training step of our network on a CPU against the plain one."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from benchmark_limits import BACKWARD, cpu_limit, cpu_matrix_rate, product_flops
from benchmark_memory import PeakMemory, peak_memory
from benchmark_plain import PlainUniformer
from benchmark_timing import HEADING, Subcommand, Timing, compare, relative_difference, table_line, time_sides
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from uniformer_video.config import load_config
from uniformer_video.engine.device import hardware_name, has_bf16
from uniformer_video.models.build import build_model, uniformer_arguments_from_config
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.seed import torch_generator
from uniformer_video.solver.build import build_optimizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
LOGIT_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-1}
CPU = torch.device("cpu")


class ModelBench:
    """Our network and the plain one with the same weights, on the same clips, on the CPU.

    The plain side computes in float32; ours in every one of ``precisions``, bf16 by automatic mixed precision.

    Args:
        cfg: a configuration; dropout rates must be 0, because dropout makes gradients random.
        batch: clips in a batch.
        precisions: of our side, names of :data:`DTYPES`.

    Raises:
        UserError: for a configuration or sizes that cannot be compared.
    """

    def __init__(self, cfg: CfgNode, *, batch: int, precisions: tuple[str, ...] = ("fp32",)) -> None:
        size, frames = cfg.DATA.TRAIN_CROP_SIZE, cfg.DATA.NUM_FRAMES
        if batch * ((frames + 1) // 2) * (size // 32) ** 2 < 2:
            raise UserError("a batch norm cannot train on one position; set --batch 2 or more")
        for section, key in (
            ("UNIFORMER", "DROPOUT_RATE"),
            ("UNIFORMER", "ATTENTION_DROPOUT_RATE"),
            ("UNIFORMER", "HEAD_DROPOUT_RATE"),
        ):
            if cfg[section][key]:
                raise UserError(f"dropout makes the two sides' gradients differ; set {section}.{key} 0")
        self.batch, self.precisions = batch, precisions
        self.shape = (batch, 3, frames, size, size)
        torch.manual_seed(0)
        self.ours = build_model(cfg)
        self.plain = plain_model(cfg)
        self.plain.load_state_dict(self.ours.state_dict())
        generator = torch_generator(0)
        self.clips = torch.randn(self.shape, generator=generator)
        self.labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,), generator=generator)
        # Each side has the optimizer that its users have: ours from the configuration, torch's as it comes.
        self.optimizers = {
            id(self.ours): build_optimizer(self.ours, cfg),
            id(self.plain): torch.optim.AdamW(self.plain.parameters(), lr=cfg.SOLVER.BASE_LR),
        }

    def score(self, model: nn.Module, precision: str = "fp32") -> Tensor:
        """Return the logits of one side in eval mode."""
        model.eval()
        with torch.inference_mode(), autocast(precision):
            return model(self.clips)

    def backward(self, model: nn.Module, precision: str = "fp32") -> None:
        """Give one side its gradients in train mode."""
        model.train()
        with autocast(precision):
            loss = F.cross_entropy(model(self.clips), self.labels)
        loss.backward()

    def step(self, model: nn.Module, precision: str = "fp32") -> None:
        """Do one training step on one side."""
        optimizer = self.optimizers[id(model)]
        optimizer.zero_grad(set_to_none=True)
        self.backward(model, precision)
        optimizer.step()

    def gradients(self, model: nn.Module, precision: str = "fp32") -> Tensor:
        """Return all gradients of one side as one vector, in the order of our parameters, and clear them."""
        torch.manual_seed(1)  # all sides draw the same stochastic depth
        self.backward(model, precision)
        named = dict(model.named_parameters())
        flat = torch.cat([named[name].grad.flatten() for name, _ in self.ours.named_parameters()])
        model.zero_grad(set_to_none=True)
        return flat

    def check(self) -> list[str]:
        """Return a line for each precision that says how well logits and gradients agree with the plain float32 ones.

        Raises:
            UserError: they do not, so that times would compare different things.
        """
        # All scores first: a training pass moves the statistics of batch norms.
        scores = {precision: self.score(self.ours, precision).float() for precision in self.precisions}
        wanted = self.score(self.plain), self.gradients(self.plain)
        lines = []
        for precision in self.precisions:
            got = scores[precision], self.gradients(self.ours, precision)
            tolerances = LOGIT_TOLERANCE[precision], GRADIENT_TOLERANCE[precision]
            found = []
            for what, one, other, allowed in zip(("logits", "gradients"), got, wanted, tolerances, strict=True):
                difference = relative_difference(one, other)
                if not difference <= allowed:
                    raise UserError(
                        f"{what} of the two sides differ by {difference:.2g} in {precision}, more than {allowed:g}: "
                        "not comparable"
                    )
                found.append(f"same {what} (relative difference {difference:.1e})")
            if not torch.equal(got[0].argmax(1), wanted[0].argmax(1)):
                raise UserError(f"the best classes of the two sides differ in {precision}: not comparable")
            lines.append(f"{precision}: {', '.join(found)}, the same best class of all {self.batch} clips")
        return lines

    def times(self, repeats: int, *, train_repeats: int | None = None, name: str = "model") -> list[Timing]:
        """Return the medians of a forward pass and of a training step, each in all precisions, all sides in turn.

        A step takes seconds and :meth:`check` has done one on each side, so that it needs no round to warm up.

        Args:
            repeats: rounds that count of the forward pass.
            train_repeats: of the training step; None: as many.
            name: of the rows, before what is done.
        """
        flops = product_flops(self.ours, self.shape)
        jobs = (
            ("inference", self.score, repeats, 2, 1),
            ("training step", self.step, train_repeats or repeats, 0, BACKWARD),
        )
        rows = []
        for what, call, rounds, warm_up, passes in jobs:
            sides = {precision: lambda p=precision, c=call: c(self.ours, p) for precision in self.precisions}
            seconds = time_sides({**sides, "plain": lambda c=call: c(self.plain)}, repeats=rounds, warm_up=warm_up)
            for precision in self.precisions:
                limit = cpu_limit(passes * flops, DTYPES[precision])
                rows.append(compare(f"{name} {what} {precision}", seconds["plain"], seconds[precision], limit))
        return rows


def autocast(precision: str) -> AbstractContextManager:
    """Return the context a side computes in."""
    return torch.autocast("cpu", torch.bfloat16) if precision == "bf16" else nullcontext()


def plain_model(cfg: CfgNode) -> PlainUniformer:
    """Return the plain network of a configuration without dropout.

    Raises:
        UserError: for a network with parts that the plain one lacks.
    """
    arguments = uniformer_arguments_from_config(cfg)
    for dropout in ("dropout", "attention_dropout", "head_dropout", "layer_scale_init"):
        del arguments[dropout]
    if cfg.MODEL.MODEL_NAME.lower() != "uniformer":
        raise UserError(f"there is no plain {cfg.MODEL.MODEL_NAME} to compare with; set MODEL.MODEL_NAME Uniformer")
    for name in ("layer_scale", "conv_stem", "aux_head", "image"):
        if arguments.pop(name):
            raise UserError(f"the plain network has no {name}; set UNIFORMER.{name.upper()} False")
    if not isinstance(arguments["mlp_ratio"], float):
        raise UserError("the plain network has one MLP ratio for all stages; set UNIFORMER.MLP_RATIO to one number")
    return PlainUniformer(**arguments)


def chosen_precisions(text: str) -> tuple[str, ...]:
    """Return the precisions that ``--precision`` names; both where this processor has bfloat16 and none is named."""
    if text == "both":
        return ("fp32", "bf16") if has_bf16(CPU) else ("fp32",)
    return (text,)


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py model``."""
    parser.add_argument("--cfg", metavar="FILE", help="YAML file of the recipe (default: the defaults)")
    parser.add_argument("--batch", type=int, default=2, metavar="N", help="clips in a batch (default 2)")
    parser.add_argument("--frames", type=int, metavar="N", help="short for DATA.NUM_FRAMES N")
    parser.add_argument("--size", type=int, metavar="N", help="short for DATA.TRAIN_CROP_SIZE N")
    parser.add_argument("--classes", type=int, metavar="N", help="short for MODEL.NUM_CLASSES N")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "both"),
        default="both",
        help="of our side; the plain one is float32, bf16 is mixed precision (default: both where the processor can)",
    )
    parser.add_argument(
        "--memory", action="store_true", help="also the peak memory of a training step, in processes of its own"
    )


def run_model(args: argparse.Namespace) -> list[Timing | PeakMemory]:
    """Compare forward pass and training step of a configuration's network with the plain one."""
    short = {"DATA.NUM_FRAMES": args.frames, "DATA.TRAIN_CROP_SIZE": args.size, "MODEL.NUM_CLASSES": args.classes}
    overrides = [*args.opts, *(text for key, n in short.items() if n is not None for text in (key, str(n)))]
    if args.batch < 1:
        raise UserError(f"--batch must be 1 or more, got {args.batch}")
    cfg = load_config(args.cfg, overrides)
    bench = ModelBench(cfg, batch=args.batch, precisions=chosen_precisions(args.precision))
    print(describe(cfg, bench), flush=True)
    print("\n".join(bench.check()), flush=True)
    print(HEADING)
    rows: list[Timing | PeakMemory] = []
    for timing in bench.times(args.repeats):
        print(table_line(timing), flush=True)
        rows.append(timing)
    if args.memory:
        rows.append(peak_memory(cfg, batch=args.batch, name="model training step fp32"))
        print(rows[-1].line())
    return rows


def describe(cfg: CfgNode, bench: ModelBench) -> str:
    """Return two lines: the machine and what it reaches, the network and its clips."""
    rates = ", ".join(f"{cpu_matrix_rate(DTYPES[p]) / 1e12:.2f} TFLOP/s {p}" for p in bench.precisions)
    parameters = sum(p.numel() for p in bench.ours.parameters()) / 1e6
    return (
        f"hardware: {hardware_name(CPU)}; torch {torch.__version__}; matrix products reach {rates}\n"
        f"{cfg.MODEL.MODEL_NAME}, {parameters:.2f} M parameters, clips {bench.shape}; plain side: float32"
    )


MODEL = Subcommand("forward pass and training step on a CPU, ours and the plain ones", add_model_arguments, run_model)
