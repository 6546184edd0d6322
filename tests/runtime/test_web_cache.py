"""A web address is fetched into the cache, taken from there with a word, and fetched again when it has changed."""

from __future__ import annotations

import os
import random
import socket
import time
from pathlib import Path

import pytest

from tests.http_server import Answer
from uniformer_video.runtime.errors import UserError, WeightError
from uniformer_video.runtime.paths import PATHS
from uniformer_video.runtime.web import Limits
from uniformer_video.runtime.web_cache import WebHandler, cached_path, in_cache

CONTENT, OTHER = random.Random(0).randbytes(5000), random.Random(1).randbytes(5000)
DAY = "Mon, 01 Jan 2024 00:00:00 GMT"


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path) -> Path:
    monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def get(url: str, **options) -> bytes:
    return Path(PATHS.get_local_path(url, **options)).read_bytes()


class TestPlaces:
    def test_addresses_of_one_name_do_not_meet(self, cache):
        one, other = cached_path("http://a/x/net.pth?v=1"), cached_path("http://a/y/net.pth?v=1")
        assert one.parent == cache / "urls"
        assert one != other
        assert one.suffix == ".pth" and one.name.startswith("net-")

    @pytest.mark.parametrize(
        "url", ["http://a", "http://a/", "http://a/..", "http://a/%2e%2e/ü b", "http://a/" + "x" * 500]
    )
    def test_any_address_gives_a_plain_name(self, cache, url):
        path = cached_path(url)
        assert path.parent == cache / "urls"
        assert len(path.name.encode()) < 255

    @pytest.mark.parametrize("url", ["http://[::1", "https://[x]/a.pth", "http://a/\ud800"])
    def test_what_is_no_address(self, url):
        with pytest.raises(
            WeightError, match=r"^'http.*' is no web address \(.*\); it looks like https://host/folder/"
        ):
            cached_path(url)

    def test_in_cache(self, cache, tmp_path, monkeypatch):
        url = "http://u/a.pth"
        assert in_cache(url) is None
        (cache / "urls").mkdir(parents=True)
        places = [cache / "a.pth", cached_path(url), tmp_path / "a.pth", cache / "a.pth.part"]
        for place in places:
            place.write_bytes(b"x")
        assert [in_cache(place) for place in places] == [*places[:2], None, None]
        assert in_cache(str(places[1])) == in_cache(url) == places[1]
        assert [in_cache(text) for text in ("\0", cache, cache / "none")] == [None, None, None]
        monkeypatch.chdir(cache)
        assert in_cache("a.pth") == Path("a.pth")


