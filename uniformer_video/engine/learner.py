"""The network of a training and all that changes its weights: optimizer, precision, moving average, processes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.engine import setup
from uniformer_video.engine.checkpoint import Checkpoint, restore_optimizer
from uniformer_video.engine.compiled import compiled_network
from uniformer_video.engine.device import Precision, evaluation_mode, set_deterministic, set_float32_products
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.parallel import data_parallel, gathered, share_statistics
from uniformer_video.engine.precise_bn import recompute_batch_norm
from uniformer_video.engine.sharded_state import load_optimizer_state, whole_model_state, whole_optimizer_state
from uniformer_video.engine.step import TrainStep
from uniformer_video.engine.validator import Validation, validate
from uniformer_video.models.freeze import freeze, freeze_norms
from uniformer_video.models.sync_norm import synchronise_norms
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.seed import Stream, generators_kept, seed_everything
from uniformer_video.solver.build import build_optimizer
from uniformer_video.solver.ema import WeightAverage
from uniformer_video.solver.losses import Loss

logger = get_logger(__name__)

SYNCHRONISED = "sync_batchnorm"


class Learner:
    """Trains and validates one network; each process of a run has one.

    Args:
        cfg: the configuration.
        device: of this process.
        loss: of logits and targets, on ``device``.
        clips: of this process in a step.
        repeats: clips of a video in a step.
        load: puts start weights, or those to go on from, into the new network.
    """

    def __init__(
        self,
        cfg: CfgNode,
        device: torch.device,
        *,
        loss: Loss,
        clips: int,
        repeats: int,
        load: Callable[[torch.nn.Module], None],
    ) -> None:
        self.cfg, self.device = cfg, device
        solver = cfg.SOLVER
        set_float32_products(device, tf32=cfg.MODEL.TF32)
        set_deterministic(cfg.RNG_DETERMINISTIC)
        self.precision = Precision(cfg.TRAIN.MIXED_PRECISION, device)
        if self.precision.name == "fp16" and cfg.TRAIN.PARALLEL == "fsdp":  # MIXED_PRECISION True of an older GPU
            raise ConfigError(
                "TRAIN.PARALLEL fsdp cannot train in fp16, which is all this GPU has for TRAIN.MIXED_PRECISION True: "
                "each process would scale its part of the gradient for itself; set TRAIN.PARALLEL ddp"
            )
        self.val_precision = Precision(evaluation_mode(cfg), device)
        if {self.precision.name, self.val_precision.name} != {"float32"}:
            logger.info("precision: %s in training, %s in validation", self.precision.name, self.val_precision.name)
        self.inputs = DeviceInputs.from_config(cfg)
        self.model = _training_model(cfg, device)
        load(self.model)
        parts = cfg.TRAIN.GRAD_ACCUM_STEPS
        self.called = compiled_network(
            self.model,
            cfg,
            device,
            train_clips=-(-clips // parts),
            eval_clips=setup.process_share(cfg, cfg.TRAIN.BATCH_SIZE),
        )
        self.network = data_parallel(self.called, device, cfg.TRAIN.PARALLEL)
        # Only now: sharing the network out may have put other parameters in the place of its own.
        self.optimizer = build_optimizer(self.model, cfg)
        self.average = WeightAverage(self.model, solver.EMA_DECAY, solver.EMA_WARMUP) if solver.EMA_DECAY else None
        self.step = TrainStep(
            self.network,
            self.model,
            self.optimizer,
            inputs=self.inputs,
            loss=loss,
            precision=self.precision,
            clip_norm=solver.CLIP_GRAD_L2NORM,
            clip_value=solver.CLIP_GRAD_VAL,
            parts=parts,
            average=self.average,
            seed=cfg.RNG_SEED,
            rows=clips * distributed.world_size(),
            repeats=repeats,
            compiled=bool(cfg.MODEL.COMPILE),
        )

    def go_on(self, checkpoint: Checkpoint, path: Path | str) -> None:
        """Take over optimizer, loss scaler and moving average of a checkpoint whose weights are loaded already.

        Raises:
            WeightError: it is of another optimizer.
        """

        def load(state: dict[str, Any]) -> None:
            load_optimizer_state(self.optimizer, state)

        restore_optimizer(checkpoint, path, self.optimizer, self.precision.scaler, load=load)
        if self.average is None:
            return
        if checkpoint.train_state is not None:
            self.average.load_state_dict(checkpoint.model_state, (checkpoint.average or {}).get("updates", 0))
        else:
            logger.info("the moving average (SOLVER.EMA_DECAY) begins with the weights of %s, which has none", path)

    def state(self) -> dict[str, Any]:
        """Return the fields of a :class:`Checkpoint` that this object fills; every process must call it."""
        # The main process alone writes: the others need no copy of what they hold a part of.
        keep, average = distributed.is_main(), self.average
        weights = whole_model_state(self.model, keep=keep)
        return {
            "model_state": weights if average is None else average.state_dict(),
            "train_state": None if average is None else weights,
            "average": None if average is None else {"updates": average.updates},
            "optimizer_state": whole_optimizer_state(self.optimizer, keep=keep),
            "scaler_state": self.precision.scaler.state_dict(),
        }

    def validate(self, loader: Any, train_loader: Any, failures: FailureLog, epoch: int) -> Validation | None:
        """Return the accuracy on ``loader``, of the moving average where there is one; None: a signal ended it.

        Args:
            loader: of the validation list.
            train_loader: for precise batch norm, which looks at training batches.
            failures: takes note of videos that cannot be read.
            epoch: from 0, for draws. A validation that is done again after a restart draws the same.
        """
        with generators_kept():
            seed_everything(self.cfg.RNG_SEED, Stream.PRECISE, epoch)
            return self._validated(loader, train_loader, failures)

    def _validated(self, loader: Any, train_loader: Any, failures: FailureLog) -> Validation | None:
        # Processes may have different numbers of batches: nothing inside may wait for the others.
        with self._averaged(), gathered(self.model):
            if self.cfg.BN.USE_PRECISE_STATS:
                most = self.cfg.BN.NUM_BATCHES_PRECISE
                count = recompute_batch_norm(self.model, train_loader, self.inputs, self.precision, most)
                logger.info("precise batch norm from %d batches", count)
                if self.average is not None:
                    self.average.take_buffers()
            share_statistics(self.model)
            return validate(self.called, loader, self.inputs, self.val_precision, failures)

    def _averaged(self) -> AbstractContextManager:
        return nullcontext() if self.average is None else self.average.applied()


def _training_model(cfg: CfgNode, device: torch.device) -> torch.nn.Module:
    """Return the network with what of it is not trained, and batch norms as they are to be."""
    model = setup.new_model(cfg, device)
    if cfg.MODEL.FREEZE:
        logger.info(freeze(model, cfg.MODEL.FREEZE).summary())
    if cfg.MODEL.FROZEN_BN:
        logger.info("batch norm: %d keep their statistics (MODEL.FROZEN_BN)", freeze_norms(model))
    elif cfg.BN.NORM_TYPE == SYNCHRONISED and distributed.world_size() > 1:
        count = synchronise_norms(model, device)
        logger.info("batch norm: statistics of %d over all %d processes", count, distributed.world_size())
    return model
