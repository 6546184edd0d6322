"""What a weight file is: which network, for how many classes, wrapped how, and what it holds besides."""

from __future__ import annotations

import functools
import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.hidden import HEAD_DIM, contradictions, hidden_settings
from uniformer_video.models.published import NETWORKS, build_published
from uniformer_video.models.weight_files import PREFIX, WRAPPERS, described, listed, named_tensors, read_content
from uniformer_video.models.weights import HEADS

_COUNTED = ("running_mean", "running_var", "num_batches_tracked")
# Other programs on the same conventions have the first four as well.
_CHECKPOINT = {"epoch", "model_state", "optimizer_state", "cfg", "history"}
_SIZE = ("UNIFORMER.DEPTH", "UNIFORMER.EMBED_DIM")
_CLASSES = "MODEL.NUM_CLASSES"

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Inspection:
    """What weights show of themselves.

    Attributes:
        networks: published networks (keys of ``NETWORKS``) with exactly these names and shapes, the heads aside; two
            where only the width of an attention head tells them apart, which no file shows.
        variant_of: the published network of this size that is nearest, where there is no exact one.
        differences: what keeps it from being that one, for people.
        kind: "Uniformer", "Hourglass", or None: neither.
        image: whether it is an image network.
        classes: of its head; None without one.
        settings: configuration keys that build it.
        tensors: how many there are.
        parameters: numbers that are learned, running statistics of BatchNorm aside.
        dtypes: how many tensors of each type.
        wrappers: keys under which the tensors lie, and "module." where each name begins with it.
        besides: what else the file holds, each as ``name (type)``.
        checkpoint: whether a run of this toolkit can go on from it.
        epoch: epochs done, where the file says it.
        class_names: of the head's outputs, where the file has them.
    """

    networks: tuple[str, ...]
    variant_of: str | None
    differences: tuple[str, ...]
    kind: str | None
    image: bool
    classes: int | None
    settings: dict[str, Any]
    tensors: int
    parameters: int
    dtypes: dict[str, int]
    wrappers: tuple[str, ...] = ()
    besides: tuple[str, ...] = ()
    checkpoint: bool = False
    epoch: int | None = None
    class_names: tuple[str, ...] | None = None

    @property
    def network(self) -> str:
        """Return which network it is, in words."""
        if self.networks:
            return " or ".join(self.networks)
        if self.variant_of:
            return f"a variant of {self.variant_of} ({'; '.join(self.differences)})"
        if self.kind:
            return f"{self.kind} for {'images' if self.image else 'video'}, of no published size"
        return "unknown: its tensors have other names"

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it, ``network`` included."""
        return {"network": self.network, **asdict(self)}

    def lines(self) -> list[str]:
        """Return what people want to know, a line for each."""
        dtypes = ", ".join(f"{count} {name}" for name, count in self.dtypes.items())
        classes = "no head" if self.classes is None else f"{self.classes}"
        if self.class_names:
            named = listed(list(self.class_names))
            count, other = len(self.class_names), len(self.class_names) != self.classes
            classes += f", but the file names {count} classes: {named}" if other else f", named: {named}"
        rows = {
            "network": self.network,
            "classes": classes,
            "tensors": f"{self.tensors} ({dtypes}), {self.parameters / 1e6:.3f} M parameters",
        }
        if self.kind:
            rows["settings"] = ", ".join(f"{key} {value}" for key, value in self.settings.items())
        if self.wrappers:
            rows["wrapped in"] = ", ".join(self.wrappers)
        if self.checkpoint:
            rows["checkpoint"] = f"of this toolkit, after epoch {self.epoch}; a run can go on from it"
        elif self.epoch is not None:
            rows["epoch"] = str(self.epoch)
        if self.besides:
            rows["holds also"] = ", ".join(self.besides)
        return [f"{label:<11} {text}" for label, text in rows.items()]


def inspect_file(path: str | os.PathLike[str]) -> Inspection:
    """Return what a weight file or checkpoint is.

    Args:
        path: anything ``PATHS`` opens.

    Raises:
        WeightError: a file that cannot be read or holds no tensors, in one line.
    """
    return inspect_content(read_content(path), described(path))


def inspect_content(content: object, where: str = "the weights") -> Inspection:
    """Return what the content of a file is.

    Args:
        content: as ``read_content`` gives it.
        where: subject of an error message.

    Raises:
        WeightError: it holds no tensors, or other things among them.
    """
    state = named_tensors(content, where)
    wrappers, besides, inner = [], [], content
    if _of_safetensors(content):
        # Their order in the header is left to chance.
        besides, inner = _in_words(dict(sorted(content["metadata"].items()))), content["state_dict"]
    while isinstance(inner, Mapping):
        wrapper = next((key for key in WRAPPERS if isinstance(inner.get(key), Mapping)), None)
        if wrapper is None:
            break
        wrappers.append(wrapper)
        besides += _in_words({key: value for key, value in inner.items() if key != wrapper})
        inner = inner[wrapper]
    if isinstance(inner, Mapping) and all(name.startswith(PREFIX) for name in inner):
        wrappers.append(PREFIX)
    top = content if isinstance(content, Mapping) else {}
    epoch = top.get("epoch")
    found = inspect_weights(state, configuration_in(content))
    return Inspection(
        **{**found.__dict__, "wrappers": tuple(wrappers), "besides": tuple(besides)}
        | {
            "checkpoint": set(top) >= _CHECKPOINT,
            "epoch": epoch if isinstance(epoch, int) else None,
            "class_names": class_names_in(content),
        }
    )


def _of_safetensors(content: object) -> bool:
    """Say whether this is what ``read_content`` makes of a safetensors file with texts in its header."""
    if not isinstance(content, Mapping) or set(content) != {"state_dict", "metadata"}:
        return False
    texts = content["metadata"]
    return isinstance(texts, Mapping) and all(isinstance(text, str) for text in texts.values())


def _in_words(things: Mapping[object, object]) -> list[str]:
    return [f"{key} ({type(value).__name__})" for key, value in things.items() if value is not None]


def class_names_in(content: object) -> tuple[str, ...] | None:
    """Return the class names that a file holds, in the order of the head's outputs, or None.

    Args:
        content: as ``read_content`` gives it: ``class_names``, or JSON under that name in a safetensors file's header.
    """
    if not isinstance(content, Mapping):
        return None
    names = content.get("class_names")
    metadata = content.get("metadata")
    if names is None and isinstance(metadata, Mapping):
        try:
            names = json.loads(metadata.get("class_names", "null"))
        except (TypeError, ValueError):
            names = None
    if isinstance(names, list | tuple) and names and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


def configuration_in(content: object) -> str:
    """Return the configuration, as YAML, that a file of this toolkit carries; empty: none.

    Args:
        content: as ``read_content`` gives it: ``cfg``, there or in a safetensors file's header.
    """
    holder = content if isinstance(content, Mapping) else {}
    metadata = holder.get("metadata")
    text = holder.get("cfg") or (metadata.get("cfg") if isinstance(metadata, Mapping) else None)
    return text if isinstance(text, str) else ""


def inspect_weights(state: Mapping[str, Tensor], config_yaml: str = "") -> Inspection:
    """Return what tensors by parameter name are; values are not looked at.

    Args:
        state: the tensors.
        config_yaml: the configuration that they come with, for settings that no tensor shows; empty: none.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in state.items()}
    anatomy = Anatomy.of(shapes)
    settings, hidden = anatomy.settings() if anatomy.kind else {}, hidden_settings(config_yaml, anatomy.kind)
    alike = [name for name in _of_this_kind(anatomy) if _plain(_shapes(name)) == _plain(shapes)]
    faults = {name: tuple(contradictions(name, hidden)) for name in alike}
    exact = tuple(name for name in alike if not faults[name])
    variant, differences = (None, ())
    if not exact:
        nearest = min(alike, key=lambda name: len(faults[name]), default=None)
        variant, differences = (nearest, faults[nearest]) if nearest else _nearest(anatomy, settings, shapes, hidden)
    heads = sorted({NETWORKS[name].kwargs["head_dim"] for name in exact})
    if heads:
        settings[HEAD_DIM] = heads[0] if len(heads) == 1 else " or ".join(map(str, heads))
    settings |= hidden
    return Inspection(
        networks=exact,
        variant_of=variant,
        differences=differences,
        kind=anatomy.kind,
        image=anatomy.image,
        classes=anatomy.classes,
        settings=settings,
        tensors=len(state),
        parameters=sum(tensor.numel() for name, tensor in state.items() if not name.endswith(_COUNTED)),
        dtypes=dict(Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.values())),
    )


