"""Items of a data set as existing toolkits make them: the other side of ``benchmark.py items``.

What the Kinetics data sets of PySlowFast and of the published UniFormer code do, in their order: PyAV, a decode for
each test view (each view is an item of its own there) from the key frame before the clip to its end; float tensors
normalised on the CPU before they are resized with ``F.interpolate``; RandAugment in Pillow, frame by frame, between
tensors and pictures. A training video is decoded once for all its augmented clips, there as here. As a favour, only the
frames of a clip are converted to RGB (PySlowFast converts all from the clip's start to its end).

Draws are made as this toolkit makes them, so that both sides' clips can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import av
import numpy as np
import torch
import torch.nn.functional as F
from fvcore.common.config import CfgNode
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from uniformer_video.datasets.build import dense_sampler, train_transform
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.seed import Stream, numpy_generator
from uniformer_video.transforms.rand_augment import Step
from uniformer_video.transforms.spatial import resized_crop_box

GREY = (128, 128, 128)
_RESAMPLING = {"nearest": Image.NEAREST, "bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def header_frames(path: str) -> int:
    """Return how many frames a file's header says it has; 0 where it does not say."""
    with av.open(path) as container:
        return container.streams.video[0].frames


def decode(path: str, choose: Callable[[int], np.ndarray]) -> Tensor:
    """Open a video of a constant rate and decode from the key frame before a clip to its end, on one thread.

    Args:
        path: the file.
        choose: number of frames of the video -> rising frame numbers of the clip.

    Returns:
        uint8 ``(T, H, W, 3)``.
    """
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        count = stream.frames or sum(1 for packet in container.demux(stream) if packet.size)
        indices = choose(count).tolist()
        begin = stream.start_time or 0
        ticks = 1 / (stream.average_rate * stream.time_base)
        container.seek(begin + int(indices[0] * ticks), backward=True, any_frame=False, stream=stream)
        wanted, found = set(indices), {}
        for frame in container.decode(stream):
            number = round((frame.pts - begin) / ticks)
            if number in wanted:
                found[number] = frame.to_rgb().to_ndarray()
            if number >= indices[-1]:
                break
        return torch.as_tensor(np.stack([found[index] for index in indices]))


