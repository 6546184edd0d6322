"""The weight of each class in the loss, from how often it comes or as it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from uniformer_video.runtime.errors import ConfigError

BALANCED = "balanced"


def class_counts(labels: Iterable[Sequence[int]], num_classes: int) -> list[int]:
    """Return how many samples each of ``num_classes`` classes has; a sample with several labels counts for each."""
    counts = [0] * num_classes
    for own in labels:
        for label in own:
            counts[label] += 1
    return counts


def class_weights(setting: str | Sequence[float], counts: Sequence[int]) -> torch.Tensor | None:
    """Return the weights that ``MODEL.CLASS_WEIGHTS`` asks for.

    Args:
        setting: empty: none. ``"balanced"``: in inverse proportion to ``counts``, n / (K' * count) with n the sum of
            the counts and K' the classes that have any; the mean over all samples is then 1, and each class has the
            same share in it. A class without samples has weight 1, as it has nothing to balance. A list: one weight
            for each class, taken as it is.
        counts: training samples of each class, K numbers; see :func:`class_counts`.

    Returns:
        float32 (K,) on the CPU, or None.

    Raises:
        ConfigError: another word, a list that is not K finite numbers >= 0, or one of nothing but zeros.
    """
    if isinstance(setting, str):
        if not setting:
            return None
        if setting != BALANCED:
            raise ConfigError(f"MODEL.CLASS_WEIGHTS is {setting!r}; allowed: balanced, a list of numbers, or empty")
        total, present = sum(counts), sum(count > 0 for count in counts)
        return torch.tensor([total / (present * count) if count else 1.0 for count in counts], dtype=torch.float32)
    weights = torch.tensor([float(weight) for weight in setting], dtype=torch.float32)
    if len(weights) != len(counts):
        raise ConfigError(
            f"MODEL.CLASS_WEIGHTS has {len(weights)} weights, but there are {len(counts)} classes (MODEL.NUM_CLASSES); "
            "give one for each, in label order"
        )
    if not bool((weights.isfinite() & (weights >= 0)).all()) or not bool(weights.any()):
        raise ConfigError(f"MODEL.CLASS_WEIGHTS {list(setting)} must be finite numbers >= 0, not all of them 0")
    return weights
