"""Files from the web: resumed, checked against their hash, written beside and renamed, never waited for without end."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.logging import get_logger, on_terminal
from uniformer_video.runtime.part import Part, claimed_part, part_path
from uniformer_video.runtime.transfer import fetch
from uniformer_video.runtime.web import Cut, Limits, Refused, Unreachable

logger = get_logger(__name__)

CACHE_VARIABLE = "UNIFORMER_CACHE"
"""Environment variable with the folder of downloaded files."""

_WORTH = 1024 * 1024
"""So many new bytes make a try that broke off a good one."""
_LONGEST_PAUSE_SECONDS = 60.0


def cache_folder() -> Path:
    """Return the folder of downloaded files: $UNIFORMER_CACHE, else ~/.cache/uniformer_video."""
    set_by_user = os.environ.get(CACHE_VARIABLE)
    return Path(os.path.expanduser(set_by_user)) if set_by_user else Path.home() / ".cache" / "uniformer_video"


def is_web_address(text: str) -> bool:
    """Say whether ``text`` begins with http:// or https://."""
    return text.lower().startswith(("http://", "https://"))


def in_words(count: int) -> str:
    """Return a number of bytes as people read it (1 MB is 10**6 bytes)."""
    if count < 10_000:
        return f"{count} bytes"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Return the SHA-256 of a file, 64 lower-case hexadecimal digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def download(
    url: str,
    path: str | os.PathLike[str],
    *,
    sha256: str | None = None,
    size: int | None = None,
    label: str = "",
    advice: str = "",
    limits: Limits | None = None,
    check: Callable[[Path], str] | None = None,
    note_to: Path | None = None,
) -> Path:
    """Fetch ``url`` into the file ``path``, which is whole and checked or as it was.

    Bytes gather in ``path`` + ".part"; a later call goes on from there where the server can and the file is still the
    same one. A line says that it begins, another that it ended; on a terminal a bar shows the progress between them.
    Of several processes that want one file, one fetches it and the others wait for it.

    Args:
        url: ``http://`` or ``https://``.
        path: the file to write; its folder is made.
        sha256: of the whole file, hexadecimal; None: not known, and a line says so.
        size: bytes of the whole file; None: not known.
        label: what the bar and the lines call the file; empty: its name.
        advice: end of every error message: what to do where the file cannot be had.
        limits: of time; None: the standard ones.
        check: looks into the whole file, wherever it lies then, and returns what is wrong with it; empty: nothing.
        note_to: file to keep the server's name for this version in, for :func:`read_note`; None: it is forgotten.

    Returns:
        ``path``.

    Raises:
        WeightError: one line with the URL, the reason, what became of the bytes so far, and ``advice``.
    """
    path = Path(path)
    limits = limits or Limits()
    sha256 = sha256.lower() if sha256 else None
    job = _Job(url, path, sha256, size, label or path.name, advice, limits, check, note_to)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with claimed_part(path, limits.connect_seconds + 2 * limits.stall_seconds) as part:
            if part is not None:
                job.run(part)
    except OSError as error:
        raise WeightError(
            f"{url} cannot be written to {str(path)!r} ({error.strerror or error}); {_left_beside(path)}; make room "
            f"there, or set {CACHE_VARIABLE} to a folder that can be written"
        ) from None
    return path


def _left_beside(path: Path) -> str:
    part = part_path(path)
    with suppress(OSError):
        return f"{in_words(part.stat().st_size)} are kept in {str(part)!r}, and the next try goes on from there"
    return "nothing was kept"


