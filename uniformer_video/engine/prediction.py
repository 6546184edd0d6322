"""What a network says about one video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch


class ClassScore(NamedTuple):
    """One class and its score.

    Attributes:
        number: of the class, from 0.
        name: of the class; ``class 12`` where names are not known.
        score: in [0, 1].
    """

    number: int
    name: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """The classes of one video, best first.

    Attributes:
        path: the video.
        scores: float32 ``(K,)`` in the order of the network's classes. With one label a video they sum to 1; with
            several each is the probability of its class.
        class_names: K names, or None where they are not known.
        multi_label: whether a video has several labels.
        threshold: score from which a class of a multi-label network counts as there.
        features: float32 ``(C,)``, what the head sees: the final feature map's mean over time and space, averaged over
            the views; None where the network does not tell it.
    """

    path: str
    scores: torch.Tensor
    class_names: tuple[str, ...] | None = None
    multi_label: bool = False
    threshold: float = 0.5
    features: torch.Tensor | None = field(default=None, repr=False)

    def top(self, count: int = 5) -> list[ClassScore]:
        """Return the ``count`` best classes, best first; of equal scores the lower class number first."""
        return top_classes(self.scores, count, self.class_names)

    @property
    def label(self) -> str:
        """The name of the best class."""
        return self.top(1)[0].name

    @property
    def score(self) -> float:
        """The score of the best class."""
        return self.top(1)[0].score

    @property
    def labels(self) -> list[str]:
        """The names of the classes that are there, best first: of a multi-label network all from the threshold on."""
        if not self.multi_label:
            return [self.label]
        return [found.name for found in self.top(len(self.scores)) if found.score >= self.threshold]

    def __str__(self) -> str:
        best = ", ".join(f"{found.name} {100 * found.score:.1f} %" for found in self.top(3))
        return f"{self.path}: {best}"


def top_classes(scores: torch.Tensor, count: int, class_names: Sequence[str] | None) -> list[ClassScore]:
    """Return the ``count`` best of ``scores`` ``(K,)``, best first, in the order in which the test ranks them."""
    order = scores.argsort(descending=True, stable=True)[:count].tolist()
    names = class_names or ()
    return [ClassScore(k, names[k] if names else f"class {k}", float(scores[k])) for k in order]
