"""A web server on the loopback interface that serves files well or badly, and remembers what it was asked."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """How one request for a file is answered.

    Attributes:
        content: the whole file.
        status: other than 200: an error, with ``content`` as its page.
        ranges: whether a part is served when asked for ("unsaid": but no header says so).
        etag: None: made from the content; empty: none.
        modified: value of Last-Modified.
        content_type: of the answer.
        location: where a redirect (status 302) leads.
        cut_after: close the connection after so many bytes of the body.
        stall_after: fall silent after so many bytes of the body (-1: before the status line).
        drip: send one byte every so many seconds.
        announced: Content-Length; None: the right one; -1: none at all.
        heeds_if_range: whether If-Range is looked at.
        heeds_conditions: whether If-None-Match and If-Modified-Since are.
        headers: more of them, or others in place of the right ones.
    """

    content: bytes = b""
    status: int = 200
    ranges: bool | str = True
    etag: str | None = None
    modified: str = ""
    content_type: str = "application/octet-stream"
    location: str = ""
    cut_after: int | None = None
    stall_after: int | None = None
    drip: float = 0.0
    announced: int | None = None
    heeds_if_range: bool = True
    heeds_conditions: bool = True
    headers: dict[str, str] = field(default_factory=dict)

    def tag(self) -> str:
        return f'"{hashlib.md5(self.content).hexdigest()[:8]}"' if self.etag is None else self.etag


@dataclass(frozen=True)
class Asked:
    """One request as the server saw it."""

    path: str
    range: str
    if_range: str
    agent: str
    condition: str


class FileServer:
    """Files by path, each with one answer for all requests or with a list: one for each request, the last for the rest.

    Attributes:
        url: ``http://127.0.0.1:<port>``.
        asked: every request so far.
    """

    def __init__(self) -> None:
        self._answers: dict[str, list[Answer]] = {}
        self.asked: list[Asked] = []
        self.closing = threading.Event()
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                # The other side may be gone, which is the point of many a test.
                with suppress(OSError):
                    server._serve(self)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def serve(self, path: str, *answers: Answer) -> str:
        """Serve ``path`` ("/a.pth") and return its address."""
        with self._lock:
            self._answers[path] = list(answers)
        return self.url + path

    def ranges(self) -> list[str]:
        """Return the Range header of every request so far; empty where there was none."""
        return [asked.range for asked in self.asked]

    def close(self) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def _answer(self, handler: BaseHTTPRequestHandler) -> Answer:
        header = handler.headers.get
        with self._lock:
            condition = header("If-None-Match", "") or header("If-Modified-Since", "")
            parts = header("Range", ""), header("If-Range", "")
            asked = Asked(handler.path, *parts, header("User-Agent", ""), condition)
            self.asked.append(asked)
            answers = self._answers.get(handler.path)
            if not answers:
                return Answer(b"<html>no such page</html>", status=404, content_type="text/html")
            return answers.pop(0) if len(answers) > 1 else answers[0]

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        answer = self._answer(handler)
        if answer.stall_after == -1:
            self.closing.wait()
            return
        status, body, headers = self._part(answer, handler)
        handler.send_response(status)
        for name, value in {**headers, **answer.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        stops = [n for n in (answer.cut_after, answer.stall_after) if n is not None]
        for piece in self._pieces(body[: min(stops, default=len(body))], answer.drip):
            handler.wfile.write(piece)
        handler.wfile.flush()
        if answer.stall_after is not None:
            self.closing.wait()

    def _pieces(self, body: bytes, drip: float) -> Iterator[bytes]:
        if not drip:
            yield body
            return
        for byte in body:
            yield bytes([byte])
            if self.closing.wait(drip):
                return

    def _part(self, answer: Answer, handler: BaseHTTPRequestHandler) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers: the whole file, or the part that was asked for."""
        headers = {"Content-Type": answer.content_type}
        if answer.tag():
            headers["ETag"] = answer.tag()
        if answer.modified:
            headers["Last-Modified"] = answer.modified
        if answer.ranges is True:
            headers["Accept-Ranges"] = "bytes"
        if answer.location:
            headers["Location"] = answer.location
        status, body = answer.status, answer.content
        condition = handler.headers.get("If-None-Match") or handler.headers.get("If-Modified-Since")
        if status == 200 and answer.heeds_conditions and condition and condition in (answer.tag(), answer.modified):
            return 304, b"", headers
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        if_range = handler.headers.get("If-Range")
        unchanged = not (if_range and answer.heeds_if_range) or if_range in (answer.tag(), answer.modified)
        if status == 200 and answer.ranges and wanted and unchanged:
            first = int(wanted[1])
            if first >= len(body):
                status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
            else:
                headers["Content-Range"] = f"bytes {first}-{len(body) - 1}/{len(body)}"
                status, body = 206, body[first:]
        if answer.announced != -1:
            headers["Content-Length"] = str(len(body) if answer.announced is None else answer.announced)
        return status, body, headers


@contextmanager
def file_server() -> Iterator[FileServer]:
    """Yield a server that is gone, with all its threads, at the end."""
    server = FileServer()
    try:
        yield server
    finally:
        server.close()


def wait_until(condition, seconds: float = 5.0) -> None:
    """Return as soon as ``condition()`` holds; fail when it does not within ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)
