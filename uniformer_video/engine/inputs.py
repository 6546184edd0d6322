"""From a batch of bytes to what the network and the loss take, on the device: normalise, erase, mix."""

from __future__ import annotations

import torch
from fvcore.common.config import CfgNode

from uniformer_video.datasets.loader import Batch
from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.solver.losses import SOFT_TARGETS
from uniformer_video.transforms.erasing import random_erasing
from uniformer_video.transforms.mixup import Mixup, soft_targets


class DeviceInputs:
    """Turns batches into network inputs and loss targets.

    Args:
        mean: of R, G, B in [0, 1].
        std: of R, G, B in [0, 1].
        num_classes: classes of the targets.
        soft_targets: weights over all classes, or plain labels.
        multi_label: whether a clip may have several labels, or none.
        label_smoothing: share of the weight spread over all classes; for soft targets.
        mixup: mixes clips and soft targets, or None.
        erase_probability: of a box in a clip; 0: none.
        erase_mode: what fills a box.
        erase_count: most boxes in a clip.
        seed: RNG_SEED.
    """

    def __init__(
        self,
        *,
        mean: list[float],
        std: list[float],
        num_classes: int,
        soft_targets: bool = True,
        multi_label: bool = False,
        label_smoothing: float = 0.0,
        mixup: Mixup | None = None,
        erase_probability: float = 0.0,
        erase_mode: str = "pixel",
        erase_count: int = 1,
        seed: int = 0,
    ) -> None:
        self.mean, self.std = mean, std
        self.num_classes = num_classes
        self.soft_targets = soft_targets
        self.multi_label = multi_label
        self.label_smoothing = label_smoothing
        self.mixup = mixup
        self.erase = (erase_probability, erase_mode, erase_count)
        self.seed = seed
        self._constants: dict[torch.device, tuple[torch.Tensor, torch.Tensor]] = {}

    @classmethod
    def from_config(cls, cfg: CfgNode) -> DeviceInputs:
        """Return the inputs of a configuration (DATA, AUG, MIXUP, MODEL)."""
        mixup = None
        if cfg.MIXUP.ENABLE:
            mixup = Mixup(
                alpha=cfg.MIXUP.ALPHA,
                cutmix_alpha=cfg.MIXUP.CUTMIX_ALPHA,
                probability=cfg.MIXUP.PROB,
                switch_probability=cfg.MIXUP.SWITCH_PROB,
                label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
                num_classes=cfg.MODEL.NUM_CLASSES,
            )
        return cls(
            mean=cfg.DATA.MEAN,
            std=cfg.DATA.STD,
            num_classes=cfg.MODEL.NUM_CLASSES,
            soft_targets=cfg.MODEL.LOSS_FUNC in SOFT_TARGETS,
            multi_label=cfg.DATA.MULTI_LABEL is True,
            label_smoothing=cfg.MIXUP.LABEL_SMOOTH_VALUE,
            mixup=mixup,
            erase_probability=cfg.AUG.RE_PROB if cfg.AUG.ENABLE else 0.0,
            erase_mode=cfg.AUG.RE_MODE,
            erase_count=cfg.AUG.RE_COUNT,
            seed=cfg.RNG_SEED,
        )

    def normalized(self, clips: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Return uint8 ``clips`` ``(N, 3, T, H, W)`` on ``device``, normalised, float32.

        The values are those of :func:`transforms.clip.normalize`. In memory the channels come last, as the network
        has them: that costs least while a number is a byte.
        """
        clips = clips.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last_3d)
        mean, std = self._on(device)
        return clips.to(torch.float32).div_(255).sub_(mean).div_(std)

    def _on(self, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and deviation on ``device``; sent there once, since each time the GPU would be waited for."""
        if device not in self._constants:
            pair = (torch.tensor(values, dtype=torch.float32).view(-1, 1, 1, 1) for values in (self.mean, self.std))
            self._constants[device] = tuple(values.to(device) for values in pair)
        return self._constants[device]

    def train(self, batch: Batch, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the clips of a training step and their targets, on ``device``.

        Every draw is a function of the seed, the epoch and the records and repeats in the batch.

        Returns:
            clips: float32 ``(N, 3, T, H, W)``, normalised, erased, mixed.
            targets: float32 ``(N, classes)``, or int64 ``(N,)`` for plain labels.
        """
        clips = self.normalized(batch.clips, device)
        labels = batch.labels.to(device, non_blocking=True)
        places = batch.places()
        probability, mode, count = self.erase
        if probability > 0:
            generators = [numpy_generator(self.seed, Stream.ERASE, batch.epoch, *place) for place in places]
            clips = random_erasing(clips, probability, mode, count, generators=generators)
        if self.mixup is not None:
            # One draw for the whole batch; its first clip stands for it.
            return self.mixup(clips, labels, numpy_generator(self.seed, Stream.MIX, batch.epoch, *places[0]))
        if self.soft_targets:
            return clips, soft_targets(labels, self.num_classes, self.label_smoothing)
        return clips, labels
