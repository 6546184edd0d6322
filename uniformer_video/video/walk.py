"""All frames of a video one after the other, in constant memory.

A reader's ``frames_at`` holds all frames it returns, and asked for a long video piece by piece it would decode some
frames twice. Here each frame is decoded once, and held only until the next one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from av.video.frame import VideoFrame

from uniformer_video.video.frames import FrameFolderReader
from uniformer_video.video.pyav import PyAVReader, _NotTimed, _PassError
from uniformer_video.video.reader import DecodeError


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
        for frame in decoded_frames(reader):
            yield np.ascontiguousarray(reader._upright_rgb(frame))


def decoded_frames(reader: PyAVReader) -> Iterator[VideoFrame]:
    """Yield every frame of an open reader in order, as its decoder gives it: frame k is the k-th yielded.

    Frames are refused for the same faults as in ``frames_at``.

    Raises:
        DecodeError: a frame that is missing, damaged, or builds on one that is.
    """
    due, expected, damage = 0, 0, ""
    total = reader.num_frames
    # Opened anew, a file needs no seek that could miss its start.
    reader._release()
    try:
        for frame in reader._decoded(-1):
            if isinstance(frame, str):
                damage = frame
                if not reader._timed:  # The count is lost with the frame.
                    break
                continue
            try:
                number = reader._number_of(frame, expected)
            except _NotTimed:  # From here on frames are counted; up to here the count is the same.
                reader._timed, number = False, expected
                if damage:
                    break
            damage = reader._damage(frame, number, expected, damage)
            expected = number + 1
            if number < due:
                continue
            if number > due or damage:
                damage = damage or "it is missing"
                break
            yield frame
            due += 1
            if due == total:
                return
    except _PassError as error:
        raise DecodeError(reader.path, str(error)) from None
    cause = damage or "the video ends before it"
    raise DecodeError(reader.path, f"frame {due} of {total} cannot be decoded: {cause}")
