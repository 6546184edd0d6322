"""Rewriting all videos of a set for fast random access, by several processes; a killed run goes on where it was."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from uniformer_video.prepare.crew import run_crew
from uniformer_video.runtime.logging import progress
from uniformer_video.runtime.paths import make_folder
from uniformer_video.video.container import open_container
from uniformer_video.video.reader import DecodeError
from uniformer_video.video.transcode import TranscodeSettings, is_transcoded, transcode_video

# What no system takes in a file name, or what means something in one.
_UNFIT = re.compile(r'[\x00-\x1f<>:"/\\|?*]')
_MOST_BYTES = 120  # of a part of a name: file systems take 255

_SIGN = "uniformer_video transcode "  # how the comment of a rewritten video begins (video.transcode)

# A file in the making that nobody wrote to for so long is one of a killed run.
_STALE_SECONDS = 3600.0
_HALF_WRITTEN = re.compile(r"\..+\.[a-z0-9_]{8}\.mp4")


@dataclass(frozen=True, slots=True)
class Job:
    """One video to rewrite: the file that is there and the one that is to be."""

    source: str
    target: str


def target_names(videos: Sequence[tuple[str, str]]) -> list[str]:
    """Return for each video a name ``CLASS/NAME.mp4`` that no other has, on any file system.

    A name depends on the video and on those it would clash with alone: which then get a piece of their name's hash.

    Args:
        videos: (class, name) of each; the class is empty in a multi-label set, where the folders of the name stay.
    """
    plain = []
    for label, name in videos:
        path = PurePosixPath(name.replace("\\", "/").split("://")[-1])
        parents = [label] if label else [part for part in path.parts[:-1] if part not in ("/", "..")]
        plain.append("/".join([*map(_fit, parents), _fit(path.stem)]))
    clashes = Counter(text.casefold() for text in plain)
    return [
        f"{text}-{_short_hash(name)}.mp4" if clashes[text.casefold()] > 1 else f"{text}.mp4"
        for text, (_, name) in zip(plain, videos, strict=True)
    ]


def transcode_all(
    jobs: Sequence[Job], settings: TranscodeSettings, *, workers: int = 1, timeout_seconds: float = 0.0
) -> dict[str, str]:
    """Rewrite videos, but for those whose target is there already, and return what went wrong by target.

    Args:
        jobs: targets are absolute; their folders are made.
        settings: size and quality.
        workers: processes; 0: this one.
        timeout_seconds: a video that takes longer is given up; 0: never.
    """
    for folder in sorted({os.path.dirname(job.target) for job in jobs}):
        _remove_stale(make_folder(folder))
    work = partial(transcode_one, settings=settings)
    outcomes = run_crew(work, jobs, workers=workers, limit_seconds=timeout_seconds)
    failures = {}
    for outcome in progress(outcomes, total=len(jobs), label="transcoding videos", unit="video"):
        failure = outcome.failure or outcome.value
        if failure:
            failures[jobs[outcome.number].target] = failure
    return failures


def transcode_one(job: Job, settings: TranscodeSettings) -> str:
    """Rewrite one video unless that was done, and return why it cannot be; empty where it is."""
    values = asdict(settings)
    try:
        if is_transcoded(job.source, job.target, **values):
            return ""
        if os.path.lexists(job.target) and not _is_ours(job.target):
            return f"another file is in the way, which is not overwritten: {job.target}"
        transcode_video(job.source, job.target, **values)
    except DecodeError as error:
        return error.cause
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _is_ours(target: str) -> bool:
    """Return whether a file is one that was rewritten, of whatever and however."""
    try:
        with open_container(target) as container:
            return container.metadata.get("comment", "").startswith(_SIGN)
    except DecodeError:
        return False


def _fit(part: str) -> str:
    """Return a part of a path that every file system takes."""
    text = _UNFIT.sub("_", part).strip(" .") or "_"
    data = text.encode("utf-8", "replace")
    if len(data) <= _MOST_BYTES:
        return data.decode()
    return f"{data[:_MOST_BYTES].decode('utf-8', 'ignore').strip(' .')}-{_short_hash(part)}"


def _short_hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:8]


def _remove_stale(folder: Path) -> None:
    """Remove what killed runs left half written, under the names of ``video.writer.written_beside``."""
    for path in folder.glob(".*.mp4"):
        if _HALF_WRITTEN.fullmatch(path.name) and time.time() - path.stat().st_mtime > _STALE_SECONDS:
            path.unlink(missing_ok=True)
