"""Fixtures of this room."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.http_server import FileServer, file_server
from tests.toy import log

__all__ = ["log", "server"]


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as running:
        yield running
