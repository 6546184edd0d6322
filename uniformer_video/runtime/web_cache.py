"""Web addresses as files: fetched into the cache, and again when the server has another version."""

from __future__ import annotations

import hashlib
import os
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from iopath.common.file_io import PathHandler

from uniformer_video.runtime.download import cache_folder, download, is_web_address
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.runtime.logging import get_logger
from uniformer_video.runtime.part import read_note
from uniformer_video.runtime.web import Cut, Limits, Refused, request

logger = get_logger(__name__)

_ASK_SECONDS = 5.0
"""Longest time to ask whether a file that is here has changed."""


class WebHandler(PathHandler):
    """Lets iopath open ``http://`` and ``https://`` addresses through :func:`download`, into the cache.

    A file that is there is used, which a line says with its date, unless the server has another version of it. A server
    that cannot be reached, or names no versions, changes nothing.
    """

    def _get_supported_prefixes(self) -> list[str]:
        return ["http://", "https://"]

    def _get_local_path(
        self, path: str, force: bool = False, *, to: Path | None = None, limits: Limits | None = None, **options: Any
    ) -> str:
        """Return where the file lies, in the cache or at ``to``; ``options`` are more arguments of ``download``."""
        local = to or cached_path(path)
        there = local.exists() and not force
        if there and (to or not _has_changed(path, local, limits or Limits())):
            return str(local)
        options = {"advice": "put the file on this machine and give its path", **options}
        try:
            download(path, local, limits=limits, note_to=None if to else _note_path(local), **options)
        except WeightError as error:
            if not there:
                raise
            logger.warning("%s; the one that was fetched %s is used", error, _date(local))
        return str(local)

    def _open(self, path: str, mode: str = "r", buffering: int = -1, **kwargs: Any) -> IO[Any]:
        if set(mode) - set("rbt"):
            raise UserError(f"{path} can be read, not written (mode {mode!r})")
        return open(self._get_local_path(path), mode, buffering, **kwargs)


def cached_path(url: str) -> Path:
    """Return where the cache keeps what lies at ``url``: by its name and the hash of the whole address.

    Raises:
        WeightError: it is no address.
    """
    try:
        name = re.sub(r"[^\w.-]+", "_", Path(urlsplit(url).path).name)[-100:] or "file"
        stem, suffix = os.path.splitext(name)
        return cache_folder() / "urls" / f"{stem}-{hashlib.sha256(url.encode()).hexdigest()[:12]}{suffix}"
    except ValueError as error:
        raise WeightError(f"{url!r} is no web address ({error}); it looks like https://host/folder/file") from None


def in_cache(path: str | os.PathLike[str]) -> Path | None:
    """Return the downloaded file that a path or a web address stands for; None: there is none, or no whole one."""
    text = os.fspath(path)
    local = cached_path(text) if is_web_address(text) else Path(text)
    try:
        there = local.is_file() and local.resolve().is_relative_to(cache_folder().resolve())
    except (OSError, ValueError):
        return None
    return local if there and local.suffix != ".part" else None


def _note_path(local: Path) -> Path:
    """Return where the server's name for the version of a cached file is noted."""
    return local.with_name(local.name + ".json")


def _date(local: Path) -> str:
    return time.strftime("%Y-%m-%d", time.localtime(local.stat().st_mtime))


def _has_changed(url: str, local: Path, limits: Limits) -> bool:
    """Ask the server whether it has another version than the cached file, and say what was found."""
    origin = read_note(_note_path(local))
    conditions = {}
    if origin and origin.url == url:
        conditions = {"If-None-Match": origin.etag, "If-Modified-Since": origin.modified}
    conditions = {name: value for name, value in conditions.items() if value}
    finding = "whether it has changed since is not known"
    if origin and conditions:
        quick = replace(
            limits,
            connect_seconds=min(limits.connect_seconds, _ASK_SECONDS),
            stall_seconds=min(limits.stall_seconds, _ASK_SECONDS),
        )
        try:
            with request(url, conditions, quick) as answer:
                versions = answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", "")
                # Some servers heed no conditions and send the same file again.
                if answer.status != 304 and versions != (origin.etag, origin.modified):
                    logger.info("%s has changed since it was fetched on %s", url, _date(local))
                    return True
            finding = "which the server has unchanged"
        except (Cut, Refused) as error:
            finding = f"whether it has changed since cannot be asked: {error}"
    logger.info("%s: from the cache, fetched %s (%s); remove %s to fetch it again", url, _date(local), finding, local)
    return False
