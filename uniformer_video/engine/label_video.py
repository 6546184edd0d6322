"""A copy of a video with its classes drawn on it."""

from __future__ import annotations

import os
from dataclasses import replace

from uniformer_video.drawing.overlay import LabelBand
from uniformer_video.drawing.style import clock
from uniformer_video.engine.prediction import Prediction
from uniformer_video.engine.stream import DECODING_THREADS
from uniformer_video.engine.timeline import Timeline
from uniformer_video.runtime.logging import progress
from uniformer_video.video.open import VideoOpener
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.walk import iterate_frames
from uniformer_video.video.writer import VideoWriter

BARS = 3


def write_labelled(
    found: Prediction | Timeline, path: str | os.PathLike[str], opener: VideoOpener, *, bars: int = BARS
) -> int:
    """Write the video of a prediction with its best classes drawn along the bottom, in one pass and constant memory.

    All frames of the file are there, upright and at its average rate; those of odd size get one row or column more.

    Args:
        found: of one video, or of windows along it: then each frame shows what the window nearest to it says, and the
            time.
        path: the file to write, of an ending that ``VideoWriter`` knows.
        opener: opens the video.
        bars: most classes with a bar.

    Returns:
        How many frames were written; of a timeline that ends early as many as can be read.

    Raises:
        DecodeError: the video cannot be read to its end, and ``found`` does not say so already.
        UserError: the file cannot be written.
    """
    # Each frame of the file, however long that takes.
    with replace(opener, target_fps=0.0, timeout_seconds=0.0)(found.path) as reader:
        count, fps, size, seconds = reader.num_frames, reader.fps, reader.size, reader.seconds
    frames = iterate_frames(found.path, threads=DECODING_THREADS, image_template=opener.image_template)
    shown, band = None, None
    with VideoWriter(path, fps, size) as writer:
        try:
            for number, frame in enumerate(progress(frames, total=count, label="draw", unit="frame")):
                if isinstance(found, Timeline):
                    time = float(seconds[number])
                    moment = (found.window_at(time), int(time))
                else:
                    moment = (0, 0)
                if moment != shown:
                    shown = moment
                    best = found[moment[0]] if isinstance(found, Timeline) else found
                    note = clock(moment[1]) if isinstance(found, Timeline) else ""
                    classes = [(entry.name, entry.score) for entry in best.top(max(bars, 1))]
                    band = LabelBand(size, classes, bars=bars, note=note)
                writer.write(band.draw(frame))
        except DecodeError:
            if not (isinstance(found, Timeline) and found.error and writer.count):
                raise
        return writer.count
