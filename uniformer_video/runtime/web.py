"""One request to a web server, with a limit of time to connect and another to stay silent.

iopath opens web addresses too, but through ``urllib.request.urlretrieve``: no way to go on after a cut, no check, and a
server that falls silent holds it for ever. So the transfer is written here on the same ``urllib`` (which honours
``http_proxy`` and its kin), and given back to iopath as a handler in ``runtime/web_cache.py``.
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
_ANSWERS = (("Range", 416), ("If-None-Match", 304), ("If-Modified-Since", 304))
"""Headers of a request, and the status that is an answer to them."""
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_PROXY = "uniformer_video_proxy"
"""Attribute of a request with the proxy (host:port) that gets it."""
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
        headers: of the request. With ``Range``, status 416 is an answer and no error; so is 304 with a condition.
        limits: of time.

    Raises:
        Cut: no answer, or one that may be another a moment later.
        Refused: any other answer than the file.
    """
    agent = f"uniformer_video/{uniformer_video.__version__}"
    try:
        asked = _Asked(url)
        opener = urllib.request.build_opener(_Proxies(), _Plain(asked, limits), _Secure(asked, limits))
        request = urllib.request.Request(quote(url, safe=_AS_IS), headers={"User-Agent": agent, **headers})
        return opener.open(request, timeout=limits.connect_seconds)
    except urllib.error.HTTPError as error:
        if any(error.code == code and name in headers for name, code in _ANSWERS):
            return error
        error.close()
        answer = f"{asked.server()} answers {error.code} {' '.join(str(error.reason).split())[:80]}".rstrip()
        raise (Cut if error.code in _PASSING else Refused)(answer) from None
    except urllib.error.URLError as error:
        raise _no_connection(error.reason, asked, limits) from None
    except TimeoutError:
        raise Cut(f"the server did not answer for {limits.stall_seconds:g} s") from None
    except (ValueError, http.client.InvalidURL) as error:
        raise Refused(f"it is no web address ({error})") from None
    except (http.client.HTTPException, OSError) as error:
        raise Cut(f"the server broke off ({reason_of(error)})") from None


def _no_connection(reason: Any, asked: _Asked, limits: Limits) -> Exception:
    host, proxy = asked.host(), asked.proxy("through")
    if isinstance(reason, ssl.SSLError):
        return Refused(f"no safe connection to {host}{proxy} ({reason_of(reason)})")
    if isinstance(reason, ConnectionResetError | BrokenPipeError):
        return Cut(f"the server broke off ({reason_of(reason)})")
    if isinstance(reason, TimeoutError):
        return Unreachable(f"{host} did not answer{proxy} within {limits.connect_seconds:g} s")
    if isinstance(reason, OSError):
        return Unreachable(f"{host} cannot be reached{proxy} ({reason_of(reason)})")
    return Refused(f"it is no web address ({reason})")


def reason_of(error: BaseException) -> str:
    """Return what an exception says, in a few words."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


class _Asked:
    """Who is asked: redirects and proxies lead to other machines than the address names.

    Attributes:
        request: the last one that was sent; None: none yet.
    """

    def __init__(self, url: str) -> None:
        self._first = urlsplit(url).hostname or ""
        self.request: urllib.request.Request | None = None

    def host(self) -> str:
        """Return the machine whose answer is wanted, and how it came to be asked."""
        last = (urlsplit(self.request.full_url).hostname or "") if self.request else self._first
        return last if last == self._first else f"{last}, to which {self._first} redirects,"

    def proxy(self, before: str) -> str:
        """Return ``before`` and the proxy that is asked to pass it on; empty: without one."""
        proxy = getattr(self.request, _PROXY, "")
        return f" {before} the proxy {proxy}" if proxy else ""

    def server(self) -> str:
        """Return who gives an answer."""
        host = self.host()
        return ("the server" if host == self._first else host) + self.proxy("or")


class _Proxies(urllib.request.ProxyHandler):
    """The proxies that the environment names, but not to this machine itself, which they cannot reach."""

    def proxy_open(self, request: urllib.request.Request, proxy: str, type: str) -> Any:
        """Lead ``request`` to ``proxy`` and note it there."""
        if urlsplit(request.full_url).hostname in _LOOPBACK:
            return None
        host = request.host
        answer = super().proxy_open(request, proxy, type)
        if request.host != host:
            setattr(request, _PROXY, request.host)
        return answer


class _Plain(urllib.request.HTTPHandler):
    """``http://`` with one limit to connect and another to stay silent."""

    def __init__(self, asked: _Asked, limits: Limits) -> None:
        super().__init__()
        self._asked, self._limits = asked, limits

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        self._asked.request = request
        return self.do_open(partial(_connection, http.client.HTTPConnection, self._limits), request)


class _Secure(urllib.request.HTTPSHandler):
    """``https://`` with the same two limits."""

    def __init__(self, asked: _Asked, limits: Limits) -> None:
        super().__init__()
        self._asked, self._limits = asked, limits

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        self._asked.request = request
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
