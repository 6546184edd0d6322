"""One request: what it sends, which answers are errors of which kind, and that no server can make it wait for ever."""

from __future__ import annotations

import http.client
import socket
import threading
import time

import pytest

import uniformer_video
from tests.http_server import Answer
from uniformer_video.runtime.web import Cut, Limits, Refused, Unreachable, reason_of, request

STANDARD, QUICK = Limits(), Limits(connect_seconds=2, stall_seconds=0.3)


def body_of(url: str, headers: dict[str, str] | None = None) -> bytes:
    with request(url, headers or {}, STANDARD) as response:
        return response.read()


class TestAnswers:
    def test_a_file(self, server):
        url = server.serve("/a.pth", Answer(b"weights"))
        with request(url, {}, STANDARD) as response:
            assert (response.status, response.length, response.read()) == (200, 7, b"weights")

    def test_the_agent_says_who_asks(self, server):
        body_of(server.serve("/a", Answer(b"x")))
        assert server.asked[0].agent == f"uniformer_video/{uniformer_video.__version__}"

    def test_headers_are_sent(self, server):
        url = server.serve("/a", Answer(b"0123456789", etag='"v1"'))
        with request(url, {"Range": "bytes=4-", "If-Range": '"v1"'}, STANDARD) as response:
            assert (response.status, response.headers["Content-Range"]) == (206, "bytes 4-9/10")
            assert response.read() == b"456789"
        assert (server.asked[0].range, server.asked[0].if_range) == ("bytes=4-", '"v1"')

    def test_a_redirect_is_followed_with_the_range(self, server):
        there = server.serve("/there", Answer(b"0123456789"))
        url = server.serve("/here", Answer(status=302, location=there))
        assert body_of(url, {"Range": "bytes=8-"}) == b"89"
        assert [(a.path, a.range) for a in server.asked] == [("/here", "bytes=8-"), ("/there", "bytes=8-")]

    def test_a_redirect_in_a_circle_ends(self, server):
        url = server.url + "/a"
        server.serve("/a", Answer(status=302, location=url))
        with pytest.raises(Refused, match=r"^the server answers 302 The HTTP server returned a redirect error"):
            body_of(url)
        assert len(server.asked) < 20

    def test_where_a_redirect_leads_is_named(self, server, monkeypatch):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        url = server.serve("/here", Answer(status=302, location=f"http://localhost:{port}/there"))
        with pytest.raises(Unreachable) as caught:
            request(url, {}, QUICK)
        wanted = "localhost, to which 127.0.0.1 redirects, cannot be reached (Connection refused)"
        assert str(caught.value) == wanted
        there = server.url.replace("127.0.0.1", "localhost") + "/none"
        server.serve("/here", Answer(status=302, location=there))
        with pytest.raises(Refused, match=r"^localhost, to which 127\.0\.0\.1 redirects, answers 404 Not Found$"):
            request(url, {}, QUICK)

    def test_unchanged_is_an_answer_to_a_condition_alone(self, server):
        url = server.serve("/a", Answer(b"0123", etag='"v1"', modified="Mon, 01 Jan 2024 00:00:00 GMT"))
        for headers in ({"If-None-Match": '"v1"'}, {"If-Modified-Since": "Mon, 01 Jan 2024 00:00:00 GMT"}):
            with request(url, headers, STANDARD) as response:
                assert response.status == 304
        with request(url, {"If-None-Match": '"v0"'}, STANDARD) as response:
            assert (response.status, response.read()) == (200, b"0123")
        server.serve("/a", Answer(status=304))
        with pytest.raises(Refused, match="^the server answers 304"):
            body_of(url)

    @pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
    def test_an_answer_that_stays(self, server, status):
        url = server.serve("/a", Answer(b"page", status=status))
        with pytest.raises(Refused) as caught:
            body_of(url)
        assert str(caught.value) == f"the server answers {status} {http.client.responses[status]}"

    @pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
    def test_an_answer_that_may_pass(self, server, status):
        url = server.serve("/a", Answer(b"page", status=status))
        with pytest.raises(Cut, match=f"^the server answers {status} ") as caught:
            body_of(url)
        assert not isinstance(caught.value, Unreachable)

    def test_range_not_satisfiable_is_an_answer_to_a_range_alone(self, server):
        url = server.serve("/a", Answer(b"0123"))
        with request(url, {"Range": "bytes=4-"}, STANDARD) as response:
            assert (response.status, response.headers["Content-Range"]) == (416, "bytes */4")
        server.serve("/a", Answer(status=416))
        with pytest.raises(Refused, match="^the server answers 416"):
            body_of(url)

    def test_letters_outside_ascii_and_spaces(self, server):
        server.serve("/gr%C3%B6%C3%9Fe%20a.pth", Answer(b"x"))
        assert body_of(server.url + "/größe a.pth") == b"x"
        assert body_of(server.url + "/gr%C3%B6%C3%9Fe%20a.pth") == b"x"

    @pytest.mark.parametrize(
        "url", ["http://", "http:///a", "http://[::1", "http://host:port/a", "gopher://a/b", "a/b"]
    )
    def test_no_address(self, url):
        with pytest.raises(Refused, match="^it is no web address"):
            request(url, {}, STANDARD)


