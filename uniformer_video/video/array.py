"""Frames that are already in memory, shown as a video."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.reader import ReaderBase

_WANTED = "frames are wanted as uint8 (T, H, W, 3): T pictures in RGB, values 0 to 255"


class ArrayReader(ReaderBase):
    """A :class:`~uniformer_video.video.reader.VideoReader` on frames in memory. They are not copied.

    Args:
        frames: uint8 (T, H, W, 3) RGB, T, H, W >= 1: a NumPy array, a tensor (of any device), or a list of pictures
            (H, W, 3) of one size.
        fps: frames each second, above 0.
        path: what to call it in messages.

    Raises:
        UserError: (which is a ValueError) frames of another shape or dtype, with what came, what is wanted and how to
            get there; a rate that is none.
    """

    def __init__(self, frames: np.ndarray | torch.Tensor | Sequence, fps: float = 25.0, path: str = "array") -> None:
        if not (math.isfinite(fps) and fps > 0):
            raise UserError(f"{path}: fps is {fps}; frames each second are wanted, a number above 0")
        self.path, self.fps = str(path), float(fps)
        self._frames = _checked(_as_array(frames, self.path), self.path)
        self.num_frames = len(self._frames)
        self.size = (int(self._frames.shape[1]), int(self._frames.shape[2]))

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`. The pictures are copies."""
        places = self._places(indices)
        frames = self._room(places)
        for number, positions in places.items():
            frames[positions] = self._frames[number]
        return torch.from_numpy(frames)


def _as_array(frames: np.ndarray | torch.Tensor | Sequence, path: str) -> np.ndarray:
    if isinstance(frames, torch.Tensor):
        if frames.dtype == torch.bfloat16:  # NumPy has no such type; the check below refuses it as a float.
            frames = frames.float()
        return frames.detach().cpu().numpy()
    if isinstance(frames, np.ndarray):
        return frames
    if not isinstance(frames, (list, tuple)):
        raise UserError(f"{path}: a {type(frames).__name__} came; {_WANTED}, in a NumPy array or a tensor")
    pictures = [np.asarray(frame) for frame in frames]
    shapes = sorted({picture.shape for picture in pictures})
    if len(shapes) > 1:
        raise UserError(f"{path}: a list of pictures of shapes {shapes[0]} and {shapes[1]} came; one shape is wanted")
    return np.stack(pictures) if pictures else np.empty((0, 0, 0, 3), np.uint8)


def _checked(frames: np.ndarray, path: str) -> np.ndarray:
    """Return ``frames``, or raise UserError: what came, what is wanted, what to do."""
    came = f"{path}: {frames.dtype} {tuple(frames.shape)} came; {_WANTED}"
    shape = frames.shape
    advice = ""
    if len(shape) == 3 and shape[-1] == 3:
        advice = "; one picture alone is frames[None]"
    elif len(shape) == 4 and shape[-1] != 3 and shape[1] == 3:
        advice = "; move the channels last: frames.transpose(0, 2, 3, 1), in torch frames.permute(0, 2, 3, 1)"
    elif len(shape) == 4 and shape[-1] != 3 and shape[0] == 3:
        advice = "; move the channels last: frames.transpose(1, 2, 3, 0), in torch frames.permute(1, 2, 3, 0)"
    elif len(shape) == 4 and shape[-1] == 4:
        advice = "; leave the alpha channel out: frames[..., :3]"
    elif len(shape) == 4 and shape[-1] == 1:
        advice = "; repeat a gray channel: frames.repeat(3, axis=-1), in torch frames.expand(-1, -1, -1, 3)"
    if len(shape) != 4 or shape[-1] != 3:
        raise UserError(came + advice)
    if not all(shape):
        raise UserError(f"{came}; there is no picture in it")
    if frames.dtype != np.uint8:
        if np.issubdtype(frames.dtype, np.floating):
            advice = "; values 0 to 1 become bytes by (frames * 255).round().astype('uint8'), in torch .to(torch.uint8)"
        else:
            advice = "; values 0 to 255 become bytes by frames.astype('uint8'), in torch frames.to(torch.uint8)"
        raise UserError(came + advice)
    return frames
