"""Several processes and one: the same functions, the same answers. Two gloo processes really run here."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp

from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import DataError

CPU = torch.device("cpu")


def report_of_this_process(folder: str) -> int:
    """Write what this process sees to ``folder/rank<N>.json``. New processes import it, so it stands at the top."""
    rank = distributed.rank()
    shape = torch.zeros(1 + rank)
    seen = {
        "initialized": distributed.is_initialized(),
        "world": distributed.world_size(),
        "rank": rank,
        "main": distributed.is_main(),
        "local": os.environ.get("LOCAL_RANK"),
        "on_main": distributed.gather_on_main(10 + rank),
        "gathered": distributed.gather_objects({"rank": rank, "items": list(range(rank + 1)), "name": "ä" * rank}),
        "tensor_sizes": [len(t) for t in distributed.gather_objects(shape)],
        "sum": distributed.sum_floats([rank + 1.0, 0.1, 1e16, 1e-300], CPU),
        "nan": repr(distributed.sum_floats([float("nan") if rank else 1.0, 2.0], CPU)),
        "empty": distributed.sum_floats([], CPU),
    }
    # Nobody passes the barrier before the other has written its mark.
    Path(folder, f"mark{rank}").touch()
    distributed.barrier()
    seen["marks"] = sorted(p.name for p in Path(folder).glob("mark*"))
    Path(folder, f"rank{rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    return 0


def fail_in_second(folder: str, kind: type[Exception]) -> int:
    """Raise in process 1 while process 0 waits for it."""
    if distributed.rank() == 1:
        raise kind("the list\nof process 1")
    distributed.barrier()
    Path(folder, "passed").touch()
    return 0


def mistake() -> int:
    """Be wrong in every process."""
    raise DataError("an empty list")


def seven() -> int:
    """Return an exit code."""
    return 7


def one_machine(shard: int, folder: str, method: str) -> None:
    """Stand for one machine of two, with one process each."""
    distributed.launch(report_of_this_process, (folder,), processes=1, shards=2, shard=shard, init_method=method)
    Path(folder, f"after{shard}").write_text(str(distributed.is_initialized()), encoding="utf-8")


def reports(folder: Path) -> list[dict]:
    return [json.loads((folder / f"rank{rank}.json").read_text(encoding="utf-8")) for rank in (0, 1)]


def check_two(folder: Path) -> None:
    first, second = reports(folder)
    for rank, seen in enumerate((first, second)):
        assert seen["initialized"]
        assert (seen["world"], seen["rank"], seen["main"]) == (2, rank, rank == 0)
        assert seen["marks"] == ["mark0", "mark1"]
        assert seen["gathered"] == [
            {"rank": 0, "items": [0], "name": ""},
            {"rank": 1, "items": [0, 1], "name": "ä"},
        ]
        assert seen["tensor_sizes"] == [1, 2]
        assert seen["on_main"] == ([10, 11] if rank == 0 else [])
        # float64: 0.1 + 0.1 and 1e-300 + 1e-300 come out to the last bit.
        assert seen["sum"] == [3.0, 0.2, 2e16, 2e-300]
        assert seen["nan"] == "[nan, 4.0]"
        assert seen["empty"] == []


def take_turns(folder: str) -> int:
    """Write down who has been here before; the second process could only be first if it did not wait."""

    def turn() -> str:
        if distributed.is_main():
            time.sleep(0.3)
        seen = sorted(p.name for p in Path(folder).iterdir())
        Path(folder, f"turn{distributed.rank()}").write_text(json.dumps(seen), encoding="utf-8")
        return f"result {distributed.rank()}"

    assert distributed.main_first(turn) == f"result {distributed.rank()}"
    return 0


def stumble(folder: str) -> int:
    """Only the main process meets the mistake; every process has to hear of it."""
    try:
        distributed.main_first(lambda: mistake() if distributed.is_main() else None)
    except DataError as error:
        Path(folder, f"heard{distributed.rank()}").write_text(str(error), encoding="utf-8")
        # The first to end has the other ended too, which may not have written yet.
        deadline = time.monotonic() + 20
        while not Path(folder, "heard1").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        raise
    return 0


class TestOneProcess:
    def test_main_first_lets_a_mistake_through(self):
        with pytest.raises(DataError, match="an empty list"):
            distributed.main_first(mistake)

    def test_main_first_is_a_plain_call(self):
        item = object()
        assert distributed.main_first(lambda: item) is item

    def test_facts(self):
        assert not distributed.is_initialized()
        assert distributed.world_size() == 1
        assert distributed.rank() == 0
        assert distributed.is_main()
        distributed.barrier()

    def test_gather_objects_gives_the_object_itself(self):
        item = object()  # and needs no pickle
        (gathered,) = distributed.gather_objects(item)
        assert gathered is item

    def test_sum_floats_gives_a_copy(self):
        values = [0.1, 2.5]
        total = distributed.sum_floats(values, CPU)
        assert total == [0.1, 2.5]
        total.append(1.0)
        assert values == [0.1, 2.5]

    def test_launch_of_one_runs_here_without_a_group(self):
        seen = []

        def note(*args: object) -> int:
            seen.append((*args, distributed.is_initialized(), os.getpid()))
            return 5

        assert distributed.launch(note, (1, "b"), processes=1) == 5
        assert seen == [(1, "b", False, os.getpid())]

    def test_launch_of_one_lets_errors_through(self):
        def fail() -> None:
            raise DataError("no list")

        with pytest.raises(DataError, match="no list"):
            distributed.launch(fail, (), processes=1)


class TestTwoProcesses:
    def test_one_machine_with_two_processes(self, tmp_path):
        distributed.launch(report_of_this_process, (str(tmp_path),), processes=2)
        check_two(tmp_path)
        assert [seen["local"] for seen in reports(tmp_path)] == ["0", "1"]
        assert not distributed.is_initialized()

    def test_the_main_process_goes_first(self, tmp_path):
        assert distributed.launch(take_turns, (str(tmp_path),), processes=2) == 0
        assert [json.loads((tmp_path / f"turn{rank}").read_text()) for rank in (0, 1)] == [[], ["turn0"]]

    def test_a_mistake_of_the_main_process_is_heard_by_all(self, tmp_path, capfd):
        assert distributed.launch(stumble, (str(tmp_path),), processes=2) == 2
        assert [(tmp_path / f"heard{rank}").read_text() for rank in (0, 1)] == ["an empty list"] * 2
        assert [line for line in capfd.readouterr().err.splitlines() if "error:" in line] == ["error: an empty list"]

    def test_two_machines_with_one_process_each(self, tmp_path):
        method = f"tcp://127.0.0.1:{distributed.free_port()}"
        mp.start_processes(one_machine, (str(tmp_path), method), nprocs=2, start_method="spawn")
        check_two(tmp_path)
        assert [seen["local"] for seen in reports(tmp_path)] == ["0", "0"]
        # The group ends with the work, also where it ran in the process that asked for it.
        assert [(tmp_path / f"after{shard}").read_text() for shard in (0, 1)] == ["False", "False"]

    def test_a_defect_in_one_ends_the_other_and_names_itself(self, tmp_path):
        with pytest.raises(mp.ProcessRaisedException) as caught:
            distributed.launch(fail_in_second, (str(tmp_path), KeyError), processes=2)
        # Not process 0's broken connection to it, which may be seen first.
        text = str(caught.value)
        assert text.startswith("\n\nprocess 1 of 2 ended:\nTraceback (most recent call last):\n")
        assert text.count("Traceback") == 1 and "in fail_in_second" in text and "KeyError: 'the list" in text
        assert not (tmp_path / "passed").exists()

    def test_a_users_mistake_is_one_line_and_code_2(self, capfd):
        # Both processes meet it; the first has said it and ended the other before that speaks.
        assert distributed.launch(mistake, (), processes=2) == 2
        assert [line for line in capfd.readouterr().err.splitlines() if "error:" in line] == ["error: an empty list"]

    def test_the_exit_code_of_the_function_is_passed_on(self):
        assert distributed.launch(seven, (), processes=2) == 7


def test_free_port_can_be_bound():
    port = distributed.free_port()
    assert 1024 <= port < 65536
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", port))
