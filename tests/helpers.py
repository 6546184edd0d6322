"""Small video files for tests: good ones with a number coded in every frame, and broken ones of each kind.

Nothing here draws random numbers, so a test that uses these helpers leaves every global generator as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

BITS = 10
"""How many bits of a frame's number the barcode holds: numbers up to 1023."""


def barcode_frames(count: int, height: int = 48, width: int = 64, first: int = 0) -> np.ndarray:
    """Return ``count`` frames, each carrying its number as a barcode that survives compression and scaling.

    The frame is cut into a grid of 2 rows of 5 cells; cell ``i`` (row-major) is light where bit ``i`` of the number is
    set. Light is a pale yellow and dark a deep blue, so that the picture also has colour and a wrong channel order is
    seen.

    Args:
        count: number of frames.
        height: frame height, pixels.
        width: frame width, pixels.
        first: number of the first frame.

    Returns:
        uint8 (count, height, width, 3), RGB.
    """
    assert first + count <= 2**BITS
    light, dark = np.array([230, 220, 120], np.uint8), np.array([20, 30, 100], np.uint8)
    bit = (np.arange(height) * 2 // height)[:, None] * 5 + (np.arange(width) * 5 // width)[None, :]
    numbers = np.arange(first, first + count)[:, None, None]
    return np.where(((numbers >> bit) & 1)[..., None].astype(bool), light, dark)


def read_barcodes(frames: np.ndarray) -> list[int]:
    """Return the number coded in each of ``frames`` (any (T, H, W, 3) array or tensor of :func:`barcode_frames`)."""
    frames = np.asarray(frames)
    height, width = frames.shape[1:3]
    numbers = []
    for frame in frames:
        number = 0
        for bit in range(BITS):
            row, column = int((bit // 5 + 0.5) * height / 2), int((bit % 5 + 0.5) * width / 5)
            cell = frame[row - 2 : row + 3, column - 2 : column + 3].astype(float).mean((0, 1))
            number |= int(cell[:2].mean() > 125) << bit  # red and green: light 225, dark 25
        numbers.append(number)
    return numbers


def moving_square(
    count: int,
    height: int = 48,
    width: int = 64,
    *,
    color: Sequence[int] = (220, 60, 40),
    background: Sequence[int] = (40, 60, 80),
    reverse: bool = False,
) -> np.ndarray:
    """Return uint8 (count, height, width, 3): a square that moves left to right (``reverse``: right to left)."""
    frames = np.empty((count, height, width, 3), np.uint8)
    frames[:] = np.asarray(background, np.uint8)
    side = height // 3
    for t in range(count):
        step = round(t * (width - side) / max(count - 1, 1))
        left = width - side - step if reverse else step
        frames[t, side : 2 * side, left : left + side] = np.asarray(color, np.uint8)
    return frames


def write_video(
    path: str | Path,
    frames: np.ndarray | Iterable[np.ndarray],
    *,
    fps: int | Fraction = 25,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    rotation: int = 0,
    gop: int = 12,
    b_frames: int = 0,
    crf: int = 18,
    pts: Sequence[int] | None = None,
    audio: bool = False,
    title: str = "",
    container_options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
) -> Path:
    """Write ``frames`` as a video file; the container follows from the file name's ending.

    Args:
        path: file to write (.mp4, .mov, .mkv, .webm, .avi, ...).
        frames: uint8 (T, H, W, 3) RGB; for yuv420p codecs H and W must be even.
        fps: frames each second.
        codec: FFmpeg's name of an encoder (libx264, mpeg4, libvpx-vp9, libsvtav1, libx265, ffv1, ...).
        pix_fmt: pixel format of the stored video.
        rotation: angle in degrees of the display matrix, as ``av_display_rotation_get`` gives it: a player turns the
            stored picture counter-clockwise by it. mp4 and mov only.
        gop: distance of key frames.
        b_frames: consecutive B-frames allowed (libx264); above 0, the decoding order is not the presentation order.
        crf: quality of libx264 (lower is better).
        pts: presentation time of each frame in units of 1/1000 second, rising, for a variable frame rate.
        audio: add a silent audio track of the same length.
        title: the title in the file's metadata.
        container_options: options of the muxer, e.g. ``{"movflags": "faststart"}``.
        codec_options: further options of the encoder.

    Returns:
        ``path`` as a Path.
    """
    path = Path(path)
    options = {"g": str(gop), **(codec_options or {})}
    if codec in ("libx264", "libx265"):
        options = {"crf": str(crf), "bf": str(b_frames), "sc_threshold": "0", "preset": "veryfast"} | options
    if codec == "libx265":
        options = {"x265-params": "log-level=none"} | options
    with av.open(str(path), "w", options=container_options or {}) as container:
        if title:
            container.metadata["title"] = title
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        if rotation:
            stream.set_display_rotation(rotation)
        sound = container.add_stream("aac", rate=8000, layout="mono") if audio else None
        if pts is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        count = 0
        for count, array in enumerate(frames, start=1):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(array), format="rgb24")
            if count == 1:
                stream.height, stream.width = array.shape[:2]
            frame.time_base = Fraction(1, 1000) if pts is not None else 1 / Fraction(fps)
            frame.pts = int(pts[count - 1]) if pts is not None else count - 1
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if sound is not None:
            _mux_silence(container, sound, seconds=float(count / Fraction(fps)))
    return path


def _mux_silence(container: av.container.OutputContainer, stream: av.AudioStream, seconds: float) -> None:
    rate = 8000
    silence = np.zeros((1, max(int(seconds * rate), 2048)), np.float32)
    frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
    frame.rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def write_audio_only(path: str | Path, seconds: float = 0.5) -> Path:
    """Write a file with one (silent) audio track and no picture."""
    path = Path(path)
    with av.open(str(path), "w") as container:
        _mux_silence(container, container.add_stream("aac", rate=8000, layout="mono"), seconds)
    return path


def write_truncated(path: str | Path, source: str | Path, fraction: float = 0.5) -> Path:
    """Write the first ``fraction`` of the bytes of ``source``.

    An ordinary mp4 loses its index (at its end) and cannot be opened; one written with ``movflags=faststart``, and an
    mkv, open and break off in the middle.
    """
    path, data = Path(path), Path(source).read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    return path


def write_damaged(path: str | Path, source: str | Path, start: float = 0.4, stop: float = 0.6) -> Path:
    """Write ``source`` with the bytes between two fractions of its length overwritten by 0xFF."""
    path, data = Path(path), bytearray(Path(source).read_bytes())
    first, last = int(len(data) * start), int(len(data) * stop)
    data[first:last] = b"\xff" * (last - first)
    path.write_bytes(data)
    return path


def write_text(path: str | Path) -> Path:
    """Write a text file under a video's name."""
    path = Path(path)
    path.write_text("this is no video\n" * 20, encoding="utf-8")
    return path


def write_empty(path: str | Path) -> Path:
    """Write a file of zero bytes."""
    path = Path(path)
    path.write_bytes(b"")
    return path
