#!/usr/bin/env python3
"""run_net.py in which chosen steps have a loss, a gradient or activations that are no numbers.

chaos_inject.py KIND:STEP[,KIND:STEP...] and the arguments of run_net.py. KIND is loss-nan, loss-inf, gradient-inf,
gradient-nan or activation-nan; STEP counts over all epochs, from 1. For chaos.py numbers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[1])]

import torch  # noqa: E402
from chaos_set import STEPS  # noqa: E402
from torch import Tensor  # noqa: E402

from uniformer_video.engine import launch  # noqa: E402
from uniformer_video.models import uniformer  # noqa: E402
from uniformer_video.runtime import seed  # noqa: E402
from uniformer_video.solver import losses  # noqa: E402

KINDS = ("loss-nan", "loss-inf", "gradient-nan", "gradient-inf", "activation-nan")


class _Spoil(torch.autograd.Function):
    """Passes a value on; its gradient is multiplied by ``factor``."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


class Injection:
    """Knows at which step the run is, and what is to be done to it.

    Args:
        plan: kind by step, from 1 over all epochs.
    """

    def __init__(self, plan: dict[int, str]) -> None:
        self.plan = plan
        self.step = 0

    @classmethod
    def parse(cls, text: str) -> Injection:
        """Read ``KIND:STEP,...``."""
        pairs = [item.split(":") for item in text.split(",") if item]
        assert all(kind in KINDS for kind, _ in pairs), text
        return cls({int(step): kind for kind, step in pairs})

    @property
    def kind(self) -> str:
        """What is to be done to the step in hand; empty: nothing."""
        return self.plan.get(self.step, "")

    def seeding(self, original: Callable[..., None]) -> Callable[..., None]:
        """Wrap the function that seeds a training step's draws: it tells epoch and step."""

        def seed_everything(*position: int) -> None:
            if len(position) >= 4 and position[1] == seed.Stream.NETWORK:
                self.step = position[2] * STEPS + position[3] + 1
            original(*position)

        return seed_everything

    def loss(self, original: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Wrap the loss of a training step."""

        def mean_over_heads(*args: Any, **kwargs: Any) -> Tensor:
            value = original(*args, **kwargs)
            if not value.requires_grad:  # validation
                return value
            what, _, number = self.kind.partition("-")
            if what == "loss":
                return value * float(number)
            return _Spoil.apply(value, float(number)) if what == "gradient" else value

        return mean_over_heads

    def forward(self, original: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap the network's forward pass: NaN from its first layer on, and so in the statistics of batch norms."""

        def forward(network: torch.nn.Module, clips: Tensor, *args: Any, **kwargs: Any) -> Any:
            spoilt = network.training and self.kind.startswith("activation")
            return original(network, clips * float("nan") if spoilt else clips, *args, **kwargs)

        return forward


def inject(injection: Injection) -> None:
    """Put the wraps in place, wherever the package has imported what they wrap."""
    wraps = {
        id(seed.seed_everything): injection.seeding(seed.seed_everything),
        id(losses.mean_over_heads): injection.loss(losses.mean_over_heads),
    }
    for module in [m for name, m in list(sys.modules.items()) if name.startswith("uniformer_video")]:
        for name, value in list(vars(module).items()):
            if id(value) in wraps:
                setattr(module, name, wraps[id(value)])
    uniformer.Uniformer.forward = injection.forward(uniformer.Uniformer.forward)


def main(argv: Sequence[str]) -> int:
    """Run run_net.py with the injection and return its exit code."""
    assert launch, "all that uses the loss must be imported before it is wrapped"
    inject(Injection.parse(argv[0]))
    import run_net

    return run_net.main(list(argv[1:]))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
