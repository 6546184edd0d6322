"""What one request adds to a partial file: the rest of the same version, or the whole of another."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.http_server import Answer, file_server
from uniformer_video.runtime.transfer import Origin, fetch
from uniformer_video.runtime.web import Cut, Limits, Refused

STANDARD, QUICK = Limits(), Limits(stall_seconds=0.3)
OLD = random.Random(0).randbytes(50_000)
NEW = random.Random(1).randbytes(50_000)


class Target:
    """A partial file, and notes of what ``fetch`` said about it."""

    def __init__(self, path, content: bytes = b"", origin: Origin | None = None) -> None:
        self.path, self.origin, self.reports = path, origin, []
        path.write_bytes(content)

    def fetch(self, url: str, *, size: int | None = None, checked: bool = False, limits: Limits = STANDARD) -> bytes:
        with open(self.path, "r+b", buffering=0) as file:
            fetch(
                *(url, file, self.origin),
                size=size,
                checked=checked,
                limits=limits,
                note=lambda origin: setattr(self, "origin", origin),
                report=lambda have, total: self.reports.append((have, total)),
            )
        return self.path.read_bytes()


@pytest.fixture
def target(tmp_path):
    return lambda content=b"", origin=None: Target(tmp_path / "part", content, origin)


class TestWhole:
    def test_a_file_from_the_start(self, server, target):
        url = server.serve("/a", Answer(OLD, etag='"v1"', modified="Mon, 01 Jan 2024 00:00:00 GMT"))
        part = target()
        assert part.fetch(url) == OLD
        assert part.origin == Origin(url, '"v1"', "Mon, 01 Jan 2024 00:00:00 GMT", ranges=True)
        assert server.ranges() == [""]
        assert part.reports[0] == (0, 50_000)
        assert part.reports[-1] == (50_000, 50_000)

    def test_without_a_length(self, server, target):
        part = target()
        assert part.fetch(server.serve("/a", Answer(OLD, announced=-1))) == OLD
        assert part.reports[-1] == (50_000, None)

    def test_a_known_size_stands_in_for_a_length(self, server, target):
        part = target()
        assert part.fetch(server.serve("/a", Answer(OLD, announced=-1)), size=50_000) == OLD
        assert part.reports[-1] == (50_000, 50_000)

    def test_an_answer_in_chunks(self, server, target):
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in (OLD[:30_000], OLD[30_000:])) + b"0\r\n\r\n"
        chunked = {"Transfer-Encoding": "chunked"}
        assert target().fetch(server.serve("/a", Answer(chunks, announced=-1, headers=chunked))) == OLD
        with pytest.raises(Cut, match=r"^the connection broke \(IncompleteRead"):
            target().fetch(server.serve("/b", Answer(chunks[:40_000], announced=-1, headers=chunked)))


class TestBreaks:
    def test_the_connection_ends_early(self, server, target):
        part = target()
        with pytest.raises(Cut, match=r"^the connection ended after 20000 of 50000 bytes$"):
            part.fetch(server.serve("/a", Answer(OLD, cut_after=20_000)))
        assert part.path.read_bytes() == OLD[:20_000]

    def test_the_connection_ends_early_without_a_length(self, server, target):
        with pytest.raises(Cut, match=r"^the connection ended after 20000 of 50000 bytes$"):
            target().fetch(server.serve("/a", Answer(OLD, cut_after=20_000, announced=-1)), size=50_000)

    def test_silence(self, server, target):
        part, started = target(), time.monotonic()
        with pytest.raises(Cut, match=r"^the server sent no byte for 0\.3 s$"):
            part.fetch(server.serve("/a", Answer(OLD, stall_after=20_000)), limits=QUICK)
        assert time.monotonic() - started < 5
        assert part.path.read_bytes() == OLD[:20_000]

    def test_a_drip_is_as_bad_as_silence(self, server, target):
        # So few bytes that a client which waits for all of them is found out in seconds.
        with pytest.raises(Cut, match=r"^the server sent \d+ bytes in [\d.]+ s$"):
            target().fetch(server.serve("/a", Answer(OLD[:150], drip=0.02)), limits=QUICK)

    @pytest.mark.parametrize("have", [0, 30_000])
    def test_a_web_page_replaces_nothing(self, server, target, have):
        url = server.url + "/a"
        part = target(OLD[:have], Origin(url, '"v1"'))
        server.serve("/a", Answer(b"<html>log in</html>", content_type="text/html; charset=utf-8"))
        with pytest.raises(Refused, match=r"^the server answers with a web page, not with the file$"):
            part.fetch(url)
        assert part.path.read_bytes() == OLD[:have]

    def test_a_page_about_the_file(self, server, target):
        url = server.serve("/x/blob/main/a.pth", Answer(b"<html>", content_type="text/html"))
        with pytest.raises(Refused, match=r"an address with /resolve/ in place of /blob/ gives the file itself"):
            target().fetch(url)

    def test_another_size_is_refused_before_a_byte_is_taken(self, server, target):
        part = target()
        with pytest.raises(Refused, match=r"^the server's file has 50000 bytes, not the 49999 of the published one$"):
            part.fetch(server.serve("/a", Answer(OLD)), size=49_999)
        assert part.path.read_bytes() == b""
        assert part.origin is None

    def test_an_empty_file(self, server, target):
        with pytest.raises(Refused, match=r"^the server's file is empty$"):
            target().fetch(server.serve("/a", Answer(b"")))


class TestResume:
    def test_the_rest_alone_is_asked_for(self, server, target):
        url = server.serve("/a", Answer(OLD, etag='"v1"'))
        part = target(OLD[:30_000], Origin(url, '"v1"', "some day"))
        assert part.fetch(url) == OLD
        assert [(a.range, a.if_range) for a in server.asked] == [("bytes=30000-", '"v1"')]
        assert part.reports[0] == (30_000, 50_000)
        assert part.origin == Origin(url, '"v1"', "some day")

    def test_a_date_serves_where_there_is_no_strong_etag(self, server, target):
        date = "Mon, 01 Jan 2024 00:00:00 GMT"
        url = server.serve("/a", Answer(OLD, etag='W/"v1"', modified=date))
        assert target(OLD[:30_000], Origin(url, 'W/"v1"', date)).fetch(url) == OLD
        assert [(a.range, a.if_range) for a in server.asked] == [("bytes=30000-", date)]

    def test_a_file_that_changed_is_taken_whole(self, server, target):
        url = server.serve("/a", Answer(NEW, etag='"v2"'))
        part = target(OLD[:30_000], Origin(url, '"v1"'))
        assert part.fetch(url) == NEW
        assert part.origin == Origin(url, '"v2"', ranges=True)

    def test_a_server_that_does_not_heed_if_range(self, server, target):
        url = server.serve("/a", Answer(NEW, etag='"v2"', heeds_if_range=False))
        part = target(OLD[:30_000], Origin(url, '"v1"'))
        with pytest.raises(Cut, match="does not follow on"):
            part.fetch(url)
        assert part.path.read_bytes() == b""
        assert part.fetch(url) == NEW

    def test_a_server_without_ranges_sends_all_and_is_remembered(self, server, target):
        url = server.serve("/a", Answer(OLD, ranges=False, etag='"v1"'))
        part = target(OLD[:30_000], Origin(url, '"v1"'))
        assert part.fetch(url) == OLD
        assert part.origin == Origin(url, '"v1"', ranges=False)
        assert not part.origin.can_resume(url, checked=True)

    def test_a_server_that_says_it_has_no_ranges(self, server, target):
        url = server.serve("/a", Answer(OLD, ranges=False, headers={"Accept-Ranges": "none"}))
        part = target()
        part.fetch(url)
        assert part.origin.ranges is False

    def test_without_a_validator_bytes_are_kept_only_when_a_hash_will_tell(self, server, target):
        url = server.serve("/a", Answer(OLD, etag=""))
        assert target(NEW[:30_000], Origin(url)).fetch(url, checked=False) == OLD
        assert target(NEW[:30_000], Origin(url)).fetch(url, checked=True) == NEW[:30_000] + OLD[30_000:]
        assert [(a.range, a.if_range) for a in server.asked] == [("", ""), ("bytes=30000-", "")]

    def test_bytes_of_another_address(self, server, target):
        url = server.serve("/a", Answer(OLD, etag='"here"'))
        other = Origin("http://mirror.example.org/a", '"there"')
        assert target(OLD[:30_000], other).fetch(url, checked=False) == OLD
        part = target(OLD[:30_000], other)
        assert part.fetch(url, checked=True) == OLD
        assert part.origin == Origin(url, '"here"')
        assert [(a.range, a.if_range) for a in server.asked] == [("", ""), ("bytes=30000-", "")]

    def test_bytes_of_nobody_knows_what(self, server, target):
        url = server.serve("/a", Answer(OLD))
        assert target(NEW[:30_000], None).fetch(url, checked=True) == OLD
        assert server.ranges() == [""]

    def test_a_part_that_is_whole(self, server, target):
        url = server.serve("/a", Answer(OLD, etag='"v1"'))
        assert target(OLD, Origin(url, '"v1"')).fetch(url, size=50_000) == OLD
        assert server.asked == []
        assert target(OLD, Origin(url, '"v1"')).fetch(url) == OLD
        assert server.ranges() == ["bytes=50000-"]

    def test_a_part_that_is_too_long(self, server, target):
        url = server.serve("/a", Answer(OLD, etag='"v1"'))
        assert target(OLD + b"x", Origin(url, '"v1"')).fetch(url, size=50_000) == OLD
        part = target(OLD + b"x", Origin(url, '"v1"'))
        with pytest.raises(Cut, match="does not follow on"):
            part.fetch(url)
        assert part.fetch(url) == OLD

    def test_an_answer_that_begins_elsewhere(self, server, target):
        url = server.serve("/a", Answer(OLD, etag='"v1"', headers={"Content-Range": "bytes 0-49999/50000"}))
        part = target(OLD[:30_000], Origin(url, '"v1"'))
        with pytest.raises(Cut, match="does not follow on"):
            part.fetch(url)
        assert part.path.read_bytes() == b""


@settings(max_examples=40)
@given(
    length=st.integers(1, 3000),
    cuts=st.lists(st.integers(0, 3000), max_size=4),
    ranges=st.booleans(),
    known=st.booleans(),
    etag=st.sampled_from(["", '"v1"', 'W/"v1"']),
)
def test_however_often_it_is_cut_the_file_comes_out_whole(tmp_path_factory, length, cuts, ranges, known, etag):
    content = random.Random(length).randbytes(length)
    part = Target(tmp_path_factory.mktemp("cuts") / "part")
    with file_server() as server:
        url = server.serve(
            "/a", *(Answer(content, cut_after=c, ranges=ranges, etag=etag) for c in cuts), Answer(content, etag=etag)
        )
        for _ in range(len(cuts) + 1):
            try:
                result = part.fetch(url, size=length if known else None, checked=True)
                break
            except Cut:
                continue
    assert result == content


class TestOrigin:
    @pytest.mark.parametrize(
        ("origin", "validator"),
        [
            (Origin("u", '"v"', "day"), '"v"'),
            (Origin("u", 'W/"v"', "day"), "day"),
            (Origin("u", 'W/"v"'), ""),
            (Origin("u", "", "day"), "day"),
            (Origin("u"), ""),
        ],
    )
    def test_validator(self, origin, validator):
        assert origin.validator() == validator

    @pytest.mark.parametrize(
        ("origin", "checked", "can"),
        [
            (Origin("u", '"v"'), False, True),
            (Origin("u"), False, False),
            (Origin("u"), True, True),
            (Origin("other", '"v"'), False, False),
            (Origin("other"), True, True),
            (Origin("u", '"v"', ranges=False), True, False),
        ],
    )
    def test_can_resume(self, origin, checked, can):
        assert origin.can_resume("u", checked) is can
