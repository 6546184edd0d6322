"""Parts of a network that training leaves as they are: weights, batch-norm statistics and dropout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from types import MethodType

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from uniformer_video.runtime.errors import ConfigError

HEADS = ("head", "head_cls", "aux_head")
"""The layers that ``"backbone"`` leaves trainable; ``head_dropout`` before them stays at work too."""

BACKBONE = "backbone"
STAGES = (1, 2, 3, 4)


@dataclass(frozen=True)
class FreezeReport:
    """What :func:`freeze` did.

    Args:
        frozen: numbers (elements of parameters) that are not trained.
        total: numbers of the whole network.
        parts: what is frozen, in words: ``"stem and stages 1-2"`` or ``"backbone"``.
    """

    frozen: int
    total: int
    parts: str

    def summary(self) -> str:
        """Return one line: ``"frozen: 1,234 of 5,678 parameters (stem and stage 1)"``."""
        return f"frozen: {self.frozen:,} of {self.total:,} parameters ({self.parts})"


def freeze(model: nn.Module, what: str | int) -> FreezeReport:
    """Take the front of a network out of training.

    Its parameters ask for no gradient, so nothing of it is kept for the backward pass; and its modules stay in
    evaluation mode whatever ``model.train()`` says: batch norms normalise by the statistics they have and keep them,
    stochastic depth and dropout do nothing. Freezing again adds to what is frozen.

    Args:
        model: a network with the parts ``patch_embed1`` .. ``patch_embed4``, ``blocks1`` .. ``blocks4`` and ``head``,
            as all of this family have; changed in place.
        what: 1 to 4, the stem (``patch_embed1`` and the dropout after it) and so many first stages, with the
            convolution at the head of each; a class token belongs to stage 3, where it enters, and its projection to
            stage 4. ``"backbone"``: everything but :data:`HEADS`, the final norms too.

    Raises:
        ConfigError: another word or number, or a network without these parts.
    """
    if what != BACKBONE and (isinstance(what, bool) or what not in STAGES):
        raise ConfigError(f"MODEL.FREEZE is {what!r}; allowed: {BACKBONE}, 1, 2, 3 or 4 (the stem and so many stages)")
    names = list(_backbone(model) if what == BACKBONE else _front(model, int(what)))
    for name in names:
        part = getattr(model, name)
        part.requires_grad_(False)
        if isinstance(part, nn.Module):
            for module in part.modules():
                _keep_in_evaluation_mode(module)
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    stages = "stage 1" if what == 1 else f"stages 1-{what}"
    return FreezeReport(
        frozen=sum(size for size, trained in sizes if not trained),
        total=sum(size for size, _ in sizes),
        parts=BACKBONE if what == BACKBONE else f"stem and {stages}",
    )


def freeze_norms(model: nn.Module) -> int:
    """Keep every batch norm in evaluation mode, whatever ``model.train()`` says (MODEL.FROZEN_BN).

    It normalises by the statistics that it has, and keeps them; its scale and offset are trained as before. A clip then
    has the same scores and gradients whatever stands beside it in the batch.

    Args:
        model: changed in place; parts that :func:`freeze` froze may be among it.

    Returns:
        How many batch norms there are.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        _keep_in_evaluation_mode(norm)
    return len(norms)


def stays_in_evaluation_mode(module: nn.Module) -> bool:
    """Return whether :func:`freeze` or :func:`freeze_norms` has frozen ``module``."""
    return getattr(module.__dict__.get("train"), "__func__", None) is _stay_in_evaluation_mode


def _keep_in_evaluation_mode(module: nn.Module) -> None:
    # An attribute of the module itself comes before its class's: train() of all that hold it calls this.
    module.train = MethodType(_stay_in_evaluation_mode, module)
    module.train()


def _stay_in_evaluation_mode(module: nn.Module, mode: bool = True) -> nn.Module:
    """Stand in for ``module.train``: evaluation mode, whatever is asked for."""
    for part in module.modules():
        part.training = False
    return module


def _front(model: nn.Module, stages: int) -> Iterator[str]:
    """Yield the attributes of ``model`` that make its stem and first ``stages`` stages."""
    for stage in range(1, stages + 1):
        for name in (f"patch_embed{stage}", f"blocks{stage}"):
            if not isinstance(getattr(model, name, None), nn.Module):
                raise _no_such_part(model, name)
            yield name
    enters = {"stem_dropout": 1, "cls_token": 3, "cls_upsample": 4}
    yield from (name for name, stage in enters.items() if stage <= stages and hasattr(model, name))


def _backbone(model: nn.Module) -> Iterator[str]:
    """Yield all attributes of ``model`` that hold parameters or modules, but for the heads."""
    if not isinstance(getattr(model, "head", None), nn.Module):
        raise _no_such_part(model, "head")
    yield from (name for name, _ in model.named_parameters(recurse=False))
    yield from (name for name, _ in model.named_children() if name not in (*HEADS, "head_dropout"))


def _no_such_part(model: nn.Module, name: str) -> ConfigError:
    return ConfigError(
        f"MODEL.FREEZE names parts of a network by their attributes, but {type(model).__name__} has no {name}; "
        "set MODEL.FREEZE to the empty word, or name the parts of the network so"
    )