class TestNoAnswer:
    def test_nobody_listens(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        with pytest.raises(Unreachable, match=r"^127\.0\.0\.1 cannot be reached \(Connection refused\)$"):
            request(f"http://127.0.0.1:{port}/a", {}, QUICK)

    def test_a_host_without_address(self, monkeypatch):
        def unknown(*_, **__):
            raise socket.gaierror(-2, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        monkeypatch.setenv("no_proxy", "*")
        with pytest.raises(Unreachable, match=r"^example\.org cannot be reached \(Name or service not known\)$"):
            request("https://example.org/a", {}, QUICK)

    def test_a_connection_that_never_comes(self, monkeypatch):
        def late(*_, **__):
            raise TimeoutError("timed out")

        monkeypatch.setattr(socket, "create_connection", late)
        with pytest.raises(Unreachable, match=r"^127\.0\.0\.1 did not answer within 2 s$"):
            request("http://127.0.0.1:9/a", {}, QUICK)

    def test_silence_instead_of_an_answer(self, server):
        url = server.serve("/a", Answer(stall_after=-1))
        started = time.monotonic()
        with pytest.raises(Cut, match=r"^the server did not answer for 0\.3 s$"):
            request(url, {}, QUICK)
        assert 0.25 < time.monotonic() - started < 5

    def test_silence_within_the_body(self, server):
        url = server.serve("/a", Answer(b"x" * 100, stall_after=10))
        with request(url, {}, QUICK) as response:
            assert response.read(10) == b"x" * 10
            started = time.monotonic()
            with pytest.raises(TimeoutError):
                response.read(1)
        assert 0.25 < time.monotonic() - started < 5

    @pytest.mark.parametrize("speech", [b"", b"hello, this is mail\r\n", b"HTTP/1.1 two hundred\r\n\r\n"])
    def test_a_server_of_another_kind(self, speech):
        with socket.create_server(("127.0.0.1", 0)) as listening:

            def answer() -> None:
                connection, _ = listening.accept()
                with connection:
                    connection.recv(1000)
                    connection.sendall(speech)

            thread = threading.Thread(target=answer)
            thread.start()
            with pytest.raises(Cut, match=r"^the server broke off \("):
                request(f"http://127.0.0.1:{listening.getsockname()[1]}/a", {}, QUICK)
            thread.join()

    def test_no_tls_where_it_should_be(self, server):
        with pytest.raises(Refused, match=r"^no safe connection to 127\.0\.0\.1 \("):
            request(server.url.replace("http:", "https:"), {}, QUICK)

    def test_https_has_the_same_limit_of_silence(self):
        # A listener that never speaks: the TLS handshake must not wait for ever either.
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            started = time.monotonic()
            with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s$"):
                request(f"https://127.0.0.1:{port}/a", {}, Limits(connect_seconds=0.2, stall_seconds=5))
        assert time.monotonic() - started < 5


class TestProxies:
    def test_this_machine_is_asked_without_a_proxy(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        monkeypatch.delenv("no_proxy", raising=False)
        assert body_of(server.serve("/a", Answer(b"x"))) == b"x"

    def test_others_are_asked_through_the_proxy(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        server.serve("http://weights.example.org/a.pth", Answer(b"by proxy"))
        assert body_of("http://weights.example.org/a.pth") == b"by proxy"

    @pytest.fixture
    def closed(self, monkeypatch) -> str:
        """Return host:port of a proxy that nobody listens at, set for all addresses."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            place = f"127.0.0.1:{probe.getsockname()[1]}"
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://user:secret@{place}")
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        return place

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_proxy_that_cannot_be_reached_is_named(self, closed, scheme):
        with pytest.raises(Unreachable) as caught:
            request(f"{scheme}://weights.example.org/a.pth", {}, QUICK)
        wanted = f"weights.example.org cannot be reached through the proxy {closed} (Connection refused)"
        assert str(caught.value) == wanted

    def test_a_proxy_that_says_no(self, server, monkeypatch):
        monkeypatch.setenv("http_proxy", server.url)
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name, raising=False)
        server.serve("http://weights.example.org/a.pth", Answer(status=403))
        place = server.url.removeprefix("http://")
        with pytest.raises(Refused, match=f"^the server or the proxy {place} answers 403 Forbidden$"):
            request("http://weights.example.org/a.pth", {}, QUICK)

    def test_a_redirect_to_this_machine_needs_no_proxy_either(self, server, closed):
        url = server.serve("/here", Answer(status=302, location=server.serve("/there", Answer(b"x"))))
        assert body_of(url) == b"x"

    def test_a_redirect_elsewhere_goes_through_the_proxy(self, server, closed):
        url = server.serve("/here", Answer(status=302, location="http://cdn.example.org/a"))
        with pytest.raises(Unreachable) as caught:
            request(url, {}, QUICK)
        assert str(caught.value) == (
            "cdn.example.org, to which 127.0.0.1 redirects, cannot be reached through the proxy "
            f"{closed} (Connection refused)"
        )


def test_what_an_exception_says():
    assert reason_of(OSError(28, "No space left on device")) == "No space left on device"
    assert reason_of(ValueError("a b")) == "a b"
    assert reason_of(TimeoutError()) == "TimeoutError"


def test_the_standard_limits():
    assert Limits() == Limits(connect_seconds=15, stall_seconds=30, tries=4, pause_seconds=1)