def _of_this_kind(anatomy: Anatomy) -> list[str]:
    """Return the published networks that may be the one, without building any."""
    return [
        name
        for name, network in NETWORKS.items()
        if network.kind == anatomy.kind and bool(network.kwargs.get("image")) == anatomy.image
    ]


@functools.cache
def _shapes(name: str) -> Shapes:
    """Return the names and shapes of a published network; no memory is taken for its numbers."""
    with torch.device("meta"):
        model = build_published(name)
    return {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}


def _plain(shapes: Shapes) -> dict[str, tuple[int, ...]]:
    """Return shapes that can be compared: heads and batch counters left out, an image's temporal extents dropped."""
    image = Anatomy.of(shapes).image
    plain = {}
    for name, shape in shapes.items():
        if name.startswith(HEADS) or name.endswith("num_batches_tracked"):
            continue
        if image and len(shape) == 5:
            shape = shape[:2] + shape[3:]
        while len(shape) > 2 and shape[-1] == 1:
            shape = shape[:-1]
        plain[name] = shape
    return plain


def _nearest(
    anatomy: Anatomy, settings: dict[str, Any], shapes: Shapes, hidden: Mapping[str, Any]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the published network of the same depth and width that differs in the fewest settings, and in which."""
    ranked = []
    for name in _of_this_kind(anatomy):
        published = Anatomy.of(_shapes(name)).settings()
        differing = [key for key in published if settings.get(key) != published[key] and key != _CLASSES]
        if not any(key in _SIZE for key in differing):
            ranked.append(
                (len(differing), name, [f"{k} {settings.get(k)}, published {published[k]}" for k in differing])
            )
    if not ranked:
        return None, ()
    _, name, differences = min(ranked)
    differences = differences or _unlike(_plain(shapes), _plain(_shapes(name)))
    return name, (*differences, *contradictions(name, hidden))


def _unlike(shapes: Shapes, own: Shapes) -> list[str]:
    """Return how tensors differ that no setting tells apart."""
    kinds = {
        "missing": [name for name in own if name not in shapes],
        "unexpected": [name for name in shapes if name not in own],
        "of another shape": [name for name in own if name in shapes and shapes[name] != own[name]],
    }
    return [f"{len(names)} {what}: {listed(names)}" for what, names in kinds.items() if names]
