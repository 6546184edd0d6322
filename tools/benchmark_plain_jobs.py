"""The engine with the plain parts in it: the other side of ``benchmark.py jobs``.

Training and testing run as ever (the same loops, schedule, optimizer, checkpoints and reports), but with the network of
``benchmark_plain`` and the items of ``benchmark_plain_items``: float32 clips, normalised by the workers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

import torch
from benchmark_model import plain_model
from benchmark_plain_items import PlainTestItems, PlainTrainItems
from fvcore.common.config import CfgNode
from torch import Tensor
from torch.utils.data import Dataset

from uniformer_video.datasets import VideoDataset, build_dataset
from uniformer_video.datasets.dataset import Sample
from uniformer_video.datasets.loader import Batch
from uniformer_video.engine import learner, tester, trainer
from uniformer_video.engine.inputs import DeviceInputs
from uniformer_video.models.build import MODELS
from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.transforms.erasing import random_erasing
from uniformer_video.transforms.mixup import soft_targets


class PlainDataset(VideoDataset):
    """A data set of the package whose samples are plain items: float32 clips, normalised.

    Args:
        dataset: whose records, class names and the like these are.
        items: makes ``(clips, label, record number)`` of a record's number.
    """

    def __init__(self, dataset: VideoDataset, items: Dataset) -> None:
        vars(self).update(vars(dataset))
        self.items = items

    def __getitem__(self, index: int | tuple[int, ...]) -> Sample:
        """Return the sample of a record; see :meth:`VideoDataset.__getitem__`."""
        epoch, number, turn = (*index, 0)[:3] if isinstance(index, tuple) else (0, index, 0)
        if isinstance(self.items, PlainTrainItems):
            self.items.epoch = epoch
        clips, label, record = self.items[number]
        labels = torch.full((len(clips),), label, dtype=torch.int64)
        return Sample(clips, labels, record, epoch, turn)


class PlainInputs(DeviceInputs):
    """Inputs out of clips that the workers have normalised; erased and mixed by the same draws."""

    def normalized(self, clips: Tensor, device: torch.device) -> Tensor:
        """Return ``clips`` on ``device``: they are normalised already."""
        assert clips.dtype == torch.float32, clips.dtype
        return clips.to(device, non_blocking=True)

    def train(self, batch: Batch, device: torch.device) -> tuple[Tensor, Tensor]:
        """See :meth:`DeviceInputs.train`."""
        clips, labels = self.normalized(batch.clips, device), batch.labels.to(device, non_blocking=True)
        places = batch.places()
        probability, mode, count = self.erase
        if probability > 0:
            generators = [numpy_generator(self.seed, Stream.ERASE, batch.epoch, *place) for place in places]
            clips = random_erasing(clips, probability, mode, count, generators=generators)
        if self.mixup is not None:
            return self.mixup(clips, labels, numpy_generator(self.seed, Stream.MIX, batch.epoch, *places[0]))
        if self.soft_targets:
            return clips, soft_targets(labels, self.num_classes, self.label_smoothing)
        return clips, labels


def build_plain_dataset(name: str, cfg: CfgNode, split: str) -> PlainDataset:
    """Return a data set of plain items; see :func:`uniformer_video.datasets.build_dataset`."""
    dataset = build_dataset(name, cfg, split)
    if split == "train":
        return PlainDataset(dataset, PlainTrainItems(cfg, dataset.records))
    if split == "val":
        cfg = cfg.clone()
        cfg.defrost()
        cfg.TEST.NUM_ENSEMBLE_VIEWS = cfg.TEST.NUM_SPATIAL_CROPS = 1
    return PlainDataset(dataset, PlainTestItems(cfg, dataset.records))


@contextmanager
def plain_parts() -> Iterator[None]:
    """Put the plain network, data sets and inputs into the engine of this process."""
    with ExitStack() as stack:
        # In place of the entry, not beside it: the configuration stays the same, and no name is left over.
        stack.enter_context(patch.dict(MODELS._entries, {"uniformer": plain_model}))
        for room in (tester, learner):
            stack.enter_context(patch.object(room, "DeviceInputs", PlainInputs))
        for room in (tester, trainer):
            stack.enter_context(patch.object(room, "build_dataset", build_plain_dataset))
        yield
