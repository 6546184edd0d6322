"""Weights for others: the network's tensors alone, in files that this loader and other programs read."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import yaml
from torch import Tensor

from uniformer_video.models.anatomy import Anatomy
from uniformer_video.models.hidden import configuration_tree
from uniformer_video.models.inspect import class_names_in, configuration_in, inspect_weights
from uniformer_video.models.weight_files import described, named_tensors, read_content
from uniformer_video.models.zoo_table import ZOO
from uniformer_video.runtime.download import is_web_address
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.runtime.paths import atomic_write

PYTORCH, SAFETENSORS = (".pyth", ".pth"), ".safetensors"

PRIVATE = (
    *("OUTPUT_DIR", "DATA.PATH_TO_DATA_DIR", "DATA.PATH_PREFIX", "TRAIN.CHECKPOINT_FILE_PATH"),
    *("TEST.CHECKPOINT_FILE_PATH", "UNIFORMER.WEIGHTS_DIR", "UNIFORMER.PRETRAIN_NAME", "TENSORBOARD.LOG_DIR"),
)
"""Keys whose values are places on the machine of the training, and nobody else's business."""


def published_form(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors as the authors' files have them: kernels of an image network without a temporal extent."""
    image = Anatomy.of({name: tuple(tensor.shape) for name, tensor in state.items()}).image
    return {name: tensor.squeeze(2) if image and tensor.ndim == 5 else tensor for name, tensor in state.items()}


def write_weights(
    state: Mapping[str, Tensor],
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    class_folders: Mapping[int, str] | None = None,
    config_yaml: str = "",
    half: bool = False,
) -> None:
    """Write a network's tensors to a file that ``read_weights`` reads back, beside and renamed.

    A ``.pyth`` or ``.pth`` file holds ``{"model_state": ..., "class_names": ..., "cfg": ..., "network": ...}``, what is
    known of it; a ``.safetensors`` file the same as texts in its header, the names as JSON.

    Args:
        state: tensors by parameter name.
        path: with one of these endings.
        class_names: of the head's outputs, in their order.
        class_folders: the folder of each label in the training list, where every class had its own.
        config_yaml: the configuration.
        half: floating tensors become float16.

    Raises:
        UserError: another ending, no folder, names that are not as many as the head's outputs, or a number that
            float16 cannot hold.
        WeightError: a sparse tensor, or ``.safetensors`` without the package that writes it.
        WriteError: the disk is full, or refuses the file.
    """
    path = Path(path)
    if path.suffix not in (*PYTORCH, SAFETENSORS):
        endings = ", ".join((*PYTORCH, SAFETENSORS))
        raise UserError(f"{str(path)!r} has no ending that says a format: {endings}")
    if not path.parent.is_dir():
        raise UserError(f"{str(path)!r} cannot be written: {str(path.parent)!r} is no folder; make it first")
    for name, tensor in state.items():
        if tensor.layout != torch.strided:
            raise WeightError(
                f"{name} is a sparse tensor ({tensor.layout}), which no network here has; save it with to_dense()"
            )
    classes = Anatomy.of({name: tuple(tensor.shape) for name, tensor in state.items()}).classes
    if class_names is not None and classes is not None and len(class_names) != classes:
        raise UserError(f"{len(class_names)} class names for a head of {classes} classes; they do not belong together")
    # Copies: a view would take the memory it is a part of along into the file.
    tensors = {name: _in_half(name, t) if half else t for name, t in published_form(state).items()}
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()}
    facts = {
        "class_names": list(class_names) if class_names is not None else None,
        "class_folders": dict(class_folders) if class_folders else None,
        "cfg": config_yaml or None,
        "network": " or ".join(inspect_weights(tensors, config_yaml).networks) or None,
    }
    known = {key: value for key, value in facts.items() if value is not None}
    with atomic_write(path, "wb") as file:
        if path.suffix == SAFETENSORS:
            file.write(_safetensors(tensors, known))
        else:
            torch.save({"model_state": tensors, **known}, file)


def export_file(
    source: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    class_names: Sequence[str] | None = None,
    half: bool = False,
) -> None:
    """Write the network of a weight file or checkpoint to ``path``, with its class names and configuration.

    Optimizer, history and whatever else the file holds stay behind, as do the paths in its configuration.

    Args:
        source: anything ``read_content`` reads.
        path: see :func:`write_weights`, and for ``half``.
        class_names: those of ``source``, where it holds none.

    Raises:
        UserError: see :func:`write_weights`; or ``source`` has other class names of its own.
        WeightError: ``source`` cannot be read.
    """
    content = read_content(source)
    state = named_tensors(content, described(source))
    own = class_names_in(content)
    folders = content.get("class_folders") if isinstance(content, Mapping) else None
    if own and class_names and list(own) != list(class_names):
        raise UserError(f"{described(source)} has class names of its own, which are other ones; leave --label-set out")
    write_weights(
        *(state, path),
        class_names=own or class_names,
        class_folders=folders if isinstance(folders, Mapping) else None,
        config_yaml=without_places(configuration_in(content)),
        half=half,
    )


def without_places(config_yaml: str) -> str:
    """Return a configuration with the keys of :data:`PRIVATE` emptied, but for weights named as published.

    Args:
        config_yaml: the configuration.

    Returns:
        YAML of the same keys; empty for what is no configuration, and may hold anything.
    """
    tree = configuration_tree(config_yaml)
    for key in PRIVATE:
        *sections, last = key.split(".")
        holder = tree
        for section in sections:
            inner = holder.get(section)
            holder = inner if isinstance(inner, dict) else {}
        if last in holder and not _is_public(key, holder[last]):
            holder[last] = ""
    return yaml.safe_dump(tree, sort_keys=False, default_flow_style=None, width=120) if tree else ""


def _is_public(key: str, value: object) -> bool:
    name = str(value)
    known = name in ZOO or os.path.splitext(name)[0] in ZOO
    return key == "UNIFORMER.PRETRAIN_NAME" and (known or is_web_address(name))


def _in_half(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point():
        return tensor
    half = tensor.to(torch.float16)
    if bool(tensor.isfinite().all()) and not bool(half.isfinite().all()):
        most = float(tensor.abs().max())
        raise UserError(f"{name} has {most:g}, and float16 ends at 65504; export without --half")
    return half


def _safetensors(tensors: dict[str, Tensor], facts: Mapping[str, object]) -> bytes:
    try:
        from safetensors.torch import save
    except ImportError:
        raise WeightError(
            'the package that writes safetensors files is not installed: pip install "uniformer_video[safetensors]"'
        ) from None
    texts = {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items()}
    # "format" is what Hugging Face's loaders ask for.
    return save(tensors, {"format": "pt", **texts})
