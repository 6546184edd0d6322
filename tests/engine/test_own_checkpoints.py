"""A run goes on from its newest sound checkpoint, says which it passed over, and every process takes the same."""

from __future__ import annotations

import os

import pytest
import torch

from uniformer_video.engine.checkpoint import Checkpoint, best_path, checkpoint_path, save_checkpoint
from uniformer_video.engine.own_checkpoints import find_own_checkpoint, own_checkpoint
from uniformer_video.runtime import distributed
from uniformer_video.runtime.errors import UserError, WeightError


def save(path, value=0.0):
    """Write a sound checkpoint with one weight; return its path."""
    save_checkpoint(Checkpoint(1, {"a": torch.full((100,), value)}, {}, ""), path)
    return path


@pytest.fixture
def three(tmp_path):
    """Return three checkpoints, the newest first."""
    return [save(checkpoint_path(tmp_path, *place), value) for value, place in enumerate([(2, 7), (2, 0), (1, 0)])]


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((100,), 0.0).numpy().tobytes()) + 5] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("a; b\n")


def junk(path):
    path.write_bytes(b"PK\x03\x04" + bytes(range(256)))


class Trap:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def trap(path):
    torch.save({"epoch": 1, "model_state": Trap(path.parent / "sprung")}, path)


TRUNCATED = "is damaged (it is truncated or not a PyTorch file)"
FAULTS = [
    (cut, TRUNCATED),
    (flip, "is damaged (its content is not what its digest says was written)"),
    (empty, "is damaged (it is empty)"),
    (text, "is damaged (it is text, not a PyTorch file (it begins 'a; b'))"),
    (junk, TRUNCATED),
    (
        trap,
        "is refused (it holds an object that is not a tensor (posix.mkdir) and was not loaded, because building it "
        "could run code)",
    ),
]


def test_no_folder_and_none_in_it(tmp_path, log):
    assert find_own_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert own_checkpoint(tmp_path) is own_checkpoint(tmp_path, best=True) is None
    assert log == []


def test_the_newest_with_what_it_holds(tmp_path, three, log):
    found = find_own_checkpoint(tmp_path)
    assert found.path == three[0] == own_checkpoint(tmp_path)
    assert found.content["model_state"]["a"].unique().tolist() == [0]
    assert log == []


@pytest.mark.parametrize(("damage", "fault"), FAULTS)
def test_the_one_before_a_damaged_newest_with_one_line(tmp_path, three, log, damage, fault):
    damage(three[0])
    found = find_own_checkpoint(tmp_path)
    assert found.path == three[1]
    assert found.content["model_state"]["a"].unique().tolist() == [1]
    assert log == [f"WARNING: checkpoint {three[0]} {fault}; going on from checkpoint_epoch_00002.pyth"]
    assert not (tmp_path / "checkpoints" / "sprung").exists()
    assert three[0].exists()


def test_a_damaged_one_that_is_not_needed_is_not_looked_at(tmp_path, three, log):
    empty(three[1])
    assert own_checkpoint(tmp_path) == three[0]
    assert log == []


def test_several_are_damaged(tmp_path, three, log):
    empty(three[0])
    cut(three[1])
    assert own_checkpoint(tmp_path) == three[2]
    assert log == [
        f"WARNING: checkpoint {three[0]} is damaged (it is empty); going on from checkpoint_epoch_00001.pyth",
        f"WARNING: checkpoint {three[1]} {TRUNCATED}; going on from checkpoint_epoch_00001.pyth",
    ]


def test_the_best_is_better_than_none(tmp_path, three, log):
    best = save(best_path(tmp_path))
    assert own_checkpoint(tmp_path) == three[0]
    for path in three:
        empty(path)
    assert own_checkpoint(tmp_path) == best
    assert [line.split("; ")[1] for line in log] == ["going on from checkpoint_best.pyth"] * 3


