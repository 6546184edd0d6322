"""A running average of a network's weights, which is validated, tested and predicted with in their place.

Polyak and Juditsky, "Acceleration of Stochastic Approximation by Averaging", 1992, average the iterates of a stochastic
descent; the exponential average, moved after each step, is that of the teacher network of Tarvainen and Valpola, "Mean
teachers are better role models", 2017. Batch-norm statistics are averaged with the weights they belong to.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.sharded import own_part, put, whole

_ADVICE = "it is of another network; set OUTPUT_DIR to a new folder, or the configuration to that of the run"


class WeightAverage:
    """The exponential moving average of what a network's state dict holds in floating point.

    Make it when the network is on its device, sharded or not, and holds the weights to begin with. A parameter that is
    frozen by then has no average of its own: it is taken as it is, as are counts (``num_batches_tracked``). A parameter
    under two names has one average. Of a sharded network each process averages its own part.

    Args:
        model: the network itself, not what wraps it.
        decay: share of the average that a step leaves as it is, in [0, 1).
        warmup: whether the share is ``min(decay, (1 + n) / (10 + n))`` after n steps, so that the first weights are
            soon forgotten.

    Attributes:
        updates: steps averaged so far.
    """

    def __init__(self, model: nn.Module, decay: float, warmup: bool = True) -> None:
        assert 0 <= decay < 1, f"an average that keeps a share of {decay} of itself is none"
        self.model, self.decay, self.warmup = model, decay, warmup
        self.updates = 0
        self._applied = False
        # A state dict gives a shared parameter once for each of its names; id tells that they are one.
        self._sources: dict[int, Tensor] = {}
        self._averages: dict[int, Tensor] = {}
        for tensor in _state(model).values():
            if tensor.is_floating_point() and (tensor.requires_grad or not isinstance(tensor, nn.Parameter)):
                self._add(tensor)

    def _add(self, tensor: Tensor) -> None:
        """Begin an average of ``tensor`` at its value: float32 at least, laid out in memory as it is."""
        self._sources[id(tensor)] = tensor
        self._averages[id(tensor)] = tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32), copy=True)

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now: ``average = share * average + (1 - share) * weight``.

        Nothing waits for the device.
        """
        assert not self._applied, "the network holds the average itself"
        share = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        averages = [own_part(average) for average in self._averages.values()]
        weights = [own_part(source.detach()) for source in self._sources.values()]
        if averages:
            torch._foreach_lerp_(averages, [w.to(a.dtype) for w, a in zip(weights, averages, strict=True)], 1 - share)
        self.updates += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Let the network hold the average inside the ``with`` block, and the exact bits of before afterwards.

        Values are written into the network's own tensors, so whatever calls them (a compiled network, DDP, FSDP2) finds
        them. What the block itself writes into averaged tensors is lost.
        """
        assert not self._applied, "the network holds the average already"
        kept = {key: own_part(source.detach()).clone() for key, source in self._sources.items()}
        self._applied = True
        try:
            self._write(self._averages)
            yield
        finally:
            self._write(kept)
            self._applied = False

    @torch.no_grad()
    def _write(self, values: dict[int, Tensor]) -> None:
        for module in self.model.modules():
            # FSDP2 leaves the gathered weights of the outermost module in place after a forward pass, and would go on
            # with them instead of with what is written here.
            if hasattr(module, "set_reshard_after_forward"):
                module.reshard()
        for key, source in self._sources.items():
            own_part(source.detach()).copy_(own_part(values[key]))

    @torch.no_grad()
    def take_buffers(self) -> None:
        """Take what the network's averaged buffers hold into the average, while it is :meth:`applied`: precise BN."""
        assert self._applied, "the network's buffers are not those of the average"
        for key, source in self._sources.items():
            if not isinstance(source, nn.Parameter):
                own_part(self._averages[key]).copy_(own_part(source))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the averaged network as a state dict: every name of ``model.state_dict()``, whole plain tensors.

        Averages are float32 at least. Nothing is copied but what other processes hold a part of: of a sharded network
        every process must call this.
        """
        state = _state(self.model)
        return {name: whole(self._averages.get(id(tensor), tensor)).detach() for name, tensor in state.items()}

    def load_state_dict(self, state: dict[str, Tensor], updates: int) -> None:
        """Go on from an average that :meth:`state_dict` gave, on any number of processes.

        A parameter that is frozen now and was averaged when the state was saved keeps its average.

        Args:
            state: whole tensors by name.
            updates: steps averaged until then.

        Raises:
            WeightError: names or shapes are not those of the network; nothing is changed then.
        """
        tensors = _state(self.model)
        _check(state, tensors)
        for name, tensor in tensors.items():
            if not tensor.is_floating_point():
                continue
            if id(tensor) not in self._averages:
                value = state[name].to(device=tensor.device, dtype=tensor.dtype)
                if torch.equal(value, whole(tensor.detach())):
                    continue
                self._add(tensor)
            put(self._averages[id(tensor)], state[name])
        self.updates = updates


def _state(model: nn.Module) -> dict[str, Tensor]:
    """Return the very parameters and buffers of ``model.state_dict()``."""
    return model.state_dict(keep_vars=True)


def _check(state: dict[str, Tensor], tensors: dict[str, Tensor]) -> None:
    """Raise ``WeightError`` where two state dicts have other names, or tensors of other shapes."""
    for one, other, words in ((tensors, state, "lacks"), (state, tensors, "has the unknown")):
        names = sorted(one.keys() - other.keys())
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise WeightError(f"the saved average of weights {words} {names[0]}{more}; {_ADVICE}")
    for name, tensor in tensors.items():
        saved = state[name]
        if not isinstance(saved, Tensor):
            raise WeightError(f"the saved average of weights has a {type(saved).__name__} as {name}; {_ADVICE}")
        if saved.shape != tensor.shape:
            shapes = f"{tuple(saved.shape)}, not {tuple(tensor.shape)}"
            raise WeightError(f"the saved average of weights has {name} of shape {shapes}; {_ADVICE}")
