"""A video as a folder of numbered pictures."""

from __future__ import annotations

import math
import os
import struct
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.picture_names import list_pictures
from uniformer_video.video.reader import DecodeError, ReaderBase
from uniformer_video.video.watch import check_wanted

T = TypeVar("T")

# What Pillow raises about the data of a picture; Image.UnidentifiedImageError is an OSError.
_PICTURE_FAULTS = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Image.DecompressionBombError)
_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)


class FrameFolderReader(ReaderBase):
    """A :class:`~uniformer_video.video.reader.VideoReader` on a folder of pictures, one for each frame.

    The pictures that exist, in the order of their numbers, are the frames: numbering may begin anywhere and have gaps,
    and how many a list promises does not matter. Colour is made RGB of 8 bits, an alpha channel left out, and the EXIF
    orientation obeyed. Opening lists the folder once and reads the head of the first picture.

    Args:
        path: the folder.
        template: the pictures' names, see :func:`parse_template`; "" tells it from the folder's files.
        fps: frames each second, above 0: a folder does not say.

    Raises:
        DecodeError: no such folder, no pictures, or the first one cannot be read.
        UserError: a template or rate that is none.
    """

    def __init__(self, path: str, template: str = "", fps: float = 12.0) -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise UserError(f"a rate of {fps} frames each second for folders of pictures; a number above 0 is wanted")
        self.path, self.fps = str(path), float(fps)
        self.names = list_pictures(self.path, template)
        self.num_frames = len(self.names)
        self.size = self._open(0, _upright_size)

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`. Each distinct picture is decoded once."""
        places = self._places(indices)
        frames = self._room(places)
        for number, positions in places.items():
            check_wanted(self.path)
            frames[positions] = self._picture(number)
        return torch.from_numpy(frames)

    def _picture(self, number: int) -> np.ndarray:
        picture = self._open(number, upright_rgb)
        if picture.shape[:2] != self.size:
            (height, width), (first_height, first_width) = picture.shape[:2], self.size
            first = f"the first picture, {self.names[0]}, {first_width} x {first_height}"
            raise DecodeError(self.path, f"{self.names[number]} is {width} x {height} pixels, {first}")
        return picture

    def _open(self, number: int, look: Callable[[Image.Image], T]) -> T:
        """Return what ``look`` makes of a picture."""
        name = self.names[number]
        try:
            with Image.open(os.path.join(self.path, name)) as image:
                return look(image)
        except Image.UnidentifiedImageError:
            raise DecodeError(self.path, f"{name} is not a picture, or damaged") from None
        except _PICTURE_FAULTS as error:
            raise DecodeError(self.path, f"{name} cannot be read: {getattr(error, 'strerror', '') or error}") from None


def _upright_size(image: Image.Image) -> tuple[int, int]:
    width, height = image.size
    return (width, height) if image.getexif().get(_EXIF_ORIENTATION) in _TURNED else (height, width)


def upright_rgb(image: Image.Image) -> np.ndarray:
    """Return a picture's pixels, uint8 (H, W, 3) RGB, turned as its EXIF orientation says.

    16-bit gray keeps its upper byte; alpha is left out.

    Raises:
        ValueError: a kind of pixel that has no range to go by (32-bit, floating point).
    """
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers; 8 or 16 bits are wanted")
    if image.mode.startswith("I"):
        values = np.asarray(image)
        if not 0 <= values.min() <= values.max() <= 0xFFFF:
            raise ValueError("its pixels are 32-bit integers; 8 or 16 bits are wanted")
        return np.repeat((values >> 8).astype(np.uint8)[..., None], 3, axis=-1)
    return np.asarray(image.convert("RGB"))
