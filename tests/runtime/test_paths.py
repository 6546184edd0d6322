"""Nothing is half-written, and an output folder is proved before work begins."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from uniformer_video.runtime.errors import UserError, WriteError
from uniformer_video.runtime.paths import PATHS, atomic_write, leftovers, make_folder, make_output_dir


@pytest.fixture
def umask():
    """Set the umask of this process for a test."""
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


def refused(path, reason: str) -> str:
    return f"'{path}' cannot be written ({reason}); check the folder '{path.parent}' and run the same command again"


def no_room(path, reason: str = "No space left on device") -> str:
    return f"'{path}' cannot be written ({reason}); make room there and run the same command again"


class TestAtomicWrite:
    def test_text_is_utf8_with_line_ends_as_written(self, tmp_path):
        path = tmp_path / "a.txt"
        with atomic_write(path) as file:
            file.write("größe\r\n模\n")
        assert path.read_bytes() == "größe\r\n模\n".encode()
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_bytes(self, tmp_path):
        with atomic_write(tmp_path / "a.bin", "wb") as file:
            file.write(bytes(range(256)))
        assert (tmp_path / "a.bin").read_bytes() == bytes(range(256))

    def test_a_path_may_be_a_string(self, tmp_path):
        with atomic_write(str(tmp_path / "a")) as file:
            file.write("x")
        assert (tmp_path / "a").read_text() == "x"

    def test_a_reader_sees_the_old_file_until_the_end(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("old")
        with atomic_write(path) as file:
            file.write("new")
            file.flush()
            assert path.read_text() == "old"
        assert path.read_text() == "new"

    def test_nothing_is_there_until_the_end(self, tmp_path):
        path = tmp_path / "a"
        with atomic_write(path):
            assert not path.exists()
        assert path.read_text() == ""

    @pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt(), SystemExit(1)])
    def test_an_error_leaves_the_old_file_and_nothing_beside_it(self, tmp_path, error):
        path = tmp_path / "a"
        path.write_text("old")
        with pytest.raises(type(error)) as caught, atomic_write(path) as file:
            file.write("half")
            raise error
        assert caught.value is error
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["a"]

    def test_an_error_leaves_nothing_where_there_was_no_file(self, tmp_path):
        with pytest.raises(RuntimeError), atomic_write(tmp_path / "a") as file:
            file.write("half")
            raise RuntimeError
        assert os.listdir(tmp_path) == []

    def test_a_failed_rename_leaves_nothing_beside(self, tmp_path):
        path = tmp_path / "folder"
        path.mkdir()
        with pytest.raises(WriteError) as error, atomic_write(path) as file:
            file.write("x")
        assert str(error.value) == refused(path, "Is a directory")
        assert os.listdir(tmp_path) == ["folder"]

    def test_a_killed_process_leaves_the_old_file(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("old")
        code = (
            "import os, sys\n"
            "from uniformer_video.runtime.paths import atomic_write\n"
            "with atomic_write(sys.argv[1]) as file:\n"
            "    file.write('half' * 10000); file.flush(); os.kill(os.getpid(), 9)\n"
        )
        ended = subprocess.run([sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2], timeout=60)
        assert ended.returncode == -9
        assert path.read_text() == "old"
        # The leftover is hidden and cannot be taken for the file by its ending.
        (left,) = (p for p in os.listdir(tmp_path) if p != "a")
        assert left.startswith(".a.")
        assert left.endswith(".part")

    @pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)])
    def test_permissions_follow_the_umask(self, tmp_path, umask, mask, mode):
        umask(mask)
        with atomic_write(tmp_path / "a") as file:
            file.write("x")
        (tmp_path / "plain").write_text("x")
        assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == mode
        assert stat.S_IMODE((tmp_path / "plain").stat().st_mode) == mode
        assert os.umask(mask) == mask  # and the umask itself is as it was

    def test_a_missing_folder_is_an_error(self, tmp_path):
        path = tmp_path / "none" / "a"
        with pytest.raises(WriteError) as error, atomic_write(path):
            pytest.fail("there is nothing to write to")
        assert str(error.value) == refused(path, "No such file or directory")

    def test_two_writers_of_one_file_both_finish_and_the_later_wins(self, tmp_path):
        path = tmp_path / "a"
        with atomic_write(path) as outer:
            outer.write("outer" * 1000)
            with atomic_write(path) as inner:
                inner.write("inner")
            assert path.read_text() == "inner"
        assert path.read_text() == "outer" * 1000
        assert os.listdir(tmp_path) == ["a"]

    def test_a_reader_never_sees_a_mixture(self, tmp_path):
        path = tmp_path / "a"
        path.write_text("0" * 5000)
        seen, done = set(), threading.Event()

        def read() -> None:
            while not done.is_set():
                seen.add(path.read_text())

        reader = threading.Thread(target=read)
        reader.start()
        for k in range(100):
            with atomic_write(path) as file:
                for _ in range(5):
                    file.write(str(k % 10) * 1000)
        done.set()
        reader.join()
        assert seen <= {digit * 5000 for digit in "0123456789"}


LIMITED = """
import os, resource, sys
import numpy as np
import torch
from uniformer_video.engine.checkpoint import Checkpoint, save_checkpoint
from uniformer_video.runtime.errors import WriteError
from uniformer_video.runtime.paths import atomic_write
from pathlib import Path

