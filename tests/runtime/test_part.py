"""A partial file has one writer, whoever dies, and leaves nothing that no one would find."""

from __future__ import annotations

import errno
import fcntl
import multiprocessing
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.http_server import wait_until
from uniformer_video.runtime import part as part_module
from uniformer_video.runtime.part import claimed_part, read_note
from uniformer_video.runtime.transfer import Origin


def hold(path: Path, ready) -> None:
    """Write half a file and stay, in another process."""
    with claimed_part(path, 5) as part:
        part.file.write(b"half")
        ready.set()
        time.sleep(60)


@pytest.fixture(autouse=True)
def _look_often(monkeypatch):
    monkeypatch.setattr(part_module, "_LOOK_SECONDS", 0.005)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


class TestOneProcess:
    def test_bytes_gather_beside_and_are_renamed(self, tmp_path):
        path = tmp_path / "a.pth"
        with claimed_part(path, 1) as part:
            part.note(Origin("http://u", '"v"'))
            part.file.write(b"weights")
            assert part.length() == 7
            assert names(tmp_path) == ["a.pth.part", "a.pth.part.json"]
            part.finish(path)
        assert names(tmp_path) == ["a.pth"]
        assert path.read_bytes() == b"weights"

    def test_its_note_may_be_kept(self, tmp_path):
        path, note = tmp_path / "a.pth", tmp_path / "a.pth.json"
        with claimed_part(path, 1) as part:
            part.note(Origin("http://u", '"v"'))
            part.file.write(b"weights")
            part.finish(path, note)
        assert names(tmp_path) == ["a.pth", "a.pth.json"]
        assert read_note(note) == Origin("http://u", '"v"')
        with claimed_part(path, 1) as part:
            part.finish(path, note)  # one of nobody knows what keeps the note there is
        assert read_note(note) == Origin("http://u", '"v"')
        assert read_note(tmp_path / "none.json") is None

    def test_a_later_call_goes_on(self, tmp_path):
        path = tmp_path / "a.pth"
        origin = Origin("http://u", '"v"', "day", ranges=False)
        with pytest.raises(KeyboardInterrupt), claimed_part(path, 1) as part:
            part.note(origin)
            part.file.write(b"wei")
            raise KeyboardInterrupt
        with claimed_part(path, 1) as part:
            assert (part.length(), part.origin(), part.kept) == (3, origin, True)
            part.file.write(b"ghts")
            part.finish(path)
        assert path.read_bytes() == b"weights"

    def test_nothing_empty_is_left(self, tmp_path):
        with claimed_part(tmp_path / "a", 1) as part:
            part.note(Origin("http://u"))
        assert names(tmp_path) == []

    def test_removed(self, tmp_path):
        with claimed_part(tmp_path / "a", 1) as part:
            part.note(Origin("http://u"))
            part.file.write(b"x")
            part.remove()
            assert names(tmp_path) == []
        assert names(tmp_path) == []

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"url": "u", "more": 1}', "{}", "\x00\xff"])
    def test_a_damaged_note_is_none(self, tmp_path, text):
        with claimed_part(tmp_path / "a", 1) as part:
            part.notes.write_text(text)
            assert part.origin() is None

    def test_the_file_has_the_permissions_of_any_file(self, tmp_path):
        path = tmp_path / "a"
        with claimed_part(path, 1) as part:
            part.file.write(b"x")
            part.finish(path)
        (tmp_path / "plain").write_text("x")
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE((tmp_path / "plain").stat().st_mode)