def tensor_normalize(frames: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return ``(x / 255 - mean) / std`` of uint8 ``(T, H, W, 3)``, or ``(x - mean) / std`` of floats in [0, 1]."""
    if frames.dtype == torch.uint8:
        frames = frames.float()
        frames = frames / 255.0
    return (frames - torch.tensor(mean)) / torch.tensor(std)


class PlainTestItems(Dataset):
    """All views of a video, each opened, decoded and resized for itself.

    Args:
        cfg: a configuration whose test data set samples densely (``kinetics``).
        records: the videos, of a constant frame rate.
    """

    def __init__(self, cfg: CfgNode, records: Sequence[VideoRecord]) -> None:
        self.records = records
        self.sampler = dense_sampler(cfg)
        self.clips, self.crops = cfg.TEST.NUM_ENSEMBLE_VIEWS, cfg.TEST.NUM_SPATIAL_CROPS
        self.size = cfg.DATA.TEST_CROP_SIZE
        self.mean, self.std = cfg.DATA.MEAN, cfg.DATA.STD

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Return the views, clip-major then crop, float32 ``(views, 3, T, S, S)`` normalised; label; record number."""
        record = self.records[index]
        views = [self.view(record.path, clip, crop) for clip in range(self.clips) for crop in range(self.crops)]
        return torch.stack(views), record.label, index

    def view(self, path: str, clip: int, crop: int) -> Tensor:
        """Return one view, float32 ``(3, T, S, S)`` normalised."""
        frames = decode(path, lambda count: self.sampler.view(count, clip, self.clips))
        frames = tensor_normalize(frames, self.mean, self.std)
        return self._crop(self._scale(frames.permute(3, 0, 1, 2)), crop if self.crops > 1 else 1)

    def _scale(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[2:]
        if min(height, width) == self.size:
            return frames
        if width < height:
            size = (int(height * self.size // width), self.size)
        else:
            size = (self.size, int(width * self.size // height))
        return F.interpolate(frames, size=size, mode="bilinear", align_corners=False)

    def _crop(self, frames: Tensor, crop: int) -> Tensor:
        height, width = frames.shape[2:]
        top, left = -(-(height - self.size) // 2), -(-(width - self.size) // 2)
        if crop != 1:
            if height > width:
                top = 0 if crop == 0 else height - self.size
            else:
                left = 0 if crop == 0 else width - self.size
        return frames[:, :, top : top + self.size, left : left + self.size]


class PlainTrainItems(Dataset):
    """Augmented clips of a video: decoded once, then each augmented frame by frame.

    Args:
        cfg: a configuration whose training data set samples densely (``kinetics``), with ``AUG.AA_TYPE`` and
            ``DATA.TRAIN_JITTER_SCALES_RELATIVE`` set.
        records: the videos, of a constant frame rate.
        epoch: that draws are made for; may be changed.
    """

    def __init__(self, cfg: CfgNode, records: Sequence[VideoRecord], epoch: int = 0) -> None:
        self.records = records
        self.epoch = epoch
        self.sampler = dense_sampler(cfg)
        transform = train_transform(cfg)
        self.draw, self.flip = transform.augment.draw, transform.flip
        self.scale, self.ratio, self.size = transform.scale, transform.ratio, transform.crop_size
        self.repeats, self.seed = cfg.AUG.NUM_SAMPLE, cfg.RNG_SEED
        self.mean, self.std = cfg.DATA.MEAN, cfg.DATA.STD

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[Tensor, int, int]:
        """Return the clips, float32 ``(AUG.NUM_SAMPLE, 3, T, S, S)`` normalised; label; record number."""
        record = self.records[index]
        generator = numpy_generator(self.seed, Stream.SAMPLE, self.epoch, index)
        frames = decode(record.path, lambda count: self.sampler.train(count, generator))
        clips = [
            self._augment(frames, numpy_generator(self.seed, Stream.CLIP, self.epoch, index, repeat))
            for repeat in range(self.repeats)
        ]
        return torch.stack(clips), record.label, index

    def _augment(self, frames: Tensor, generator: np.random.Generator) -> Tensor:
        steps = self.draw(generator)
        images = [Image.fromarray(frame.numpy()) for frame in frames]
        for step in steps:
            images = [pillow_step(image, step) for image in images]
        # torchvision's ToTensor: bytes to a channel-first float in [0, 1].
        tensors = [torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous().float().div(255) for image in images]
        frames = tensor_normalize(torch.stack(tensors).permute(0, 2, 3, 1), self.mean, self.std)
        frames = frames.permute(3, 0, 1, 2)
        box = resized_crop_box(frames.shape[2], frames.shape[3], self.scale, self.ratio, generator)
        frames = frames[:, :, box.top : box.top + box.height, box.left : box.left + box.width]
        frames = F.interpolate(frames, size=(self.size, self.size), mode="bilinear", align_corners=False)
        return frames.flip(-1) if self.flip and generator.random() < 0.5 else frames


def pillow_step(image: Image.Image, step: Step) -> Image.Image:
    """Apply one drawn operation of RandAugment to one picture, as timm does."""
    name, argument = step.name, step.argument
    width, height = image.size
    if name in _ENHANCERS:
        return _ENHANCERS[name](image).enhance(argument)
    if name == "SolarizeAdd":
        return image.point([min(255, value + argument) if value < 128 else value for value in range(256)] * 3)
    if name in ("Posterize", "Solarize"):
        if name == "Posterize" and argument == 0:  # Pillow refuses it
            return image.point([0] * 768)
        return (ImageOps.posterize if name == "Posterize" else ImageOps.solarize)(image, argument)
    if name in _WHOLE:
        return _WHOLE[name](image)
    resample = _RESAMPLING[step.interpolation]
    if name == "Rotate":
        return image.rotate(argument, resample=resample, fillcolor=GREY)
    matrix = {
        "ShearX": (1, argument, 0, 0, 1, 0),
        "ShearY": (1, 0, 0, argument, 1, 0),
        "TranslateXRel": (1, 0, argument * width, 0, 1, 0),
        "TranslateYRel": (1, 0, 0, 0, 1, argument * height),
    }[name]
    return image.transform(image.size, Image.AFFINE, matrix, resample=resample, fillcolor=GREY)


_ENHANCERS = {
    "Color": ImageEnhance.Color,
    "Contrast": ImageEnhance.Contrast,
    "Brightness": ImageEnhance.Brightness,
    "Sharpness": ImageEnhance.Sharpness,
}
_WHOLE = {"AutoContrast": ImageOps.autocontrast, "Equalize": ImageOps.equalize, "Invert": ImageOps.invert}
