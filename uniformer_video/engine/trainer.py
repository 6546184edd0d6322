"""Training: epochs of steps, validation, checkpoints."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config import differences, dump
from uniformer_video.datasets import build_dataset
from uniformer_video.datasets.loader import Batch
from uniformer_video.drawing.curves import draw_curves
from uniformer_video.engine import setup
from uniformer_video.engine.checkpoint import (
    Checkpoint,
    best_path,
    checkpoint_path,
    read_checkpoint,
    restore,
    save_checkpoint,
)
from uniformer_video.engine.class_folders import class_folders_in, require_same_folders
from uniformer_video.engine.class_order import require_same_order
from uniformer_video.engine.compiled import compiled_network
from uniformer_video.engine.device import Precision, evaluation_mode, set_float32_products
from uniformer_video.engine.early_stop import is_better, stops_early
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.parallel import data_parallel, share_statistics
from uniformer_video.engine.precise_bn import recompute_batch_norm
from uniformer_video.engine.prefetch import prefetched
from uniformer_video.engine.remarks import remark_on_settings
from uniformer_video.engine.report import FIGURES, TrainReport, open_tensorboard, watched_figure
from uniformer_video.engine.start import compare_settings, find_source, load_start_weights, own_checkpoint
from uniformer_video.engine.validator import validate
from uniformer_video.engine.weighted_loss import build_loss
from uniformer_video.metrics.meters import AverageMeter
from uniformer_video.models.freeze import freeze
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import get_logger, progress
from uniformer_video.runtime.seed import Stream, seed_everything
from uniformer_video.solver.build import build_optimizer, clip_gradients, set_lr
from uniformer_video.solver.losses import mean_over_heads
from uniformer_video.solver.schedule import Schedule

logger = get_logger(__name__)


class Trainer:
    """Trains one network as a configuration says; each process of a run has one.

    Args:
        cfg: the configuration.
        device: of this process.

    Raises:
        UserError: data, weights or a checkpoint that cannot be used.
    """

    def __init__(self, cfg: CfgNode, device: torch.device) -> None:
        self.cfg, self.device = cfg, device
        self.output = Path(cfg.OUTPUT_DIR)
        train_set, val_set = (build_dataset(cfg.TRAIN.DATASET, cfg, split) for split in ("train", "val"))
        self.class_names = train_set.class_names
        require_same_order(
            self.class_names,
            val_set.class_names,
            where="train.csv",
            others_where="val.csv",
            advice="give both lists the same labels",
        )
        self.class_folders = train_set.class_folders
        if self.class_names is None:
            require_same_folders(self.class_folders, val_set.class_folders, where="train.csv", others_where="val.csv")
        self.loader = setup.train_loader(cfg, train_set, device)
        share = setup.process_share(cfg, cfg.TRAIN.BATCH_SIZE)
        self.val_loader = setup.ordered_loader(cfg, val_set, share, device)
        repeats = train_set.clips_per_record
        logger.info(
            "training on %d videos, %d steps an epoch of %d videos x %d clips; validating on %d videos",
            *(len(train_set), len(self.loader), setup.global_batch(cfg), repeats, len(val_set)),
        )
        set_float32_products(device, tf32=cfg.MODEL.TF32)
        self.precision = Precision(cfg.TRAIN.MIXED_PRECISION, device)
        self.val_precision = Precision(evaluation_mode(cfg), device)
        if {self.precision.name, self.val_precision.name} != {"float32"}:
            logger.info("precision: %s in training, %s in validation", self.precision.name, self.val_precision.name)
        self.inputs = DeviceInputs.from_config(cfg)
        self.watched = watched_figure(self.inputs.multi_label)
        self.loss = build_loss(cfg, train_set, device)
        self.schedule = Schedule.from_config(cfg)
        remark_on_settings(cfg)
        self.model = setup.new_model(cfg, device)
        if cfg.MODEL.FREEZE:
            logger.info(freeze(self.model, cfg.MODEL.FREEZE).summary())
        self.optimizer = build_optimizer(self.model, cfg)
        self.epoch = 0
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        self.failures = {
            split: FailureLog(
                self.output / "unreadable.csv", split, records=len(data), max_fraction=cfg.DATA.MAX_BAD_FRACTION
            )
            for split, data in (("train", train_set), ("val", val_set))
        }
        self._start()
        self.called = compiled_network(self.model, cfg, device, train_clips=share * repeats, eval_clips=share)
        self.network = data_parallel(self.called, device)
        self.report = TrainReport(
            period=cfg.LOG_PERIOD,
            steps=len(self.loader),
            epochs=cfg.SOLVER.MAX_EPOCH,
            device=device,
            events=open_tensorboard(cfg),
        )

    def _start(self) -> None:
        """Go on from a checkpoint, or load the start weights."""
        newest = own_checkpoint(self.output)
        if newest is not None and not self.cfg.TRAIN.AUTO_RESUME:
            raise UserError(
                f"TRAIN.AUTO_RESUME is False, but OUTPUT_DIR {str(self.output)!r} holds {newest.name} of an earlier "
                "run, which would be mixed up with this one; set OUTPUT_DIR to a new folder"
            )
        source: Path | str | None = newest
        if source is None and not self.cfg.TRAIN.CHECKPOINT_EPOCH_RESET:
            source = find_source(self.cfg, self.cfg.TRAIN.CHECKPOINT_FILE_PATH).path
        if source is None:
            load_start_weights(self.cfg, self.model, self.class_names, self.class_folders)
            return
        checkpoint = read_checkpoint(source)
        require_same_order(
            self.class_names,
            checkpoint.class_names,
            where="the training list",
            others_where=str(source),
            advice="a run goes on with the classes it began with; set OUTPUT_DIR to a new folder",
        )
        if self.class_names is None or checkpoint.class_names is None:
            others = class_folders_in({"class_folders": checkpoint.class_folders})
            require_same_folders(self.class_folders, others, where="train.csv", others_where=str(source))
        compare_settings(self.cfg, checkpoint.cfg, str(source))
        restore(checkpoint, source, self.model, self.optimizer, self.precision.scaler)
        self.epoch, self.history, self.best = checkpoint.epoch, checkpoint.history, checkpoint.best
        changed = differences(self.cfg, checkpoint.cfg)
        if changed:
            logger.warning("resuming with other settings than the checkpoint's: %s", "; ".join(changed))
        logger.info("resumed from %s after %d of %d epochs", source, self.epoch, self.cfg.SOLVER.MAX_EPOCH)

    def run(self) -> None:
        """Train to the last epoch, validating and saving as the configuration says, and draw the curves."""
        while not self._ends():
            loss, lr = self._train_epoch(self.epoch)
            entry = {"epoch": self.epoch + 1, "train_loss": loss, "lr": lr}
            self.failures["train"].sync()
            self.epoch += 1
            is_best = False
            if self._due(self.cfg.TRAIN.EVAL_PERIOD):
                is_best = self._validate(entry)
            self.history.append(entry)
            if distributed.is_main():
                self.report.epoch_done(entry)
                self._save(is_best)
            distributed.barrier()
        if distributed.is_main():
            self.report.close()
            self._summary()

    def _ends(self) -> bool:
        return self.epoch >= self.cfg.SOLVER.MAX_EPOCH or self._stops_early()

    def _stops_early(self) -> bool:
        return stops_early(self.history, self.watched, self.cfg.TRAIN.EARLY_STOP_PATIENCE)

    def _due(self, period: int) -> bool:
        return self.epoch % period == 0 or self._ends()

    def _train_epoch(self, epoch: int) -> tuple[float, float]:
        """Train one epoch and return its mean loss over all processes, and the learning rate of its last step."""
        self.network.train()
        self.loader.batch_sampler.epoch = epoch
        mean, lr = AverageMeter(), self.schedule(epoch)
        self.report.start()
        batches = prefetched(self.loader, self.device)
        bar = progress(batches, total=len(self.loader), label=f"epoch {epoch + 1}", unit="step")
        for step, batch in enumerate(bar):
            if not self.failures["train"].admits(batch, self.device):
                logger.warning("epoch %d step %d left out: no video of it can be read", epoch + 1, step + 1)
                self.report.start()
                continue
            self.report.batch_ready()
            lr = self.schedule(epoch + step / len(self.loader))
            loss, norm = self._step(batch, epoch, step, lr)
            mean.add(loss, len(batch.labels))
            self.report.step_done(epoch, step, loss, lr, norm)
        if not mean.weight:
            raise self.failures["train"].error(f"epoch {epoch + 1} has no step with a video that can be read")
        return distributed.sum_floats([mean.mean], self.device)[0] / distributed.world_size(), lr

    def _step(self, batch: Batch, epoch: int, step: int, lr: float) -> tuple[float, float]:
        """Do one step and return the loss and the norm of the gradient before clipping."""
        scaler, solver = self.precision.scaler, self.cfg.SOLVER
        set_lr(self.optimizer, lr)
        self.optimizer.zero_grad(set_to_none=True)  # now: their memory serves the forward pass
        clips, targets = self.inputs.train(batch, self.device)
        # Stochastic depth then depends on the place in the run, not on what ran before: a resumed run draws the same.
        seed_everything(self.cfg.RNG_SEED, Stream.NETWORK, epoch, step, distributed.rank())
        with self.precision.autocast():
            logits = self.network(clips)
        loss = mean_over_heads(self.loss, logits, targets)
        scaler.scale(loss).backward()
        scaler.unscale_(self.optimizer)
        norm = clip_gradients(self.model.parameters(), solver.CLIP_GRAD_L2NORM, solver.CLIP_GRAD_VAL)
        scaler.step(self.optimizer)
        scaler.update()
        # The one place that waits for the device, once the whole step is on its way. What a bad step did to the
        # weights is never saved.
        value, norm = torch.stack([loss.detach().double(), norm.double()]).tolist()
        # A scaled fp16 gradient may overflow: the scaler then leaves the step out by itself and lowers its scale.
        if not math.isfinite(value) or (not math.isfinite(norm) and not scaler.is_enabled()):
            raise UserError(
                f"the loss is {value:g} and the gradient norm {norm:g} at epoch {epoch + 1} step {step + 1}; lower "
                "SOLVER.BASE_LR, set SOLVER.CLIP_GRAD_L2NORM or TRAIN.MIXED_PRECISION False; checkpoints up to epoch "
                f"{epoch} are kept in {self.output}"
            )
        return value, norm

    def _validate(self, entry: dict[str, Any]) -> bool:
        """Add the validation to the epoch's entry and return whether it is the best so far."""
        if self.cfg.BN.USE_PRECISE_STATS:
            count = recompute_batch_norm(
                self.model, self.loader, self.inputs, self.precision, self.cfg.BN.NUM_BATCHES_PRECISE
            )
            logger.info("precise batch norm from %d batches", count)
        share_statistics(self.model)
        result = validate(self.called, self.val_loader, self.inputs, self.val_precision, self.failures["val"])
        self.failures["val"].sync()
        self.failures["val"].check()
        entry.update(result.figures(self.inputs))
        if is_better(entry, self.best, self.watched):
            self.best = dict(entry)
            return True
        return False

    def _save(self, is_best: bool) -> None:
        due = self._due(self.cfg.TRAIN.CHECKPOINT_PERIOD)
        if not (due or is_best):
            return
        checkpoint = Checkpoint(
            epoch=self.epoch,
            model_state=self.model.state_dict(),
            optimizer_state=self.optimizer.state_dict(),
            scaler_state=self.precision.scaler.state_dict(),
            cfg=dump(self.cfg),
            class_names=list(self.class_names) if self.class_names else None,
            class_folders=dict(self.class_folders) if self.class_folders else None,
            history=self.history,
            best=self.best,
        )
        if due:
            save_checkpoint(checkpoint, checkpoint_path(self.output, self.epoch))
        if is_best:
            save_checkpoint(checkpoint, best_path(self.output))
        draw_curves(self.history, self.output / "curves.png")

    def _summary(self) -> None:
        name, last = FIGURES[self.watched], self.cfg.SOLVER.MAX_EPOCH
        if self.epoch < last:
            since = f"epoch {self.best['epoch']}" if self.best else "the start"
            logger.info(
                "stopped after epoch %d of %d: no better %s since %s (TRAIN.EARLY_STOP_PATIENCE %d)",
                *(self.epoch, last, name, since, self.cfg.TRAIN.EARLY_STOP_PATIENCE),
            )
        draw_curves(self.history, self.output / "curves.png")
        logger.info("curves: %s", self.output / "curves.png")
        if self.best and self.watched in self.best:
            logger.info(
                "best validation: %s %.2f %% after epoch %d, kept in %s",
                *(name, self.best[self.watched], self.best["epoch"], best_path(self.output)),
            )
        unreadable = {split: len(log) for split, log in self.failures.items() if len(log)}
        if unreadable:
            counts = ", ".join(f"{n} {split}" for split, n in unreadable.items())
            logger.warning("videos that could not be read: %s; see %s", counts, self.output / "unreadable.csv")
