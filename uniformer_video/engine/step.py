"""One training step: forward and backward, in parts where memory asks for it, and the optimizer's step, or none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.distributed as dist
from torch import nn

from uniformer_video.datasets.loader import Batch
from uniformer_video.engine.device import Precision
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.models.rows import batch_rows
from uniformer_video.runtime import distributed
from uniformer_video.runtime.seed import Stream, seed_everything
from uniformer_video.solver.build import clip_gradients, set_lr
from uniformer_video.solver.ema import WeightAverage
from uniformer_video.solver.losses import Loss, mean_over_heads

LEAST_SCALE = 1.0
"""A loss scale below it: an overflow of float16 is no more the scaler's own search for a scale that fits."""


@dataclass(frozen=True)
class Outcome:
    """What a step gave, the same on every process.

    Args:
        loss: mean over the clips of all processes.
        norm: of the gradient before clipping.
        clips: of all processes.
        taken: whether the weights were changed. A float16 gradient that overflows leaves a step out by itself.
        finite: False where a step was left out that should have been taken.
        wishes: whether any process had each of its wishes.
    """

    loss: float
    norm: float
    clips: int
    taken: bool
    finite: bool
    wishes: tuple[bool, ...] = ()


class TrainStep:
    """Does the steps of a training; every process calls it for every step.

    The gradient is that of the mean loss over the clips of all processes, also where these have different numbers of
    them. Parts of a step and processes draw stochastic depth and dropout for the clip's place in the whole step, so
    that neither cutting a step up nor sharing it changes a draw.

    Args:
        network: what is called, perhaps compiled and data-parallel.
        model: the network itself, with the parameters and buffers.
        optimizer: of its parameters.
        inputs: makes clips and targets.
        loss: of logits and targets.
        precision: of the forward pass, with its loss scaler.
        clip_norm: largest norm of the gradient; None: no limit.
        clip_value: largest value of a gradient; None: no limit.
        parts: into which the clips of a step are cut (TRAIN.GRAD_ACCUM_STEPS).
        average: of the weights, which follows every step; or None.
        seed: RNG_SEED.
        rows: clips of a whole step of all processes.
        repeats: clips of a record.
        compiled: whether the network draws for its own clips alone, as a compiled one does.
    """

    def __init__(
        self,
        network: nn.Module,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        inputs: DeviceInputs,
        loss: Loss,
        precision: Precision,
        clip_norm: float | None = None,
        clip_value: float | None = None,
        parts: int = 1,
        average: WeightAverage | None = None,
        seed: int = 0,
        rows: int,
        repeats: int = 1,
        compiled: bool = False,
    ) -> None:
        self.network, self.model, self.optimizer = network, model, optimizer
        self.inputs, self.loss, self.precision = inputs, loss, precision
        self.clip_norm, self.clip_value = clip_norm, clip_value
        self.parts = parts
        self.average = average
        self.seed, self.rows, self.repeats, self.compiled = seed, rows, repeats, compiled
        self._kept = _Kept(model)

    def __call__(
        self, batch: Batch, *, epoch: int, step: int, lr: float, clips: int, whole: bool = True, wishes: tuple = ()
    ) -> Outcome:
        """Do a step and return what it gave.

        Args:
            batch: of this process, with clips.
            epoch: for draws.
            step: of the epoch, for draws.
            lr: learning rate.
            clips: of all processes in this step.
            whole: every process has as many clips as it should; otherwise the step is done in one part, since not
                every process may have enough clips for more.
            wishes: of this process; all processes learn whether any had each.
        """
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)  # now: their memory serves the forward pass
        self._kept.keep()
        inputs, targets = self.inputs.train(batch, self.precision.device)
        runs = list(_runs(len(inputs), self.parts if whole else 1))
        total = torch.zeros((), dtype=torch.float64, device=self.precision.device)
        for number, part in enumerate(runs):
            with self._gradients_wait(last=number == len(runs) - 1), self._draws(epoch, step, number, part):
                total += self._backward(inputs[part], targets[part], clips)
        norm = self._clipped()
        return self._finish(total, norm, clips, wishes)

    def _backward(self, inputs: torch.Tensor, targets: torch.Tensor, clips: int) -> torch.Tensor:
        """Add to the gradients, and return the sum of the loss over these clips."""
        with self.precision.autocast():
            logits = self.network(inputs)
        loss = mean_over_heads(self.loss, logits, targets)
        # Gradients are averaged over processes afterwards, each clip counts as one of all.
        share = len(inputs) * distributed.world_size() / clips
        self.precision.scaler.scale(loss if share == 1 else loss * share).backward()
        return loss.detach().double() * len(inputs)

    def _clipped(self) -> torch.Tensor:
        self.precision.scaler.unscale_(self.optimizer)
        return clip_gradients(self.model.parameters(), self.clip_norm, self.clip_value)

    def _finish(self, total: torch.Tensor, norm: torch.Tensor, clips: int, wishes: tuple) -> Outcome:
        """Change the weights where all is finite on all processes, and return what the step gave."""
        scaler = self.precision.scaler
        # The one place that waits for the device. Nothing is changed before all processes know of each other.
        own = torch.stack([total, norm.to(total)])
        told = torch.cat([own, own.new_tensor([float(wish) for wish in wishes])])
        if distributed.is_initialized():
            dist.all_reduce(told)
        agreed = told.tolist()
        loss, length = agreed[0] / clips, agreed[1] / distributed.world_size()
        taken = math.isfinite(loss) and math.isfinite(length)
        searching = scaler.is_enabled() and math.isfinite(loss) and scaler.get_scale() >= LEAST_SCALE
        if taken:
            scaler.step(self.optimizer)
            if self.average is not None:
                self.average.update()
        else:
            self._kept.bring_back()
        scaler.update()
        return Outcome(loss, length, clips, taken, taken or searching, tuple(wish > 0 for wish in agreed[2:]))

    def _gradients_wait(self, *, last: bool) -> AbstractContextManager:
        """Return the context in which processes do not exchange gradients yet, for all parts but the last."""
        wait = getattr(self.network, "no_sync", None)  # DDP has it; FSDP adds up what it has exchanged
        return nullcontext() if last or wait is None else wait()

    def _draws(self, epoch: int, step: int, number: int, part: slice) -> AbstractContextManager:
        """Seed stochastic depth and dropout for these clips of the step: a resumed run draws the same."""
        rank, world = distributed.rank(), distributed.world_size()
        if self.compiled:
            place = (rank, number) if number else (rank,)
            seed_everything(self.seed, Stream.NETWORK, epoch, step, *place)
            return nullcontext()
        seed_everything(self.seed, Stream.NETWORK, epoch, step, 0)
        own = torch.arange(part.start, part.stop)
        # Process r has every world-th record of the step, from the r-th.
        records = rank + torch.div(own, self.repeats, rounding_mode="floor") * world
        return batch_rows(records * self.repeats + own % self.repeats, self.rows)


class _Kept:
    """The statistics of batch norms as they were before a step: a forward pass changes them, whatever comes of it."""

    def __init__(self, model: nn.Module) -> None:
        self.live: dict[torch.dtype, list[torch.Tensor]] = {}
        for buffer in model.buffers():
            self.live.setdefault(buffer.dtype, []).append(buffer)
        self.copies = {dtype: [buffer.clone() for buffer in live] for dtype, live in self.live.items()}

    @torch.no_grad()
    def keep(self) -> None:
        for dtype, live in self.live.items():
            torch._foreach_copy_(self.copies[dtype], live)

    @torch.no_grad()
    def bring_back(self) -> None:
        for dtype, live in self.live.items():
            torch._foreach_copy_(live, self.copies[dtype])


def _runs(count: int, parts: int) -> Iterator[slice]:
    """Cut ``count`` clips into ``parts`` runs of nearly equal length, none empty; fewer where there are fewer clips."""
    parts = min(parts, count)
    edges = [count * number // parts for number in range(parts + 1)]
    yield from (slice(start, stop) for start, stop in pairwise(edges))
