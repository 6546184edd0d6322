"""Average precision: how well the scores of a class rank the samples that have it before those that have not."""

from __future__ import annotations

import torch


def average_precision(scores: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the average precision of each class, as scikit-learn defines it.

    The sum over score thresholds, from high to low, of (recall gained there) * (precision there), without any
    interpolation. Samples of equal score are taken together at one threshold, so their order does not matter.

    A positive sample whose score is NaN is never found; other NaN scores rank behind all numbers.

    Args:
        scores: (N, K) floating; N may be 0.
        targets: (N, K), nonzero where the sample has the class.

    Returns:
        (K,) float64 on the CPU, in [0, 1]; NaN for a class that no sample has.
    """
    assert scores.ndim == 2 and scores.shape == targets.shape, (tuple(scores.shape), tuple(targets.shape))
    scores, positive = scores.detach().cpu().double(), targets.cpu() != 0
    columns = [_of_one_class(scores[:, k], positive[:, k]) for k in range(scores.shape[1])]
    return torch.tensor(columns, dtype=torch.float64)


def mean_average_precision(per_class: torch.Tensor) -> float:
    """Return mAP in percent: the mean of :func:`average_precision` over the classes that have samples; else NaN."""
    return 100.0 * float(per_class.double().nanmean()) if len(per_class) else float("nan")


def _of_one_class(scores: torch.Tensor, positive: torch.Tensor) -> float:
    """Return the average precision of scores (N,), float64, against a mask (N,)."""
    count = int(positive.sum())
    if count == 0:
        return float("nan")
    found = positive & ~scores.isnan()
    ranked, order = scores.nan_to_num(nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf).sort(descending=True)
    hits = found[order].double().cumsum(0)
    # The last sample of each run of equal scores: there a threshold lies.
    ends = torch.cat([ranked[1:] != ranked[:-1], torch.ones(1, dtype=torch.bool)]).nonzero().flatten()
    precision = hits[ends] / (ends + 1).double()
    gained = hits[ends].diff(prepend=torch.zeros(1, dtype=torch.float64))
    return float((gained * precision).sum()) / count
