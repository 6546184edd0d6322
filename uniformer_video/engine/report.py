"""What a training run tells: a console line and a json_stats line for each period, TensorBoard, curves."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode

from uniformer_video.engine.device import peak_memory_gib
from uniformer_video.metrics.meters import EtaMeter, WindowMeter
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

    Args:
        period: steps between two reports.
        steps: steps in an epoch.
        epochs: epochs in all.
        device: whose memory is reported.
        events: TensorBoard writer, or None.
    """

    def __init__(self, *, period: int, steps: int, epochs: int, device: torch.device, events: Any | None) -> None:
        self.period, self.steps, self.epochs = period, steps, epochs
        self.device = device
        self.events = events
        self.eta = EtaMeter()
        self.data_time, self.step_time, self.losses = (WindowMeter(period) for _ in range(3))
        self._mark = time.perf_counter()
        self._data_seconds = 0.0

    def start(self) -> None:
        """Begin to wait for a batch."""
        self._mark = time.perf_counter()

    def batch_ready(self) -> None:
        """Note that the batch is here."""
        self._data_seconds = time.perf_counter() - self._mark

    def step_done(self, epoch: int, step: int, loss: float, lr: float, norm: float) -> None:
        """Note a step (both numbers from 0) and report when it is time; every process must call it."""
        seconds = time.perf_counter() - self._mark
        self.eta.add(seconds)
        self.step_time.add(seconds)
        self.data_time.add(self._data_seconds)
        self.losses.add(loss)
        if (step + 1) % self.period == 0 or step + 1 == self.steps:
            self._report(epoch, step, lr, norm)
        self.start()

    def _report(self, epoch: int, step: int, lr: float, norm: float) -> None:
        mean_loss = distributed.sum_floats([self.losses.mean], self.device)[0] / distributed.world_size()
        remaining = (self.epochs - epoch) * self.steps - step - 1
        memory, eta = peak_memory_gib(self.device), self.eta.text(remaining)
        data, seconds = self.data_time.median, self.step_time.median
        logger.info(
            "epoch %d/%d step %d/%d  loss %.4f  lr %.3g  grad %.3g  data %.3f s  step %.3f s  mem %.2f GiB  left %s",
            *(epoch + 1, self.epochs, step + 1, self.steps, mean_loss, lr, norm, data, seconds, memory, eta),
        )
        stats = {
            "_type": "train_iter",
            "epoch": f"{epoch + 1}/{self.epochs}",
            "iter": f"{step + 1}/{self.steps}",
            "loss": mean_loss,
            "lr": lr,
            "grad_norm": norm,
            "dt": seconds,
            "dt_data": data,
            "dt_net": seconds - data,
            memory_name(self.device): f"{memory:.2f}G",
            "eta": eta,
        }
        log_json_stats(logger, stats)
        self._events(epoch * self.steps + step + 1, {"train/loss": mean_loss, "train/lr": lr, "train/grad_norm": norm})
        for meter in (self.data_time, self.step_time, self.losses):
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


def open_tensorboard(cfg: CfgNode) -> Any | None:
    """Return a TensorBoard writer on the main process where TENSORBOARD.ENABLE is set, else None.

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
    return SummaryWriter(cfg.TENSORBOARD.LOG_DIR or str(Path(cfg.OUTPUT_DIR) / "tensorboard"))
