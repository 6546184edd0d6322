"""Looking at every video of a source, by several processes, and remembering what was seen."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType

from uniformer_video.prepare.crew import run_crew
from uniformer_video.runtime.errors import write_error
from uniformer_video.runtime.logging import progress
from uniformer_video.video.probe import Probe, probe_video

CACHE_FILE = ".probes.jsonl"
"""In the folder of the set: what was seen, one JSON line for each video."""

# Raise it when a probe of the same bytes would say something else.
_VERSION = 1

# A probe ends by itself when its time is up. Only what hangs in a library is killed, and later.
_KILLED_AFTER = 1.5
_KILLED_GRACE_SECONDS = 10.0

# What may be over by the next run.
_PASSING = ("timeout", "missing", "crash")


class ProbeCache:
    """Probes in a file that only ever grows, so that an interrupted run loses nothing. A context manager.

    A probe is kept by path, size and modification time, and by how it was made; a full one also answers for headers.

    Args:
        path: the file, made when first needed; None: nothing is kept.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self._known: dict[str, tuple[str, Probe]] = {}
        self._file = None
        if path is not None:
            self._known.update(_read_lines(path))

    def find(self, video: str, mode: str) -> Probe | None:
        """Return what is known of a video that has not changed since; None where nothing is.

        Args:
            video: the file or folder.
            mode: see :func:`probe_mode`.
        """
        for wanted in (mode, mode.replace("fast", "full", 1)):
            stamp, probe = self._known.get(_key(video, wanted), ("", None))
            if probe is not None and stamp == _stamp(video):
                return probe
        return None

    def add(self, probe: Probe, mode: str) -> None:
        """Keep a probe, unless its fault may pass.

        Raises:
            WriteError: the file cannot be written on.
        """
        stamp = _stamp(probe.path)
        if self.path is None or not stamp or probe.kind in _PASSING:
            return
        self._known[_key(probe.path, mode)] = (stamp, probe)
        line = {"key": _key(probe.path, mode), "stamp": stamp, "probe": asdict(probe)}
        try:
            if self._file is None:
                self._file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by __exit__
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise write_error(self.path, error) from None

    def __enter__(self) -> ProbeCache:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            with suppress(OSError):  # of what add() has told already
                self._file.close()
            self._file = None


def probe_mode(full: bool, image_template: str = "") -> str:
    """Return the word under which a probe is kept: how much was read, and as what."""
    return f"{'full' if full else 'fast'} {_VERSION} {image_template}"


def probe_all(
    paths: Sequence[str],
    *,
    full: bool = True,
    timeout_seconds: float = 0.0,
    image_template: str = "",
    workers: int = 1,
    cache: ProbeCache | None = None,
    label: str = "probing videos",
) -> dict[str, Probe]:
    """Return a probe of each path, and show a progress bar on a terminal.

    A process that crashes or hangs on a video is that video's fault (kind ``crash`` or ``timeout``).

    Args:
        paths: files, addresses or folders of pictures; one that stands twice is looked at once.
        full: decode every frame; else headers and packets only.
        timeout_seconds: give up a video after so long; 0: never.
        image_template: names of the pictures in folders.
        workers: processes; 0: this one.
        cache: answers what it knows, and learns the rest.
        label: what the progress bar says.
    """
    mode = probe_mode(full, image_template)
    probes: dict[str, Probe] = {}
    unknown: list[str] = []
    for path in dict.fromkeys(paths):
        known = cache.find(path, mode) if cache else None
        if known is None:
            unknown.append(path)
        else:
            probes[path] = known
    work = partial(probe_video, full=full, timeout_seconds=timeout_seconds, image_template=image_template)
    limit = timeout_seconds * _KILLED_AFTER + _KILLED_GRACE_SECONDS if timeout_seconds > 0 else 0.0
    outcomes = run_crew(work, unknown, workers=workers, limit_seconds=limit)
    for outcome in progress(outcomes, total=len(unknown), label=label, unit="video"):
        path = unknown[outcome.number]
        probe = outcome.value
        if probe is None:
            kind = "timeout" if outcome.failure.startswith("took") else "crash"
            probe = Probe(path, reason=outcome.failure, kind=kind)
        probes[path] = probe
        if cache:
            cache.add(probe, mode)
    return probes


def _key(path: str, mode: str) -> str:
    return f"{mode}\0{path}"


def _stamp(path: str) -> str:
    """Return what changes with a file, or with the names in a folder; empty where there is none."""
    try:
        found = os.stat(path)
        size = len(os.listdir(path)) if stat.S_ISDIR(found.st_mode) else found.st_size
    except (OSError, ValueError):
        return ""
    return f"{size} {found.st_mtime_ns}"


def _read_lines(path: Path) -> Iterable[tuple[str, tuple[str, Probe]]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return
    for line in text.split("\n"):
        try:
            entry = json.loads(line)
            yield entry["key"], (entry["stamp"], Probe(**entry["probe"]))
        except (ValueError, KeyError, TypeError):
            continue  # the line that was being written when the run was killed, or one of another version
