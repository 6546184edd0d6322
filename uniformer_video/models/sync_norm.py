"""Batch norms whose statistics are those of the clips of all processes, not of one process's share.

Peng et al., "MegDet: A Large Mini-Batch Object Detector", 2018. On GPUs torch has a layer for it, which refuses CPUs;
the ones here do the same there.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from uniformer_video.models.freeze import stays_in_evaluation_mode
from uniformer_video.runtime import distributed


def synchronise_norms(model: nn.Module, device: torch.device) -> int:
    """Let the batch norms of a network take their statistics over all processes; every process must do so.

    Parameters, statistics and names stay as they are. Norms that are frozen stay what they are, as do all in a run of
    one process. Do it before the network is made data-parallel.

    Args:
        model: changed in place.
        device: where the network runs. On a GPU norms become torch's ``nn.SyncBatchNorm``, elsewhere one of this file.

    Returns:
        How many norms take part.
    """
    if not distributed.is_initialized():
        return 0
    norms = [norm for norm in model.modules() if type(norm) in _CLASSES and not stays_in_evaluation_mode(norm)]
    if device.type != "cuda":
        for norm in norms:
            norm.__class__ = _CLASSES[type(norm)]  # the same object: what holds it, or hooks on it, stay
        return len(norms)
    others = {norm: nn.SyncBatchNorm.convert_sync_batchnorm(norm) for norm in norms}
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):  # named_children() leaves out a second name
            if child in others:
                setattr(parent, name, others[child])
    return len(norms)


class _Synchronised:
    """What turns a class of batch norms into one over all processes; in evaluation mode nothing changes."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, ...) to the same shape; processes may have different numbers of samples, but all must call it.

        Raises:
            ValueError: a single value for each channel on all processes together has no variance.
        """
        if not self.training or distributed.world_size() == 1:
            return super().forward(x)
        self._check_input_dim(x)
        return self._normalise(x)

    # The compiler's graph breaks here: other processes are none of its business.
    @torch.compiler.disable
    def _normalise(self, x: Tensor) -> Tensor:
        mean, variance, count = _statistics_of_all(x.detach())
        if count < 2:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
        if self.track_running_stats:
            self._move_statistics(mean, variance * (count / (count - 1)))
        return _Normalise.apply(x, self.weight, self.bias, mean, variance, count, self.eps)

    @torch.no_grad()
    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch, (C,) in float64, as torch's norms do."""
        self.num_batches_tracked.add_(1)
        # Without a momentum all batches count alike.
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        for running, value in ((self.running_mean, mean), (self.running_var, variance)):
            running.copy_((1 - share) * running.double() + share * value)


class SynchronisedBatchNorm1d(_Synchronised, nn.BatchNorm1d):
    """``nn.BatchNorm1d`` with the statistics of all processes."""


class SynchronisedBatchNorm2d(_Synchronised, nn.BatchNorm2d):
    """``nn.BatchNorm2d`` with the statistics of all processes."""


class SynchronisedBatchNorm3d(_Synchronised, nn.BatchNorm3d):
    """``nn.BatchNorm3d`` with the statistics of all processes."""


_CLASSES = {
    nn.BatchNorm1d: SynchronisedBatchNorm1d,
    nn.BatchNorm2d: SynchronisedBatchNorm2d,
    nn.BatchNorm3d: SynchronisedBatchNorm3d,
}


def _statistics_of_all(x: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean and variance (not the unbiased one), (C,) in float64, and the number of values of all processes.

    Each process takes the squares about its own mean; squares about zero would lose what a large mean has in common.
    Method: Chan, Golub and LeVeque, "Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979.
    """
    count, channels = x.numel() // x.shape[1], x.shape[1]
    mean, squares = x.new_zeros(channels, dtype=torch.float64), x.new_zeros(channels, dtype=torch.float64)
    if count:
        near = _full(x).mean(_others(x))
        off = x - _along(near, x)
        rest = off.sum(_others(x)).double()
        mean, squares = near.double() + rest / count, off.square_().sum(_others(x)).double() - rest.square() / count
    own = torch.cat([mean.new_tensor([count]), mean, squares])
    every = [torch.empty_like(own) for _ in range(distributed.world_size())]
    dist.all_gather(every, own)
    table = torch.stack(every)
    counts, means, squares = table[:, :1], table[:, 1 : channels + 1], table[:, channels + 1 :]
    total = counts.sum()
    mean = (counts * means).sum(0) / total
    variance = (squares + counts * (means - mean).square()).sum(0) / total
    return mean, variance, int(total)


class _Normalise(torch.autograd.Function):
    """A batch norm with given statistics of a whole batch, which its backward pass knows to come from the input."""

    @staticmethod
    def forward(
        ctx: torch.autograd.function.FunctionCtx,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        count: int,
        eps: float,
    ) -> Tensor:
        dtype = _full(x).dtype
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps))
        ctx.count = count
        scale, offset = (None if parameter is None else parameter.to(dtype) for parameter in (weight, bias))
        return F.batch_norm(x, mean.to(dtype), variance.to(dtype), scale, offset, training=False, eps=eps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse = ctx.saved_tensors
        dtype = _full(x).dtype
        off = x - _along(mean.to(dtype), x)
        own = torch.stack([_full(gradient).sum(_others(x)), (off * gradient).sum(_others(x))]).double()
        total = own.clone()
        dist.all_reduce(total)
        level, slope = total[0] / ctx.count, total[1] / ctx.count * inverse.square()
        factor = inverse if weight is None else inverse * weight
        by_x = gradient - off.mul_(_along(slope.to(dtype), x)) - _along(level.to(dtype), x)
        by_x = (by_x * _along(factor.to(dtype), x)).to(x.dtype)
        if weight is None:
            return by_x, None, None, None, None, None, None
        by_bias, by_weight = own[0], own[1] * inverse  # of this process: DDP adds them up, as all gradients
        return by_x, by_weight.to(weight.dtype), by_bias.to(weight.dtype), None, None, None, None


def _full(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _others(x: Tensor) -> tuple[int, ...]:
    """Return the dimensions of (B, C, ...) but that of channels."""
    return (0, *range(2, x.ndim))


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Return values (C,) in a shape that goes with ``x`` (B, C, ...)."""
    return values.view(-1, *(1,) * (x.ndim - 2))
