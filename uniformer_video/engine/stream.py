"""A window that slides over a long video, in one pass and constant memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from uniformer_video.engine.timeline import Timeline
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.logging import progress
from uniformer_video.transforms.clip import ViewTransform
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.resample import ResampledReader
from uniformer_video.video.sampling import ClipSampler
from uniformer_video.video.walk import iterate_frames

if TYPE_CHECKING:
    from uniformer_video.engine.predictor import Predictor, Video

SEGMENT_SECONDS = 4.0
"""Window of a network whose clips span whole videos: about a video of Something-Something."""

DECODING_THREADS = 4


@dataclass(frozen=True)
class Frames:
    """All frames of a video, in order.

    Attributes:
        path: the video.
        count: how many there are.
        fps: average rate, frames each second.
        seconds: float64 (count,), time of each, from the first.
        pictures: yields uint8 (H, W, 3).
    """

    path: str
    count: int
    fps: float
    seconds: np.ndarray
    pictures: Iterator[np.ndarray]


def stream_video(
    predictor: Predictor,
    video: Video,
    *,
    window: float | None = None,
    stride: float | None = None,
    fps: float | None = None,
) -> Timeline:
    """Score a window that slides over a video.

    Windows start every ``stride`` seconds; one more ends with the video where they do not reach its end. A video
    shorter than a window has one window, itself. In each window the network sees one clip, sampled as the test samples
    a video of that length with one clip, and the test's crops. Every frame is decoded once, in order; those that a clip
    needs are kept, resized, until its window is over.

    Args:
        predictor: the network.
        video: a path, or frames.
        window: seconds of a window; None: what a clip spans, or :data:`SEGMENT_SECONDS` where a clip is spread over the
            whole video.
        stride: seconds from one window to the next; None: half a window.
        fps: rate of frames in memory.

    Returns:
        The timeline; of a video that breaks off in the middle up to there, with ``error`` saying why.

    Raises:
        DecodeError: the video cannot be read, or breaks off before the end of the first window.
        UserError: a length that is none.
    """
    for name, value in (("window", window), ("stride", stride)):
        if value is not None and not 0 < value < float("inf"):
            raise UserError(f"the {name} is {value} seconds; it must be more than 0")
    frames = open_frames(predictor, video, fps)
    span = _default_span(predictor.sampler, frames.fps) if window is None else max(1, round(window * frames.fps))
    step = max(1, span // 2 if stride is None else round(stride * frames.fps))
    starts = window_starts(frames.count, span, step)
    scores, error = [], ""
    try:
        clips = window_clips(frames.pictures, starts, min(span, frames.count), predictor.sampler, predictor.transform)
        shown = progress(clips, total=len(starts), label="windows", unit="window")
        for batch in _batches(shown, max(1, predictor.cfg.TEST.BATCH_SIZE // predictor.transform.crops)):
            logits, _ = predictor.score_clips(torch.cat(batch))
            scores.append(predictor.confidences(logits.unflatten(0, (len(batch), -1))))
    except DecodeError as broken:
        if not scores:
            raise
        error = broken.cause
    done = sum(len(part) for part in scores)
    if done < len(starts) and not error:
        error = f"the video ends before frame {starts[done] + span} of {frames.count}"
        if not done:
            raise DecodeError(frames.path, error)
    ends = [_end(frames, start + span) for start in starts[:done]]
    return Timeline(
        path=frames.path,
        fps=frames.fps,
        num_frames=frames.count,
        seconds=_end(frames, frames.count),
        window_seconds=span / frames.fps,
        stride_seconds=step / frames.fps,
        starts=frames.seconds[starts[:done]],
        ends=np.asarray(ends),
        scores=torch.cat(scores),
        class_names=predictor.class_names,
        multi_label=predictor.multi_label,
        threshold=predictor.threshold,
        error=error,
    )


def open_frames(predictor: Predictor, video: Video, fps: float | None = None) -> Frames:
    """Return the frames of a video as the network's clips count them: at DATA.TARGET_FPS where it is set.

    Raises:
        DecodeError: the video cannot be read.
        UserError: frames in memory of another kind.
    """
    target = predictor.opener.target_fps
    if isinstance(video, str | os.PathLike):
        path = os.fspath(video)
        # However long it takes: a long video is what this is for.
        reader = replace(predictor.opener, target_fps=0.0, timeout_seconds=0.0)(path)
        pictures = iterate_frames(path, threads=DECODING_THREADS, image_template=predictor.opener.image_template)
    else:
        reader = predictor.open_frames(video, fps, target_fps=0.0)
        pictures = (reader.frames_at([number])[0].numpy() for number in range(reader.num_frames))
    if target > 0:
        shown = ResampledReader(reader, target)
        pictures = _resampled(pictures, shown.source_indices(range(shown.num_frames)))
    else:
        shown = reader
    frames = Frames(shown.path, shown.num_frames, shown.fps, np.asarray(shown.seconds), pictures)
    if isinstance(video, str | os.PathLike):
        shown.close()
    return frames


def window_starts(length: int, span: int, step: int) -> list[int]:
    """Return the first frame of each window over a video.

    Args:
        length: frames of the video, at least 1.
        span: frames of a window, at least 1.
        step: frames from one window to the next, at least 1.

    Returns:
        0, ``step``, ... as long as a whole window fits, and the last place where one fits.
    """
    assert length >= 1 and span >= 1 and step >= 1, (length, span, step)
    last = max(length - span, 0)
    starts = list(range(0, last + 1, step))
    return starts if starts[-1] == last else [*starts, last]


def window_clips(
    pictures: Iterable[np.ndarray], starts: Sequence[int], span: int, sampler: ClipSampler, transform: ViewTransform
) -> Iterator[torch.Tensor]:
    """Yield the views of each window, as soon as its last frame has come.

    Args:
        pictures: all frames of the video in order, uint8 (H, W, 3); no more are taken than are needed.
        starts: first frame of each window, rising.
        span: frames of a window.
        sampler: chooses the frames of a window's clip, as those of a video of ``span`` frames.
        transform: resizes frames and cuts crops.

    Yields:
        uint8 ``(crops, 3, T, S, S)``.
    """
    offsets = sampler.view(span, 0, 1)
    due = deque(starts)
    begun: deque[np.ndarray] = deque()  # the frames that each window under way needs
    ring: dict[int, torch.Tensor] = {}
    for number, picture in enumerate(pictures):
        while due and due[0] <= number:
            begun.append(due.popleft() + offsets)
        if any(number in needed for needed in begun):
            # A copy: an iterator may use its memory again.
            frame = torch.from_numpy(np.array(picture, np.uint8))
            ring[number] = transform.resize(frame[None])
        while begun and begun[0][-1] == number:
            clip = torch.cat([ring[index] for index in begun.popleft().tolist()])
            yield torch.stack([transform(clip, crop) for crop in range(transform.crops)])
            first = begun[0][0] if begun else number + 1
            ring = {index: frame for index, frame in ring.items() if index >= first}
        if not begun and not due:
            return


def _default_span(sampler: ClipSampler, fps: float) -> int:
    """Return the frames that a clip of this sampler spans."""
    stride = getattr(sampler, "stride", None)
    return sampler.num_frames * stride if stride else max(sampler.num_frames, round(SEGMENT_SECONDS * fps))


def _batches(clips: Iterable[torch.Tensor], size: int) -> Iterator[list[torch.Tensor]]:
    batch: list[torch.Tensor] = []
    try:
        for clip in clips:
            batch.append(clip)
            if len(batch) == size:
                yield batch
                batch = []
    except DecodeError:
        if batch:  # What came before the fault counts.
            yield batch
        raise
    if batch:
        yield batch


def _resampled(pictures: Iterable[np.ndarray], sources: Sequence[int]) -> Iterator[np.ndarray]:
    """Yield picture ``sources[k]`` for each k; the sources rise or stay."""
    place = 0
    for number, picture in enumerate(pictures):
        while place < len(sources) and sources[place] == number:
            yield picture
            place += 1
        if place == len(sources):
            return


def _end(frames: Frames, number: int) -> float:
    """Return when frame ``number`` begins; beyond the last, when that ends."""
    if number < frames.count:
        return float(frames.seconds[number])
    return float(frames.seconds[-1] + 1 / frames.fps)
