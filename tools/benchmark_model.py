"""``benchmark.py model``: forward pass and training step of our network against the plain one."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

import torch
import torch.nn.functional as F
from benchmark_plain import PlainUniformer
from benchmark_timing import Subcommand, Timing, relative_difference, time_alternating
from fvcore.common.config import CfgNode
from torch import Tensor, nn

from uniformer_video.config import load_config
from uniformer_video.engine.device import hardware_name
from uniformer_video.models.build import build_model, uniformer_arguments_from_config
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.seed import torch_generator

LOGIT_TOLERANCE = {"fp32": 1e-4, "bf16": 2e-2}
GRADIENT_TOLERANCE = {"fp32": 1e-3, "bf16": 1e-1}


class ModelBench:
    """Our network and the plain one with the same weights, on the same clips.

    Args:
        cfg: a configuration; dropout rates must be 0, because dropout makes gradients random.
        batch: clips in a batch.
        precision: "fp32" or "bf16" (automatic mixed precision).
        device: where both run.

    Raises:
        UserError: for a configuration or sizes that cannot be compared.
    """

    def __init__(self, cfg: CfgNode, *, batch: int, precision: str, device: torch.device) -> None:
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
        self.batch, self.precision, self.device = batch, precision, device
        self.shape = (batch, 3, frames, size, size)
        torch.manual_seed(0)
        self.ours = build_model(cfg).to(device)
        self.plain = plain_model(cfg).to(device)
        self.plain.load_state_dict(self.ours.state_dict())
        generator = torch_generator(0)
        self.clips = torch.randn(self.shape, generator=generator).to(device)
        self.labels = torch.randint(cfg.MODEL.NUM_CLASSES, (batch,), generator=generator).to(device)

    def autocast(self) -> AbstractContextManager:
        """Return the context both sides compute in."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.precision == "bf16" else nullcontext()

    def score(self, model: nn.Module) -> Tensor:
        """Return the logits of one side in eval mode."""
        model.eval()
        with torch.inference_mode(), self.autocast():
            return model(self.clips)

    def backward(self, model: nn.Module) -> None:
        """Give one side its gradients in train mode."""
        model.train()
        with self.autocast():
            loss = F.cross_entropy(model(self.clips), self.labels)
        loss.backward()

    def step(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Do one training step on one side."""
        optimizer.zero_grad(set_to_none=True)
        self.backward(model)
        optimizer.step()

    def check(self) -> str:
        """Return a line that says how well logits and gradients agree.

        Raises:
            UserError: they do not, so that times would compare different things.
        """
        differences = {"logits": relative_difference(self.score(self.ours).float(), self.score(self.plain).float())}
        gradients = []
        for model in (self.ours, self.plain):
            torch.manual_seed(1)  # both sides draw the same stochastic depth
            self.backward(model)
            named = dict(model.named_parameters())
            gradients.append(torch.cat([named[name].grad.flatten() for name, _ in self.ours.named_parameters()]))
        differences["gradients"] = relative_difference(*gradients)
        tolerances = {"logits": LOGIT_TOLERANCE, "gradients": GRADIENT_TOLERANCE}
        for what, difference in differences.items():
            allowed = tolerances[what][self.precision]
            if not difference <= allowed:
                raise UserError(
                    f"{what} of the two sides differ by {difference:.2g}, more than {allowed:g}: not comparable"
                )
        return "same " + ", same ".join(
            f"{what} (relative difference {value:.1e})" for what, value in differences.items()
        )

    def times(self, repeats: int) -> list[Timing]:
        """Return the medians of a forward pass and of a training step."""
        synchronize = torch.cuda.synchronize if self.device.type == "cuda" else (lambda: None)
        forward = time_alternating(
            "model.forward",
            lambda: self.score(self.plain),
            lambda: self.score(self.ours),
            repeats=repeats,
            synchronize=synchronize,
        )
        adamw = {id(m): torch.optim.AdamW(m.parameters(), lr=1e-5) for m in (self.plain, self.ours)}
        train = time_alternating(
            "model.train_step",
            lambda: self.step(self.plain, adamw[id(self.plain)]),
            lambda: self.step(self.ours, adamw[id(self.ours)]),
            repeats=repeats,
            synchronize=synchronize,
        )
        return [forward, train]


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


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of ``benchmark.py model``."""
    parser.add_argument("--cfg", metavar="FILE", help="YAML file of the recipe (default: the defaults)")
    parser.add_argument("--batch", type=int, default=2, metavar="N", help="clips in a batch (default 2)")
    parser.add_argument("--frames", type=int, metavar="N", help="short for DATA.NUM_FRAMES N")
    parser.add_argument("--size", type=int, metavar="N", help="short for DATA.TRAIN_CROP_SIZE N")
    parser.add_argument("--classes", type=int, metavar="N", help="short for MODEL.NUM_CLASSES N")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="bf16 is mixed precision")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")


def run_model(args: argparse.Namespace) -> list[Timing]:
    """Compare forward pass and training step of a configuration's network with the plain one."""
    short = {"DATA.NUM_FRAMES": args.frames, "DATA.TRAIN_CROP_SIZE": args.size, "MODEL.NUM_CLASSES": args.classes}
    overrides = [*args.opts, *(text for key, n in short.items() if n is not None for text in (key, str(n)))]
    if args.batch < 1:
        raise UserError(f"--batch must be 1 or more, got {args.batch}")
    if args.device == "cuda" and not torch.cuda.is_available():
        raise UserError("--device cuda, but torch sees no CUDA device here; use --device cpu")
    cfg = load_config(args.cfg, overrides)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, on both sides
    device = torch.device(args.device)
    bench = ModelBench(cfg, batch=args.batch, precision=args.precision, device=device)
    parameters = sum(p.numel() for p in bench.ours.parameters()) / 1e6
    threads = "" if device.type == "cpu" else f", {torch.get_num_threads()} threads"  # a CPU's name has them
    print(f"hardware: {hardware_name(device)}{threads}; torch {torch.__version__}")
    print(f"{cfg.MODEL.MODEL_NAME}, {parameters:.2f} M parameters, clips {bench.shape}, {args.precision}", flush=True)
    print(bench.check(), flush=True)
    timings = bench.times(args.repeats)
    for timing in timings:
        rates = f"{args.batch / timing.plain_s:8.2f} -> {args.batch / timing.ours_s:8.2f} clips/s"
        print(f"{timing.name:18} plain {timing.plain_s:9.4f} s  ours {timing.ours_s:9.4f} s  {rates}", end="")
        print(f"  plain/ours {timing.ratio:5.2f}")
    return timings


MODEL = Subcommand("forward pass and training step of a configuration's network", add_model_arguments, run_model)