@dataclass(frozen=True)
class _Job:
    """One file to fetch; the fields are the arguments of :func:`download`."""

    url: str
    path: Path
    sha256: str | None
    size: int | None
    label: str
    advice: str
    limits: Limits
    check: Callable[[Path], str] | None
    note_to: Path | None

    def run(self, part: Part) -> None:
        """Fetch, check and rename."""
        resumed = part.length()
        rest = f", going on behind the {in_words(resumed)} there are" if resumed else ""
        logger.info("downloading %s from %s%s", self.label, self.url, rest)
        try:
            self._gather(part)
            fault = self._fault(part)
            if fault and resumed:
                # The bytes of an earlier call may be of another version of the file.
                logger.warning("%s: %s; fetching it once more from the start", self.label, fault)
                part.file.truncate(0)
                self._gather(part)
                fault = self._fault(part)
        except KeyboardInterrupt:
            logger.warning("%s: interrupted; %s", self.label, self._fate(part))
            raise
        if fault:
            part.remove()
            raise WeightError(
                self._line(f"what came from {self.url} is corrupt or another file and was removed: {fault}")
            )
        count = part.length()
        checked = "sha256 as published"
        if not self.sha256:
            checked = f"no published sha256 to check against, its own is {sha256_of(part.path)}"
        part.finish(self.path, self.note_to)
        logger.info("downloaded %s: %s, %s, in %s", self.label, in_words(count), checked, self.path)

    def _gather(self, part: Part) -> None:
        """Fetch until the part is whole, trying again after a cut as often as the limits allow."""
        start = farthest = part.length()
        tries = 0
        with _bar(self.label) as report:
            while True:
                try:
                    fetch(
                        *(self.url, part.file, part.origin()),
                        size=self.size,
                        checked=self.sha256 is not None,
                        limits=self.limits,
                        note=part.note,
                        report=report,
                    )
                    return
                except (Cut, Refused) as error:
                    have = part.length()
                    tries = 1 if have >= farthest + _WORTH else tries + 1
                    farthest = max(farthest, have)
                    # Without a network the answer is wanted now, not after the last try.
                    offline = isinstance(error, Unreachable) and farthest == start
                    if isinstance(error, Refused) or offline or tries >= self.limits.tries:
                        raise WeightError(self._failure(part, error, tries)) from None
                    logger.warning("%s: %s; try %d of %d", self.label, error, tries + 1, self.limits.tries)
                    time.sleep(min(self.limits.pause_seconds * 2 ** min(tries - 1, 10), _LONGEST_PAUSE_SECONDS))

    def _failure(self, part: Part, error: Exception, tries: int) -> str:
        times = f", {tries} tries" if tries > 1 else ""
        return self._line(f"{self.url} cannot be downloaded: {error}{times}; {self._fate(part)}")

    def _fate(self, part: Part) -> str:
        """Keep what a later call can go on from, remove anything else, and return which it was."""
        origin, have = part.origin(), part.length()
        if have and part.kept and origin and origin.can_resume(self.url, self.sha256 is not None):
            return f"{in_words(have)} are kept in {str(part.path)!r}, and the next try goes on from there"
        part.remove()
        return f"the {in_words(have)} that came cannot be resumed and were removed" if have else "nothing was kept"

    def _fault(self, part: Part) -> str:
        """Return what is wrong with a part that the server calls whole; empty: nothing."""
        count = part.length()
        if self.size is not None and count != self.size:
            return f"it has {count} bytes, the published file {self.size}"
        if self.sha256 and (actual := sha256_of(part.path)) != self.sha256:
            return f"its sha256 is {actual}, that of the published file {self.sha256}"
        return self.check(part.path) if self.check else ""

    def _line(self, text: str) -> str:
        return f"{text}; {self.advice}" if self.advice else text


@contextmanager
def _bar(label: str) -> Iterator[Callable[[int, int | None], None]]:
    """Yield a function that takes the bytes there are and will be, and shows them on a terminal."""
    silent = not (on_terminal() and distributed.is_main())
    with tqdm(desc=label, unit="B", unit_scale=True, leave=False, dynamic_ncols=True, disable=silent) as bar:

        def report(have: int, total: int | None) -> None:
            if bar.total != total or have < bar.n:
                # Bytes that were there before count for the bar, not for its rate.
                bar.total, bar.initial, bar.n = total, have, have
                bar.refresh()
            bar.update(have - bar.n)

        yield report
