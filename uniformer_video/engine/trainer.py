"""Training: epochs of steps, validation, checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.config import dump
from uniformer_video.datasets import build_dataset
from uniformer_video.datasets.batches import Batch
from uniformer_video.drawing.curves import draw_curves
from uniformer_video.engine import setup
from uniformer_video.engine.checkpoint import Checkpoint, checkpoint_path
from uniformer_video.engine.class_folders import require_same_classes
from uniformer_video.engine.early_stop import is_better, stops_early
from uniformer_video.engine.failures import FailureLog
from uniformer_video.engine.learner import Learner
from uniformer_video.engine.nonfinite import NonfiniteLog
from uniformer_video.engine.prefetch import prefetched
from uniformer_video.engine.remarks import remark_on_settings
from uniformer_video.engine.report import TrainReport, open_tensorboard, watched_figure
from uniformer_video.engine.resume import Resumption, find_resumption, load_first_weights
from uniformer_video.engine.saving import Saver
from uniformer_video.engine.step import Outcome
from uniformer_video.engine.summary import tell_summary
from uniformer_video.engine.weighted_loss import build_loss
from uniformer_video.metrics.meters import AverageMeter
from uniformer_video.runtime import distributed, stopping
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger, progress
from uniformer_video.runtime.seed import generator_states
from uniformer_video.solver.schedule import Schedule

logger = get_logger(__name__)

NAN = float("nan")


class Trainer:
    """Trains one network as a configuration says; each process of a run has one.

    Its place in the run is ``epoch``, the epochs done, and ``step``, the steps done of the next one.

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
        self.class_names, self.class_folders = train_set.class_names, train_set.class_folders
        require_same_classes(train_set, val_set)
        self.loader = setup.train_loader(cfg, train_set, device)
        share = setup.process_share(cfg, cfg.TRAIN.BATCH_SIZE)
        self.val_loader = setup.ordered_loader(cfg, val_set, share, device)
        repeats = train_set.clips_per_record
        logger.info(
            "training on %d videos, %d steps an epoch of %d videos x %d clips; validating on %d videos",
            *(len(train_set), len(self.loader), setup.global_batch(cfg), repeats, len(val_set)),
        )
        self.clips = share * repeats
        self.schedule = Schedule.from_config(cfg)
        remark_on_settings(cfg)
        self.failures = {
            split: FailureLog(
                self.output / "unreadable.csv", split, records=len(data), max_fraction=cfg.DATA.MAX_BAD_FRACTION
            )
            for split, data in (("train", train_set), ("val", val_set))
        }
        self.nonfinite = NonfiniteLog(self.output / "nonfinite.csv", train_set.records, cfg.SOLVER.MAX_NONFINITE)
        train = cfg.TRAIN
        self.saver = Saver(
            self.output,
            keep=train.KEEP_CHECKPOINTS,
            steps=train.CHECKPOINT_STEPS,
            minutes=train.CHECKPOINT_MINUTES,
        )
        self.epoch = self.step = 0
        self.blind = self.late = False  # of the epoch: no step had a video; its last one wants a checkpoint
        self.mean = AverageMeter()
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None
        classes = self.class_names, self.class_folders
        resumed = find_resumption(cfg, *classes)

        def load(model: torch.nn.Module) -> None:
            load_first_weights(cfg, model, resumed, *classes)

        loss = build_loss(cfg, train_set, device)
        self.learner = Learner(cfg, device, loss=loss, clips=self.clips, repeats=repeats, load=load)
        self.watched = watched_figure(self.learner.inputs.multi_label)
        if resumed is not None:
            self._go_on(resumed)
        self.report = TrainReport(
            period=cfg.LOG_PERIOD,
            steps=len(self.loader),
            epochs=cfg.SOLVER.MAX_EPOCH,
            device=device,
            workers=self.loader.num_workers,
            events=open_tensorboard(cfg, purge_step=self.epoch * len(self.loader) + self.step + 1),
        )

    def _go_on(self, resumed: Resumption) -> None:
        """Take over the state of a run up to now."""
        checkpoint, steps = resumed.checkpoint, len(self.loader)
        self.learner.go_on(checkpoint, resumed.path)
        self.epoch, self.step = checkpoint.epoch, resumed.step(steps)
        self.history, self.best = checkpoint.history, checkpoint.best
        if self.step:
            self.mean.total, self.mean.weight = checkpoint.epoch_loss
        self.nonfinite.load(checkpoint.nonfinite)
        if resumed.own:
            self.saver.begin((self.epoch, self.step), Path(resumed.path))
        logger.info("resumed from %s after %s", resumed.path, self._place())
        resumed.restore_generators()

    def _place(self) -> str:
        """Return the place in the run in words."""
        inside = f" and {self.step} of {len(self.loader)} steps" if self.step else ""
        return f"{self.epoch} of {self.cfg.SOLVER.MAX_EPOCH} epochs{inside}"

    def run(self) -> None:
        """Train to the last epoch, validating and saving as the configuration says, and draw the curves.

        Raises:
            Stopped: a signal asked for it; all that was done is kept.
            UserError: too many videos cannot be read, too many steps in a row are not finite, the disk is full.
        """
        try:
            while not self._ends():
                self._stop_if_asked()
                if self.step < len(self.loader):
                    self._train_epoch()
                self._look_at(self.epoch, 0)  # precise batch norm looks at the epoch's batches, resumed or not
                self._finish_epoch()
        except stopping.StopWaiting:
            self._stop()
        finally:
            self.loader.close()
            self.val_loader.close()
        if distributed.is_main():
            self.report.close()
            tell_summary(
                self.output,
                history=self.history,
                best=self.best,
                watched=self.watched,
                epochs=self.cfg.SOLVER.MAX_EPOCH,
                patience=self.cfg.TRAIN.EARLY_STOP_PATIENCE,
                failures=self.failures,
                nonfinite=self.nonfinite,
            )

    def _ends(self) -> bool:
        patience = self.cfg.TRAIN.EARLY_STOP_PATIENCE
        return self.epoch >= self.cfg.SOLVER.MAX_EPOCH or stops_early(self.history, self.watched, patience)

    def _look_at(self, epoch: int, step: int) -> None:
        """Let the next pass over the training list be that of an epoch, from a step of it on."""
        self.loader.batch_sampler.epoch, self.loader.batch_sampler.start = epoch, step

    def _train_epoch(self) -> None:
        """Train what is left of an epoch."""
        epoch, steps = self.epoch, len(self.loader)
        self.learner.network.train()
        self._look_at(epoch, self.step)
        self.blind, self.late = not (self.step and (self.mean.weight or self.nonfinite.in_row)), False
        self.report.start()
        batches = stopping.waited_for(prefetched(self.loader, self.device), alone=distributed.world_size() == 1)
        for batch in progress(batches, total=steps, label=f"epoch {epoch + 1}", unit="step", start=self.step):
            step = self.step
            admitted = self.failures["train"].admits(batch, self.device, expected=self.clips)
            if not admitted.clips:
                logger.warning("epoch %d step %d left out: no video of it can be read", epoch + 1, step + 1)
                self.step += 1
                self.report.step_left_out(epoch, step)
                continue
            self.blind = False
            self.report.batch_ready()
            outcome = self.learner.step(
                batch,
                epoch=epoch,
                step=step,
                lr=self._lr(step),
                clips=admitted.clips,
                whole=admitted.whole,
                wishes=(bool(stopping.requested()), self.saver.is_due(step + 1)),
            )
            self.step += 1
            self._note(outcome, batch, step)
            if outcome.wishes[0]:
                self._stop()
            self.late = outcome.wishes[1]
            if self.late and self.step < steps:
                self.saver.save(self._checkpoint())
                self.report.start()  # saving is no waiting for data

    def _lr(self, step: int) -> float:
        """Return the learning rate of a step of the epoch in hand."""
        return self.schedule(self.epoch + step / len(self.loader))

    def _note(self, outcome: Outcome, batch: Batch, step: int) -> None:
        """Count a step that was taken, or one that was not."""
        epoch, loss, norm = self.epoch, outcome.loss, outcome.norm
        if outcome.taken:
            self.nonfinite.passed()
            self.mean.add(loss, outcome.clips)
            self.report.step_done(epoch, step, loss, self._lr(step), norm, outcome.clips)
            return
        self.report.step_left_out(epoch, step)
        if not outcome.finite:
            self.nonfinite.left_out(batch, epoch=epoch, step=step, loss=loss, norm=norm)

    def _finish_epoch(self) -> None:
        """Validate, take the epoch into the history and save, where it is time for each."""
        done = self.epoch + 1
        self.failures["train"].sync()
        if self.blind:
            raise self.failures["train"].error(f"epoch {done} has no step with a video that can be read")
        loss = self.mean.mean if self.mean.weight else NAN
        entry = {"epoch": done, "train_loss": loss, "lr": self._lr(len(self.loader) - 1)}
        is_best = False
        if done % self.cfg.TRAIN.EVAL_PERIOD == 0 or done >= self.cfg.SOLVER.MAX_EPOCH:
            is_best = self._validate(entry)
        self.epoch, self.step = done, 0
        self.mean.reset()
        self.history.append(entry)
        if distributed.is_main():
            self.report.epoch_done(entry)
        due = done % self.cfg.TRAIN.CHECKPOINT_PERIOD == 0 or self.late or self._ends()
        if due or is_best:
            self.saver.save(self._checkpoint(), newest=due, best=is_best)
            if distributed.is_main():
                draw_curves(self.history, self.output / "curves.png")

    def _validate(self, entry: dict[str, Any]) -> bool:
        """Add the validation to the epoch's entry and return whether it is the best so far."""
        result = self.learner.validate(self.val_loader, self.loader, self.failures["val"], self.epoch)
        self.failures["val"].sync()
        if result is None:
            self._stop()
        try:
            self.failures["val"].check()
        except DataError:
            self._keep()  # the same command validates first, and needs no epoch for it
            raise
        entry.update(result.figures(self.learner.inputs))
        if is_better(entry, self.best, self.watched):
            self.best = dict(entry)
            return True
        return False

    def _stop_if_asked(self) -> None:
        """Stop between two epochs where any process was asked to."""
        if distributed.sum_floats([float(bool(stopping.requested()))], self.device)[0]:
            self._stop()

    def _stop(self) -> None:
        """Keep what is done and leave the run; every process must call it."""
        place, name = (self.epoch, self.step), max(distributed.gather_objects(stopping.requested()))
        if place == (0, 0):
            raise stopping.Stopped(f"stopped by {name} before the first step; the same command begins anew")
        self._keep()
        self.report.close()
        way = "" if self.cfg.TRAIN.AUTO_RESUME else " with TRAIN.AUTO_RESUME True"
        raise stopping.Stopped(
            f"stopped by {name} after {self._place()}, kept in {checkpoint_path(self.output, *place)}; the same "
            f"command{way} goes on from there"
        )

    def _keep(self) -> None:
        """Save where the run is, if that is not on the disk; every process must call it."""
        if self.saver.place != (self.epoch, self.step):
            self.saver.save(self._checkpoint())

    def _checkpoint(self) -> Checkpoint:
        """Return all that the run needs to go on; every process must call it."""
        return Checkpoint(
            epoch=self.epoch,
            step=self.step,
            steps=len(self.loader),
            **self.learner.state(),
            cfg=dump(self.cfg),
            class_names=list(self.class_names) if self.class_names else None,
            class_folders=dict(self.class_folders) if self.class_folders else None,
            history=self.history,
            best=self.best,
            generators=distributed.gather_objects(generator_states()),
            nonfinite=self.nonfinite.state(),
            epoch_loss=[self.mean.total, self.mean.weight],
            world=distributed.world_size(),
        )
