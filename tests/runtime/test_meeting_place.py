"""Opening and reaching a store: each thing that can be wrong has its line, within its time."""

from __future__ import annotations

import json
import signal
import socket
import threading
import time

import pytest

from tests.runtime.stores import address
from uniformer_video.runtime import stopping
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.meeting_place import (
    Address,
    Deadline,
    Silent,
    announce,
    connect_again,
    host_store,
    parse_tcp,
    reach_store,
    within,
)

__all__ = ["address"]


@pytest.fixture
def silent():
    """Return a port that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def mistake(function, *args):
    with pytest.raises(UserError) as caught:
        function(*args)
    return str(caught.value)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", socket.gethostname(), ""])
def test_a_store_is_reached_by_others(name):
    place = f"tcp://{name}:{free_port()}" if name else ""
    store, address = host_store(place)
    assert not place or address == parse_tcp(place)
    other, found = reach_store(f"tcp://{address.host}:{address.port}", Deadline(10))
    assert found == address
    other.set("a", "1")
    assert store.get("a") == b"1"
    connect_again(address, 5.0).set("a", "2")
    assert store.get("a") == b"2"


def test_a_store_for_this_machine_cannot_be_reached_from_others():
    _, address = host_store("")
    assert address.host == "127.0.0.1"
    with socket.create_server(("127.0.0.2", address.port)):
        pass  # it did not take all interfaces


def test_a_store_may_come_after_those_who_look_for_it():
    port, stores = free_port(), []
    threading.Timer(0.5, lambda: stores.append(host_store(f"tcp://127.0.0.1:{port}"))).start()
    store, _ = reach_store(f"tcp://127.0.0.1:{port}", Deadline(20))
    store.set("a", "1")


def test_addresses():
    assert parse_tcp("tcp://[fd00::1]:99") == Address("fd00::1", 99)
    assert str(Address("fd00::1", 99)) == "tcp://[fd00::1]:99"
    assert str(parse_tcp("agent://h:1")) == "tcp://h:1"


def test_a_port_that_is_taken(silent):
    assert mistake(host_store, f"tcp://127.0.0.1:{silent}") == (
        f"process 0 cannot meet the others at tcp://127.0.0.1:{silent}: port {silent} of this machine is taken, "
        "perhaps by another run, or by a process of this one that was given --shard_id 0 too; choose another port for "
        "--init_method and give every machine another --shard_id"
    )


def test_a_port_that_cannot_be(monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket, "create_server", refuse)
    assert "port 80 of this machine cannot be opened (Permission denied); choose another" in mistake(
        host_store, "tcp://host:80"
    )


def test_nobody_there():
    port = free_port()
    begun = time.monotonic()
    assert mistake(reach_store, f"tcp://127.0.0.1:{port}", Deadline(0.5)) == (
        f"nobody could be met at tcp://127.0.0.1:{port} within 0.5 s (Connection refused); start machine 0 "
        "(--shard_id 0) too, and check that this is its address and that no firewall closes the port"
    )
    assert time.monotonic() - begun < 10


def test_somebody_else_there(silent):
    begun = time.monotonic()
    text = mistake(reach_store, f"tcp://127.0.0.1:{silent}", Deadline(1.0))
    assert "within 1 s (something listens there that is no run of this toolkit: no answer for" in text
    assert time.monotonic() - begun < 15


def test_a_host_without_a_name():
    assert mistake(reach_store, "tcp://nowhere.invalid:99", Deadline(0.3)).startswith(
        "the host name 'nowhere.invalid' of the meeting place tcp://nowhere.invalid:99 is not known here ("
    )


def test_a_signal_ends_the_wait_for_a_store():
    with stopping.listening():
        threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGUSR1)).start()
        with pytest.raises(
            stopping.Stopped, match="stopped by SIGUSR1 before the run began; the same command begins it"
        ):
            reach_store(f"tcp://127.0.0.1:{free_port()}", Deadline(30))


class TestFile:
    def test_it_says_where_the_store_is(self, tmp_path):
        place = f"file://{tmp_path}/meet"
        # Left by an earlier run, at a port where nobody listens any more.
        (tmp_path / "meet").write_text(f"127.0.0.1 {free_port()}\n")
        stores = []
        threading.Timer(0.5, lambda: stores.append(host_store(place))).start()
        store, address = reach_store(place, Deadline(30))
        assert (tmp_path / "meet").read_text() == f"{socket.gethostname()} {address.port}\n"
        store.set("a", "1")
        assert stores[0][0].get("a") == b"1"

    @pytest.mark.parametrize("content", [None, "", "half", "a b c", "h 123456"])
    def test_it_says_nothing(self, tmp_path, content):
        if content is not None:
            (tmp_path / "meet").write_text(content)
        assert mistake(reach_store, f"file://{tmp_path}/meet", Deadline(0.3)) == (
            f"the processes cannot meet at file://{tmp_path}/meet within 0.3 s: process 0 has not said where"
        )

    def test_it_cannot_be_written(self, tmp_path):
        assert mistake(host_store, f"file://{tmp_path}/no/meet") == (
            f"the processes cannot meet at file://{tmp_path}/no/meet: it cannot be written (No such file or "
            "directory); name a file in a folder that every machine sees"
        )


class TestAgent:
    def test_its_store_says_where_the_run_meets(self, address):
        place = f"agent://127.0.0.1:{address.port}"
        # Left by the processes before a restart.
        notices = connect_again(address, 5.0)
        notices.set("uniformer_video/meeting", json.dumps(["127.0.0.1", free_port()]))
        opened = []

        def host():
            store, own = host_store(place)
            announce(place, own, Deadline(5))
            opened.append((store, own))

        threading.Timer(0.3, host).start()
        store, found = reach_store(place, Deadline(30))
        assert found == opened[0][1] and found.port != address.port
        store.set("a", "1")
        assert not notices.check(["a"]) and opened[0][0].get("a") == b"1"

    def test_nothing_is_announced_elsewhere(self):
        announce("tcp://127.0.0.1:1", Address("h", 1), Deadline(0))

    def test_nobody_announces(self, address):
        text = mistake(reach_store, f"agent://127.0.0.1:{address.port}", Deadline(0.3))
        assert text.endswith("within 0.3 s: process 0 has not said where")


class TestQuestions:
    def test_answers_and_errors_come_back(self):
        assert within(5, lambda: 3) == 3
        with pytest.raises(KeyError):
            within(5, lambda: {}["a"])

    def test_a_broken_connection_is_silence(self):
        def broken():
            raise RuntimeError("Broken pipe\nframe #0")

        with pytest.raises(Silent, match="^Broken pipe$"):
            within(5, broken)

    def test_no_answer(self):
        never = threading.Event()
        with pytest.raises(Silent, match=r"no answer for 0\.1 s"):
            within(0.1, never.wait)
        never.set()
