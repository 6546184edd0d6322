"""A process that stops when the one that started it is gone."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from uniformer_video.runtime.logging import OF_THIS_PROCESS, get_logger

logger = get_logger(__name__)

LOOK_SECONDS = 1.0
"""How often a process looks whether the one that started it is still there."""


@contextmanager
def with_parent(name: str) -> Iterator[None]:
    """Ask this process to stop, as SIGTERM does, when the one that started it ends inside the ``with`` block.

    Whoever is killed at once takes nobody along: what it started would go on unseen, beside the run that is started in
    its place.

    Args:
        name: of the parent, for the log.
    """
    parent, over = os.getppid(), threading.Event()

    def look() -> None:
        while not over.wait(LOOK_SECONDS):
            if os.getppid() != parent:
                logger.warning("%s (process %d) is gone; this process stops too", name, parent, extra=OF_THIS_PROCESS)
                os.kill(os.getpid(), signal.SIGTERM)
                return

    thread = threading.Thread(target=look, name="parent", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
