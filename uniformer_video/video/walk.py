"""All frames of a video one after the other, in constant memory.

A reader's ``frames_at`` holds all frames it returns, and asked for a long video piece by piece it would decode some
frames twice. Here each frame is decoded once, and held only until the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np

from uniformer_video.video.frames import FrameFolderReader
from uniformer_video.video.pyav import PyAVReader


def iterate_frames(path: str, *, threads: int = 1, image_template: str = "") -> Iterator[np.ndarray]:
    """Yield every frame in order, uint8 (H, W, 3) RGB, upright: what ``frames_at`` gives, without holding them all.

    Args:
        path: a file, or a folder of pictures.
        threads: decoding threads.
        image_template: names of the pictures in a folder; "" tells it from the files.

    Raises:
        DecodeError: when opening (at the first ``next``), or at the first frame that cannot be decoded.
        UserError: a template that is none.
    """
    if os.path.isdir(path):
        with FrameFolderReader(path, image_template) as folder:
            for number in range(folder.num_frames):
                yield folder.frames_at([number])[0].numpy()
        return
    with PyAVReader(path, threads=threads) as reader:
        for frame in reader.decoded_frames():
            yield np.ascontiguousarray(reader.upright_rgb(frame))
