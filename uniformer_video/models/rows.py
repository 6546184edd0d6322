"""Draws of a training step that do not depend on how its batch is cut up.

Stochastic depth and dropout draw for the samples they are given. Where the batch of a step is taken in parts, or shared
by several processes, each call sees some of its rows. Inside :func:`batch_rows` a sample takes the draws of its own
row, whoever it stands beside. The caller seeds torch's global generators alike before each part, and in each process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

import torch
from torch import Tensor

from uniformer_video.runtime.seed import position_seed, torch_generator


@dataclass(frozen=True)
class Rows:
    """Which rows of a step's batch the network is called on.

    Args:
        numbers: of the samples in hand, in their order, each in [0, total).
        total: samples of the whole step, on all processes.
    """

    numbers: tuple[int, ...]
    total: int
    _on: dict[torch.device, Tensor] = field(default_factory=dict, compare=False, repr=False)

    def on(self, device: torch.device) -> Tensor:
        """Return the numbers as int64 (len(numbers),) on ``device``; they are sent there once."""
        if device not in self._on:
            self._on[device] = torch.tensor(self.numbers, dtype=torch.int64, device=device)
        return self._on[device]

    def lines(self, x: Tensor) -> int:
        """Return how many consecutive lines of ``x`` (samples * lines, ...) each sample has."""
        lines, left = divmod(x.shape[0], len(self.numbers))
        assert not left, f"{x.shape[0]} lines are not shared by the {len(self.numbers)} samples in hand"
        return lines


_ROWS: ContextVar[Rows | None] = ContextVar("batch_rows", default=None)


@contextmanager
def batch_rows(rows: Tensor | Sequence[int], total: int) -> Iterator[None]:
    """Let every draw inside the ``with`` block be one for all rows of a step, of which each sample takes its own.

    The parts of a batch, in any order and on any process, then draw what the whole batch draws, to the bit, where the
    generators begin alike. What :func:`torch.compile` has compiled knows nothing of it: it draws for the samples it is
    given, so its parts and processes are to be seeded apart.

    Args:
        rows: the number of each sample in hand, in [0, total), (B,) where the network gets B clips. A tensor on a GPU
            is waited for.
        total: samples of the whole step, over all parts and processes.
    """
    numbers = tuple(int(number) for number in (rows.tolist() if isinstance(rows, Tensor) else rows))
    assert numbers and all(0 <= number < total for number in numbers), f"rows {numbers} are not within {total}"
    with these_rows(Rows(numbers, total)):
        yield


@contextmanager
def these_rows(rows: Rows | None) -> Iterator[None]:
    """Do as :func:`batch_rows` for what :func:`rows_in_hand` returned, in another thread say."""
    token = _ROWS.set(rows)
    try:
        yield
    finally:
        _ROWS.reset(token)


def rows_in_hand() -> Rows | None:
    """Return the rows of the :func:`batch_rows` in force; None outside, and for what is compiled."""
    return None if torch.compiler.is_compiling() else _ROWS.get()


def uniform_of_samples(x: Tensor) -> Tensor:
    """Return a number in [0, 1) for each of ``x``'s first extent, float32 (B, 1, ..., 1) on its device."""
    ones = (1,) * (x.ndim - 1)
    rows = rows_in_hand()
    if rows is None:
        return torch.rand((x.shape[0], *ones), device=x.device)
    lines = rows.lines(x)
    drawn = torch.rand((rows.total, lines, *ones), device=x.device)
    return drawn.index_select(0, rows.on(x.device)).flatten(0, 1)


def mask_of_rows(rows: Rows, x: Tensor, keep: float) -> Tensor:
    """Return zeros and ones like ``x``, each a one with probability ``keep``; those of a sample depend on its row.

    Each row has a generator of its own: what is not in hand is not drawn, and takes no memory.

    Args:
        rows: of the samples in ``x``.
        x: (samples * lines, ...), any floating dtype.
        keep: in (0, 1).
    """
    lines = rows.lines(x)
    mask = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    base = _draw_base()
    for number, part in zip(rows.numbers, mask.split(lines), strict=True):
        part.bernoulli_(keep, generator=torch_generator(base, number, device=x.device))
    return mask


def by_rows(rows: Rows, function: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Return ``function(*inputs)`` of each sample for itself, joined, with global generators seeded for its row.

    For operations that draw by themselves. The generators are afterwards where they were, but for one draw.

    Args:
        rows: of the samples in the inputs.
        function: takes and returns tensors (lines, ...).
        inputs: each (samples * lines, ...), on one device.
    """
    lines, device = rows.lines(inputs[0]), inputs[0].device
    base, results = _draw_base(), []
    with torch.random.fork_rng([device] if device.type == "cuda" else [], device_type="cuda"):
        for number, *parts in zip(rows.numbers, *(each.split(lines) for each in inputs), strict=True):
            torch.manual_seed(position_seed(base, number))
            results.append(function(*parts))
    return torch.cat(results)


def _draw_base() -> int:
    """Return a number that the generators of rows begin with; the CPU's global generator gives it without a wait."""
    return int(torch.randint(2**62, (), device="cpu"))
