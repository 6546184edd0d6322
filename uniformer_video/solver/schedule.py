"""The learning rate as a pure function of the position in training, counted in epochs.

The conventions are PySlowFast's: a policy gives the rate at any real epoch, and a linear warm-up, drawn from a start
rate to the policy's own value at the end of the warm-up, replaces it before.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from uniformer_video.runtime.errors import ConfigError


def cosine(epoch: float, *, base_lr: float, end_lr: float, max_epoch: float, offset: float = 0.0) -> float:
    """Return half a cosine wave from ``base_lr`` at epoch ``offset`` to ``end_lr`` at ``max_epoch``.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017, without restarts.

    Args:
        epoch: position, in epochs, any real number; the rate stays at its ends before ``offset`` and after
            ``max_epoch``.
        base_lr: rate at the crest.
        end_lr: rate at the end.
        max_epoch: where the wave ends, in epochs.
        offset: where it begins, in epochs. With ``offset >= max_epoch`` there is no room for a wave and the rate is
            ``base_lr``.
    """
    if offset >= max_epoch:
        return base_lr
    progress = min(max((epoch - offset) / (max_epoch - offset), 0.0), 1.0)
    return end_lr + (base_lr - end_lr) * (math.cos(math.pi * progress) + 1.0) * 0.5


def warm_restart(epoch: float, *, length: float, factor: float = 1.0, offset: float = 0.0) -> tuple[float, float]:
    """Return where the cycle of ``epoch`` begins and ends; an epoch at which one ends is the first of the next.

    Source: Loshchilov and Hutter, "SGDR: Stochastic Gradient Descent with Warm Restarts", 2017: cycles of T_0, T_0
    T_mult, T_0 T_mult^2, ... epochs.

    Args:
        epoch: position, in epochs; before ``offset`` it is in the first cycle.
        length: of the first cycle, in epochs, > 0.
        factor: length of a cycle over that of the one before, >= 1.
        offset: where the first cycle begins, in epochs.
    """
    assert length > 0 and factor >= 1
    # Equal cycles are counted, growing ones added up: few of them reach far.
    number = max(epoch - offset, 0.0) // length if factor == 1 else 0
    start = offset + number * length
    while start + length <= epoch:
        start += length
        length *= factor
    return start, start + length


def steps_with_relative_lrs(epoch: float, *, base_lr: float, steps: Sequence[float], lrs: Sequence[float]) -> float:
    """Return ``base_lr`` times the factor of the step that ``epoch`` lies in.

    Args:
        epoch: position, in epochs.
        base_lr: the rate that the factors refer to.
        steps: the epochs at which a step begins, rising, the first 0. The last one has no end.
        lrs: the factor of each step.
    """
    assert len(steps) == len(lrs) > 0
    index = sum(step <= epoch for step in steps) - 1
    return base_lr * lrs[max(index, 0)]


POLICIES = ("cosine", "steps_with_relative_lrs")
"""The values of ``SOLVER.LR_POLICY``."""


def base_lr_from_config(cfg: Any) -> float:
    """Return the rate after warm-up for the batch that ``cfg`` really uses.

    Rates go with the number of videos in a step (Goyal et al., "Accurate, Large Minibatch SGD", 2017). With
    ``SOLVER.BASE_LR_BATCH`` the factor on ``SOLVER.BASE_LR`` is TRAIN.BATCH_SIZE * NUM_SHARDS over that number;
    otherwise it is NUM_SHARDS where ``SOLVER.BASE_LR_SCALE_NUM_SHARDS`` is set, else 1.
    """
    solver = cfg.SOLVER
    if solver.BASE_LR_BATCH:
        return solver.BASE_LR * (cfg.TRAIN.BATCH_SIZE * cfg.NUM_SHARDS) / solver.BASE_LR_BATCH
    return solver.BASE_LR * (cfg.NUM_SHARDS if solver.BASE_LR_SCALE_NUM_SHARDS else 1)


@dataclass(frozen=True)
class Schedule:
    """The learning rate at every epoch; call it with a real epoch (epoch 2.5: the middle of the third).

    Args:
        policy: ``"cosine"`` or ``"steps_with_relative_lrs"``.
        base_lr: the rate after warm-up, > 0.
        max_epoch: length of the training, in epochs.
        warmup_epochs: length of the linear warm-up, in epochs; 0 for none. A warm-up longer than the training is cut
            off on its way up.
        warmup_start_lr: rate at epoch 0 of a warm-up.
        cosine_end_lr: rate at ``max_epoch`` of the cosine policy.
        cosine_after_warmup: whether the cosine starts at the end of the warm-up (True) or, hidden by it, at epoch 0.
        restart_epochs: the cosine begins anew after so many epochs, counted from where it starts, and then goes down to
            its end each time, see :func:`warm_restart`; the last one is cut off at ``max_epoch``. 0: it never does.
        restart_factor: each cosine is so many times as long as the one before, >= 1.
        steps: for the steps policy, the epochs where a step begins, rising, the first 0.
        lrs: for the steps policy, the factor on ``base_lr`` of each step.

    Raises:
        ConfigError: an unknown policy, or steps and factors that do not fit together.
    """

    policy: str
    base_lr: float
    max_epoch: float
    warmup_epochs: float = 0.0
    warmup_start_lr: float = 0.0
    cosine_end_lr: float = 0.0
    cosine_after_warmup: bool = True
    restart_epochs: float = 0.0
    restart_factor: float = 1.0
    steps: tuple[float, ...] = ()
    lrs: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ConfigError(f"SOLVER.LR_POLICY {self.policy!r} is unknown; known: {', '.join(POLICIES)}")
        if self.policy == "steps_with_relative_lrs":
            _check_steps(self.steps, self.lrs)

    @classmethod
    def from_config(cls, cfg: Any) -> Schedule:
        """Return the schedule of ``cfg.SOLVER``.

        The rate after warm-up is that of :func:`base_lr_from_config`; the rates at the start of the warm-up and at the
        end of the cosine are not scaled.
        """
        solver = cfg.SOLVER
        return cls(
            policy=solver.LR_POLICY,
            base_lr=base_lr_from_config(cfg),
            max_epoch=solver.MAX_EPOCH,
            warmup_epochs=solver.WARMUP_EPOCHS,
            warmup_start_lr=solver.WARMUP_START_LR,
            cosine_end_lr=solver.COSINE_END_LR,
            cosine_after_warmup=solver.COSINE_AFTER_WARMUP,
            restart_epochs=solver.COSINE_RESTART_EPOCHS,
            restart_factor=solver.COSINE_RESTART_FACTOR,
            steps=tuple(solver.STEPS),
            lrs=tuple(solver.LRS),
        )

    def __call__(self, epoch: float) -> float:
        """Return the learning rate at ``epoch``, a real number >= 0."""
        if epoch < self.warmup_epochs:
            slope = (self._without_warmup(self.warmup_epochs) - self.warmup_start_lr) / self.warmup_epochs
            return epoch * slope + self.warmup_start_lr
        return self._without_warmup(epoch)

    def _without_warmup(self, epoch: float) -> float:
        if self.policy == "cosine":
            start, end = self.warmup_epochs if self.cosine_after_warmup else 0.0, self.max_epoch
            if self.restart_epochs:
                # The training's last epoch ends a cosine and begins none, and the rate stays there.
                epoch = min(epoch, self.max_epoch)
                start, end = warm_restart(
                    min(epoch, math.nextafter(self.max_epoch, 0)),
                    length=self.restart_epochs,
                    factor=self.restart_factor,
                    offset=start,
                )
            return cosine(epoch, base_lr=self.base_lr, end_lr=self.cosine_end_lr, max_epoch=end, offset=start)
        return steps_with_relative_lrs(epoch, base_lr=self.base_lr, steps=self.steps, lrs=self.lrs)


def _check_steps(steps: tuple[float, ...], lrs: tuple[float, ...]) -> None:
    if not steps or len(steps) != len(lrs):
        raise ConfigError(
            f"SOLVER.STEPS has {len(steps)} entries and SOLVER.LRS has {len(lrs)}; "
            "SOLVER.LR_POLICY 'steps_with_relative_lrs' needs one factor in LRS for each epoch in STEPS, at least one"
        )
    if steps[0] != 0 or any(late <= early for early, late in pairwise(steps)):
        raise ConfigError(f"SOLVER.STEPS {list(steps)} must be rising epochs, the first 0, for example [0, 30, 60]")
