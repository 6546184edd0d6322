"""How much memory the activations of a network take, found without using it."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from uniformer_video.models.dry_run import autocast, dry_run, in_mode


def training_activation_bytes(
    model: nn.Module, clips: Sequence[int], *, device: torch.device, precision: torch.dtype = torch.float32
) -> int:
    """Return how many bytes a training forward pass keeps for its backward pass, each memory block once.

    Parameters and buffers, and copies of them in another precision, are left out. Found without using the memory.

    Args:
        model: called on ``clips``; on any device, ``meta`` included. It is left as it was.
        clips: (B, 3, T, H, W).
        device: where it would run: kernels, and so what they keep, differ. A CUDA device must be there.
        precision: ``torch.float32``, or the type of automatic mixed precision.

    Raises:
        ValueError: a batch norm cannot train on so few positions.
    """

    def measure(run: Callable[[], object], own: Sequence[Tensor]) -> int:
        saved: dict[int, torch.UntypedStorage] = {}  # holds them, so that no address is given to another

        def pack(tensor: Tensor) -> Tensor:
            if not memory.is_own(tensor):
                saved[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
            return tensor

        hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
        with torch.enable_grad(), autocast(device, precision), _Memory(own) as memory, hooks:
            run()
        return sum(storage.nbytes() for storage in saved.values())

    with in_mode(model, training=True):
        return dry_run(model, clips, device, measure)


def inference_activation_bytes(
    model: nn.Module, clips: Sequence[int], *, device: torch.device, precision: torch.dtype = torch.float32
) -> int:
    """Return the most bytes that are alive at one time in a forward pass without gradients, the clips included.

    Parameters and buffers, and copies of them in another precision, are left out, and so is scratch memory inside a
    kernel. Arguments as for :func:`training_activation_bytes`.
    """

    def measure(run: Callable[[], object], own: Sequence[Tensor]) -> int:
        with torch.no_grad(), autocast(device, precision), _Memory(own) as memory:
            run()
        return memory.peak

    with in_mode(model, training=False):
        return dry_run(model, clips, device, measure)


class _Memory(TorchDispatchMode):
    """Follows the memory of all tensors that operations make, from the first use to the end of each.

    Args:
        own: parameters and buffers. They do not count, nor do copies of them in another precision.
    """

    def __init__(self, own: Sequence[Tensor]) -> None:
        super().__init__()
        self.peak = 0
        self._now = 0
        self._own = {tensor.untyped_storage()._cdata for tensor in own}
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        for tensor in _tensors(args):  # the clips come from outside
            self._note(tensor)
        result = func(*args, **(kwargs or {}))
        copied = func.overloadpacket is torch.ops.aten._to_copy and self.is_own(args[0])
        for tensor in _tensors(result):
            self._note(tensor, own=copied)
        return result

    def is_own(self, tensor: Tensor) -> bool:
        """Return whether the memory of a tensor is that of the network, not of activations."""
        return tensor.untyped_storage()._cdata in self._own

    def _note(self, tensor: Tensor, own: bool = False) -> None:
        storage = tensor.untyped_storage()
        address = storage._cdata
        if address in self._own or address in self._seen:
            return
        size = 0 if own else storage.nbytes()
        (self._own if own else self._seen).add(address)
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._forget, address, size)

    def _forget(self, address: int, size: int) -> None:
        # The address may be given to another tensor from now on.
        self._own.discard(address)
        self._seen.discard(address)
        self._now -= size


def _tensors(tree: Any) -> Iterator[Tensor]:
    return (leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor))
