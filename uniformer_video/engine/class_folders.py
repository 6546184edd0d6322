"""Classes that have no names but folders of their own: what the folders tell where names are wanting."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from uniformer_video.datasets.label_sets import normalise
from uniformer_video.engine.class_order import TEST, require_same_order
from uniformer_video.runtime.errors import UserError


@dataclass(frozen=True)
class Classes:
    """What is known of the classes of a list of videos, or of the list that weights were trained on.

    Args:
        count: how many there are.
        names: in label order, where known.
        folders: the folder of each label, where every class that occurs has its own.
    """

    count: int
    names: Sequence[str] | None = None
    folders: Mapping[int, str] | None = None

    def told(self) -> list[str] | None:
        """Return the names or, where there are none, the folders of all classes; None: neither."""
        if self.names is not None:
            return list(self.names)
        folders = self.folders or {}
        return [folders[label] for label in range(self.count)] if set(folders) == set(range(self.count)) else None

    def numbered(self) -> dict[int, str]:
        """Return what is known by label: names, else folders."""
        return dict(enumerate(self.names)) if self.names is not None else dict(self.folders or {})


def class_folders_in(content: object) -> dict[int, str] | None:
    """Return the class folders that a checkpoint of this toolkit holds; None: none, or something else."""
    holder = content if isinstance(content, Mapping) else {}
    folders, header = holder.get("class_folders"), holder.get("metadata")
    if folders is None and isinstance(header, Mapping):
        # The header of a safetensors file holds texts: JSON, whose keys are texts too.
        try:
            folders = {int(label): folder for label, folder in json.loads(header.get("class_folders", "{}")).items()}
        except (TypeError, ValueError, AttributeError):
            return None
    if not isinstance(folders, Mapping) or not folders:
        return None
    sound = all(type(label) is int and isinstance(folder, str) for label, folder in folders.items())
    return dict(folders) if sound else None


def names_to_compare(
    weights: Classes, data: Classes, *, purpose: str, where: str, data_where: str
) -> tuple[Sequence[str] | None, Sequence[str] | None]:
    """Return the class names of weights and data by which a head is put in order.

    Where one side has no names, its folders stand in if both sides then have the very same classes: folders may also
    be named after a split or a camera.

    Raises:
        UserError: for a test, folders that show another numbering of the classes, where not all of them are there.
    """
    one, other = weights.told(), data.told()
    if one is not None and other is not None and _keys(one) == _keys(other):
        return one, other
    if purpose == TEST and (weights.names is None or data.names is None):
        require_same_folders(data.numbered(), weights.numbered(), where=data_where, others_where=where)
    return weights.names, data.names


def require_same_folders(
    folders: Mapping[int, str] | None, others: Mapping[int, str] | None, *, where: str, others_where: str
) -> None:
    """Refuse two lists whose class folders show that they number the classes differently.

    Folders that only some of both sides share say nothing: they may be of another kind.

    Args:
        folders: the folder of each label (``class_folders``); nothing where folders are no classes.
        others: the other list's.
        where: whose folders they are, for the message.
        others_where: whose the others are.

    Raises:
        UserError: the videos of a folder have another label in the other list; one line.
    """
    mine = {normalise(folder): (label, folder) for label, folder in (folders or {}).items()}
    theirs = {normalise(folder): label for label, folder in (others or {}).items()}
    shared = mine.keys() & theirs.keys()
    if len(shared) < 2 or len(shared) < min(len(mine), len(theirs)):
        return
    for label, folder, other in sorted((*mine[key], theirs[key]) for key in shared):
        if label != other:
            raise UserError(
                f"the videos in folders {folder!r} have label {label} in {where} and label {other} in {others_where}; "
                "give both lists the same labels or, if these folders are no classes, write classes.json beside the "
                "lists"
            )


class Numbered(Protocol):
    """A data set whose classes may have names or folders."""

    class_names: Sequence[str] | None
    class_folders: Mapping[int, str] | None


def require_same_classes(train: Numbered, val: Numbered) -> None:
    """Refuse a validation list that numbers its classes otherwise than the training list.

    Raises:
        UserError: one line with a class that both have under different labels.
    """
    lists = {"where": "train.csv", "others_where": "val.csv"}
    require_same_order(train.class_names, val.class_names, **lists, advice="give both lists the same labels")
    if train.class_names is None:
        require_same_folders(train.class_folders, val.class_folders, **lists)


def _keys(names: Sequence[str]) -> list[str]:
    return sorted(normalise(name) for name in names)
