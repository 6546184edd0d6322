"""What a training run tells: a console line and a json_stats line for each period, TensorBoard, curves."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.engine.bottleneck import Bottleneck
from uniformer_video.engine.device import peak_memory_gib
from uniformer_video.metrics.meters import EtaMeter, RatioMeter, WindowMeter
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.logging import get_logger, log_json_stats

logger = get_logger(__name__)

FIGURES = {"val_top1": "top-1", "val_top5": "top-5", "val_map": "mAP"}
"""The validation figures of a history entry, in percent, and what they are called."""


def watched_figure(multi_label: bool) -> str:
    """Return the key of :data:`FIGURES` that tells which validation is the best."""
    return "val_map" if multi_label else "val_top1"


class TrainReport:
    """Times steps and reports every ``period`` of them and at the end of an epoch.

    No process waits for another here: losses and clips are handed over as those of the whole run, times are this
    process's own.

    Args:
        period: steps between two reports.
        steps: steps in an epoch.
        epochs: epochs in all.
        device: whose memory is reported.
        events: TensorBoard writer, or None.
        workers: loader processes, for the advice where loading is the bottleneck.
    """

    def __init__(
        self, *, period: int, steps: int, epochs: int, device: torch.device, events: Any | None, workers: int = 0
    ) -> None:
        self.period, self.steps, self.epochs = period, steps, epochs
        self.device = device
        self.events = events
        self.eta = EtaMeter()
        self.data_time, self.step_time, self.losses = (WindowMeter(period) for _ in range(3))
        self.clips, self.waiting = RatioMeter(), RatioMeter()
        self.bottleneck = Bottleneck(workers)
        self._epoch = -1
        self._rate = (math.nan, math.nan)
        self.start()

    def start(self) -> None:
        """Begin to wait for a batch."""
        self._mark = time.perf_counter()
        self._data_seconds = 0.0

    def batch_ready(self) -> None:
        """Note that the batch is here."""
        self._data_seconds = time.perf_counter() - self._mark

    def step_done(self, epoch: int, step: int, loss: float, lr: float, norm: float, clips: int) -> None:
        """Note a step and report when it is time.

        Args:
            epoch: its number, from 0.
            step: its number in the epoch, from 0; the first of a run that goes on inside an epoch is a later one.
            loss: mean over all processes.
            lr: learning rate.
            norm: of the gradient, before clipping.
            clips: that the step took, on all processes.
        """
        self.losses.add(loss)
        self._rate = lr, norm
        self._note(epoch, step, clips)

    def step_left_out(self, epoch: int, step: int) -> None:
        """Note that a step changed nothing: its time is counted, and a report that is due comes."""
        self._note(epoch, step, 0)

    def _note(self, epoch: int, step: int, clips: int) -> None:
        seconds = time.perf_counter() - self._mark
        self.eta.add(seconds)
        self.step_time.add(seconds)
        self.data_time.add(self._data_seconds)
        self.clips.add(clips, seconds)
        if epoch == self._epoch:
            self.waiting.add(self._data_seconds, seconds)
            self.bottleneck.add(self._data_seconds, seconds)
        else:  # the first step of a pass waits for the workers to start, which tells nothing of those that follow
            self._epoch = epoch
            self.bottleneck.start_epoch()
        if (step + 1) % self.period == 0 or step + 1 == self.steps:
            if len(self.losses):
                self._report(epoch, step)
            self.bottleneck.check(epoch if step + 1 == self.steps else None)
        self.start()

    def _report(self, epoch: int, step: int) -> None:
        loss, (lr, norm) = self.losses.mean, self._rate
        remaining = (self.epochs - epoch) * self.steps - step - 1
        memory, eta = peak_memory_gib(self.device), self.eta.text(remaining)
        data, seconds = self.data_time.median, self.step_time.median
        speed, share = self.clips.ratio, self.waiting.ratio
        percent = "-" if math.isnan(share) else f"{100 * share:.0f}"
        logger.info(
            "epoch %d/%d step %d/%d  loss %.4f  lr %.3g  grad %.3g  data %.3f s  step %.3f s  %.1f clips/s  data %s %%"
            "  mem %.2f GiB  left %s",
            *(epoch + 1, self.epochs, step + 1, self.steps, loss, lr, norm, data, seconds, speed, percent, memory, eta),
        )
        stats = {
            "_type": "train_iter",
            "epoch": f"{epoch + 1}/{self.epochs}",
            "iter": f"{step + 1}/{self.steps}",
            "loss": loss,
            "lr": lr,
            "grad_norm": norm,
            "dt": seconds,
            "dt_data": data,
            "dt_net": seconds - data,
            "clips_per_s": speed,
            "data_share": share,
            memory_name(self.device): f"{memory:.2f}G",
            "eta": eta,
        }
        log_json_stats(logger, stats)
        events = {"train/loss": loss, "train/lr": lr, "train/grad_norm": norm, "train/clips_per_s": speed}
        if not math.isnan(share):
            events["train/data_share"] = share
        self._events(epoch * self.steps + step + 1, events)
        for meter in (self.data_time, self.step_time, self.losses, self.clips, self.waiting):
            meter.reset()

    def epoch_done(self, entry: dict[str, Any]) -> None:
        """Report the entry of an epoch: training loss and, where there was one, validation."""
        text = f"epoch {entry['epoch']}/{self.epochs} done  training loss {entry['train_loss']:.4f}"
        shown = {key: name for key, name in FIGURES.items() if key in entry}
        if shown:
            figures = "".join(f"  {name} {entry[key]:.2f} %" for key, name in shown.items())
            text += f"  validation{figures.removeprefix(' ')}  loss {entry['val_loss']:.4f}"
        logger.info(text)
        epoch = f"{entry['epoch']}/{self.epochs}"
        log_json_stats(logger, {"_type": "train_epoch", "epoch": epoch, "loss": entry["train_loss"], "lr": entry["lr"]})
        if shown:
            errors = {f"{key.removeprefix('val_')}_err": 100 - entry[key] for key in shown if key != "val_map"}
            stats = {"map": entry["val_map"]} if "val_map" in entry else errors
            log_json_stats(logger, {"_type": "val_epoch", "epoch": epoch, "loss": entry["val_loss"], **stats})
        names = {key: key.replace("_", "/") for key in (*FIGURES, "val_loss")}
        self._events(entry["epoch"] * self.steps, {names[k]: v for k, v in entry.items() if k in names})

    def _events(self, step: int, values: dict[str, float]) -> None:
        if self.events is not None:
            for name, value in values.items():
                self.events.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what TensorBoard has not written yet."""
        if self.events is not None:
            self.events.close()


def memory_name(device: torch.device) -> str:
    """Return PySlowFast's name, in json_stats, of the memory that ``peak_memory_gib`` measures."""
    return "gpu_mem" if device.type == "cuda" else "RAM"


def open_tensorboard(cfg: CfgNode, purge_step: int | None = None) -> Any | None:
    """Return a TensorBoard writer on the main process where TENSORBOARD.ENABLE is set, else None.

    Args:
        cfg: the configuration.
        purge_step: of a run that goes on: the first step that it does again, in the numbers that events have (steps of
            an epoch x epochs done + steps done since + 1). TensorBoard hides what an earlier run drew from there on.

    Raises:
        ConfigError: TensorBoard is not installed.
    """
    if not cfg.TENSORBOARD.ENABLE or not distributed.is_main():
        return None
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise ConfigError(
            "TENSORBOARD.ENABLE needs tensorboard: pip install 'uniformer_video[tensorboard]', or set it to False"
        ) from None
    folder = cfg.TENSORBOARD.LOG_DIR or str(Path(cfg.OUTPUT_DIR) / "tensorboard")
    return SummaryWriter(folder, purge_step=purge_step)
