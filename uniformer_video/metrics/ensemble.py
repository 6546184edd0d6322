"""Many views of each video, scored in any order by any number of processes, to one score for each video."""

from __future__ import annotations

import torch

from uniformer_video.runtime.errors import ConfigError

METHODS = ("sum", "max")
"""How the views of a video become one score: the values of ``TEST.ENSEMBLE_METHOD``."""

SCORES = ("logits", "softmax")
"""What is ensembled: the values of ``TEST.ENSEMBLE_SCORE``."""

# Float sums depend on the order of adding. Scores rounded to a power-of-two grid first have exact float64 sums as long
# as a sum stays below 2**53 steps of the grid: 8e6 for logits, 8e3 for softmax (each view adds at most 1).
_GRID = {"logits": 2.0**-30, "softmax": 2.0**-40}


class ViewEnsemble:
    """Scores of (record, view) pairs, added up in memory of N * K numbers and N * V flags.

    The result is the same to the bit whatever the order in which pairs are added and however they are spread over
    processes (logits up to 8e6 in sum; up to 8000 views).

    Args:
        num_records: N, videos.
        num_views: V, views of each video.
        num_classes: K.
        method: ``"sum"`` over views or ``"max"`` over views for each class.
        score: ``"logits"`` as they are given, or ``"softmax"`` of each view's logits.

    Raises:
        ConfigError: an unknown ``method`` or ``score``.
    """

    def __init__(
        self, num_records: int, num_views: int, num_classes: int, *, method: str = "sum", score: str = "logits"
    ) -> None:
        if method not in METHODS:
            raise ConfigError(f"TEST.ENSEMBLE_METHOD {method!r} is unknown; known: {', '.join(METHODS)}")
        if score not in SCORES:
            raise ConfigError(f"TEST.ENSEMBLE_SCORE {score!r} is unknown; known: {', '.join(SCORES)}")
        assert num_records >= 0 and num_views >= 1 and num_classes >= 1
        self.num_records, self.num_views, self.num_classes = num_records, num_views, num_classes
        self.method, self.score = method, score
        self._seen = torch.zeros(num_records, num_views, dtype=torch.bool)
        start = 0.0 if method == "sum" else -torch.inf
        self._total = torch.full((num_records, num_classes), start, dtype=torch.float64)

    def add(self, records: torch.Tensor, views: torch.Tensor, scores: torch.Tensor) -> None:
        """Add the scores of n (record, view) pairs.

        Args:
            records: (n,) integers in [0, N).
            views: (n,) integers in [0, V).
            scores: (n, K) logits, floating, on any device.

        A pair out of range, given twice, or added before is a defect of the caller and fails an assertion; nothing has
        been added then.
        """
        records, views = records.cpu().long(), views.cpu().long()
        count = len(records)
        assert records.shape == views.shape == (count,), (records.shape, views.shape)
        assert scores.shape == (count, self.num_classes), f"{tuple(scores.shape)} is not ({count}, {self.num_classes})"
        assert bool(((records >= 0) & (records < self.num_records)).all()), "a record number is out of range"
        assert bool(((views >= 0) & (views < self.num_views)).all()), "a view number is out of range"
        pairs = records * self.num_views + views
        assert len(pairs.unique()) == count, "a (record, view) pair is twice in one call"
        assert not bool(self._seen[records, views].any()), "a (record, view) pair was added before"

        self._seen[records, views] = True
        values = self._values(scores)
        if self.method == "sum":
            self._total.index_add_(0, records, values)
        else:
            self._total.scatter_reduce_(0, records[:, None].expand_as(values), values, "amax")

    def merge(self, other: ViewEnsemble) -> None:
        """Add everything that ``other``, of the same sizes and settings, holds; a pair in both fails an assertion."""
        for name in ("num_records", "num_views", "num_classes", "method", "score"):
            assert getattr(self, name) == getattr(other, name), f"the two ensembles differ in {name}"
        assert not bool((self._seen & other._seen).any()), "a (record, view) pair is in both ensembles"
        self._seen |= other._seen
        if self.method == "sum":
            self._total += other._total
        else:
            self._total = torch.maximum(self._total, other._total)

    def missing(self) -> dict[int, list[int]]:
        """Return the views not yet added of each record that lacks any, both in rising order."""
        incomplete = (~self.complete()).nonzero().flatten().tolist()
        return {record: (~self._seen[record]).nonzero().flatten().tolist() for record in incomplete}

    def complete(self) -> torch.Tensor:
        """Return a bool mask (N,): the records that have all their views."""
        return self._seen.all(dim=1)

    def scores(self) -> torch.Tensor:
        """Return (N, K) float32: over the views added so far. A record without any view is a row of NaN."""
        result = self._total.to(torch.float32)
        result[~self._seen.any(dim=1)] = torch.nan
        return result

    def _values(self, scores: torch.Tensor) -> torch.Tensor:
        """Return what one view contributes, float64 on the CPU, on the grid where it is to be summed."""
        values = scores.detach().cpu().double()
        if self.score == "softmax":
            values = values.softmax(dim=1)
        if self.method == "sum":
            step = _GRID[self.score]
            values = (values / step).round() * step
        return values
