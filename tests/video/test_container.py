from __future__ import annotations

import pickle
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import av
import numpy as np
import pytest

import uniformer_video.video.container as module
import uniformer_video.video.index as index_module
import uniformer_video.video.pyav as pyav_module
from tests.helpers import barcode_frames, read_barcodes, write_video
from tests.video.conftest import backends
from tests.video.forge import write_covered_video
from uniformer_video.video.container import (
    NoDecoderError,
    _open_options,
    is_url,
    open_container,
    reading_fault,
    silence,
    video_stream,
)
from uniformer_video.video.open import open_video
from uniformer_video.video.pyav import PyAVReader
from uniformer_video.video.reader import DecodeError


@pytest.mark.parametrize(
    ("version", "asks"),
    [("17.1.0", True), ("18.1.0", True), ("18.0.0rc1", True), ("9.2", True), ("19.0.2", False), ("19.0.0rc1", False)],
)
def test_titles_are_asked_for_where_pyav_knows_the_argument(version, asks):
    assert _open_options(version) == ({"metadata_errors": "replace"} if asks else {})


@pytest.mark.parametrize("version", ["100.0", "dev", ""])
def test_a_version_of_the_future_or_of_no_number_is_asked_for_nothing(version):
    assert _open_options(version) == {}


def test_options_are_those_of_the_pyav_installed(video):
    assert _open_options(av.__version__) == module._OPEN_OPTIONS
    open_container(video("plain.mp4")).close()


def test_files_have_no_time_limit_and_addresses_have(video, monkeypatch):
    asked = []
    monkeypatch.setattr(av, "open", lambda path, **options: asked.append(options) or path)
    open_container(video("plain.mp4"))
    open_container("http://example.org/x.mp4")
    limits = {"timeout": (30.0, 60.0), "options": {"rw_timeout": "90000000"}}
    assert asked == [module._OPEN_OPTIONS, {**module._OPEN_OPTIONS, **limits}]
    assert "timeout" not in module._OPEN_OPTIONS


@pytest.mark.parametrize(("path", "expected"), [("http://a/b.mp4", True), ("/a/b.mp4", False), ("a:b.mp4", False)])
def test_is_url(path, expected):
    assert is_url(path) is expected


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(DecodeError, match="none.mp4: No such file or directory$"):
        open_container(str(tmp_path / "none.mp4"))
    with pytest.raises(DecodeError, match="[Ii]s a directory$"):
        open_container(str(tmp_path))


def test_empty_file(video):
    with pytest.raises(DecodeError, match="empty.mp4: the file is empty$"):
        open_container(video("empty.mp4"))


# Streams


def test_no_decoder_is_an_error_of_its_own():
    error = pickle.loads(pickle.dumps(NoDecoderError("x.mp4", "none")))
    assert (type(error), str(error)) == (NoDecoderError, "x.mp4: none")
    stream = SimpleNamespace(disposition=av.stream.Disposition(0), codec_context=None)
    with pytest.raises(NoDecoderError, match="^x.mp4: no decoder for its video stream$"):
        video_stream(SimpleNamespace(streams=SimpleNamespace(video=[stream])), "x.mp4")


@pytest.mark.parametrize("kind", ["attached_pic", "timed_thumbnails"])
def test_covers_and_thumbnails_are_passed_by(kind):
    def stream(disposition):
        return SimpleNamespace(
            disposition=av.stream.Disposition(disposition), codec_context=SimpleNamespace(width=4, height=3)
        )

    streams = [stream(av.stream.Disposition[kind]), stream(av.stream.Disposition.comment), stream(0)]
    assert video_stream(SimpleNamespace(streams=SimpleNamespace(video=streams)), "x.mp4") is streams[1]
    with pytest.raises(DecodeError, match="the file has no video stream$"):
        video_stream(SimpleNamespace(streams=SimpleNamespace(video=streams[:1])), "x.mp4")


def test_the_cover_of_a_real_file_is_passed_by(tmp_path):
    with open_container(str(write_covered_video(tmp_path / "c.mp4", barcode_frames(3)))) as container:
        assert len(container.streams.video) == 2
        assert video_stream(container, "c.mp4").codec_context.name == "h264"


def test_first_stream_that_is_no_cover(video):
    with open_container(video("two.mp4")) as container:
        stream = video_stream(container, "two.mp4", threads=3)
        assert (stream.index, stream.codec_context.thread_count) == (0, 3)
    with (
        open_container(video("cover.m4a")) as container,
        pytest.raises(DecodeError, match="^cover.m4a: the file has no video stream$"),
    ):
        video_stream(container, "cover.m4a")


def test_what_is_said_of_errors():
    assert silence(0.5) == "no answer within 0.5 seconds"
    assert silence(60.0) == "no answer within 60 seconds"
    assert reading_fault(av.error.ExitError(1, "Immediate exit requested")) == "no answer within 60 seconds"
    assert reading_fault(OSError(5, "Input/output error")) == "Input/output error"
    assert reading_fault(OSError("odd")) == "odd"