class TestSeveral:
    def test_the_second_waits_and_finds_the_file_done(self, tmp_path, log):
        path, seen = tmp_path / "a", []

        def second() -> None:
            with claimed_part(path, 5) as part:
                seen.append(part)

        with claimed_part(path, 5) as part:
            thread = threading.Thread(target=second)
            thread.start()
            wait_until(lambda: log)
            part.file.write(b"x")
            part.finish(path)
        thread.join(5)
        assert seen == [None]
        assert log == ["INFO: another process downloads a; waiting for it"]
        assert names(tmp_path) == ["a"]

    def test_the_second_takes_over_when_the_first_gives_up(self, tmp_path, log):
        path, seen = tmp_path / "a", []

        def second() -> None:
            with claimed_part(path, 5) as part:
                seen.append((part.length(), part.kept))

        with claimed_part(path, 5) as part:
            thread = threading.Thread(target=second)
            thread.start()
            wait_until(lambda: log)
            part.file.write(b"half")
        thread.join(5)
        assert seen == [(4, True)]

    def test_a_file_that_was_there_before_is_no_sign_that_another_finished(self, tmp_path):
        (tmp_path / "a").write_text("old")
        with claimed_part(tmp_path / "a", 1) as part:
            assert part is not None

    def test_the_lock_of_a_killed_process_is_gone_with_it(self, tmp_path):
        path = tmp_path / "a"
        # Forked, since a fresh interpreter would import for seconds.
        context = multiprocessing.get_context("fork")
        ready = context.Event()
        other = context.Process(target=hold, args=(path, ready), daemon=True)
        other.start()
        assert ready.wait(10)
        other.kill()
        other.join()
        with claimed_part(path, 1) as part:
            assert (part.length(), part.kept) == (4, True)

    def test_one_that_shows_no_sign_of_life_is_not_waited_for(self, tmp_path):
        path = tmp_path / "a"
        with open(tmp_path / "a.part", "wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            started = time.monotonic()
            with claimed_part(path, 0.2) as part:
                assert 0.2 <= time.monotonic() - started < 5
                assert not part.kept
                part.file.write(b"own")
                own = part.path.name
                assert own.startswith(".a.") and own.endswith(".part")
                part.finish(path)
        assert path.read_bytes() == b"own"
        assert names(tmp_path) == ["a", "a.part"]

    def test_one_that_grows_is_waited_for(self, tmp_path, log):
        path = tmp_path / "a"
        with open(tmp_path / "a.part", "wb", buffering=0) as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            seen = []

            def second() -> None:
                with claimed_part(path, 0.5) as part:
                    seen.append((part.path.name, part.length()))

            thread = threading.Thread(target=second)
            thread.start()
            for _ in range(20):
                held.write(b"x")
                time.sleep(0.06)
            assert seen == []
        thread.join(5)
        assert seen == [("a.part", 20)]

    def test_an_own_file_is_removed_when_it_fails(self, tmp_path):
        with open(tmp_path / "a.part", "wb") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            with pytest.raises(RuntimeError), claimed_part(tmp_path / "a", 0) as part:
                part.note(Origin("http://u"))
                part.file.write(b"half")
                raise RuntimeError
        assert names(tmp_path) == ["a.part"]

    def test_a_disk_without_locks(self, tmp_path, monkeypatch):
        def refuse(*_):
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
        path, started = tmp_path / "a", time.monotonic()
        with claimed_part(path, 60) as part:
            part.file.write(b"x")
            part.finish(path)
        assert time.monotonic() - started < 5
        assert path.read_bytes() == b"x"

    def test_a_system_without_locks(self, tmp_path, monkeypatch):
        monkeypatch.setattr(part_module, "fcntl", None)
        path = tmp_path / "a.pth"
        with claimed_part(path, 1) as one, claimed_part(path, 1) as other:
            assert one.path != other.path and not one.kept and not other.kept
            one.file.write(b"weights")
            one.finish(path)
        assert path.read_bytes() == b"weights"
        assert "a.pth" in names(tmp_path)

    def test_a_part_renamed_between_opening_and_locking_is_not_written_to(self, tmp_path, monkeypatch):
        path, lock, calls = tmp_path / "a", fcntl.flock, []

        def late(file, how):
            calls.append(how)
            if len(calls) == 1:
                os.replace(tmp_path / "a.part", path)  # what another process does when it is done
            lock(file, how)

        monkeypatch.setattr(fcntl, "flock", late)
        with claimed_part(path, 5) as part:
            part.file.write(b"new")
            assert (tmp_path / "a").read_bytes() == b""
        assert len(calls) == 2

    def test_many_threads_one_at_a_time(self, tmp_path):
        path, inside, most, finished = tmp_path / "a", [], [], []

        def work() -> None:
            with claimed_part(path, 5) as part:
                if part is None:
                    return
                inside.append(part)
                most.append(len(inside))
                part.file.write(b"x")
                time.sleep(0.01)
                inside.pop()
                part.finish(path)
                finished.append(part)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert set(most) == {1}
        assert path.read_bytes() == b"x"
        assert names(tmp_path) == ["a"]
