"""Videos for measurements: generated, textured, moving, in H.264 as the ffmpeg command writes it by default."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.paths import atomic_write, make_output_dir

ENCODER = "libx264"
OPTIONS = {"preset": "medium", "crf": "23", "g": "250"}
"""What ``ffmpeg -i ... out.mp4`` takes where nothing else is asked for; written out, so that every FFmpeg does it."""
SIZE = (256, 340)
"""(height, width) in pixels of most copies of Kinetics that are kept for training."""

_MARGIN = 96  # pixels of texture around a frame, for the camera to move in
_SPRITES = 3
_GRAIN = 2.0  # standard deviation of the noise of a sensor, in levels of 255


def make_videos(
    folder: Path | str,
    count: int,
    seconds: float = 10.0,
    fps: int = 30,
    size: tuple[int, int] = SIZE,
    *,
    classes: int = 8,
    validation: int | None = None,
) -> list[Path]:
    """Write videos, and the lists train.csv, val.csv and test.csv of them.

    A video is a function of its number and these arguments: a texture with the spectrum of natural pictures under a
    camera that pans, discs of other textures that move over it, a little noise. A file of that name that is there
    already, from an earlier call, is kept.

    Args:
        folder: where they go; made where it is missing.
        count: videos, >= 1. All of them are in train.csv and in test.csv.
        seconds: of each video.
        fps: frames a second.
        size: (height, width) in pixels, both even.
        classes: video k has label ``k % classes``.
        validation: videos of val.csv, the first ones; None: all.

    Returns:
        The paths, in the order of the lists.

    Raises:
        UserError: this FFmpeg has no H.264 encoder, or the folder cannot be written.
    """
    if ENCODER not in av.codecs_available:
        raise UserError(f"this FFmpeg has no encoder {ENCODER}; `pip install av` brings one that has it")
    folder = make_output_dir(folder, key="--videos")
    frames = max(1, round(seconds * fps))
    kind = f"{size[1]}x{size[0]}_{frames}at{fps}"
    paths = [folder / f"{kind}_{number:03d}.mp4" for number in range(count)]
    for number, path in enumerate(paths):
        if not path.exists():
            write_video(path, moving_pictures(number, frames, size), fps, size)
    write_lists(paths, classes=classes, validation=validation)
    return paths


def write_lists(paths: list[Path], *, classes: int = 8, validation: int | None = None) -> None:
    """Write train.csv, val.csv and test.csv beside videos of one folder; see :func:`make_videos`."""
    lines = [f"{path.name} {number % classes}\n" for number, path in enumerate(paths)]
    for split in ("train", "val", "test"):
        with atomic_write(paths[0].parent / f"{split}.csv") as file:
            file.writelines(lines[:validation] if split == "val" else lines)


def write_video(path: Path, pictures: Iterator[np.ndarray], fps: int, size: tuple[int, int]) -> None:
    """Encode uint8 (H, W, 3) pictures, all of ``size``, as H.264 in yuv420p."""
    # A name of its own until it is whole: a killed run leaves no video that looks like one.
    beside = path.with_name(f".{path.name}.part")
    with av.open(str(beside), "w", format="mp4") as container:
        stream = container.add_stream(ENCODER, rate=fps, options=dict(OPTIONS))
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        # PyAV would cut pictures into a slice for each thread. The number changes the bits: it is fixed.
        stream.codec_context.thread_type, stream.codec_context.thread_count = "FRAME", 3
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    beside.replace(path)


def moving_pictures(number: int, frames: int, size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Yield the pictures of video ``number``, uint8 (H, W, 3)."""
    generator = np.random.default_rng([number, frames, *size])
    height, width = size
    ground = _texture(generator, (height + 2 * _MARGIN, width + 2 * _MARGIN))
    radius = max(min(size) // 6, 2)
    rows, columns = np.mgrid[-radius:radius, -radius:radius]
    disc = (rows**2 + columns**2 < radius**2)[..., None]
    sprites = [_texture(generator, disc.shape[:2]) for _ in range(_SPRITES)]
    grain = generator.normal(0, _GRAIN, (4, *size, 3)).round().astype(np.int16)
    turns = generator.uniform(0.15, 0.6, (_SPRITES + 1, 2)) * 2 * np.pi / 90  # radians a frame: 5 to 20 s a round
    phases = generator.uniform(0, 2 * np.pi, (_SPRITES + 1, 2))
    for frame in range(frames):
        swing = (1 + np.sin(turns * frame + phases)) / 2
        top, left = (swing[0] * 2 * _MARGIN).round().astype(int)
        picture = ground[top : top + height, left : left + width].astype(np.int16)
        for sprite, place in zip(sprites, swing[1:], strict=True):
            y, x = (place * (height - 2 * radius, width - 2 * radius)).round().astype(int)
            patch = picture[y : y + 2 * radius, x : x + 2 * radius]
            np.copyto(patch, sprite, where=disc)
        noise = np.roll(grain[frame % len(grain)], int(generator.integers(width)), axis=1)
        yield np.clip(picture + noise, 0, 255).astype(np.uint8)


def _texture(generator: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Return a tinted picture with the spectrum of natural ones, 1 / frequency and softer: uint8 (H, W, 3)."""
    height, width = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    frequency[0, 0] = np.inf  # no mean: the tint is
    shared, *own = (np.fft.rfft2(generator.normal(size=size)) for _ in range(4))
    planes = [np.fft.irfft2((shared + 0.4 * each) / frequency**1.25, size) for each in own]
    tints = generator.uniform(90, 165, 3)
    channels = [tint + 44 * plane / max(float(plane.std()), 1e-6) for tint, plane in zip(tints, planes, strict=True)]
    return np.stack(channels, axis=-1).clip(0, 255).astype(np.uint8)
