"""The meeting of processes, each a thread here, with a connection of its own to a real store."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from tests.runtime.stores import address, connect, member
from uniformer_video.runtime import stopping
from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.meeting import Limits, Member, linger, meet
from uniformer_video.runtime.meeting_place import Deadline, Silent

__all__ = ["address"]


def meeting(address, members, *, agreed=None, seconds=20.0, apart=0.0):
    """Let ``members`` meet; return what each ended with: None or its exception."""
    ends = [None] * len(members)

    def one(place, who):
        try:
            meet(connect(address), who, (agreed or {}).get(place, {"A": "1"}), Deadline(seconds))
        except Exception as error:
            ends[place] = error

    threads = [threading.Thread(target=one, args=item) for item in enumerate(members)]
    for thread in threads:
        thread.start()
        time.sleep(apart)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    return ends


def lines(ends):
    assert all(type(end) is UserError for end in ends), ends
    return [str(end) for end in ends]


@pytest.mark.parametrize(("machines", "processes"), [(1, 2), (2, 1), (2, 2), (1, 5)])
def test_all_come_and_agree(address, machines, processes):
    members = [member(machines, processes, number) for number in range(machines * processes)]
    assert meeting(address, members) == [None] * len(members)
    store = connect(address)
    for number in range(len(members)):
        # What the heartbeat reads from its first moment on.
        assert store.get(f"host/{number}") == f"host{number}".encode()
        assert store.check([f"beat/{number}"])


def test_the_order_does_not_matter(address):
    assert meeting(address, [member(1, 3, number) for number in (2, 1, 0)], apart=0.1) == [None] * 3


def test_those_that_are_missing_are_named(address):
    ends = meeting(address, [member(3, 2, number) for number in (0, 1, 4)], seconds=0.7)
    assert set(lines(ends)) == {
        "3 of 6 processes came within 0.7 s; those of machine 1, 2 are missing: start it with its own --shard_id and "
        "the same --init_method, or wait longer for it (DISTRIBUTED.RENDEZVOUS_TIMEOUT)"
    }


def test_without_process_0_nobody_knows_what_is_wanted(address):
    ends = meeting(address, [member(2, 1, 1)], seconds=0.3)
    assert lines(ends) == ["process 0 did not come within 0.3 s; start machine 0 (--shard_id 0) too"]


@pytest.mark.parametrize("number", [0, 1])
def test_two_processes_of_one_number(address, number):
    ends = meeting(address, [member(2, 1, 0), member(2, 1, number, host="other")], apart=0.3)
    if number == 1:
        assert ends == [None, None]
        ends = meeting(address, [member(2, 1, 1, host="third")])
        assert lines(ends) == [
            "two processes say that they are number 1 of 2, on other and on third; give every machine another "
            "--shard_id, from 0 to 1"
        ]
    else:
        assert set(lines(ends)) == {
            "two processes say that they are number 0 of 2, on host0 and on other; give every machine another "
            "--shard_id, from 0 to 1"
        }


@pytest.mark.parametrize(
    ("second", "shape"),
    [
        (Member(3, 1, 1, 0, "b"), "3 machines with 1 process each"),
        (Member(2, 1, 4, 3, "b"), "2 machines with 4 processes each"),
    ],
)
def test_machines_of_different_shapes(address, second, shape):
    ends = meeting(address, [Member(2, 0, 1, 0, "a"), second])
    assert set(lines(ends)) == {
        f"machine 1 (b) was started for {shape}, machine 0 (a) for 2 machines with 1 process each; give every machine "
        "the same --num_shards, and as many GPUs (NUM_GPUS) or processes"
    }


def test_different_settings_are_named_with_both_values(address):
    agreed = {0: {"A": "1", "B": "2", "C": "3"}, 1: {"A": "1", "B": "20", "D": "4"}}
    ends = meeting(address, [member(2, 1, 0), member(2, 1, 1)], agreed=agreed)
    assert set(lines(ends)) == {
        "machine 1 (host1) and machine 0 (host0) were started with different settings: B is 20 and 2; C is unknown "
        "there and 3; D is 4 and unknown there; give every machine the same"
    }


def test_many_different_settings_are_counted(address):
    agreed = {n: {f"K{k}": f"{n}" for k in range(7)} for n in (0, 1)}
    first, _ = lines(meeting(address, [member(2, 1, 0), member(2, 1, 1)], agreed=agreed))
    assert "K0 is 1 and 0; K1 is 1 and 0; K2 is 1 and 0; K3 is 1 and 0 and 3 more; give" in first


def test_two_processes_on_one_gpu(address):
    ends = meeting(address, [member(1, 2, 0, gpu="GPU-1"), member(1, 2, 1, gpu="GPU-1")])
    for line in lines(ends):
        assert "was given a GPU that another process has already; start one process for each GPU, or set" in line
    assert meeting(address, []) == []


def test_two_processes_on_two_gpus(address):
    assert meeting(address, [member(1, 2, 0, gpu="GPU-1"), member(1, 2, 1, gpu="GPU-2")]) == [None, None]


def test_a_signal_ends_the_wait(address):
    with stopping.listening():
        timer = threading.Timer(0.3, lambda: signal.raise_signal(signal.SIGTERM))
        timer.start()
        with pytest.raises(stopping.Stopped, match="stopped by SIGTERM before the run began"):
            meet(connect(address), member(2, 1, 0), {}, Deadline(30))


def test_a_store_that_is_gone(address):
    class Gone:
        def check(self, keys):
            raise RuntimeError("Connection reset by peer\nmore")

    with pytest.raises(UserError) as caught:
        meet(Gone(), member(2, 1, 1), {}, Deadline(5))
    assert str(caught.value) == (
        "process 1 of 2 lost the others while they met (Connection reset by peer); see what process 0 says, and start "
        "the run anew"
    )


def test_a_host_waits_until_the_line_was_read(address):
    store, who = connect(address), member(2, 1, 0)
    store.add("came/0", 1)
    store.add("came/1", 1)
    store.add("heard", 1)
    threading.Timer(0.4, lambda: store.add("heard", 1)).start()
    begun = time.monotonic()
    linger(connect(address), who, seconds=20)
    assert 0.35 < time.monotonic() - begun < 15
    linger(store, Member(2, 0, 1, 0), seconds=0.2)  # all have heard: at once

    class Gone:
        def check(self, keys):
            raise Silent("gone")

    linger(Gone(), who, seconds=20)


def test_limits_are_those_of_the_table():
    assert Limits() == Limits(meeting=300, collective=1800, heartbeat=45)
    assert (member(3, 4, 9).world, member(3, 4, 9).number, member(3, 4, 9).machine) == (12, 9, 2)
