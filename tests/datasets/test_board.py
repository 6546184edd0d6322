"""What a worker reads, seen from another process."""

from __future__ import annotations

import multiprocessing
import os
import signal

import pytest

from uniformer_video.datasets import board as board_module
from uniformer_video.datasets.board import ReadingBoard, reading


def test_a_board_remembers_what_an_ended_process_was_reading():
    board = ReadingBoard(3)
    assert [board.record_of(n) for n in range(3)] == [None] * 3

    def work():
        board.sign_in(1)
        with reading(0):
            pass
        with reading(7):
            os.kill(os.getpid(), signal.SIGKILL)

    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert [board.record_of(n) for n in range(3)] == [None, 7, None]


def test_a_board_is_wiped_after_each_video(monkeypatch):
    monkeypatch.setattr(board_module, "_place", None)
    board = ReadingBoard(2)
    board.sign_in(0)
    with reading(2**40):
        assert board.record_of(0) == 2**40
    assert board.record_of(0) is None
    with pytest.raises(ZeroDivisionError), reading(0):
        assert board.record_of(0) == 0  # record 0 is a record
        1 / 0  # noqa: B018
    assert board.record_of(0) is None


def test_a_process_that_is_no_worker_notes_nothing():
    with reading(5) as nothing:
        assert nothing is None and board_module._place is None
