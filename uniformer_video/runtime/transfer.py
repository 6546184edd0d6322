"""The bytes that a partial file still lacks, by one request to a web server."""

from __future__ import annotations

import http.client
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO

from uniformer_video.runtime.web import Cut, Limits, Refused, reason_of, request

_CHUNK = 256 * 1024
_SLOWEST = 1024


@dataclass(frozen=True)
class Origin:
    """What the bytes of a partial file are of.

    Attributes:
        url: where they came from.
        etag: the server's name for this version of the file; empty: none.
        modified: the server's date of it; empty: none.
        ranges: whether the server may hand over the rest alone.
    """

    url: str
    etag: str = ""
    modified: str = ""
    ranges: bool = True

    def validator(self) -> str:
        """Return what tells the server which version the bytes are of; empty: nothing can (RFC 9110, If-Range)."""
        return self.modified if not self.etag or self.etag.startswith("W/") else self.etag

    def can_resume(self, url: str, checked: bool) -> bool:
        """Say whether a later request to ``url`` can go on behind these bytes.

        Args:
            url: of that request.
            checked: whether a hash will tell in the end that the parts belong together.
        """
        return self.ranges and (checked or (self.url == url and bool(self.validator())))


Report = Callable[[int, int | None], None]
"""Called with the bytes there are and the bytes there will be (None: not known)."""


def fetch(
    url: str,
    file: IO[bytes],
    origin: Origin | None,
    *,
    size: int | None,
    checked: bool,
    limits: Limits,
    note: Callable[[Origin], None],
    report: Report,
) -> None:
    """Append to ``file`` what it lacks, or begin it anew where its bytes are of another version.

    Args:
        url: ``http://`` or ``https://``.
        file: unbuffered, open for reading and writing; what it holds came from ``origin``.
        origin: None: unknown.
        size: bytes of the whole file, where known.
        checked: whether a hash will be compared in the end.
        limits: of time.
        note: called with the origin of the bytes before any is written.
        report: called as bytes arrive.

    Raises:
        Cut: the file holds what has come so far.
        Refused: the server has no such file, another file or a web page.
    """
    have = file.seek(0, 2)
    if have and (size is None or have <= size) and origin and origin.can_resume(url, checked):
        if have == size:
            return
    else:
        have = _begin_anew(file)
    headers = {"Range": f"bytes={have}-"} if have else {}
    if have and origin and origin.url == url and origin.validator():
        headers["If-Range"] = origin.validator()
    with request(url, headers, limits) as response:
        total = _total(response, have)
        if response.status == 416 and total == have:
            return  # nothing is left to send
        if response.status != 416:
            _refuse_another(response, url, total, size)
        if have and not _continues(response, have, origin if "If-Range" in headers else None):
            have = _begin_anew(file)
            if response.status != 200:
                raise Cut("the server's answer does not follow on the part there was")
        if not (have and origin and origin.url == url):
            note(_origin(response, url, asked=bool(headers), before=origin))
        _receive(response, file, have, size if total is None else total, limits, report)


def _begin_anew(file: IO[bytes]) -> int:
    file.seek(0)
    file.truncate()
    return 0


def _continues(response: http.client.HTTPResponse, have: int, origin: Origin | None) -> bool:
    """Say whether an answer holds what comes after the first ``have`` bytes of the same version."""
    if response.status != 206:
        return False
    begins = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    # Some servers do not know If-Range and send the rest of whatever they hold now.
    etag = response.headers.get("ETag", "")
    another = origin is not None and bool(origin.etag) and bool(etag) and etag != origin.etag
    return begins is not None and int(begins[1]) == have and not another


def _origin(response: http.client.HTTPResponse, url: str, asked: bool, before: Origin | None) -> Origin:
    """Return what an answer's bytes are of.

    Args:
        response: the answer, from the start of the file.
        url: of the request.
        asked: whether the rest alone was asked for.
        before: what the bytes were of that there had been.
    """
    headers = response.headers
    etag, modified = headers.get("ETag", ""), headers.get("Last-Modified", "")
    # A whole file in answer to a range: it has changed, or the server knows no ranges.
    same = before is not None and (before.url, before.etag, before.modified) == (url, etag, modified)
    refused = same and (asked or not before.ranges)
    says = headers.get("Accept-Ranges", "").strip().lower()
    return Origin(url, etag, modified, ranges=says == "bytes" or (says != "none" and not refused))


def _total(response: http.client.HTTPResponse, have: int) -> int | None:
    """Return the bytes of the whole file that an answer announces."""
    if response.status in (206, 416):
        whole = re.search(r"/(\d+)\s*$", response.headers.get("Content-Range", ""))
        if whole:
            return int(whole[1])
    if response.status == 416 or response.length is None:
        return None
    return response.length + (have if response.status == 206 else 0)


def _refuse_another(response: http.client.HTTPResponse, url: str, total: int | None, size: int | None) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        hint = " (an address with /resolve/ in place of /blob/ gives the file itself)" if "/blob/" in url else ""
        raise Refused(f"the server answers with a web page, not with the file{hint}")
    if total == 0:
        raise Refused("the server's file is empty")
    if None not in (size, total) and total != size:
        raise Refused(f"the server's file has {total} bytes, not the {size} of the published one")


def _receive(
    response: http.client.HTTPResponse,
    file: IO[bytes],
    have: int,
    total: int | None,
    limits: Limits,
    report: Report,
) -> None:
    report(have, total)
    marked_at, marked = time.monotonic(), have
    while True:
        try:
            data = response.read1(_CHUNK)
        except TimeoutError:
            raise Cut(f"the server sent no byte for {limits.stall_seconds:g} s") from None
        except (http.client.HTTPException, OSError) as error:
            raise Cut(f"the connection broke ({reason_of(error)})") from None
        if not data:
            break
        _write(file, data)
        have += len(data)
        report(have, total)
        # A server that drips would otherwise never be too late.
        now = time.monotonic()
        if now - marked_at >= limits.stall_seconds:
            if have - marked < _SLOWEST * (now - marked_at):
                raise Cut(f"the server sent {have - marked} bytes in {now - marked_at:.3g} s")
            marked_at, marked = now, have
    if total is not None and have < total:
        raise Cut(f"the connection ended after {have} of {total} bytes")


def _write(file: IO[bytes], data: bytes) -> None:
    """Write all of ``data``; an unbuffered file may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]
