"""One request to a web server, with a limit of time to connect and another to stay silent.

iopath opens web addresses too, but through ``urllib.request.urlretrieve``: no way to go on after a cut, no check, and a
server that falls silent holds it for ever. So the transfer is written here on the same ``urllib`` (which honours
``http_proxy`` and its kin), and given back to iopath as a handler in ``runtime/download.py``.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import uniformer_video

_PASSING = (408, 425, 429, 500, 502, 503, 504)
"""Statuses that may be gone a moment later."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_AS_IS = "%/:=&?~#+!$,;'@()*[]"
"""What may stand in an address; anything else (spaces, letters outside ASCII) is written as %XX."""


class Refused(Exception):
    """The file cannot be had at this address; another try would end the same way."""


class Cut(Exception):
    """The transfer broke off; another try may go on."""


class Unreachable(Cut):
    """There was no connection at all."""


@dataclass(frozen=True)
class Limits:
    """How long a download may wait, and how often it tries.

    Attributes:
        connect_seconds: to reach the server.
        stall_seconds: without an answer, without a byte, or below 1 KiB a second.
        tries: in a row that bring little or nothing.
        pause_seconds: before the second try; doubled before each further one.
    """

    connect_seconds: float = 15.0
    stall_seconds: float = 30.0
    tries: int = 4
    pause_seconds: float = 1.0


def request(url: str, headers: Mapping[str, str], limits: Limits) -> Any:
    """Ask for ``url`` and return the open answer, an ``http.client.HTTPResponse`` or like it.

    Args:
        url: ``http://`` or ``https://``.
        headers: of the request. With ``Range``, status 416 is an answer and no error.
        limits: of time.

    Raises:
        Cut: no answer, or one that may be another a moment later.
        Refused: any other answer than the file.
    """
    agent = f"uniformer_video/{uniformer_video.__version__}"
    host = ""
    try:
        host = urlsplit(url).hostname or ""
        # A proxy cannot reach what listens on this machine alone.
        proxies = (urllib.request.ProxyHandler({}),) if host in _LOOPBACK else ()
        opener = urllib.request.build_opener(*proxies, _Plain(limits), _Secure(limits))
        request = urllib.request.Request(quote(url, safe=_AS_IS), headers={"User-Agent": agent, **headers})
        return opener.open(request, timeout=limits.connect_seconds)
    except urllib.error.HTTPError as error:
        if error.code == 416 and "Range" in headers:
            return error
        error.close()
        answer = f"the server answers {error.code} {' '.join(str(error.reason).split())[:80]}".rstrip()
        raise (Cut if error.code in _PASSING else Refused)(answer) from None
    except urllib.error.URLError as error:
        raise _no_connection(error.reason, host, limits) from None
    except TimeoutError:
        raise Cut(f"the server did not answer for {limits.stall_seconds:g} s") from None
    except (ValueError, http.client.InvalidURL) as error:
        raise Refused(f"it is no web address ({error})") from None
    except (http.client.HTTPException, OSError) as error:
        raise Cut(f"the server broke off ({reason_of(error)})") from None


def _no_connection(reason: Any, host: str, limits: Limits) -> Exception:
    if isinstance(reason, ssl.SSLError):
        return Refused(f"no safe connection to {host} ({reason_of(reason)})")
    if isinstance(reason, ConnectionResetError | BrokenPipeError):
        return Cut(f"the server broke off ({reason_of(reason)})")
    if isinstance(reason, TimeoutError):
        return Unreachable(f"{host} did not answer within {limits.connect_seconds:g} s")
    if isinstance(reason, OSError):
        return Unreachable(f"{host} cannot be reached ({reason_of(reason)})")
    return Refused(f"it is no web address ({reason})")


def reason_of(error: BaseException) -> str:
    """Return what an exception says, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Plain(urllib.request.HTTPHandler):
    """``http://`` with one limit to connect and another to stay silent."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._limits), request)


class _Secure(urllib.request.HTTPSHandler):
    """``https://`` with the same two limits."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, http.client.HTTPSConnection, self._limits), request)


def _connection(
    kind: type[http.client.HTTPConnection], limits: Limits, host: str, **options: Any
) -> http.client.HTTPConnection:
    """Return a connection whose socket, once connected, may be silent for ``limits.stall_seconds``."""
    connection = kind(host, **options)
    connect = connection.connect

    def connect_then_wait() -> None:
        connect()
        sock: socket.socket = connection.sock
        sock.settimeout(limits.stall_seconds)

    connection.connect = connect_then_wait  # type: ignore[method-assign]
    return connection