def test_all_are_damaged(tmp_path, three, log):
    for path in three:
        empty(path)
    folder = str(tmp_path / "checkpoints")
    advice = "remove them to start anew, or set OUTPUT_DIR to a new folder"
    with pytest.raises(WeightError) as error:
        own_checkpoint(tmp_path)
    assert str(error.value) == (
        f"no checkpoint in {folder!r} is sound: checkpoint_epoch_00002_step_000007.pyth is damaged (it is empty), and "
        f"2 more are; {advice}"
    )
    for path in three[:2]:
        path.unlink()
    with pytest.raises(WeightError) as error:
        own_checkpoint(tmp_path)
    assert str(error.value) == (
        f"no checkpoint in {folder!r} is sound: checkpoint_epoch_00001.pyth is damaged (it is empty); {advice}"
    )
    assert log == []


def test_the_best_where_it_is_asked_for(tmp_path, three, log):
    assert own_checkpoint(tmp_path, best=True) == three[0]
    best = save(best_path(tmp_path), 9.0)
    assert find_own_checkpoint(tmp_path, best=True).content["model_state"]["a"][0] == 9
    empty(best)
    empty(three[0])
    assert own_checkpoint(tmp_path, best=True) == three[1]
    assert log == [
        f"WARNING: checkpoint {path} is damaged (it is empty); going on from checkpoint_epoch_00002.pyth"
        for path in (best, three[0])
    ]


def test_what_the_system_refuses_is_no_damage(tmp_path, three, log):
    three[0].unlink()
    three[0].mkdir()
    with pytest.raises(WeightError, match=r"cannot be read \(Is a directory\)"):
        own_checkpoint(tmp_path)
    assert log == []


# ------------------------------------------------------------------------------------------------ several processes


def test_machines_that_do_not_share_their_folder_are_stopped(tmp_path, monkeypatch):
    newest = save(checkpoint_path(tmp_path, 3))
    assert own_checkpoint(tmp_path) == newest
    monkeypatch.setattr(distributed, "gather_objects", lambda own: [own, "none"])
    with pytest.raises(UserError) as error:
        own_checkpoint(tmp_path)
    assert str(error.value) == (
        f"the processes of this run find different checkpoints in OUTPUT_DIR {str(tmp_path)!r} "
        "(checkpoint_epoch_00003.pyth, none); set OUTPUT_DIR to a folder on a disk that all machines share"
    )


class Other:
    """Plays a process that is not the first: what the first one says is given."""

    def __init__(self, monkeypatch, *said):
        self.said = list(said)
        monkeypatch.setattr(distributed, "is_main", lambda: False)
        monkeypatch.setattr(distributed, "gather_objects", lambda own: [self.said.pop(0), own])


def test_others_take_what_the_first_chose_and_read_nothing(tmp_path, three, monkeypatch, log):
    monkeypatch.setattr(torch, "load", pytest.fail)
    first = Other(monkeypatch, three[0].name, (three[2].name, None))
    found = find_own_checkpoint(tmp_path)
    assert (found.path, found.content, log) == (three[2], None, [])
    assert first.said == []


def test_others_end_with_the_mistake_of_the_first(tmp_path, three, monkeypatch):
    first = Other(monkeypatch, three[0].name, ("", WeightError("all are damaged")))
    with pytest.raises(WeightError, match="all are damaged"):
        find_own_checkpoint(tmp_path)
    assert first.said == []


def test_the_first_process_tells_its_mistake_before_it_ends(tmp_path, monkeypatch):
    empty(save(checkpoint_path(tmp_path, 1)))
    told = []
    monkeypatch.setattr(distributed, "gather_objects", lambda own: told.append(own) or [own, own])
    with pytest.raises(WeightError):
        find_own_checkpoint(tmp_path)
    assert told[0] == "checkpoint_epoch_00001.pyth"
    assert told[1][0] == "" and isinstance(told[1][1], WeightError)
    assert len(told) == 2
