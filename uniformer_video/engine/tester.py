"""The multi-view test: every view of every video scored once, added up, counted and written."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.datasets import VideoDataset, build_dataset
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.engine import setup
from uniformer_video.engine.checkpoint import FOLDER as CHECKPOINTS
from uniformer_video.engine.compiled import compiled_network
from uniformer_video.engine.device import Precision, evaluation_mode, set_float32_products
from uniformer_video.engine.failures import PRINTED, FailureLog
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.prefetch import prefetched
from uniformer_video.engine.results import FOLDER, confidences, multi_hot, write_predictions, write_summary
from uniformer_video.engine.start import load_test_weights
from uniformer_video.metrics.average_precision import average_precision, mean_average_precision
from uniformer_video.metrics.ensemble import ViewEnsemble
from uniformer_video.metrics.per_class import per_class_accuracy
from uniformer_video.metrics.topk import telling_ks, topk_accuracy
from uniformer_video.models.build import build_model
from uniformer_video.runtime import distributed, stopping
from uniformer_video.runtime.errors import ConfigError
from uniformer_video.runtime.logging import get_logger, log_json_stats, progress

logger = get_logger(__name__)

FIGURES = {
    "top1": ("top-1", "top1_acc"),
    "top5": ("top-5", "top5_acc"),
    "map": ("mAP", "map"),
    "mean_class_accuracy": ("mean class accuracy", "mean_class_accuracy"),
}
"""The figures of a summary, in percent: their names in the log and in json_stats."""


class Tester:
    """Tests one network as a configuration says; each process of a run has one.

    Args:
        cfg: the configuration.
        device: of this process.

    Raises:
        UserError: data or weights that cannot be used.
    """

    def __init__(self, cfg: CfgNode, device: torch.device) -> None:
        self.cfg, self.device = cfg, device
        self.folder = Path(cfg.OUTPUT_DIR) / FOLDER
        self.dataset: VideoDataset = build_dataset(cfg.TEST.DATASET, cfg, "test")
        self.views = self.dataset.clips_per_record
        self.chunk = setup.process_share(cfg, cfg.TEST.BATCH_SIZE)
        self.precision = Precision(evaluation_mode(cfg), device)
        self.inputs = DeviceInputs.from_config(cfg)
        if self.inputs.multi_label and cfg.TEST.ENSEMBLE_SCORE != "logits":
            raise ConfigError(
                f"TEST.ENSEMBLE_SCORE is {cfg.TEST.ENSEMBLE_SCORE}, which makes the classes of a video depend on each "
                "other, but DATA.MULTI_LABEL is True; set TEST.ENSEMBLE_SCORE logits"
            )
        self.failures = FailureLog(None, "test")
        weights = cfg.TEST.CHECKPOINT_FILE_PATH
        # Tried now, so that a mistake does not wait for the training; but a file of this very run is still to come.
        own = Path(weights).parent.absolute() == (Path(cfg.OUTPUT_DIR) / CHECKPOINTS).absolute()
        if weights and cfg.TRAIN.ENABLE and not own:
            self._load(build_model(cfg))
        self.ready = None if cfg.TRAIN.ENABLE else self._prepare()

    def run(self) -> int:
        """Test, print the accuracy, write the results, and return the exit code.

        Returns:
            0, or 1 where videos could not be read and TEST.ALLOW_MISSING is False.

        Raises:
            Stopped: a signal asked for it; a test that was stopped leaves nothing.
        """
        clips, crops = self.cfg.TEST.NUM_ENSEMBLE_VIEWS, self.cfg.TEST.NUM_SPATIAL_CROPS
        logger.info(
            "testing %d videos x %d views (%d clips x %d crops)", *(len(self.dataset), self.views, clips, crops)
        )
        model, weights = self.ready or self._prepare()
        started = time.perf_counter()
        ensemble = self._score(model)
        stopped_by = max(distributed.gather_objects(stopping.requested()))
        if stopped_by:
            raise stopping.Stopped(
                f"stopped by {stopped_by} in the test, of which nothing is kept; the same command tests anew"
            )
        self.failures.sync()
        if distributed.is_main():
            self._finish(ensemble, weights, time.perf_counter() - started)
        distributed.barrier()
        return 1 if len(self.failures) and not self.cfg.TEST.ALLOW_MISSING else 0

    def _prepare(self) -> tuple[nn.Module, str]:
        """Return the network with the weights to test, and where they come from."""
        model = setup.new_model(self.cfg, self.device)
        return model, self._load(model)

    def _load(self, model: nn.Module) -> str:
        return load_test_weights(self.cfg, model, self.dataset.class_names, self.dataset.class_folders)

    @torch.inference_mode()
    def _score(self, model: nn.Module) -> ViewEnsemble:
        """Return the scores of all views, on the main process; other processes get their own part."""
        test, videos = self.cfg.TEST, max(1, self.chunk // self.views)
        most = min(self.chunk, videos * self.views)
        set_float32_products(self.device, tf32=self.cfg.MODEL.TF32)
        model = compiled_network(model, self.cfg, self.device, eval_clips=most).eval()
        ensemble = ViewEnsemble(
            len(self.dataset),
            self.views,
            self.cfg.MODEL.NUM_CLASSES,
            method=test.ENSEMBLE_METHOD,
            score=test.ENSEMBLE_SCORE,
        )
        # A loader's batch is whole videos; the network sees `chunk` views at a time.
        loader = setup.ordered_loader(self.cfg, self.dataset, videos, self.device)
        for batch in progress(prefetched(loader, self.device), total=len(loader), label="test", unit="batch"):
            if stopping.requested():
                break
            self.failures.add(batch.failures)
            if batch.clips is None:
                continue
            for start in range(0, len(batch.labels), self.chunk):
                part = slice(start, start + self.chunk)
                clips = self.inputs.normalized(batch.clips[part], self.device)
                with self.precision.autocast():
                    logits = model(clips)
                ensemble.add(batch.records[part], batch.parts[part], logits.float())
        loader.close()
        for other in distributed.gather_on_main(ensemble)[1:]:
            ensemble.merge(other)
        return ensemble

    def _finish(self, ensemble: ViewEnsemble, weights: str, seconds: float) -> None:
        cfg, several = self.cfg, self.inputs.multi_label
        whole = ensemble.complete()
        numbers = whole.nonzero().flatten().tolist()
        assert len(numbers) + len(self.failures) == len(self.dataset), "a video was neither scored nor reported"
        records, scores = [self.dataset.records[n] for n in numbers], ensemble.scores()[whole]
        method, score = cfg.TEST.ENSEMBLE_METHOD, cfg.TEST.ENSEMBLE_SCORE
        write_predictions(
            self.folder,
            scores=scores,
            shares=confidences(scores, views=self.views, method=method, score=score, multi_label=several),
            labels=[r.label for r in records],
            paths=[r.path for r in records],
            class_names=self.dataset.class_names,
            multi_label=several,
        )
        missing = [
            {"path": failure.path, "cause": failure.cause} for _, failure in sorted(self.failures.by_record.items())
        ]
        summary: dict[str, Any] = {
            **(self._precision_of(scores, records) if several else self._accuracy_of(scores, records)),
            "videos": len(records),
            "missing": missing,
            "absent": len(self.dataset.absent),
            "views": self.views,
            "clips": cfg.TEST.NUM_ENSEMBLE_VIEWS,
            "crops": cfg.TEST.NUM_SPATIAL_CROPS,
            "ensemble_method": method,
            "ensemble_score": score,
            "weights": weights or "random",
            "seconds": round(seconds, 3),
        }
        write_summary(self.folder, summary)
        self._print(summary)

    def _accuracy_of(self, scores: torch.Tensor, records: Sequence[VideoRecord]) -> dict[str, Any]:
        """Return the figures of a set with one label for each video; ``top5`` is None where it tells nothing."""
        classes = self.cfg.MODEL.NUM_CLASSES
        labels = torch.tensor([r.label for r in records], dtype=torch.int64)
        accuracy = topk_accuracy(scores, labels, telling_ks(classes))
        each = per_class_accuracy(scores, labels, classes)
        return {"top1": accuracy[1], "top5": accuracy.get(5), "mean_class_accuracy": each.mean_class_accuracy}

    def _precision_of(self, scores: torch.Tensor, records: Sequence[VideoRecord]) -> dict[str, Any]:
        """Return the figures of a multi-label set: ``map``, and ``per_class`` with that of each class."""
        labels = torch.from_numpy(multi_hot([r.labels for r in records], self.cfg.MODEL.NUM_CLASSES))
        each = average_precision(scores, labels)
        names = self.dataset.class_names or [None] * len(each)
        per_class = [
            {"class": number, "name": name, "average_precision": 100 * ap, "videos": videos}
            for number, (name, ap, videos) in enumerate(zip(names, each.tolist(), labels.sum(0).tolist(), strict=True))
        ]
        return {"map": mean_average_precision(each), "per_class": per_class}

    def _print(self, summary: dict[str, Any]) -> None:
        given = [key for key in FIGURES if summary.get(key) is not None]
        figures = "  ".join(f"{FIGURES[key][0]} {summary[key]:.2f} %" for key in given)
        logger.info(
            "test: %s  (%d videos x %d views, %.1f s)",
            *(figures, summary["videos"], summary["views"], summary["seconds"]),
        )
        stats = {FIGURES[key][1]: summary[key] for key in given}
        rest = {name: summary[name] for name in ("videos", "views", "weights", "seconds")}
        log_json_stats(logger, {"_type": "test_final", **stats, **rest})
        logger.info("predictions: %s, summary: %s", self.folder / "predictions.csv", self.folder / "summary.json")
        missing = summary["missing"]
        if missing:
            way_out = "" if self.cfg.TEST.ALLOW_MISSING else "; exit code 1 (TEST.ALLOW_MISSING True accepts it)"
            gone = f", {summary['absent']} of them because they are not there" if summary["absent"] else ""
            logger.error("%d of %d test videos could not be read%s%s:", len(missing), len(self.dataset), gone, way_out)
            for entry in missing[:PRINTED]:
                logger.error("  %s: %s", entry["path"], entry["cause"])
            if len(missing) > PRINTED:
                logger.error("  and %d more in %s", len(missing) - PRINTED, self.folder / "summary.json")
