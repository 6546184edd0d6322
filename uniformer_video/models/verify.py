"""Whether a file is the published one it claims to be."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from uniformer_video.models.zoo import ZOO, ZooEntry, fault, find_weights
from uniformer_video.models.zoo_check import other_network, wanted
from uniformer_video.runtime.download import sha256_of
from uniformer_video.runtime.errors import UserError


@dataclass(frozen=True)
class Verdict:
    """What a check of a file said.

    Attributes:
        path: of the file.
        good: whether nothing speaks against it.
        text: the finding, for people.
    """

    path: Path
    good: bool
    text: str


def verify(source: str, folder: str = "") -> Verdict:
    """Return whether a file is a published one, or the one that its name says.

    Its hash is computed, whatever was remembered. Where none is published, and for converted files (.safetensors),
    names and shapes of its tensors are compared instead.

    Args:
        source: a name of the zoo, for a file on this machine; or a path.
        folder: of weight files, looked in first.

    Raises:
        UserError: there is no such file here.
        WeightError: its format needs a package that is not installed.
    """
    path = find_weights(source, folder) if source in ZOO else Path(os.path.expanduser(source))
    if path is None:
        raise UserError(f"{source} does not lie on this machine; python tools/zoo.py download {source}")
    if not path.is_file():
        raise UserError(f"there is no weight file {source!r}, and no published weights have that name")
    sha256 = sha256_of(path)
    claimed = ZOO.get(path.stem)
    same = next((entry for entry in ZOO.values() if entry.sha256 == sha256), None)
    if same:
        if claimed in (same, None):
            return Verdict(path, True, f"it is the published {same.name}")
        return Verdict(path, False, f"it is the published {same.name}, not {claimed.name}")
    if claimed is None:
        return Verdict(path, False, f"it is none of the published files with a known sha256; its own is {sha256}")
    if wrong := fault(path, claimed, remember=False):
        return Verdict(path, False, f"it is not the published {claimed.name}: {wrong}")
    return _by_tensors(path, claimed, sha256)


def _by_tensors(path: Path, claimed: ZooEntry, sha256: str) -> Verdict:
    if wrong := other_network(path, claimed):
        return Verdict(path, False, f"it is not the published {claimed.name}: {wrong}")
    text = f"it is {wanted(claimed)}; "
    if claimed.sha256 is None:
        return Verdict(path, True, f"{text}no published sha256 to compare its own with, {sha256}")
    return Verdict(
        *(path, True),
        f"{text}names and shapes agree, but the values of a converted file cannot be compared with the published "
        f"{claimed.file_name}",
    )
