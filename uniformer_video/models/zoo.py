"""Weights by name, path or address: found on this machine, else downloaded, and never taken for what they are not."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from uniformer_video.models.zoo_check import no_weights, other_network
from uniformer_video.models.zoo_table import ZOO, ZooEntry
from uniformer_video.runtime.download import cache_folder, is_web_address, sha256_of
from uniformer_video.runtime.errors import UserError, WeightError, WriteError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.paths import PATHS, atomic_write
from uniformer_video.runtime.registry import nearest
from uniformer_video.runtime.web import Limits

__all__ = ["ZOO", "Resolved", "ZooEntry", "address", "fault", "find_weights", "resolve"]

logger = get_logger(__name__)

WEIGHTS_VARIABLE = "UNIFORMER_WEIGHTS"
"""Environment variable with a folder of weight files, each under its name in the zoo."""

MIRROR_VARIABLE = "UNIFORMER_ZOO_MIRROR"
"""Environment variable with an address that has all published files: ``<it>/<name>.pth``."""

SUFFIXES = (".pth", ".pyth", ".safetensors")
"""Endings under which a name is looked for, in this order."""

_CHECKED = "checked.json"


@dataclass(frozen=True)
class Resolved:
    """Where weights lie.

    Attributes:
        path: for ``read_weights``: on this machine, or an address of another kind that ``PATHS`` opens.
        entry: what the zoo knows about them; None for a file it does not know.
    """

    path: str
    entry: ZooEntry | None


def resolve(
    source: str | os.PathLike[str], folder: str = "", *, limits: Limits | None = None, force: bool = False
) -> Resolved:
    """Return where weights lie, after a download if they are not on this machine.

    The first there is of: a file at this path; a name of the zoo, in ``folder``, in the folder $UNIFORMER_WEIGHTS (as
    .pth, .pyth or .safetensors), in the cache, on the web ($UNIFORMER_ZOO_MIRROR instead of the published address, if
    set); a web address, by way of the cache. What is downloaded without a hash to compare is looked into before it is
    taken.

    Args:
        source: a path, a name or an address.
        folder: of weight files, looked in first (``UNIFORMER.WEIGHTS_DIR``).
        limits: of a download's time; None: the standard ones.
        force: download a name or an address into the cache also where its file lies here.

    Raises:
        WeightError: one line: nothing of that name, or a file under a published name that is not the published one, or
            what failed in a download and where to put the file by hand.
    """
    text = os.fspath(source)
    local = os.path.expanduser(text)
    if is_web_address(text):
        entry = next((e for e in ZOO.values() if e.url == text), None)
        if entry:
            return _by_name(entry, folder, limits, force)
        # Through iopath, where a user may have put a handler for one host.
        return Resolved(PATHS.get_local_path(text, force, limits=limits, check=no_weights), None)
    folder_there = os.path.isdir(local)
    if os.path.exists(local) and not folder_there:
        return Resolved(local, _known_file(Path(local)))
    if "://" in text:
        return Resolved(text, None)
    stem, suffix = os.path.splitext(text)
    name = stem if suffix in SUFFIXES else text
    if name in ZOO:
        return _by_name(ZOO[name], folder, limits, force)
    if folder_there:
        raise WeightError(f"{text!r} is a folder; give a weight file in it, or a name that `zoo.py list` shows")
    near = "" if os.path.dirname(text) else ", ".join(nearest(name, ZOO))
    raise WeightError(
        f"there is no weight file {text!r}, and no published weights have that name; "
        + (
            f"nearest: {near} (python tools/zoo.py list shows all)"
            if near
            else "python tools/zoo.py list shows the names"
        )
    )


def find_weights(name: str, folder: str = "") -> Path | None:
    """Return where the published weights ``name`` lie on this machine, not looked into; None: nowhere.

    Args:
        name: a key of :data:`ZOO`.
        folder: of weight files, looked in first.

    Raises:
        UserError: ``folder`` or $UNIFORMER_WEIGHTS is no folder.
    """
    places = [*_folders(folder), cache_folder()]
    return next((path for place in places for path in _candidates(place, name) if path.is_file()), None)


def address(entry: ZooEntry) -> str | None:
    """Return where ``entry`` is downloaded from: the mirror, else the published address; None: not known.

    Raises:
        UserError: $UNIFORMER_ZOO_MIRROR is no web address.
    """
    mirror = os.environ.get(MIRROR_VARIABLE, "")
    if not mirror:
        return entry.url
    if not is_web_address(mirror):
        raise UserError(f"{MIRROR_VARIABLE} {mirror!r} is no web address; it looks like https://host/folder")
    return f"{mirror.rstrip('/')}/{entry.file_name}"


def fault(path: Path, entry: ZooEntry, *, remember: bool = True) -> str:
    """Return why a file is not the published one, in a few words; empty: it is, or nothing tells.

    The hash is computed once for each state of a file (path, size, time) and remembered in the cache.

    Args:
        path: an existing file. One that was converted (of another ending) cannot be told and passes.
        entry: what it should be.
        remember: False: compute the hash anyway.
    """
    if path.suffix != Path(entry.file_name).suffix:
        return ""
    size = path.stat().st_size
    if entry.bytes is not None and size != entry.bytes:
        return f"it has {size} bytes, the published file {entry.bytes}"
    if entry.sha256 is None:
        return ""
    actual = _remembered_sha256(path) if remember else sha256_of(path)
    return "" if actual == entry.sha256 else f"its sha256 is {actual}, that of the published file {entry.sha256}"


def _by_name(entry: ZooEntry, folder: str, limits: Limits | None, force: bool) -> Resolved:
    places = _folders(folder)
    for path in (path for place in places for path in _candidates(place, entry.name)):
        if path.is_file() and not force:
            if wrong := fault(path, entry):
                raise WeightError(
                    f"{path} is not the published {entry.name}: {wrong}; remove it, or give its path in place of the "
                    "name"
                )
            return Resolved(str(path), entry)
    cached = cache_folder() / entry.file_name
    for path in _candidates(cache_folder(), entry.name):
        if path.is_file() and not force:
            wrong = fault(path, entry)
            if not wrong:
                return Resolved(str(path), entry)
            logger.warning("%s is not the published %s: %s; it is downloaded again", path, entry.name, wrong)
    by_hand = (places[0] if places else cache_folder()) / entry.file_name
    advice = f"put the file at {by_hand} or set {WEIGHTS_VARIABLE} to the folder that holds it"
    url = address(entry)
    if url is None:
        raise WeightError(f"the published weights {entry.name} have no known address on the web; {advice}")
    # Through iopath, to the handler of runtime/web_cache.py.
    PATHS.get_local_path(
        *(url, True),
        to=cached,
        sha256=entry.sha256,
        size=entry.bytes,
        label=entry.name,
        advice=advice,
        limits=limits,
        check=None if entry.sha256 else partial(other_network, entry=entry),
    )
    if entry.sha256:
        _remember(cached, entry.sha256)
    return Resolved(str(cached), entry)


def _known_file(path: Path) -> ZooEntry | None:
    """Return which published file this is, by its hash, whatever its name; None: none of them."""
    if not path.is_file():
        return None
    size = path.stat().st_size
    # A hash is computed only where the size, or the name of one whose size is not known, makes it likely.
    likely = [e for e in ZOO.values() if e.sha256 and (e.bytes == size or (e.bytes is None and e.name == path.stem))]
    if not likely:
        return None
    actual = _remembered_sha256(path)
    return next((entry for entry in likely if entry.sha256 == actual), None)


def _folders(folder: str) -> list[Path]:
    """Return the folders of a user's own weight files that are set, the first first."""
    places = (("UNIFORMER.WEIGHTS_DIR (--folder)", folder), (WEIGHTS_VARIABLE, os.environ.get(WEIGHTS_VARIABLE, "")))
    folders = []
    for what, text in places:
        if not text:
            continue
        place = Path(os.path.expanduser(text))
        if not place.is_dir():
            raise UserError(f"{what} {text!r} is no folder; set it to one that holds weight files, or to nothing")
        folders.append(place)
    return folders


def _candidates(folder: Path, name: str) -> Iterator[Path]:
    return (folder / (name + suffix) for suffix in SUFFIXES)


def _remembered_sha256(path: Path) -> str:
    stat = path.stat()
    known = _memory().get(str(path.resolve()))
    if isinstance(known, list) and known[:2] == [stat.st_size, stat.st_mtime_ns] and len(known) == 3:
        return str(known[2])
    sha256 = sha256_of(path)
    _remember(path, sha256)
    return sha256


def _remember(path: Path, sha256: str) -> None:
    """Note the hash of a file as it is now; a cache that cannot be written forgets."""
    with suppress(OSError, WriteError):
        stat = path.stat()
        cache_folder().mkdir(parents=True, exist_ok=True)
        memory = {**_memory(), str(path.resolve()): [stat.st_size, stat.st_mtime_ns, sha256]}
        with atomic_write(cache_folder() / _CHECKED) as file:
            json.dump(memory, file)


def _memory() -> dict[str, object]:
    try:
        memory = json.loads((cache_folder() / _CHECKED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return memory if isinstance(memory, dict) else {}
