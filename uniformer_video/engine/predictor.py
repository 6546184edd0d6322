"""A trained network at work: names and scores of a video, through the same code as the test."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from fvcore.common.config import CfgNode
from torch import nn

from uniformer_video.config import with_values
from uniformer_video.datasets.build import DATASETS, opener_from_config
from uniformer_video.datasets.clips import ViewClips
from uniformer_video.datasets.dataset import VideoDataset
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.engine import setup
from uniformer_video.engine.device import Precision, evaluation_mode, set_float32_products
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.engine.predict_config import find_network
from uniformer_video.engine.prediction import Prediction
from uniformer_video.engine.results import confidences
from uniformer_video.engine.stream import Timeline, stream_video
from uniformer_video.metrics.ensemble import ViewEnsemble
from uniformer_video.models.build import build_model
from uniformer_video.models.weights import load_weights
from uniformer_video.runtime.errors import ConfigError, UserError
from uniformer_video.runtime.logging import get_logger, progress
from uniformer_video.transforms.clip import ViewTransform
from uniformer_video.video.array import ArrayReader
from uniformer_video.video.reader import DecodeError, VideoReader
from uniformer_video.video.resample import ResampledReader
from uniformer_video.video.sampling import ViewGrid

logger = get_logger(__name__)

Video = str | os.PathLike[str] | np.ndarray | torch.Tensor
"""A file, an address, a folder of frames, or frames in memory: uint8 (T, H, W, 3) RGB."""


class Predictor:
    """Names and scores of videos; views, transform, precision and the way scores are added are those of the test.

    Args:
        cfg: the configuration that the network was trained with (DATA, TEST, MODEL).
        model: the network, with its weights; it is moved to ``device`` and put into eval mode.
        class_names: of its outputs, in their order; None: not known.
        device: where it runs.
        threshold: score from which a class of a multi-label network counts as there.
        source: what the weights are, in one line.

    Raises:
        UserError: settings that do not go together.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        *,
        class_names: Sequence[str] | None = None,
        device: torch.device | str = "cpu",
        threshold: float = 0.5,
        source: str = "",
    ) -> None:
        if not 0 <= threshold <= 1:
            raise UserError(f"threshold is {threshold}; it is a score from 0 to 1")
        self.cfg, self.source, self.threshold = cfg, source, threshold
        self.device = torch.device(device)
        self.model = model.to(self.device).eval()
        self.class_names = tuple(class_names) if class_names else None
        self.num_classes: int = cfg.MODEL.NUM_CLASSES
        self.multi_label = cfg.DATA.MULTI_LABEL is True
        if self.multi_label and cfg.TEST.ENSEMBLE_SCORE != "logits":
            raise ConfigError(f"TEST.ENSEMBLE_SCORE is {cfg.TEST.ENSEMBLE_SCORE}; several labels a video need logits")
        self.opener = opener_from_config(cfg)
        grid = ViewGrid(cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS)
        self.sampler = DATASETS.get(cfg.TEST.DATASET, "TEST.DATASET").sampler(cfg)
        self.transform = ViewTransform(crop_size=cfg.DATA.TEST_CROP_SIZE, crops=grid.crops)
        self.clips = ViewClips(self.sampler, self.transform, grid)
        self.inputs = DeviceInputs.from_config(cfg)
        mode = evaluation_mode(cfg)
        if mode == "fp16" and self.device.type == "cpu":
            logger.warning("the test's precision, fp16, needs a GPU; scores are computed in float32")
            mode = False
        self.precision = Precision(mode, self.device)

    @classmethod
    def from_checkpoint(
        cls,
        weights: str | os.PathLike[str],
        *,
        device: torch.device | str = "auto",
        cfg: str | os.PathLike[str] | None = None,
        clips: int | None = None,
        crops: int | None = None,
        batch: int | None = None,
        workers: int | None = None,
        threshold: float = 0.5,
    ) -> Predictor:
        """Return the predictor of trained weights.

        Args:
            weights: a run's folder, a checkpoint, an exported weight file, or a name of the zoo; see
                ``predict_config.find_network``.
            device: ``auto`` (a GPU where there is one), ``cpu``, ``cuda``, ``cuda:1``.
            cfg: a recipe, for a weight file that carries no configuration.
            clips: views along time in place of the test's.
            crops: views in space in place of the test's.
            batch: views that the network takes at a time in place of the test's.
            workers: processes that decode in :meth:`predict_many`; None: as the configuration has it.
            threshold: score from which a class of a multi-label network counts as there.

        Raises:
            UserError: one line: weights or a device that cannot be used.
        """
        where = choose_device(device)
        found = find_network(weights, cfg)
        changes: dict[str, Any] = {
            "TEST.NUM_ENSEMBLE_VIEWS": clips,
            "TEST.NUM_SPATIAL_CROPS": crops,
            "TEST.BATCH_SIZE": batch,
            "DATA_LOADER.NUM_WORKERS": workers,
        }
        wanted = {key: value for key, value in changes.items() if value is not None}
        settings = with_values(found.cfg, wanted, "the call")
        model = build_model(settings)
        inflate = settings.TRAIN.CHECKPOINT_INFLATE
        load_weights(model, found.state, inflate=inflate, origin=found.path)
        names, source = found.class_names, found.said
        return cls(settings, model, class_names=names, device=where, threshold=threshold, source=source)

    def predict(self, video: Video, *, fps: float | None = None) -> Prediction:
        """Return the classes of one video.

        Args:
            video: a path, or frames.
            fps: rate of frames in memory; only a configuration with DATA.TARGET_FPS asks for it.

        Raises:
            DecodeError: the video cannot be read.
            UserError: frames of another kind.
        """
        with self._open(video, fps) as reader:
            clips = self.clips(reader, 0, 0).pixels
        logits, pooled = self.score_clips(clips)
        return self._prediction(reader.path, logits, pooled)

    def predict_many(self, paths: Sequence[str | os.PathLike[str]]) -> Iterator[Prediction | DecodeError]:
        """Yield the prediction of each video in turn; of one that cannot be read the ``DecodeError``, not raised.

        Worker processes decode ahead, as many as DATA_LOADER.NUM_WORKERS says and there are videos; standard error
        shows a progress bar where it is a terminal.
        """
        paths = [os.fspath(path) for path in paths]
        results: dict[int, Prediction | DecodeError] = {}
        due = 0
        for number, result in self._in_batches(paths):
            results[number] = result
            while due in results:
                yield results.pop(due)
                due += 1
        assert due == len(paths), "a video was neither scored nor reported"

    @property
    def tells_features(self) -> bool:
        """Whether the network tells what its head sees."""
        return hasattr(self.model, "forward_pooled")

    def features(self, video: Video, *, fps: float | None = None) -> torch.Tensor:
        """Return what the head sees of a video, float32 ``(C,)``: see :attr:`Prediction.features`.

        Raises:
            DecodeError: the video cannot be read.
            UserError: frames of another kind, or a network that does not tell its features.
        """
        found = self.predict(video, fps=fps).features
        if found is None:
            raise UserError(f"{self.cfg.MODEL.MODEL_NAME} has no forward_pooled, so its features cannot be told")
        return found

    def stream(
        self, video: Video, *, window: float | None = None, stride: float | None = None, fps: float | None = None
    ) -> Timeline:
        """Return the scores of a window that slides over a video; see :func:`stream.stream_video`.

        Args:
            video: a path, or frames.
            window: seconds of a window; None: what a clip spans.
            stride: seconds from one window to the next; None: half a window.
            fps: rate of frames in memory.
        """
        return stream_video(self, video, window=window, stride=stride, fps=fps)

    @torch.inference_mode()
    def score_clips(self, clips: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return what the network says of clips, TEST.BATCH_SIZE at a time.

        Args:
            clips: uint8 ``(N, 3, T, S, S)``.

        Returns:
            logits: float32 ``(N, K)`` on the CPU.
            features: float32 ``(N, C)`` on the CPU; None where the network does not tell them.
        """
        logits, features = [], []
        set_float32_products(self.device, tf32=self.cfg.MODEL.TF32)  # as the test does
        forward = getattr(self.model, "forward_pooled", None)
        for part in clips.split(self.cfg.TEST.BATCH_SIZE):
            inputs = self.inputs.normalized(part, self.device)
            with self.precision.autocast():
                pooled, scores = forward(inputs) if forward else (None, self.model(inputs))
            logits.append(scores.float().cpu())
            if pooled is not None:
                features.append(pooled.float().cpu())
        return torch.cat(logits), torch.cat(features) if features else None

    def confidences(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the scores, float32 ``(N, K)``, of N videos from the logits of their views, ``(N, V, K)``."""
        videos, views, classes = logits.shape
        test = self.cfg.TEST
        ensemble = ViewEnsemble(videos, views, classes, method=test.ENSEMBLE_METHOD, score=test.ENSEMBLE_SCORE)
        numbers = torch.arange(videos * views)
        ensemble.add(numbers // views, numbers % views, logits.flatten(0, 1))
        how = {"views": views, "method": test.ENSEMBLE_METHOD, "score": test.ENSEMBLE_SCORE}
        return confidences(ensemble.scores(), **how, multi_label=self.multi_label)

    def open_frames(self, video: Video, fps: float | None, *, target_fps: float = 0.0) -> VideoReader:
        """Return a reader of frames in memory, ``(T, H, W, 3)``."""
        reader = ArrayReader(video, **({} if fps is None else {"fps": fps}), path="the frames")
        if target_fps > 0 and fps is None:
            raise UserError(
                f"the network sees {target_fps:g} frames each second (DATA.TARGET_FPS); say the frames' rate: fps"
            )
        return ResampledReader(reader, target_fps) if target_fps > 0 else reader

    def _open(self, video: Video, fps: float | None) -> VideoReader:
        if isinstance(video, str | os.PathLike):
            return self.opener(os.fspath(video))
        return self.open_frames(video, fps, target_fps=self.cfg.DATA.TARGET_FPS)

    def _in_batches(self, paths: list[str]) -> Iterator[tuple[int, Prediction | DecodeError]]:
        """Yield number and result of each video, batch by batch of whole videos, as the test takes them."""
        views = len(self.clips)
        dataset = VideoDataset([VideoRecord(path, 0) for path in paths], self.clips, self.opener)
        cfg = self.cfg
        if len(paths) <= 1:  # a process of its own would only cost its start
            cfg = with_values(cfg, {"DATA_LOADER.NUM_WORKERS": 0}, "a single video")
        loader = setup.ordered_loader(cfg, dataset, max(1, cfg.TEST.BATCH_SIZE // views), self.device)
        for batch in progress(loader, total=len(loader), label="predict", unit="batch"):
            for failure in batch.failures:
                yield failure.record, DecodeError(failure.path, failure.cause)
            if batch.clips is None:
                continue
            logits, pooled = self.score_clips(batch.clips)
            # Clips stand video by video, each with all its views in order.
            for first in range(0, len(logits), views):
                number, part = int(batch.records[first]), slice(first, first + views)
                yield (
                    number,
                    self._prediction(paths[number], logits[part], pooled[part] if pooled is not None else None),
                )

    def _prediction(self, path: str, logits: torch.Tensor, pooled: torch.Tensor | None) -> Prediction:
        """Return the prediction of a video from logits ``(V, K)`` and features ``(V, C)`` of its views."""
        return Prediction(
            path=path,
            scores=self.confidences(logits[None])[0],
            class_names=self.class_names,
            multi_label=self.multi_label,
            threshold=self.threshold,
            features=None if pooled is None else pooled.mean(0),
        )


def choose_device(device: torch.device | str = "auto") -> torch.device:
    """Return the device of that name; ``auto``: a GPU where there is one, else the CPU.

    Raises:
        UserError: no such device, or not on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError):
        raise UserError(f"device {device!r} is none; allowed: auto, cpu, cuda, cuda:1") from None
    there = torch.cuda.device_count()
    if found.type == "cuda" and (found.index or 0) >= there:
        raise UserError(f"device {str(found)!r} is not here: this machine has {there} GPUs; use cpu or auto")
    return found
