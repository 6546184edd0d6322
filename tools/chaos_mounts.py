"""A small disk of its own for a run: a tmpfs that only the commands inside see, where this machine allows it."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chaos_cases import Skipped

_READY_S = 20.0
_WAYS = (("-m",), ("-rm",))
"""Of ``unshare``: as root, and as anyone where the kernel lets users have namespaces."""


@dataclass(frozen=True)
class Disk:
    """A mounted tmpfs.

    Args:
        point: where the commands inside see it.
        holder: the process that keeps it there.
        way: how it came about.
    """

    point: Path
    holder: int
    way: tuple[str, ...]

    @property
    def inside(self) -> list[str]:
        """What stands in front of a command that is to see the disk."""
        user = ["-U", "--preserve-credentials"] if "-rm" in self.way else []
        return ["nsenter", "-t", str(self.holder), "-m", *user, "--wdns=/", "--"]

    @property
    def seen(self) -> Path:
        """Where this process sees the disk."""
        return Path(f"/proc/{self.holder}/root{self.point}")

    def remount(self, *, read_only: bool) -> None:
        """Make the disk read-only, or let it be written again."""
        self.sh(f"mount -o remount,{'ro' if read_only else 'rw'} {self.point}")

    def free(self) -> int:
        """Return the bytes that can still be written."""
        found = os.statvfs(self.seen)
        return found.f_bavail * found.f_frsize

    def fill(self, leave: int) -> Path:
        """Write a file that leaves ``leave`` bytes free (to a page or two), and return it as this process sees it."""
        filler = self.seen / "filler"
        with open(filler, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(self.free() - leave, 1))
        return filler

    def sh(self, script: str) -> None:
        """Run a line of shell inside."""
        done = subprocess.run([*self.inside, "sh", "-c", script], capture_output=True, text=True, timeout=_READY_S)
        if done.returncode:
            raise OSError(done.stderr.strip())


@contextlib.contextmanager
def small_disk(point: Path, mib: int) -> Iterator[Disk]:
    """Give a tmpfs of ``mib`` MiB at ``point``, a new folder; it is gone afterwards.

    Raises:
        Skipped: this machine allows no mount, or has no ``unshare``.
    """
    point.mkdir(parents=True)
    reasons = []
    for way in _WAYS:
        if way == ("-m",) and os.geteuid() != 0:
            continue
        # A process that does nothing keeps the mount, and reads until it is told to end (or its parent is gone).
        script = f"mount -t tmpfs -o size={mib}m none '{point}' && echo ready && read nothing"
        try:
            holder = subprocess.Popen(
                ["unshare", *way, "sh", "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise Skipped(f"no small disk could be mounted: unshare: {error.strerror}") from None
        with holder:
            if holder.stdout.readline().strip() == "ready":
                try:
                    # Without a fork of unshare the shell has its number.
                    yield Disk(point, holder.pid, way)
                finally:
                    holder.stdin.close()
                return
            reasons.append(f"unshare {' '.join(way)}: {holder.stderr.read().strip() or 'refused'}")
    raise Skipped(f"no small disk could be mounted ({'; '.join(reasons)})")


def is_bound_by_permissions(folder: Path) -> bool:
    """Tell whether a folder without the right to write stops this process: not where it is root's."""
    trial = folder / f"trial{time.monotonic_ns()}"
    trial.mkdir()
    trial.chmod(0o555)
    try:
        (trial / "file").touch()
        return False
    except PermissionError:
        return True
    finally:
        trial.chmod(0o755)
