"""Nothing is half-written, and an output folder is proved before work begins."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from uniformer_video.runtime.errors import UserError
from uniformer_video.runtime.paths import PATHS, atomic_write, make_output_dir


@pytest.fixture
def umask():
    """Set the umask of this process for a test."""
    before = os.umask(0)
    os.umask(before)
    yield os.umask
    os.umask(before)


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
        (tmp_path / "folder").mkdir()
        with pytest.raises(OSError), atomic_write(tmp_path / "folder") as file:
            file.write("x")
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
        with pytest.raises(FileNotFoundError), atomic_write(tmp_path / "none" / "a"):
            pass

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
