"""Reading videos with torchcodec, held to the frames that PyAV gives.

torchcodec is an extra (``pip install "uniformer_video[torchcodec]"``), which in turn needs FFmpeg's shared libraries.

As with decord the file is vetted first with PyAV (see ``index``), and what torchcodec finds in it must be the same
number of frames. Of every frame it hands out, the time stamp is compared with that of the frame asked for. Where
torchcodec cannot be exact, PyAV steps in: in the opening by an error of its own (:class:`UnsupportedByTorchcodec`),
later, when a stamp is another or decoding fails, inside the reader. What it cannot be asked, like decord, is whether a
picture was patched up after an error inside its data.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.container import NoDecoderError, is_url
from uniformer_video.video.fallback import UnsupportedByBackendError, tell_once
from uniformer_video.video.index import VideoIndex, index_video
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError, ReaderBase

# From these torchcodec's and PyAV's conversions to RGB are the same to the bit.
_EXACT_PIXEL_FORMATS = ("yuv420p", "yuvj420p")


class UnsupportedByTorchcodec(UnsupportedByBackendError):
    """A file that PyAV reads and torchcodec cannot, or not to the same bits.

    The cases are: an address; a container whose time stamps do not name its frames (AVI, MPEG streams), so that frames
    could not be compared; a pixel format other than yuv420p and yuvj420p; interlaced pictures; an odd height; a
    recording that begins between two key frames, or whose first frame is damaged; torchcodec cannot open the file, or
    sees another size, rotation or number of frames.
    """


def import_torchcodec() -> ModuleType:
    """Import torchcodec's decoders.

    Raises:
        UserError: it is not installed, or cannot be loaded (it found no FFmpeg, say).
    """
    try:
        from torchcodec import decoders
    except ImportError:
        raise UserError(
            "the video backend 'torchcodec' is not installed; install it with "
            "`pip install \"uniformer_video[torchcodec]\"` or use the backend 'pyav'"
        ) from None
    except (RuntimeError, OSError) as error:
        cause = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UserError(
            f"the video backend 'torchcodec' cannot be loaded ({cause[:120]}): it needs FFmpeg's shared libraries and "
            "the torch it was built for; install these or use the backend 'pyav'"
        ) from None
    return decoders


class TorchcodecReader(ReaderBase):
    """A :class:`~uniformer_video.video.reader.VideoReader` on torchcodec.

    A file for whose codec PyAV's FFmpeg has no decoder is read with torchcodec alone, by its own search of the file.

    Args:
        path: the file.
        threads: decoding threads. 1 is right in a data loader with several workers.

    Raises:
        DecodeError: the file cannot be read.
        UnsupportedByTorchcodec: torchcodec cannot read it as PyAV does; see there.
        UserError: torchcodec is not installed.
    """

    def __init__(self, path: str, threads: int = 1) -> None:
        self.path = str(path)
        self._threads = threads
        self._decoders = import_torchcodec()
        self._substitute: PyAVReader | None = None
        self._index: VideoIndex | None = None
        try:
            self._index = index_video(self.path)
        except NoDecoderError as missing:
            self._open_alone(missing)
            return
        self.num_frames, self.fps, self.size = self._index.num_frames, self._index.fps, self._index.size
        self._refuse_inexact(self._index)
        try:
            self._decoder: Any = self._open(self._index.stream)
        except Exception as error:  # torchcodec raises RuntimeError, ValueError, ...; the file is sound
            raise UnsupportedByTorchcodec(self.path, *self._cause(error)) from None
        self._refuse_other_video(self._index)

    @property
    def seconds(self) -> np.ndarray:
        """See :attr:`uniformer_video.video.reader.VideoReader.seconds`."""
        return super().seconds if self._index is None else self._index.seconds

    def close(self) -> None:
        """Release the file. May be called twice."""
        super().close()
        self._decoder = None
        if self._substitute is not None:
            self._substitute.close()

    def frames_at(self, indices: Sequence[int]) -> torch.Tensor:
        """See :meth:`uniformer_video.video.reader.VideoReader.frames_at`."""
        places = self._places(indices)
        frames = self._room(places)
        if self._substitute is not None:
            return self._substitute.frames_at(indices)
        if not places:
            return torch.from_numpy(frames)
        try:
            return self._decode(places, frames)
        except Exception as error:  # torchcodec's own, and the one below
            if self._index is None:
                raise DecodeError(self.path, self._cause(error)[0]) from None
            found = UnsupportedByTorchcodec(self.path, *self._cause(error))
        self._decoder = None
        self._substitute = PyAVReader(self.path, threads=self._threads)
        pictures = self._substitute.frames_at(indices)
        # Only now: of a file that PyAV cannot decode either there is nothing to tell.
        tell_once("torchcodec", found, found.kind)
        return pictures

    def _decode(self, places: dict[int, list[int]], frames: np.ndarray) -> torch.Tensor:
        """Return what was asked; ``frames`` is the room for it.

        Raises:
            _OtherFrame: torchcodec handed out another frame than the one asked for.
            Exception: whatever torchcodec raises.
        """
        wanted = list(places)
        batch = self._decoder.get_frames_at(wanted)
        shape = tuple(batch.data.shape)
        if shape != (len(wanted), *self.size, 3):
            raise _OtherFrame(f"torchcodec gives pictures of the shape {shape[1:]}")
        if self._index is not None:
            unit = float(self._index.time_base)
            expected = np.array([self._index.times[number] for number in wanted], np.float64) * unit
            if np.abs(batch.pts_seconds.numpy() - expected).max() > unit / 2:
                raise _OtherFrame("torchcodec gives frames of other times than asked for")
        if list(places.values()) == [[position] for position in range(len(frames))]:
            return batch.data.contiguous()
        for picture, positions in zip(batch.data.numpy(), places.values(), strict=True):
            frames[positions] = picture
        return torch.from_numpy(frames)

    def _open(self, stream: int | None) -> Any:
        return self._decoders.VideoDecoder(
            self.path, stream_index=stream, dimension_order="NHWC", num_ffmpeg_threads=self._threads, seek_mode="exact"
        )

    def _open_alone(self, missing: NoDecoderError) -> None:
        """Open a file that PyAV has no decoder for.

        Raises:
            NoDecoderError: torchcodec has none either.
        """
        try:
            self._decoder = self._open(None)
            first = self._decoder.get_frames_at([0]).data
        except Exception:
            raise missing from None
        self.num_frames, self.fps = len(self._decoder), float(self._decoder.metadata.average_fps or 25.0)
        self.size = tuple(first.shape[1:3])

    def _refuse_inexact(self, index: VideoIndex) -> None:
        if is_url(self.path):
            raise UnsupportedByTorchcodec(self.path, "torchcodec has no time limit for the answers of a server")
        if not index.times:
            cause = f"torchcodec's frames cannot be told in the container {index.container}"
            raise UnsupportedByTorchcodec(self.path, cause)
        if not index.begins_whole:
            raise UnsupportedByTorchcodec(self.path, "torchcodec would show other frames before the first key frame")
        if index.pixel_format not in _EXACT_PIXEL_FORMATS:
            raise UnsupportedByTorchcodec(
                self.path, f"torchcodec is not exact in the pixel format {index.pixel_format}"
            )
        if index.interlaced:
            raise UnsupportedByTorchcodec(self.path, "torchcodec is not exact in interlaced video")
        height = index.stored_size[0]
        if height % 2:
            cause = "torchcodec is not exact at an odd height"
            raise UnsupportedByTorchcodec(self.path, f"{cause}, {height}", cause)

    def _refuse_other_video(self, index: VideoIndex) -> None:
        about = self._decoder.metadata
        # Older versions know of no rotation.
        turned = round((getattr(about, "rotation", 0) or 0) / 90) % 4
        if (about.height, about.width) not in (index.size, index.stored_size) or turned != index.rotation:
            raise UnsupportedByTorchcodec(self.path, "torchcodec sees another size or rotation")
        if len(self._decoder) != index.num_frames:
            cause = "torchcodec finds another number of frames than the file shows"
            raise UnsupportedByTorchcodec(self.path, f"{cause}, {len(self._decoder)} for {index.num_frames}", cause)

    def _cause(self, error: Exception) -> tuple[str, str]:
        """Return what to say of an error, and the kind of files it stands for."""
        if isinstance(error, _OtherFrame):
            return str(error), "torchcodec gives other frames"
        text = str(error).split("\n")[0] or type(error).__name__
        return f"torchcodec: {text[-200:]}", "torchcodec cannot decode"


class _OtherFrame(Exception):
    """torchcodec handed out something else than the frame asked for."""