class TestAgain:
    """What is said and done about an address whose file lies in the cache."""

    def line(self, url: str, finding: str) -> str:
        local = cached_path(url)
        day = time.strftime("%Y-%m-%d", time.localtime(local.stat().st_mtime))
        return f"INFO: {url}: from the cache, fetched {day} ({finding}); remove {local} to fetch it again"

    @pytest.mark.parametrize("version", [{}, {"etag": "", "modified": DAY}, {"etag": 'W/"1"', "modified": DAY}])
    def test_unchanged(self, server, log, version):
        url = server.serve("/a.pth", Answer(CONTENT, **version))
        assert get(url) == CONTENT
        log.clear()
        assert get(url) == CONTENT
        assert log == [self.line(url, "which the server has unchanged")]
        assert [bool(asked.condition) for asked in server.asked] == [False, True]

    def test_a_server_that_heeds_no_conditions(self, server, log):
        url = server.serve("/a.pth", Answer(CONTENT, heeds_conditions=False))
        get(url)
        log.clear()
        assert get(url) == CONTENT
        assert log == [self.line(url, "which the server has unchanged")]

    @pytest.mark.parametrize("heeds", [True, False])
    def test_changed(self, server, log, heeds):
        url = server.serve("/a.pth", Answer(CONTENT))
        get(url)
        log.clear()
        server.serve("/a.pth", Answer(OTHER, heeds_conditions=heeds))
        assert get(url) == OTHER
        assert log[0].startswith(f"INFO: {url} has changed since it was fetched on 20")
        assert get(url) == OTHER
        assert log[-1] == self.line(url, "which the server has unchanged")

    def test_nothing_that_tells_versions_apart(self, server, log):
        url = server.serve("/a.pth", Answer(CONTENT, etag=""), Answer(OTHER, etag=""))
        get(url)
        log.clear()
        assert get(url) == CONTENT
        assert log == [self.line(url, "whether it has changed since is not known")]
        assert len(server.asked) == 1
        assert get(url, force=True) == OTHER

    def test_offline(self, server, log):
        url = server.serve("/a.pth", Answer(CONTENT))
        get(url)
        log.clear()
        server.serve("/a.pth", Answer(status=503))
        assert get(url) == CONTENT
        unknown = "whether it has changed since cannot be asked: the server answers 503 Service Unavailable"
        assert log == [self.line(url, unknown)]

    def test_nobody_there(self, log):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}/a.pth"
        local = cached_path(url)
        local.parent.mkdir(parents=True)
        local.write_bytes(CONTENT)
        (local.parent / f"{local.name}.json").write_text(f'{{"url": "{url}", "etag": "1"}}')
        assert get(url) == CONTENT
        assert "cannot be asked: 127.0.0.1 cannot be reached (Connection refused)" in log[-1]

    def test_a_silent_server_is_not_waited_for(self, server, monkeypatch):
        url = server.serve("/a.pth", Answer(CONTENT))
        get(url)
        server.serve("/a.pth", Answer(stall_after=-1))
        monkeypatch.setattr("uniformer_video.runtime.web_cache._ASK_SECONDS", 0.2)
        started = time.monotonic()
        assert get(url, limits=Limits(stall_seconds=20)) == CONTENT
        assert time.monotonic() - started < 5

    def test_a_new_version_that_cannot_be_had(self, server, log):
        url = server.serve("/a.pth", Answer(CONTENT))
        get(url)
        bad = Answer(OTHER, content_type="text/html")
        server.serve("/a.pth", bad)
        assert get(url) == CONTENT
        day = time.strftime("%Y-%m-%d", time.localtime(cached_path(url).stat().st_mtime))
        assert log[-1].startswith(f"WARNING: {url} cannot be downloaded: the server answers with a web page, ")
        assert log[-1].endswith(f"; the one that was fetched {day} is used")
        with pytest.raises(WeightError, match="a web page"):
            get(url, force=True)

    def test_a_new_version_that_fails_its_check(self, server):
        url = server.serve("/a.pth", Answer(CONTENT))
        get(url)
        server.serve("/a.pth", Answer(OTHER))
        assert get(url, check=lambda path: "" if path.read_bytes() == CONTENT else "bad") == CONTENT
        assert sorted(os.listdir(cached_path(url).parent)) == [cached_path(url).name, f"{cached_path(url).name}.json"]

    def test_a_file_for_another_place_leaves_no_note(self, server, tmp_path):
        url = server.serve("/a.pth", Answer(CONTENT))
        assert get(url, to=tmp_path / "b.pth") == CONTENT
        assert get(url, to=tmp_path / "b.pth") == CONTENT
        assert len(server.asked) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["b.pth"]


class TestHandler:
    def test_paths_open_a_web_address_once(self, server):
        url = server.serve("/a.txt", Answer("größe\n".encode()))
        for _ in range(2):
            with PATHS.open(url, "r", encoding="utf-8") as file:
                assert file.read() == "größe\n"
        assert [bool(asked.condition) for asked in server.asked] == [False, True]
        with PATHS.open(url, "rb") as file:
            assert file.read() == "größe\n".encode()

    def test_local_path(self, server):
        url = server.serve("/a.pth", Answer(CONTENT))
        local = PATHS.get_local_path(url)
        assert local == str(cached_path(url))
        assert Path(local).read_bytes() == CONTENT
        assert PATHS.get_local_path(url, force=True) == local
        assert [asked.condition for asked in server.asked] == ["", ""]

    def test_an_error_says_what_to_do(self, server):
        with pytest.raises(WeightError, match=r"404 Not Found; .*; put the file on this machine and give its path$"):
            PATHS.open(server.url + "/none")

    def test_writing_is_refused(self, server):
        with pytest.raises(UserError, match=r"can be read, not written \(mode 'w'\)$"):
            PATHS.open(server.url + "/a", "w")

    def test_a_users_own_handler_for_one_host_goes_first(self, server):
        class Own(WebHandler):
            def _get_supported_prefixes(self):
                return ["http://own.example.org/"]

            def _get_local_path(self, path, force=False, **kwargs):
                return "own"

        url = server.serve("/a", Answer(CONTENT))
        try:
            PATHS.register_handler(Own())
            assert PATHS.get_local_path("http://own.example.org/a") == "own"
            assert PATHS.get_local_path(url) == str(cached_path(url))
        finally:
            PATHS._path_handlers.pop("http://own.example.org/", None)
