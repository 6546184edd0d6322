"""A downloaded file is whole and checked, or it is not there; what failed is one line that says what is left."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import random
import socket
import threading
import time
from pathlib import Path

import pytest

from tests.http_server import Answer, wait_until
from uniformer_video.runtime import download as module
from uniformer_video.runtime import part as part_module
from uniformer_video.runtime import transfer
from uniformer_video.runtime.download import cache_folder, download, in_words, is_web_address, sha256_of
from uniformer_video.runtime.errors import WeightError
from uniformer_video.runtime.web import Limits

CONTENT = random.Random(0).randbytes(50_000)
OTHER = random.Random(1).randbytes(50_000)
SHA = hashlib.sha256(CONTENT).hexdigest()
SHA_OTHER = hashlib.sha256(OTHER).hexdigest()
QUICK = Limits(connect_seconds=5, stall_seconds=5, tries=3, pause_seconds=0.001)
ADVICE = "put the file there by hand"


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "cache" / "a.pth"


def fetch(url: str, path: Path, **options) -> Path:
    return download(url, path, limits=QUICK, **{"sha256": SHA, "size": 50_000, "advice": ADVICE, **options})


def failure(url: str, path: Path, **options) -> str:
    with pytest.raises(WeightError) as caught:
        fetch(url, path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(f"; {ADVICE}")
    return message.removesuffix(f"; {ADVICE}")


def names(path: Path) -> list[str]:
    return sorted(os.listdir(path.parent))


class TestGood:
    def test_a_file_is_fetched_and_its_folder_made(self, server, path, log):
        url = server.serve("/a.pth", Answer(CONTENT))
        assert fetch(url, path) == path
        assert path.read_bytes() == CONTENT
        assert names(path) == ["a.pth"]
        assert log == [
            f"INFO: downloading a.pth from {url}",
            f"INFO: downloaded a.pth: 50.0 kB, sha256 as published, in {path}",
        ]

    def test_a_hash_in_capitals_and_a_path_as_text(self, server, path):
        url = server.serve("/a.pth", Answer(CONTENT))
        assert download(url, str(path), sha256=SHA.upper()) == path

    def test_without_a_hash_a_line_says_so(self, server, path, log):
        url = server.serve("/a.pth", Answer(CONTENT))
        fetch(url, path, sha256=None, size=None, label="uniformer_small")
        assert path.read_bytes() == CONTENT
        assert log == [
            f"INFO: downloading uniformer_small from {url}",
            "INFO: downloaded uniformer_small: 50.0 kB, no published sha256 to check against, "
            f"its own is {SHA}, in {path}",
        ]

    def test_an_old_file_is_replaced_at_the_end_alone(self, server, path):
        path.parent.mkdir()
        path.write_bytes(b"old")
        failure(server.serve("/a", Answer(OTHER)), path)
        assert path.read_bytes() == b"old"
        fetch(server.serve("/a", Answer(CONTENT)), path)
        assert path.read_bytes() == CONTENT

    def test_a_cut_connection_is_taken_up_where_it_ended(self, server, path, log):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000), Answer(CONTENT, cut_after=0), Answer(CONTENT))
        fetch(url, path)
        assert path.read_bytes() == CONTENT
        assert server.ranges() == ["", "bytes=20000-", "bytes=20000-"]
        assert log[1:3] == [
            "WARNING: a.pth: the connection ended after 20000 of 50000 bytes; try 2 of 3",
            "WARNING: a.pth: the connection ended after 20000 of 50000 bytes; try 3 of 3",
        ]

    def test_a_server_out_of_breath(self, server, path):
        url = server.serve("/a", Answer(status=503), Answer(CONTENT))
        fetch(url, path)
        assert path.read_bytes() == CONTENT

    def test_a_good_stretch_makes_the_tries_begin_anew(self, server, path, monkeypatch):
        monkeypatch.setattr(module, "_WORTH", 5000)
        answers = [Answer(CONTENT, cut_after=6000) for _ in range(8)]
        fetch(server.serve("/a", *answers, Answer(CONTENT)), path)
        assert path.read_bytes() == CONTENT
        assert len(server.asked) == 9

    def test_pauses_double(self, server, path, monkeypatch):
        pauses = []
        monkeypatch.setattr(module.time, "sleep", pauses.append)
        limits = Limits(tries=4, pause_seconds=1.5)
        with pytest.raises(WeightError):
            download(server.serve("/a", Answer(status=500)), path, limits=limits)
        assert pauses == [1.5, 3, 6]

    def test_no_pause_is_longer_than_a_minute(self, server, path, monkeypatch):
        pauses = []
        monkeypatch.setattr(module.time, "sleep", pauses.append)
        monkeypatch.setattr(module, "fetch", lambda *_, **__: (_ for _ in ()).throw(transfer.Cut("cut")))
        with pytest.raises(WeightError, match="2000 tries"):
            download("http://u/a", path, limits=Limits(tries=2000, pause_seconds=1.0))
        assert (pauses[5], max(pauses), len(pauses)) == (32, 60, 1999)

    def test_bytes_that_lie_there_whole_need_no_network(self, server, path):
        failure(server.serve("/a", Answer(CONTENT, cut_after=49_999), Answer(status=404)), path)
        (path.parent / "a.pth.part").write_bytes(CONTENT)
        before = len(server.asked)
        fetch(server.url + "/a", path)
        assert (path.read_bytes(), len(server.asked)) == (CONTENT, before)


class TestFailures:
    def test_not_found(self, server, path):
        url = server.url + "/none.pth"
        expected = f"{url} cannot be downloaded: the server answers 404 Not Found; nothing was kept"
        assert failure(url, path) == expected
        assert names(path) == []
        assert len(server.asked) == 1

    def test_an_error_that_does_not_pass(self, server, path):
        url = server.serve("/a", Answer(status=500))
        message = failure(url, path)
        assert message == (
            f"{url} cannot be downloaded: the server answers 500 Internal Server Error, 3 tries; nothing was kept"
        )

    def test_truncated_each_time(self, server, path):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000), Answer(CONTENT, cut_after=0))
        assert failure(url, path) == (
            f"{url} cannot be downloaded: the connection ended after 20000 of 50000 bytes, 3 tries; "
            f"20.0 kB are kept in '{path}.part', and the next try goes on from there"
        )
        assert names(path) == ["a.pth.part", "a.pth.part.json"]
        server.serve("/a", Answer(CONTENT))
        fetch(url, path)
        assert path.read_bytes() == CONTENT
        assert server.ranges()[-1] == "bytes=20000-"
        assert names(path) == ["a.pth"]

    def test_truncated_by_a_server_without_ranges(self, server, path):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000, ranges=False))
        assert failure(url, path) == (
            f"{url} cannot be downloaded: the connection ended after 20000 of 50000 bytes, 3 tries; "
            "the 20.0 kB that came cannot be resumed and were removed"
        )
        assert names(path) == []

    def test_stalled(self, server, path):
        url = server.serve("/a", Answer(CONTENT, stall_after=20_000))
        started = time.monotonic()
        with pytest.raises(WeightError) as caught:
            download(url, path, sha256=SHA, limits=Limits(stall_seconds=0.3, tries=1))
        assert time.monotonic() - started < 5
        assert str(caught.value) == (
            f"{url} cannot be downloaded: the server sent no byte for 0.3 s; "
            f"20.0 kB are kept in '{path}.part', and the next try goes on from there"
        )

    def test_wrong_hash(self, server, path):
        url = server.serve("/a", Answer(OTHER))
        assert failure(url, path) == (
            f"what came from {url} is corrupt or another file and was removed: its sha256 is {SHA_OTHER}, "
            f"that of the published file {SHA}"
        )
        assert names(path) == []

    def test_wrong_size_said_beforehand(self, server, path):
        url = server.serve("/a", Answer(CONTENT[:-1]))
        assert failure(url, path) == (
            f"{url} cannot be downloaded: the server's file has 49999 bytes, not the 50000 of the published one; "
            "nothing was kept"
        )

    def test_wrong_size_seen_afterwards(self, server, path):
        url = server.serve("/a", Answer(CONTENT + b"x", announced=-1))
        assert failure(url, path) == (
            f"what came from {url} is corrupt or another file and was removed: "
            "it has 50001 bytes, the published file 50000"
        )
        assert names(path) == []

    def test_a_web_page(self, server, path):
        url = server.serve("/a", Answer(b"<html>", content_type="text/html"))
        expected = f"{url} cannot be downloaded: the server answers with a web page, not with the file; "
        assert failure(url, path) == expected + "nothing was kept"

    def test_offline_is_said_at_once(self, path):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{probe.getsockname()[1]}/a"
        with pytest.raises(WeightError) as caught:
            download(url, path, limits=Limits(tries=4, pause_seconds=60), advice=ADVICE)
        assert str(caught.value) == (
            f"{url} cannot be downloaded: 127.0.0.1 cannot be reached (Connection refused); nothing was kept; {ADVICE}"
        )
        assert names(path) == []

    def test_a_network_that_goes_in_the_middle_is_tried_again(self, path, monkeypatch):
        tries = []

        def flaky(url, file, origin, **_):
            tries.append(url)
            if len(tries) == 1:
                file.write(b"x")
                raise transfer.Cut("cut")
            raise module.Unreachable("gone")

        monkeypatch.setattr(module, "fetch", flaky)
        assert failure("http://u/a", path).startswith("http://u/a cannot be downloaded: gone, 3 tries; ")
        assert len(tries) == 3

    def test_no_address(self, path):
        assert failure("http://", path).startswith("http:// cannot be downloaded: it is no web address")

    def test_a_folder_that_cannot_be_made(self, server, tmp_path):
        (tmp_path / "file").write_text("x")
        url, path = server.serve("/a", Answer(CONTENT)), tmp_path / "file" / "a.pth"
        with pytest.raises(WeightError) as caught:
            fetch(url, path)
        assert str(caught.value) == (
            f"{url} cannot be written to '{path}' (File exists); nothing was kept; make room there, or set "
            "UNIFORMER_CACHE to a folder that can be written"
        )
        assert server.asked == []

    def test_a_full_disk(self, server, path, monkeypatch):
        write = transfer._write

        def full(file, data):
            write(file, data[:1000])
            raise OSError(errno.ENOSPC, "No space left on device")

        url = server.serve("/a", Answer(CONTENT))
        with monkeypatch.context() as patch:
            patch.setattr(transfer, "_write", full)
            with pytest.raises(WeightError) as caught:
                fetch(url, path)
        assert str(caught.value) == (
            f"{url} cannot be written to '{path}' (No space left on device); 1000 bytes are kept in '{path}.part', and "
            "the next try goes on from there; make room there, or set UNIFORMER_CACHE to a folder that can be written"
        )
        fetch(url, path)
        assert path.read_bytes() == CONTENT
        assert server.ranges() == ["", "bytes=1000-"]


class TestBetweenTwoCalls:
    def test_the_file_changed_and_has_an_etag(self, server, path):
        url = server.serve("/a", Answer(OTHER, cut_after=20_000), Answer(status=404))
        failure(url, path)
        server.serve("/a", Answer(CONTENT))
        fetch(url, path)
        assert path.read_bytes() == CONTENT
        assert server.asked[-1].if_range == Answer(OTHER).tag()

    def test_the_file_changed_and_nothing_tells_but_the_hash(self, server, path, log):
        url = server.serve("/a", Answer(OTHER, etag="", cut_after=20_000), Answer(status=404))
        failure(url, path)
        server.serve("/a", Answer(CONTENT, etag=""))
        fetch(url, path)
        assert path.read_bytes() == CONTENT
        assert server.ranges()[-2:] == ["bytes=20000-", ""]
        assert "going on behind the 20.0 kB there are" in log[-3]
        assert log[-2].startswith("WARNING: a.pth: its sha256 is ")
        assert log[-2].endswith("; fetching it once more from the start")

    def test_without_hash_and_validator_it_begins_anew(self, server, path):
        url = server.serve("/a", Answer(OTHER, etag="", cut_after=20_000), Answer(status=404))
        assert failure(url, path, sha256=None).endswith("; nothing was kept")
        server.serve("/a", Answer(CONTENT, etag=""))
        fetch(url, path, sha256=None)
        assert path.read_bytes() == CONTENT

    @staticmethod
    def interrupt(_):
        raise KeyboardInterrupt

    def test_an_interrupted_call_says_what_is_kept_and_is_gone_on_with(self, server, path, monkeypatch, log):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000), Answer(CONTENT))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module.time, "sleep", self.interrupt)
            fetch(url, path)
        assert log[-1] == (
            f"WARNING: a.pth: interrupted; 20.0 kB are kept in '{path}.part', and the next try goes on from there"
        )
        fetch(url, path)
        assert path.read_bytes() == CONTENT
        assert server.ranges() == ["", "bytes=20000-"]

    def test_an_interrupted_call_that_cannot_be_gone_on_with(self, server, path, monkeypatch, log):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000, etag=""))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(module.time, "sleep", self.interrupt)
            fetch(url, path, sha256=None)
        assert log[-1] == "WARNING: a.pth: interrupted; the 20.0 kB that came cannot be resumed and were removed"
        assert names(path) == []


class TestCheck:
    """What has no published hash is looked into before it is taken."""

    @staticmethod
    def check(path: Path) -> str:
        return "" if path.read_bytes() == CONTENT else f"it begins {path.read_bytes()[:2]!r}"

    def test_a_file_that_fails_is_removed(self, server, path):
        url = server.serve("/a", Answer(b"{}" + OTHER))
        assert failure(url, path, sha256=None, size=None, check=self.check) == (
            f"what came from {url} is corrupt or another file and was removed: it begins b'{{}}'"
        )
        assert names(path) == []

    def test_a_file_that_was_there_stays(self, server, path):
        path.parent.mkdir()
        path.write_bytes(b"old")
        failure(server.serve("/a", Answer(OTHER)), path, sha256=None, check=self.check)
        assert path.read_bytes() == b"old"
        assert names(path) == ["a.pth"]

    def test_one_that_passes_is_taken(self, server, path):
        fetch(server.serve("/a", Answer(CONTENT)), path, sha256=None, size=None, check=self.check)
        assert path.read_bytes() == CONTENT

    def test_the_end_of_an_answer_without_a_length_is_no_proof(self, server, path):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000, announced=-1))
        message = failure(url, path, sha256=None, size=None, check=self.check)
        assert "is corrupt or another file and was removed" in message
        assert names(path) == []

    def test_bytes_of_an_earlier_call_are_not_blamed_on_the_server(self, server, path, log):
        url = server.serve("/a", Answer(CONTENT, cut_after=20_000), Answer(status=404))
        failure(url, path, sha256=None, check=self.check)
        (path.parent / "a.pth.part").write_bytes(OTHER[:20_000])
        server.serve("/a", Answer(CONTENT))
        fetch(url, path, sha256=None, check=self.check)
        assert path.read_bytes() == CONTENT
        assert "fetching it once more from the start" in log[-2]

    def test_a_hash_goes_first(self, server, path):
        url = server.serve("/a", Answer(OTHER))
        assert "its sha256 is" in failure(url, path, check=lambda _: pytest.fail("looked into"))


class TestSeveral:
    def test_one_fetches_and_the_others_wait(self, server, path, monkeypatch):
        monkeypatch.setattr(part_module, "_LOOK_SECONDS", 0.005)
        content = CONTENT[:200]
        url = server.serve("/a", Answer(content, drip=0.001))
        done = []
        threads = [threading.Thread(target=lambda: done.append(download(url, path))) for _ in range(4)]
        threads[0].start()
        wait_until(lambda: server.asked)
        for thread in threads[1:]:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert done == [path] * 4
        assert path.read_bytes() == content
        assert len(server.asked) == 1
        assert names(path) == ["a.pth"]

    def test_when_the_first_fails_the_next_has_its_try(self, server, path, monkeypatch):
        monkeypatch.setattr(part_module, "_LOOK_SECONDS", 0.005)
        url = server.serve("/a", Answer(CONTENT, stall_after=20_000), Answer(CONTENT))
        ends = []

        def call() -> None:
            try:
                ends.append(download(url, path, sha256=SHA, limits=Limits(stall_seconds=0.5, tries=1)))
            except WeightError as error:
                ends.append(str(error))

        threads = [threading.Thread(target=call) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert path.read_bytes() == CONTENT
        assert sorted(map(type, ends), key=str) == sorted([str, type(path)], key=str)


class TestBar:
    def test_on_a_terminal_a_bar_between_the_lines(self, server, path, log, monkeypatch):
        screen = io.StringIO()
        screen.isatty = lambda: True
        monkeypatch.setattr("sys.stderr", screen)
        url = server.serve("/a", Answer(CONTENT))
        fetch(url, path, label="uniformer_small")
        assert "uniformer_small" in screen.getvalue()
        assert "0%|" in screen.getvalue() and "/50.0k" in screen.getvalue()
        assert screen.getvalue().endswith("\r")  # and it leaves nothing on the screen
        assert log[0] == f"INFO: downloading uniformer_small from {url}"
        assert log[1].startswith("INFO: downloaded uniformer_small: 50.0 kB, ") and len(log) == 2

    def test_elsewhere_none(self, server, path, capsys):
        fetch(server.serve("/a", Answer(CONTENT)), path)
        assert capsys.readouterr().err == ""


class TestPlaces:
    def test_cache_folder(self, monkeypatch, tmp_path):
        monkeypatch.setenv("UNIFORMER_CACHE", str(tmp_path))
        assert cache_folder() == tmp_path
        monkeypatch.setenv("UNIFORMER_CACHE", "~/weights")
        assert cache_folder() == Path.home() / "weights"
        monkeypatch.delenv("UNIFORMER_CACHE")
        assert cache_folder() == Path.home() / ".cache" / "uniformer_video"


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (9999, "9999 bytes"), (10_000, "10.0 kB"), (999_949, "999.9 kB"), (86_314_461, "86.3 MB")],
)
def test_in_words(count, text):
    assert in_words(count) == text


@pytest.mark.parametrize(
    ("text", "answer"),
    [("http://a", True), ("HTTPS://a", True), ("ftp://a", False), ("a.pth", False), ("https", False)],
)
def test_is_web_address(text, answer):
    assert is_web_address(text) is answer


def test_sha256_of(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