path = Path(sys.argv[1])
weights = {"a": torch.ones(100_000)}
with atomic_write(path, "wb") as file:
    file.write(b"old")

def checkpoint():
    save_checkpoint(Checkpoint(1, weights, {}, ""), path)

def interrupt():
    raise KeyboardInterrupt

def written(write, mode="wb"):
    def act():
        with atomic_write(path, mode) as file:
            write(file)
    return act

resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for act in (
    checkpoint,
    written(lambda file: torch.save(weights, file)),
    written(lambda file: np.savez(file, a=np.ones(100_000))),
    written(lambda file: file.write(b"x" * 300_000)),
    written(lambda file: [file.write("x" * 1000) for _ in range(201)], "w"),  # the end alone does not fit
    written(lambda file: (file.write("x" * 199_000), file.write("x" * 2000), interrupt()), "w"),
):
    try:
        act()
    except WriteError as error:
        print(error)
    except KeyboardInterrupt:
        print("interrupted")
    assert os.listdir(path.parent) == [path.name] and path.read_bytes() == b"old"
print(len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0)
"""


class TestRefusals:
    """What the system refuses is one line, the old file stays, and nothing lies beside it."""

    def test_a_limit_of_the_system_in_the_middle_of_a_file(self, tmp_path):
        """A real one: what torch, numpy and zip files make of a write that fails is not in our hands."""
        path = tmp_path / "a"
        command = [sys.executable, "-c", LIMITED, str(path)]
        ended = subprocess.run(
            command, cwd=Path(__file__).parents[2], timeout=120, capture_output=True, text=True, check=False
        )
        assert (ended.stderr, ended.returncode) == ("", 0)
        *lines, interrupted, handles = ended.stdout.splitlines()
        assert lines == [no_room(path, "File too large")] * 5
        assert interrupted == "interrupted"  # whatever the disk thinks of what was held back
        assert int(handles) < 20  # those of the interpreter

    @pytest.mark.parametrize("mode", ["w", "wb"])
    @pytest.mark.parametrize(("module", "step"), [("tempfile", "mkstemp"), ("os", "fsync"), ("os", "replace")])
    def test_at_every_other_step(self, tmp_path, monkeypatch, module, step, mode):
        path = tmp_path / "a"
        path.write_text("old")

        def refuse(*args, **kwargs):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(f"uniformer_video.runtime.paths.{module}.{step}", refuse)
        with pytest.raises(WriteError) as error, atomic_write(path, mode) as file:
            file.write("x" if mode == "w" else b"x")
        monkeypatch.undo()
        assert str(error.value) == no_room(path)
        assert os.listdir(tmp_path) == ["a"]
        assert path.read_text() == "old"

    def test_a_missing_file_that_is_read_meanwhile_is_another_matter(self, tmp_path):
        with pytest.raises(FileNotFoundError, match="other"), atomic_write(tmp_path / "a") as file:
            file.write((tmp_path / "other").read_text())
        assert os.listdir(tmp_path) == []

    def test_an_error_without_a_file_is_about_the_one_that_is_written(self, tmp_path):
        with pytest.raises(WriteError) as error, atomic_write(tmp_path / "a"):
            raise OSError("90 requested and 30 written")  # numpy's
        assert str(error.value) == no_room(tmp_path / "a", "90 requested and 30 written")


class TestDurable:
    """After a crash of the machine there is the old file or the new one: content first, then name and folder."""

    @pytest.fixture
    def steps(self, tmp_path, monkeypatch):
        """Note what is flushed and renamed, in its order."""
        steps = []
        fsync, replace = os.fsync, os.replace

        def flushed(handle):
            steps.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else f"file of {os.fstat(handle).st_size}")
            fsync(handle)

        def renamed(*names):
            steps.append("renamed")
            replace(*names)

        monkeypatch.setattr("uniformer_video.runtime.paths.os.fsync", flushed)
        monkeypatch.setattr("uniformer_video.runtime.paths.os.replace", renamed)
        return steps

    @pytest.mark.parametrize("mode", ["w", "wb"])
    def test_the_order(self, tmp_path, steps, mode):
        with atomic_write(tmp_path / "a", mode) as file:
            file.write("abc" if mode == "w" else b"abc")
        assert steps == ["file of 3", "renamed", "folder"]

    def test_a_system_that_cannot_flush_folders(self, tmp_path, monkeypatch):
        fsync = os.fsync

        def no_folders(handle):
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                raise OSError(errno.EINVAL, "Invalid argument")
            fsync(handle)

        monkeypatch.setattr("uniformer_video.runtime.paths.os.fsync", no_folders)
        with atomic_write(tmp_path / "a") as file:
            file.write("x")
        assert (tmp_path / "a").read_text() == "x"


class TestLeftovers:
    def test_what_a_killed_write_left_and_nothing_else(self, tmp_path):
        with atomic_write(tmp_path / "a.pyth") as file:
            file.write("x")
            (half,) = leftovers(tmp_path)
            os.link(half, tmp_path / "kept")
        os.link(tmp_path / "kept", half)  # as it was when the process ended there
        for other in (
            ".a.pyth.part",
            "a.pyth.abcdefgh.part",
            ".a.pyth.abcdefg.part",
            ".a.ABCDEFGH.part",
            ".a.part.txt",
        ):
            (tmp_path / other).touch()
        (tmp_path / ".b.abcdefgh.part").mkdir()
        (tmp_path / ".c.abcdefgh.part").symlink_to(tmp_path / "kept")
        assert leftovers(tmp_path) == [half]
        assert leftovers(str(tmp_path)) == [half]

    def test_they_come_by_name_and_not_from_folders_below(self, tmp_path):
        (tmp_path / "below").mkdir()
        for name in (".b.a1234567.part", ".a.b1234_67.part", "below/.c.abcdefgh.part"):
            (tmp_path / name).touch()
        assert [path.name for path in leftovers(tmp_path)] == [".a.b1234_67.part", ".b.a1234567.part"]

    def test_a_folder_that_is_missing_has_none(self, tmp_path):
        assert leftovers(tmp_path / "none") == []

    @pytest.mark.parametrize("name", ["n" * 255, "\N{SNOWMAN}" * 85])
    def test_a_name_as_long_as_can_be(self, tmp_path, name):
        with atomic_write(tmp_path / name) as file:
            file.write("x")
            assert len(leftovers(tmp_path)) == 1
        assert os.listdir(tmp_path) == [name]


class TestMakeFolder:
    def test_makes_what_is_missing(self, tmp_path):
        assert make_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
        assert make_folder(tmp_path / "a" / "b").is_dir()

    def test_a_file_in_its_place(self, tmp_path):
        (tmp_path / "file").touch()
        with pytest.raises(WriteError) as error:
            make_folder(tmp_path / "file" / "run")
        assert str(error.value) == refused(tmp_path / "file" / "run", "Not a directory")


class TestMakeOutputDir:
    def test_makes_the_folder_and_those_above_it(self, tmp_path):
        folder = make_output_dir(tmp_path / "a" / "b")
        assert folder == tmp_path / "a" / "b"
        assert folder.is_dir()
        assert os.listdir(folder) == []

    def test_an_existing_folder_keeps_what_it_holds(self, tmp_path):
        (tmp_path / "kept").write_text("x")
        assert make_output_dir(str(tmp_path)) == tmp_path
        assert os.listdir(tmp_path) == ["kept"]

    def test_a_file_in_its_place(self, tmp_path):
        path = tmp_path / "file"
        path.write_text("x")
        with pytest.raises(UserError) as caught:
            make_output_dir(path)
        expected = f"OUTPUT_DIR {str(path)!r} cannot be written (File exists); set OUTPUT_DIR to a folder of yours"
        assert str(caught.value) == expected
        assert path.read_text() == "x"

    def test_a_path_under_a_file(self, tmp_path):
        (tmp_path / "file").write_text("x")
        path = tmp_path / "file" / "run"
        with pytest.raises(UserError) as caught:
            make_output_dir(path)
        expected = f"OUTPUT_DIR {str(path)!r} cannot be written (Not a directory); set OUTPUT_DIR to a folder of yours"
        assert str(caught.value) == expected

    def test_the_key_can_be_another(self, tmp_path):
        (tmp_path / "file").write_text("x")
        with pytest.raises(UserError) as caught:
            make_output_dir(tmp_path / "file", "TENSORBOARD.LOG_DIR")
        assert str(caught.value).startswith("TENSORBOARD.LOG_DIR '")
        assert str(caught.value).endswith("set TENSORBOARD.LOG_DIR to a folder of yours")

    def test_a_folder_that_takes_no_file(self, tmp_path, monkeypatch):
        # Permissions do not stop an administrator, so the trial file itself is made to fail.
        def refuse(**_):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("uniformer_video.runtime.paths.tempfile.NamedTemporaryFile", refuse)
        with pytest.raises(UserError, match=r"cannot be written \(Permission denied\); set OUTPUT_DIR"):
            make_output_dir(tmp_path)

    @pytest.mark.skipif(os.geteuid() == 0, reason="permissions do not stop root")
    def test_a_read_only_folder(self, tmp_path):
        folder = tmp_path / "locked"
        folder.mkdir(mode=0o500)
        with pytest.raises(UserError, match=r"\(Permission denied\)"):
            make_output_dir(folder)


def test_files_of_a_user_are_opened_through_iopath(tmp_path):
    (tmp_path / "a").write_text("ö", encoding="utf-8")
    with PATHS.open(str(tmp_path / "a"), "r", encoding="utf-8") as file:
        assert file.read() == "ö"
