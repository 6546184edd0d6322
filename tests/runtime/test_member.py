"""How one process of a run ends: which errors are whose, and what it says."""

from __future__ import annotations

import pytest
import torch
import torch.distributed as dist

from tests.runtime.stores import address, connect, member
from uniformer_video.runtime import member as module
from uniformer_video.runtime.errors import DataError, UserError
from uniformer_video.runtime.heartbeat import GOES_ON, LastWords
from uniformer_video.runtime.member import Job, Present, is_exchange_error, own_gpu

__all__ = ["address"]

GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:554] Connection closed by peer [127.0.0.1]:1234"


class Left(BaseException):
    """Stands for the end of the process."""


@pytest.fixture
def present(address, monkeypatch):
    """Return a function that makes process 1 of 2, whose end raises ``Left`` with the exit code."""

    def leave(code):
        raise Left(code)

    monkeypatch.setattr(module, "leave", leave)
    made = []

    def make(tell=None, verdict=None, someone_left=False):
        one = Present(Job(int, (), processes=2), member(1, 2, 1), address, tell=tell, hosts=False)
        monkeypatch.setattr(one.heart, "verdict", lambda: verdict)
        monkeypatch.setattr(one.heart, "someone_left", lambda: someone_left)
        made.append(one)
        return one

    yield make
    for one in made:
        one.heart.silence()


def end(present, error):
    with pytest.raises(Left) as caught:
        present.end_with(error)
    return caught.value.args[0]


def words(address):
    store = connect(address)
    return store.get("last words").decode()


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError(GLOO), True),
        (RuntimeError("[..] Timed out waiting 1800000ms for recv operation to complete in gloo"), True),
        (RuntimeError("NCCL error in: ProcessGroupNCCL.cpp"), True),
        (dist.DistBackendError("anything"), True),
        (dist.DistNetworkError("anything"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (DataError("Connection closed by peer"), False),
        (ConnectionResetError("Connection reset by peer"), False),
        (KeyError("gloo"), False),
    ],
)
def test_which_errors_are_of_an_exchange(error, is_one):
    assert is_exchange_error(error) is is_one


def test_a_mistake_is_one_line_of_the_first_process_of_a_machine(present, address, capfd):
    assert end(present(), DataError("an empty list")) == 2
    assert end(present(), DataError("an empty list")) == 2
    assert capfd.readouterr().err == "error: an empty list\n"
    assert '"line": "an empty list", "code": 2' in words(address)


def test_a_defect_shows_its_traceback(present, address, capfd):
    try:
        raise KeyError("ours")
    except KeyError as error:
        assert end(present(), error) == 1
    text = capfd.readouterr().err
    assert text.count("Traceback") == 1 and text.endswith("KeyError: 'ours'\n")
    assert f"process 1 of 2 (host1) ended: KeyError: 'ours'; {GOES_ON}" in words(address)


def test_a_failed_exchange_is_the_fault_of_who_is_lost(present, capfd):
    lost = LastWords(0, 0, "process 0 of 2 is gone")
    assert end(present(verdict=lost), RuntimeError(GLOO)) == 74
    assert capfd.readouterr().err == "error: process 0 of 2 is gone\n"


def test_a_failed_exchange_by_anothers_mistake_ends_like_that_one(present, capfd):
    assert end(present(verdict=LastWords(0, 1, "an empty list", 2)), RuntimeError(GLOO)) == 2
    assert capfd.readouterr().err == "error: an empty list\n"


def test_a_broken_connection_between_the_living_is_one_line(present, capfd):
    assert end(present(), RuntimeError(GLOO)) == 74
    assert capfd.readouterr().err == (
        "error: process 1 of 2 (host1) lost its connection to another process (Connection closed by peer "
        f"[127.0.0.1]:1234); {GOES_ON}\n"
    )


@pytest.mark.parametrize(
    ("text", "someone_left"),
    [(GLOO, True), ("gloo: Timed out waiting 1000ms for recv operation", False)],
)
def test_an_exchange_that_some_have_left_out_is_a_defect(present, capfd, text, someone_left):
    assert end(present(someone_left=someone_left), RuntimeError(text)) == 1
    assert capfd.readouterr().err == f"RuntimeError: {text}\n"
    assert "RuntimeError" in words(present()._address)


def test_ctrl_c(present, address, capfd):
    assert end(present(), KeyboardInterrupt()) == 130
    assert capfd.readouterr().err == "interrupted\n"
    assert f"process 1 of 2 (host1) was interrupted; {GOES_ON}" in words(address)


def test_who_started_it_is_told_in_place_of_the_user(present, capfd):
    told = []

    def tell(*report):
        told.append(report)

    assert end(present(tell=tell), UserError("a mistake")) == 2
    assert end(present(tell=tell, verdict=LastWords(0, 0, "lost")), RuntimeError(GLOO)) == 74
    assert end(present(tell=tell), KeyboardInterrupt()) == 130
    assert end(present(tell=tell), ZeroDivisionError("x")) == 1
    assert told[:3] == [("mistake", "a mistake"), ("lost", "lost"), ("interrupted", None)]
    assert told[3][0] == "defect" and told[3][1].endswith("ZeroDivisionError: x\n")
    assert capfd.readouterr().err == ""


def test_only_one_thread_ends_a_process(present, monkeypatch):
    one, waited = present(tell=lambda *_: None), []

    def sleep(seconds):
        waited.append(seconds)
        raise Left("waits")

    assert end(one, UserError("first")) == 2
    monkeypatch.setattr(module, "sleep", sleep)
    assert end(one, UserError("second")) == "waits"
    assert waited == [60.0]


@pytest.mark.parametrize(
    ("use_cuda", "backend", "chosen"),
    [(False, "auto", "gloo"), (True, "auto", "nccl"), (True, "gloo", "gloo"), (False, "gloo", "gloo")],
)
def test_the_backend(use_cuda, backend, chosen):
    assert Job(int, (), processes=1, use_cuda=use_cuda, backend=backend).group_backend == chosen


@pytest.mark.parametrize(("there", "local", "gpu"), [(8, 3, 3), (1, 3, 0), (1, 0, 0), (0, 2, 0)])
def test_the_gpu_of_a_process(monkeypatch, there, local, gpu):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: there)
    assert own_gpu(local) == gpu


@pytest.mark.parametrize(("backend", "gpu"), [("auto", "GPU-7"), ("gloo", "")])
def test_a_gpu_of_ones_own_is_what_nccl_needs(monkeypatch, backend, gpu):
    class Properties:
        uuid = "GPU-7"

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: Properties)
    job = Job(int, (), processes=2, machines=3, machine=1, use_cuda=True, backend=backend)
    assert (job.member(1).gpu, job.member(1).number) == (gpu, 3)
