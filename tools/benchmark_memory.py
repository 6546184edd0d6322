"""How much memory a training step takes at the most, each side in a process of its own."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from fvcore.common.config import CfgNode

from uniformer_video.engine.device import peak_memory_gib

STEPS = 2
"""The second one has the optimizer's state from its beginning."""


@dataclass(frozen=True)
class PeakMemory:
    """The most memory each side has had resident, in GiB, torch and the weights included; ``ratio`` is ours / plain."""

    name: str
    plain_gib: float
    ours_gib: float
    ratio: float

    def line(self) -> str:
        """Return a line that fits under the table of times."""
        both = "".join(f" {f'{gib:.2f} GiB':>11}" for gib in (self.plain_gib, self.ours_gib))
        return f"{self.name + ', peak memory':46}{both} {self.ratio:6.2f}x"


def peak_memory(cfg: CfgNode, *, batch: int, name: str) -> PeakMemory:
    """Return the peak memory of a float32 training step of both sides.

    Args:
        cfg: of the network.
        batch: clips in a step.
        name: of the row.
    """
    peaks = {}
    for side in ("plain", "ours"):
        # A spawned process has nothing of this one's memory; one after the other, so that both have the machine.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            peaks[side] = pool.submit(step_in_process, cfg.dump(), batch, side, torch.get_num_threads()).result()
    return PeakMemory(name, peaks["plain"], peaks["ours"], peaks["ours"] / peaks["plain"])


def step_in_process(settings: str, batch: int, side: str, threads: int) -> float:
    """Do training steps of one side, in a process that does nothing else, and return its peak memory in GiB."""
    from benchmark_model import ModelBench  # in the new process alone: that file needs this one

    torch.set_num_threads(threads)
    bench = ModelBench(CfgNode.load_cfg(settings), batch=batch)
    model = getattr(bench, side)
    # The other network goes; each side has the weights and the optimizer of one.
    setattr(bench, "plain" if side == "ours" else "ours", None)
    bench.optimizers = {id(model): bench.optimizers[id(model)]}
    for _ in range(STEPS):
        bench.step(model)
    return own_peak_gib()


def own_peak_gib() -> float:
    """Return the most memory that this process has had resident since its program began, in GiB.

    Linux hands the figure of ``getrusage`` on from a process to those it starts; its status file begins anew.
    """
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) / 2**20
    return peak_memory_gib(torch.device("cpu"))
