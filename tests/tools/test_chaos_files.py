"""Damages, small disks, and what chaos.py files and pickle ask of a run that meets a damaged checkpoint."""

from __future__ import annotations

import os
import zipfile
from contextlib import suppress

import pytest
import torch

from tests.tools.chaos_path import save

# isort: split
import chaos_mounts
from chaos_cases import Case, Skipped
from chaos_damage import cut, damages_of, directory_of, flip, parts_of
from chaos_files import noticed, refused, sound
from chaos_mounts import is_bound_by_permissions, small_disk
from chaos_pickle import KINDS, Trap, hidden
from chaos_runs import Ended

from uniformer_video.engine.checkpoint import read_checkpoint
from uniformer_video.runtime.errors import WeightError


def test_cuts_and_flips():
    content = bytes(range(10))
    assert cut(3).do(content) == bytes(range(3)) and cut(3).name == "cut to 3 bytes"
    assert cut(-4).do(content) == bytes(range(6)) and cut(-4).name == "cut by 4 bytes"
    assert cut(0).do(content) == b""
    assert flip(2, "x", bit=3).do(content) == bytes([0, 1, 2 ^ 8, *range(3, 10)])
    assert content == bytes(range(10))


def test_parts_of_a_checkpoint_lie_where_they_are_said_to(tmp_path):
    tensor = torch.arange(500, dtype=torch.float32)
    torch.save({"w": tensor, "v": tensor + 1}, tmp_path / "a.pth")
    parts = parts_of(tmp_path / "a.pth")
    content = (tmp_path / "a.pth").read_bytes()
    (start, length) = next(place for name, place in parts.items() if name.endswith("/data/0"))
    assert content[start : start + length] == tensor.numpy().tobytes()
    assert content[directory_of(tmp_path / "a.pth") :][:4] == b"PK\x01\x02"
    (start, length) = next(place for name, place in parts.items() if name.endswith("data.pkl"))
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        name = next(name for name in archive.namelist() if name.endswith("data.pkl"))
        assert content[start : start + length] == archive.read(name)


def test_every_damage_is_one_that_a_reader_can_notice(tmp_path):
    path = save(tmp_path, 1)
    content = path.read_bytes()
    names = set()
    for damage in damages_of(path):
        path.write_bytes(damage.do(content))
        with pytest.raises(WeightError):
            read_checkpoint(path)
        names.add(damage.name)
        path.write_bytes(content)
    assert len(names) == 12
    assert read_checkpoint(path).epoch == 1


NEWEST, BEFORE = "checkpoint_epoch_00001_step_000004.pyth", "checkpoint_epoch_00001_step_000002.pyth"
WARNED = f"[x W] checkpoint /a/{NEWEST} is damaged (it is empty); going on from {BEFORE}\n"
RESUMED = f"[x I] resumed from /a/{BEFORE} after 1 of 5 epochs\n"


@pytest.mark.parametrize(
    ("out", "problems"),
    [
        (WARNED + RESUMED, []),
        (WARNED.replace("damaged", "refused") + RESUMED, []),
        (RESUMED, ["0 lines tell"]),
        (WARNED + WARNED + RESUMED, ["2 lines tell"]),
        (WARNED, ["went on from None"]),
        (WARNED + RESUMED.replace(BEFORE, NEWEST), [f"not {BEFORE}"]),
        (WARNED.replace(BEFORE, "another") + RESUMED, ["does not name"]),
        (WARNED + RESUMED + "Traceback (most recent call last)", ["a traceback"]),
    ],
)
def test_how_a_damaged_checkpoint_is_to_be_told(out, problems):
    found = noticed(Ended(0, 1.0, out, ""), NEWEST, BEFORE)
    assert len(found) == len(problems)
    assert all(part in text for part, text in zip(problems, found, strict=True))


def test_a_refusal_is_one_line_and_code_2():
    for ended, problems in (
        (Ended(2, 1.0, "", "error: the disk is full\n"), 0),
        (Ended(1, 1.0, "", "error: the disk is full\n"), 1),
        (Ended(2, 1.0, "", "error: something\n"), 1),
        (Ended(0, 1.0, "", ""), 2),
    ):
        case = Case("files", "x", "")
        refused(case, ended, "here", "FULL")
        assert len(case.problems) == problems, case.problems


def test_a_folder_that_is_not_sound(tmp_path):
    class Steps:
        steps = 11

    save(tmp_path, 1, 4)
    case = Case("files", "x", "")
    assert sound(Steps, case, tmp_path, "here") == 15 and not case.problems
    (tmp_path / "checkpoints" / ".a.part").touch()
    (tmp_path / "checkpoints" / "checkpoint_epoch_00002.pyth").write_bytes(b"half")
    assert sound(Steps, case, tmp_path, "here") == 15
    assert len(case.problems) == 2


def test_a_small_disk_is_full_read_only_and_gone(tmp_path):
    try:
        with small_disk(tmp_path / "disk", 1) as disk:
            assert list((tmp_path / "disk").iterdir()) == [], "only the commands inside see it"
            filler = disk.fill(leave=64 * 1024)
            assert disk.free() <= 64 * 1024
            with pytest.raises(OSError, match="No space"), open(disk.seen / "more", "wb", buffering=0) as file:
                os.posix_fallocate(file.fileno(), 0, 512 * 1024)
            filler.unlink()
            disk.sh(f"echo inside > {disk.point}/file")
            assert (disk.seen / "file").read_text() == "inside\n"
            disk.remount(read_only=True)
            with pytest.raises(OSError, match="Read-only"):
                (disk.seen / "other").touch()
            with pytest.raises(OSError, match="nothing"):
                disk.sh("echo nothing >&2; false")
            holder = disk.seen
    except Skipped as reason:
        pytest.skip(str(reason))
    assert not holder.exists()


def test_a_machine_without_mounts_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(chaos_mounts, "_WAYS", (("--no-such-option",),))
    with pytest.raises(Skipped, match="no small disk could be mounted"), small_disk(tmp_path / "disk", 1):
        pass
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Skipped, match="unshare"), small_disk(tmp_path / "other", 1):
        pass


def test_permissions_bind_all_but_root(tmp_path):
    assert is_bound_by_permissions(tmp_path) == (os.geteuid() != 0)


@pytest.mark.parametrize("kind", KINDS)
def test_a_trap_springs_where_it_is_read_as_nobody_should(tmp_path, kind):
    canary = tmp_path / "canary"
    KINDS[kind](tmp_path / "trap", canary)
    assert not canary.exists(), "writing it is no reading"
    with pytest.raises(WeightError):
        read_checkpoint(tmp_path / "trap")
    assert not canary.exists()
    with suppress(RuntimeError):  # a bare pickle is no file of torch's, which shows too late
        torch.load(tmp_path / "trap", weights_only=False)
    assert canary.exists()


def test_a_trap_in_a_sound_checkpoint(tmp_path):
    path, canary = save(tmp_path, 1), tmp_path / "canary"
    hidden(path, canary, path)
    with pytest.raises(WeightError):
        read_checkpoint(path)
    assert not canary.exists()
    content = torch.load(path, weights_only=False)
    assert canary.exists() and content["epoch"] == 1
    assert Trap(canary).__reduce__()[0] is exec
