"""What a device can do at most, as measured on it: the limits that ``benchmark.py gpu`` compares with."""

from __future__ import annotations

from collections.abc import Callable

import torch
from benchmark_timing import time_sides


def synchronizer(device: torch.device) -> Callable[[], None]:
    """Return what waits until the device has done all it was given."""
    return (lambda: torch.cuda.synchronize(device)) if device.type == "cuda" else (lambda: None)


def matrix_rate(device: torch.device, *, side: int = 8192, repeats: int = 9, runs: int = 10) -> float:
    """Return the floating-point operations a second of a bf16 product of two (side, side) matrices, as measured."""
    generator = torch.Generator().manual_seed(0)
    one, other = (torch.randn(side, side, generator=generator).to(device, torch.bfloat16) for _ in range(2))
    out = torch.empty_like(one)

    def multiply() -> None:
        for _ in range(runs):
            torch.mm(one, other, out=out)

    seconds = time_sides({"product": multiply}, repeats=repeats, synchronize=synchronizer(device))["product"]
    return 2 * side**3 * runs / seconds


def copy_rate(device: torch.device, *, numbers: int = 2**28, repeats: int = 5) -> float:
    """Return the bytes a second that a copy on the device reads and writes, as measured."""
    size = numbers if device.type == "cuda" else min(numbers, 2**20)
    source = torch.randint(256, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    wait = synchronizer(device)
    seconds = time_sides({"copy": lambda: target.copy_(source)}, repeats=repeats, synchronize=wait)["copy"]
    return 2 * source.nbytes / seconds
