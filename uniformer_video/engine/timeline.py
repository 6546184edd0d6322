"""What a network says along a video."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import torch

from uniformer_video.engine.prediction import ClassScore, Prediction, top_classes


@dataclass(frozen=True)
class Segment:
    """A stretch of time with one class.

    Attributes:
        start_seconds: from the video's first frame.
        end_seconds: likewise.
        best: the class; its score is the mean over the windows.
        windows: how many follow each other with it.
    """

    start_seconds: float
    end_seconds: float
    best: ClassScore
    windows: int


@dataclass(frozen=True)
class Timeline:
    """The scores of windows along a video, in the order of time.

    Attributes:
        path: the video.
        fps: frames each second, as the windows count them.
        num_frames: of the video, likewise.
        seconds: length of the video.
        window_seconds: asked length of a window; a shorter video has one shorter window.
        stride_seconds: from one window to the next; the last may lie nearer, to end with the video.
        starts: float64 (W,), seconds at which each window starts.
        ends: float64 (W,), seconds at which it ends.
        scores: float32 (W, K), see :attr:`Prediction.scores`.
        class_names: K names, or None.
        multi_label: whether a video has several labels.
        threshold: score from which a class of a multi-label network counts as there.
        error: why the timeline ends before the video does; empty: it does not.
    """

    path: str
    fps: float
    num_frames: int
    seconds: float
    window_seconds: float
    stride_seconds: float
    starts: np.ndarray
    ends: np.ndarray
    scores: torch.Tensor
    class_names: tuple[str, ...] | None = None
    multi_label: bool = False
    threshold: float = 0.5
    error: str = ""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, window: int) -> Prediction:
        """Return what the network says of one window."""
        scores = self.scores[range(len(self))[window]]
        return Prediction(self.path, scores, self.class_names, self.multi_label, self.threshold)

    def top(self, window: int, count: int = 5) -> list[ClassScore]:
        """Return the ``count`` best classes of one window, best first."""
        return top_classes(self.scores[window], count, self.class_names)

    @property
    def centers(self) -> np.ndarray:
        """Middle of each window, seconds: float64 (W,)."""
        return (self.starts + self.ends) / 2

    @property
    def edges(self) -> np.ndarray:
        """Times at which one window's word gives way to the next one's, float64 (W + 1,): half-way between middles."""
        middles = self.centers
        return np.concatenate([self.starts[:1], (middles[1:] + middles[:-1]) / 2, self.ends[-1:]])

    def window_at(self, seconds: float) -> int:
        """Return the number of the window whose middle is nearest to a time."""
        return int(np.clip(np.searchsorted(self.edges, seconds, side="right") - 1, 0, len(self) - 1))

    def segments(self) -> list[Segment]:
        """Return the stretches of equal best class, in the order of time.

        Of a multi-label network: for each class the stretches where its score reaches the threshold, in the order of
        their starts; they may overlap.
        """
        if not self.multi_label:
            # As the test ranks: of equal scores the lower number.
            best = self.scores.argsort(dim=1, descending=True, stable=True)[:, 0].tolist()
            return self._runs(best)
        found = []
        for number in (self.scores >= self.threshold).any(0).nonzero().flatten().tolist():
            there = (self.scores[:, number] >= self.threshold).tolist()
            found += self._runs([number if flag else None for flag in there])
        return sorted(found, key=lambda segment: (segment.start_seconds, segment.best.number))

    def _runs(self, classes: list[int | None]) -> list[Segment]:
        found, edges = [], self.edges
        for number, run in groupby(range(len(classes)), classes.__getitem__):
            if number is None:
                continue
            windows = list(run)
            first, last = windows[0], windows[-1]
            score = float(self.scores[first : last + 1, number].double().mean())
            name = self.class_names[number] if self.class_names else f"class {number}"
            best = ClassScore(number, name, score)
            found.append(Segment(float(edges[first]), float(edges[last + 1]), best, len(windows)))
        return found

    def as_dict(self, top: int = 5) -> dict[str, Any]:
        """Return the timeline as JSON has it, with the ``top`` best classes of each window."""
        return {
            "path": self.path,
            "fps": round(self.fps, 6),
            "frames": self.num_frames,
            "seconds": round(self.seconds, 6),
            "window_seconds": round(self.window_seconds, 6),
            "stride_seconds": round(self.stride_seconds, 6),
            "multi_label": self.multi_label,
            **({"threshold": self.threshold} if self.multi_label else {}),
            "windows": [
                {
                    "start_seconds": round(float(self.starts[window]), 6),
                    "end_seconds": round(float(self.ends[window]), 6),
                    "top": [class_entry(best) for best in self.top(window, top)],
                }
                for window in range(len(self))
            ],
            "segments": [
                {
                    "start_seconds": round(segment.start_seconds, 6),
                    "end_seconds": round(segment.end_seconds, 6),
                    **class_entry(segment.best),
                    "windows": segment.windows,
                }
                for segment in self.segments()
            ],
            "error": self.error or None,
        }


def class_entry(best: ClassScore) -> dict[str, Any]:
    """Return a class and its score as JSON has them."""
    return {"class": best.number, "name": best.name, "score": round(best.score, 6)}
