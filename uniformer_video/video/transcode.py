"""Rewriting a video small and with short groups of pictures, so that any frame of it is found fast."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.container import is_url, open_container
from uniformer_video.video.index import VideoIndex
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.writer import encoder_for, frame_rate, write_errors, written_beside

_ENCODER = "libx264"
# Written into the new file's comment tag, before the settings.
_SIGN = "uniformer_video transcode "
_FINEST_UNIT = Fraction(1, 1_000_000)
# AVColorSpace of pictures in RGB.
_RGB = 0


@dataclass(frozen=True, slots=True)
class TranscodeSettings:
    """How videos are rewritten.

    Args:
        short_side: the short side is made at most this, pixels, >= 2; smaller videos are not enlarged.
        gop: distance of key frames, frames, >= 1: at most so many are decoded to reach one. Smaller is faster, larger
            takes less space.
        crf: constant quality of H.264, 0 (lossless) to 51; 18 to 23 is hard to tell from the original.
        preset: x264's name for how hard it tries to make files small; see its documentation.

    Raises:
        UserError: a value outside.
    """

    short_side: int = 320
    gop: int = 16
    crf: int = 20
    preset: str = "fast"

    def __post_init__(self) -> None:
        presets = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow")
        for name, value, low, high in (
            ("short side", self.short_side, 2, 16384),
            ("group of pictures", self.gop, 1, 100000),
            ("crf", self.crf, 0, 51),
        ):
            if not low <= value <= high:
                raise UserError(f"a {name} of {value} for transcoding; {low} to {high} is allowed")
        if self.preset not in presets:
            raise UserError(f"a preset {self.preset!r} for transcoding; allowed are {', '.join(presets)}")


def transcode_video(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    short_side: int = 320,
    gop: int = 16,
    crf: int = 20,
    preset: str = "fast",
    threads: int = 1,
) -> None:
    """Rewrite one video as H.264 4:2:0 in an mp4: small, upright, closed groups of pictures without B-frames, no sound.

    Every frame is kept, and when it is shown (a variable rate stays variable), counted from the first. The new file is
    verified - opened with our reader, frame count, times and size compared, first, middle and last frame decoded - and
    only then takes its name, so that a target that exists is whole. The source is only read.

    Args:
        source: the video.
        target: the new file; its name ends in .mp4, and its folder must exist. Replaced where it exists.
        short_side: see :class:`TranscodeSettings`, also for gop, crf, preset.
        gop: distance of key frames.
        crf: constant quality.
        preset: x264's effort.
        threads: threads of the decoder and of the encoder. 1 is right where several videos are done at once.

    Raises:
        DecodeError: the source cannot be read whole, or the new file is not what it should be.
        UserError: settings outside their range, a target of another ending or that is the source, a folder that cannot
            be written, no encoder.
    """
    settings = TranscodeSettings(short_side, gop, crf, preset)
    source, target = os.fspath(source), Path(target)
    if target.suffix.lower() != ".mp4":
        raise UserError(f"{target}: videos are transcoded to files that end in .mp4")
    if target.exists() and not is_url(source) and os.path.exists(source) and os.path.samefile(source, target):
        raise UserError(f"{target}: a video is not transcoded onto itself; choose another folder for the new files")
    encoder_for(target, _ENCODER)
    with PyAVReader(source, threads=threads) as reader, written_beside(target) as temporary:
        index = reader._index
        size = transcoded_size(reader.size, settings.short_side)
        with write_errors(target), av.open(str(temporary), "w", options=_muxer_options(index)) as container:
            container.metadata["comment"] = _SIGN + json.dumps(_identity(source, settings))
            _encode(container, _upright(reader, size), index, settings, threads)
        _verify(str(temporary), index, size)


def is_transcoded(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    short_side: int = 320,
    gop: int = 16,
    crf: int = 20,
    preset: str = "fast",
) -> bool:
    """Return whether ``target`` is what :func:`transcode_video` made of this very source with these settings.

    Nothing need be kept for that: the new file carries, as its comment, the settings, and size and modification time of
    the source. It appears only whole and verified; a later loss of its end is seen too. Its packets are not read.
    """
    try:
        wanted = _SIGN + json.dumps(_identity(os.fspath(source), TranscodeSettings(short_side, gop, crf, preset)))
        with open_container(os.fspath(target)) as container:
            entries = container.streams.video[0].index_entries
            end = max((entry.pos + entry.size for entry in entries), default=0)
            return container.metadata.get("comment") == wanted and 0 < end <= os.path.getsize(target)
    except (DecodeError, OSError, IndexError):
        return False


def transcoded_size(size: tuple[int, int], short_side: int) -> tuple[int, int]:
    """Return the (height, width) that a video of ``size`` is rewritten at: even, its shape kept as that allows.

    Args:
        size: (height, width), upright, pixels.
        short_side: the most that the short side may have, >= 2.
    """
    scale = min((short_side - short_side % 2) / min(size), 1.0)
    height, width = (max(round(side * scale / 2) * 2, 2) for side in size)
    return height, width


def _identity(source: str, settings: TranscodeSettings) -> dict[str, int | str]:
    """Return what tells a rewritten video from others: the settings, and which file it was made of."""
    known = {} if is_url(source) else os.stat(source)
    of = {"url": source} if is_url(source) else {"bytes": known.st_size, "mtime_ns": known.st_mtime_ns}
    return {"format": 2, **asdict(settings), **of}


def _muxer_options(index: VideoIndex) -> dict[str, str]:
    # The list of frames first, so that opening reads it at once; and the source's own unit of time.
    return {"movflags": "faststart", "video_track_timescale": str(_unit(index).denominator)}


def _unit(index: VideoIndex) -> Fraction:
    """Return the unit of the new file's time stamps, seconds: the source's, or a frame where it has no stamps."""
    # Matroska may count nanoseconds, which the 32 bits of an mp4's steps do not hold for long.
    return max(index.time_base, _FINEST_UNIT) if index.stamps else 1 / frame_rate(index.fps)


def _stamps(index: VideoIndex) -> list[int]:
    """Return the new time stamp of every frame, from 0."""
    if not index.stamps:
        return list(range(index.num_frames))
    scale = index.time_base / _unit(index)
    return [round((stamp - index.stamps[0]) * scale) for stamp in index.stamps]


def _upright(reader: PyAVReader, size: tuple[int, int]) -> Iterator[VideoFrame]:
    """Yield every frame scaled to ``size`` (height, width), upright, yuv420p, its colours as they were tagged."""
    turns = reader._index.rotation
    height, width = size if turns % 2 == 0 else size[::-1]
    reformatter = VideoReformatter()
    for frame in reader.decoded_frames():
        # YUV is scaled as it is. RGB becomes what players take untagged YUV for.
        colors = Colorspace.ITU601 if frame.colorspace == _RGB else None
        small = reformatter.reformat(
            frame, width, height, "yuv420p", dst_colorspace=colors, interpolation=Interpolation.BICUBIC, threads=1
        )
        yield _turned(small, turns) if turns else small


def _turned(frame: VideoFrame, turns: int) -> VideoFrame:
    """Return a yuv420p frame turned counter-clockwise by quarter turns."""
    height, width = frame.height, frame.width
    packed = frame.to_ndarray(format="yuv420p").reshape(-1)
    planes, at = [], 0
    for high, wide in ((height, width), (height // 2, width // 2), (height // 2, width // 2)):
        planes.append(np.rot90(packed[at : at + high * wide].reshape(high, wide), turns).reshape(-1))
        at += high * wide
    turned_width = height if turns % 2 else width
    turned = VideoFrame.from_ndarray(np.concatenate(planes).reshape(-1, turned_width), format="yuv420p")
    turned.colorspace, turned.color_range = frame.colorspace, frame.color_range
    turned.color_primaries, turned.color_trc = frame.color_primaries, frame.color_trc
    return turned


def _encode(
    container: av.container.OutputContainer,
    frames: Iterator[VideoFrame],
    index: VideoIndex,
    settings: TranscodeSettings,
    threads: int,
) -> None:
    options = {
        "crf": str(settings.crf),
        "preset": settings.preset,
        # A key frame exactly every so many frames, none where the scene changes, and nothing that looks past one.
        "g": str(settings.gop),
        "keyint_min": str(settings.gop),
        "sc_threshold": "0",
        "flags": "+cgop",
        "bf": "0",
        # What decodes in half the time, at a tenth more bytes.
        "tune": "fastdecode",
    }
    stream = container.add_stream(_ENCODER, rate=frame_rate(index.fps), options=options)
    codec = stream.codec_context
    codec.thread_count = threads
    codec.time_base = _unit(index)
    for number, (stamp, frame) in enumerate(zip(_stamps(index), frames, strict=True)):
        if number == 0:
            stream.height, stream.width, stream.pix_fmt = frame.height, frame.width, "yuv420p"
            codec.color_range, codec.colorspace = frame.color_range, frame.colorspace
            codec.color_primaries, codec.color_trc = frame.color_primaries, frame.color_trc
        frame.pts, frame.time_base = stamp, codec.time_base
        # The decoder's wish for a kind of picture is not one to the encoder.
        frame.pict_type = 0
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def _verify(path: str, index: VideoIndex, size: tuple[int, int]) -> None:
    """Raise DecodeError (about the source) where the new file is not the source's frames at their times."""
    fault = ""
    try:
        with PyAVReader(path) as new:
            if new.num_frames != index.num_frames:
                fault = f"{new.num_frames} frames of {index.num_frames}"
            elif new.size != size:
                fault = f"its size is {new.size}, not {size}"
            elif np.abs(new.seconds - np.array(_stamps(index)) * float(_unit(index))).max() > float(_unit(index)) / 2:
                fault = "its frames are not shown at the same times"
            else:
                new.frames_at(sorted({0, new.num_frames // 2, new.num_frames - 1}))
    except DecodeError as error:
        fault = error.cause
    if fault:
        raise DecodeError(index.path, f"transcoded, it fails its check: {fault}")