# Addresses


@pytest.fixture
def silent(monkeypatch) -> Iterator[str]:
    """The address of a server that takes connections and never says anything."""
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as server:
        kept = []

        def accept() -> None:
            while True:
                try:
                    kept.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/x.mp4"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    assert kept, "nobody called"
    for connection in kept:
        connection.close()


@backends
@pytest.mark.timeout(30)
def test_silent_server_is_given_up(silent, backend):
    start = time.monotonic()
    with pytest.raises(DecodeError) as caught:
        open_video(silent, backend)
    assert 0.2 < time.monotonic() - start < 10
    assert type(caught.value) is DecodeError
    assert str(caught.value) == f"{silent}: cannot be opened: no answer within 0.3 seconds"


class Server(ThreadingHTTPServer):
    """Serves one file in ranges; sends no byte of it from ``limit`` on, or, when ``mute``, no answer at all."""

    daemon_threads = True

    def __init__(self, data: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.data, self.limit, self.over = data, len(data), threading.Event()
        self.mute = False


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        data, limit = self.server.data, self.server.limit
        first = int(self.headers.get("Range", "bytes=0-").split("=")[1].split("-")[0])
        if self.server.mute:
            self.server.over.wait(20)
            self.close_connection = True
            return
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - first))
        self.end_headers()
        self.wfile.write(data[first : max(limit, first)])
        if limit < len(data):
            self.server.over.wait(20)
        self.close_connection = True

    def log_message(self, *_) -> None:
        pass


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> bytes:
    """A file larger than FFmpeg's buffers, so that going back in it is a new request."""
    noise = np.random.default_rng(0).integers(0, 50, (40, 96, 128, 3), np.uint8)
    path = write_video(tmp_path_factory.mktemp("large") / "large.mkv", barcode_frames(40, 96, 128) + noise, crf=2)
    assert path.stat().st_size > 400_000
    return path.read_bytes()


@pytest.fixture
def server(large) -> Iterator[Server]:
    with Server(large) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server
        server.over.set()
        server.shutdown()
        thread.join()


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/large.mkv"


@backends
@pytest.mark.timeout(30)
def test_address_that_answers_is_read(server, backend):
    with open_video(address(server), backend) as reader:
        assert reader.num_frames == 40
        assert read_barcodes(reader.frames_at([39, 0, 20])) == [39, 0, 20]
        assert read_barcodes(reader.frames_at([3])) == [3]


@backends
@pytest.mark.timeout(30)
def test_server_that_falls_silent_in_the_middle(server, backend, monkeypatch):
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.3)
    monkeypatch.setattr(module, "READ_SECONDS", 0.4)
    server.limit = len(server.data) // 2
    with pytest.raises(DecodeError) as caught:
        open_video(address(server), backend)
    assert type(caught.value) is DecodeError
    assert caught.value.path == address(server)
    assert "no answer within 0." in caught.value.cause


@pytest.mark.parametrize("mute", [False, True])
@pytest.mark.timeout(30)
def test_server_that_falls_silent_after_opening(server, monkeypatch, mute):
    """Going back to the start is a new request, made in a seek, which PyAV's own limits do not cover."""
    monkeypatch.setattr(module, "OPEN_SECONDS", 0.3)
    monkeypatch.setattr(module, "READ_SECONDS", 0.4)
    with open_video(address(server)) as reader:
        server.limit, server.mute = 0, mute
        start = time.monotonic()
        with pytest.raises(DecodeError, match=r"large.mkv: cannot be opened: no answer within 0.3 seconds$"):
            reader.frames_at([39])
        assert 0.2 < time.monotonic() - start < 10


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (IndexError("list index out of range"), "a stream of which its beginning says nothing comes up in its middle"),
        (ValueError("negative size"), "negative size"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_what_pyav_itself_raises_about_a_file(video, monkeypatch, error, cause):
    """It looks up the stream of every packet among those it knew at the beginning."""

    class Failing:
        def __init__(self, container, good):
            self.container, self.good = container, good

        def __getattr__(self, name):
            return getattr(self.container, name)

        def demux(self, stream):
            for number, packet in enumerate(self.container.demux(stream)):
                if number == self.good:
                    raise error
                yield packet

    path = video("plain.mp4")
    with monkeypatch.context() as patch:
        patch.setattr(index_module, "open_container", lambda path: Failing(open_container(path), 3))
        with pytest.raises(DecodeError, match=f"plain.mp4: the file cannot be read after packet 3: {cause}$"):
            PyAVReader(path)
    with PyAVReader(path) as reader:
        reader._release()
        monkeypatch.setattr(pyav_module, "open_container", lambda path: Failing(open_container(path), 9))
        with pytest.raises(DecodeError, match=f"plain.mp4: reading failed: {cause}$"):
            reader.frames_at([9])
