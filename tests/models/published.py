"""Published facts: parameter names, shapes and logits, and small networks to test with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fill import fill
from uniformer_video.models.uniformer import Uniformer
from uniformer_video.runtime.errors import WeightError

DATA = Path(__file__).parent.parent / "data"
KERNEL = {"local_kernel": (5, 5, 5)}
TINY = {"num_classes": 5, "depths": (1, 2, 2, 1), "widths": (8, 16, 24, 32), "head_dim": 8}


def state_keys() -> dict:
    return json.loads((DATA / "state_keys.json").read_text())


def golden(name: str) -> torch.Tensor:
    with np.load(DATA / "golden_logits.npz") as arrays:
        return torch.from_numpy(arrays[name])


def filled_state(name: str) -> dict[str, torch.Tensor]:
    """The state of a published network, filled by fill.py."""
    shapes = state_keys()[name]["state"]
    integer = {True: torch.int64, False: torch.float32}
    return fill({n: torch.zeros(s, dtype=integer[n.endswith("num_batches_tracked")]) for n, s in shapes.items()})


def tiny(**kwargs) -> Uniformer:
    """A network of every kind of layer that runs in milliseconds, filled by fill.py."""
    model = Uniformer(**{**TINY, **kwargs})
    model.load_state_dict(fill(model.state_dict()))
    return model


def relative(got: torch.Tensor, wanted: torch.Tensor) -> float:
    """Largest difference over the largest wanted value."""
    assert got.shape == wanted.shape, (got.shape, wanted.shape)
    return float((got.detach() - wanted.detach()).abs().max() / wanted.detach().abs().max())


def flattened(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What an image network would hold: the temporal extents summed away."""
    return {n: t.sum(2) if t.ndim == 5 else t for n, t in state.items()}


def saved(content, path, **kwargs) -> str:
    torch.save(content, path, **kwargs)
    return str(path)


def error_of(call, *args, **kwargs) -> str:
    """The one line of the WeightError that a call raises."""
    with pytest.raises(WeightError) as caught:
        call(*args, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)
