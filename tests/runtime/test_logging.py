"""Console and log file, json_stats lines there and back, progress bars."""

from __future__ import annotations

import io
import json
import logging
import math
import os
import re
import sys
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import WriteError
from uniformer_video.runtime.logging import (
    LOGGER_NAME,
    OF_THIS_PROCESS,
    get_logger,
    log_json_stats,
    log_once,
    on_terminal,
    progress,
    read_json_stats,
    setup_logging,
)

LINE = re.compile(r"^\[\d\d-\d\d \d\d:\d\d:\d\d ([IWE])\] (.*)$")


@pytest.fixture(autouse=True)
def quiet_afterwards():
    """Leave the package's logger as it was, and no file open."""
    logger = logging.getLogger(LOGGER_NAME)
    before = logger.propagate, logger.level, list(logger.handlers)
    logger.handlers = []
    yield
    for handler in logger.handlers:
        handler.close()
    logger.propagate, logger.level, logger.handlers = before


@pytest.fixture
def terminal(monkeypatch):
    """Return a function that makes standard error a terminal and returns its screen; to be called in the test itself.

    Called earlier, in a fixture, it would be undone by pytest's own capture.
    """

    def switch() -> io.StringIO:
        screen = io.StringIO()
        screen.isatty = lambda: True
        monkeypatch.setattr(sys, "stderr", screen)
        return screen

    return switch


def messages(text: str) -> list[tuple[str, str]]:
    return [LINE.match(line).groups() for line in text.splitlines()]


def file_messages(path) -> list[tuple[str, str]]:
    return messages(path.read_text(encoding="utf-8"))


class TestSetup:
    def test_the_main_process_writes_console_and_file(self, tmp_path, capsys):
        setup_logging(tmp_path)
        logger = get_logger("uniformer_video.engine.trainer")
        logger.debug("too fine")
        logger.info("epoch %d", 3)
        logger.warning("größe")
        expected = [("I", "epoch 3"), ("W", "größe")]
        out, err = capsys.readouterr()
        assert messages(out) == expected
        assert err == ""
        assert file_messages(tmp_path / "stdout.log") == expected

    def test_without_a_folder_there_is_the_console_alone(self, tmp_path, capsys, monkeypatch):
        monkeypatch.chdir(tmp_path)
        setup_logging(None)
        get_logger("uniformer_video.x").info("hello")
        assert messages(capsys.readouterr().out) == [("I", "hello")]
        assert list(tmp_path.iterdir()) == []

    def test_other_processes_write_what_is_theirs_alone_to_standard_error_and_no_file(self, tmp_path, capsys):
        setup_logging(tmp_path, main=False, rank=3)
        logger = get_logger("uniformer_video.x")
        logger.info("not worth a line")
        logger.warning("what the main process says for all")
        logger.warning("look", extra=OF_THIS_PROCESS)
        logger.error("here")
        out, err = capsys.readouterr()
        assert out == ""
        stamped = re.findall(r"^\[rank 3 \d\d-\d\d \d\d:\d\d:\d\d ([IWE])\] (.*)$", err, re.MULTILINE)
        assert stamped == [("W", "look"), ("E", "here")]
        assert err.count("\n") == 2
        assert list(tmp_path.iterdir()) == []

    def test_a_second_call_replaces_the_first(self, tmp_path, capsys):
        first, second = tmp_path / "a", tmp_path / "b"
        first.mkdir()
        second.mkdir()
        setup_logging(first)
        (file,) = (h for h in logging.getLogger(LOGGER_NAME).handlers if isinstance(h, logging.FileHandler))
        setup_logging(second)
        assert file.stream is None  # closed
        get_logger("uniformer_video.x").info("once")
        assert messages(capsys.readouterr().out) == [("I", "once")]
        assert (first / "stdout.log").read_text() == ""
        assert file_messages(second / "stdout.log") == [("I", "once")]

    def test_a_resumed_run_appends(self, tmp_path):
        for word in ("before", "after"):
            setup_logging(tmp_path)
            get_logger("uniformer_video.x").info(word)
        assert file_messages(tmp_path / "stdout.log") == [("I", "before"), ("I", "after")]

    def test_other_loggers_are_left_alone(self, tmp_path, capsys):
        root = logging.getLogger()
        before = root.level, list(root.handlers)
        setup_logging(tmp_path)
        logging.getLogger("uniformer_videotape").warning("not ours")
        assert (root.level, list(root.handlers)) == before
        assert (tmp_path / "stdout.log").read_text() == ""
        assert "not ours" not in capsys.readouterr().out

    def test_our_lines_do_not_reach_the_root_logger_a_second_time(self, tmp_path, caplog):
        setup_logging(tmp_path)
        get_logger("uniformer_video.x").warning("once")
        assert caplog.records == []

    def test_get_logger_of_a_module_is_below_the_package(self):
        assert get_logger("uniformer_video.engine").parent is logging.getLogger(LOGGER_NAME)

    def test_console_lines_stand_above_a_progress_bar(self, terminal, capsys):
        screen = terminal()
        setup_logging(None)
        for item in progress(range(3), total=3, label="test"):
            if item == 1:
                get_logger("uniformer_video.x").info("in between")
        # The bar's own line is wiped before the message is printed and drawn again after it.
        assert messages(capsys.readouterr().out.replace("\r", "").strip()) == [("I", "in between")]
        assert "test" in screen.getvalue()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
class TestFullDisk:
    """A log that cannot be written is told once, without a traceback, and the run goes on."""

    def test_the_file(self, tmp_path, capsys):
        path = tmp_path / "stdout.log"
        path.symlink_to("/dev/full")
        setup_logging(tmp_path)
        for number in range(3):
            get_logger("uniformer_video.x").info("line %d", number)
        out, err = capsys.readouterr()
        assert messages(out) == [("I", "line 0"), ("I", "line 1"), ("I", "line 2")]
        assert err == f"warning: the log file {str(path)!r} cannot be written (No space left on device); going on\n"
        setup_logging(None)  # closes the file, with what is held back
        assert capsys.readouterr() == ("", "")

    def test_room_that_comes_back_is_used(self, tmp_path, capsys):
        setup_logging(tmp_path)
        (file,) = (h for h in logging.getLogger(LOGGER_NAME).handlers if isinstance(h, logging.FileHandler))
        good = file.stream
        with open("/dev/full", "w") as full:
            file.stream = full
            get_logger("uniformer_video.x").info("lost")
            file.stream = good
            with suppress(OSError):
                full.close()
        get_logger("uniformer_video.x").info("kept")
        assert file_messages(tmp_path / "stdout.log") == [("I", "kept")]
        assert capsys.readouterr().err.count("\n") == 1

    def test_standard_output(self, tmp_path, capsys, monkeypatch):
        setup_logging(tmp_path)
        full = open("/dev/full", "w")  # noqa: SIM115 - closed below, which fails
        monkeypatch.setattr(sys, "stdout", full)
        get_logger("uniformer_video.x").info("one")
        get_logger("uniformer_video.x").info("two")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()
        assert file_messages(tmp_path / "stdout.log") == [("I", "one"), ("I", "two")]
        assert capsys.readouterr().err == (
            "warning: standard output cannot be written (No space left on device); going on\n"
        )

    def test_standard_error_of_another_process(self, tmp_path, monkeypatch):
        setup_logging(tmp_path, main=False, rank=1)
        full = open("/dev/full", "w")  # noqa: SIM115
        monkeypatch.setattr(sys, "stderr", full)
        get_logger("uniformer_video.x").error("lost, and nowhere to say so")
        monkeypatch.undo()
        with suppress(OSError):
            full.close()


def test_a_mistake_in_a_logging_call_of_ours_still_shows(tmp_path, capsys):
    setup_logging(tmp_path, main=False, rank=1)
    get_logger("uniformer_video.x").error("%d videos", "no number")
    err = capsys.readouterr().err
    assert "--- Logging error ---" in err and "TypeError" in err


def test_a_reader_that_has_gone_ends_the_command_as_ever(tmp_path, monkeypatch):
    def gone(*args, **kwargs):
        raise BrokenPipeError

    setup_logging(tmp_path)
    monkeypatch.setattr("uniformer_video.runtime.logging.tqdm.write", gone)
    with pytest.raises(BrokenPipeError):
        get_logger("uniformer_video.x").info("to | head")


def test_a_log_file_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "stdout.log").mkdir()
    with pytest.raises(WriteError, match=r"stdout.log' cannot be written \(Is a directory\); check the folder"):
        setup_logging(tmp_path)


class TestJsonStats:
    def test_the_line(self, tmp_path):
        setup_logging(tmp_path)
        log_json_stats(get_logger("uniformer_video.x"), {"lr": 1e-4, "_type": "train_iter", "epoch": "1/2"})
        expected = 'json_stats: {"_type": "train_iter", "epoch": "1/2", "lr": 0.0001}'
        assert file_messages(tmp_path / "stdout.log") == [("I", expected)]

    def test_lines_go_to_the_file_and_not_to_the_console(self, tmp_path, capsys):
        setup_logging(tmp_path)
        logger = get_logger("uniformer_video.x")
        log_json_stats(logger, {"loss": 1.5})
        logger.info("a word about json_stats: they are in the file")
        assert messages(capsys.readouterr().out) == [("I", "a word about json_stats: they are in the file")]
        assert len(file_messages(tmp_path / "stdout.log")) == 2

    def test_nan_and_infinity_become_null_at_every_depth(self, tmp_path):
        setup_logging(tmp_path)
        stats = {"a": math.nan, "b": math.inf, "c": -math.inf, "d": [math.nan, 1.0], "e": {"f": math.nan}}
        log_json_stats(get_logger("uniformer_video.x"), stats)
        (entry,) = read_json_stats(tmp_path / "stdout.log")
        assert entry == {"a": None, "b": None, "c": None, "d": [None, 1.0], "e": {"f": None}}
        line = (tmp_path / "stdout.log").read_text().split("json_stats: ", 1)[1]
        assert json.loads(line, parse_constant=pytest.fail) == entry  # strict JSON, for every reader

    @pytest.mark.parametrize(
        ("value", "kept"),
        [
            (1 / 3, 0.33333333),
            (1.23456789e-12, 1.2345679e-12),
            (1e-9, 1e-9),
            (123456789.25, 123456790.0),
            (0.0, 0.0),
            (np.float64(2.5), 2.5),
            (123456789012, 123456789012),
            (True, True),
        ],
    )
    def test_floats_keep_eight_significant_digits(self, tmp_path, value, kept):
        setup_logging(tmp_path)
        log_json_stats(get_logger("uniformer_video.x"), {"value": value})
        (entry,) = read_json_stats(tmp_path / "stdout.log")
        assert entry == {"value": kept}
        assert type(entry["value"]) is type(kept)

    def test_entries_come_in_order_from_between_other_lines(self, tmp_path):
        setup_logging(tmp_path)
        logger = get_logger("uniformer_video.x")
        for step in range(3):
            logger.info("step %d", step)
            log_json_stats(logger, {"step": step, "name": "größe\u2028 [x] % {}"})
        entries = read_json_stats(tmp_path / "stdout.log")
        assert entries == [{"step": step, "name": "größe\u2028 [x] % {}"} for step in range(3)]

    def test_a_missing_file_has_no_entries(self, tmp_path):
        assert read_json_stats(tmp_path / "stdout.log") == []

    def test_what_a_killed_run_left_unfinished_is_passed_over(self, tmp_path):
        path = tmp_path / "stdout.log"
        good = '[11-20 08:00:00 I] json_stats: {"step": 1}\n'
        path.write_bytes(good.encode() + b'[11-20 08:00:01 I] json_stats: {"step": 2, "lo' + b"\xff\xfe")
        assert read_json_stats(path) == [{"step": 1}]
        with path.open("ab") as file:  # the resumed run goes on in the same line, then in the next
            file.write(good.encode() + good.replace("1}", "3}").encode())
        assert read_json_stats(path) == [{"step": 1}, {"step": 3}]

    @given(
        st.dictionaries(
            st.text(max_size=8),
            st.one_of(
                st.none(), st.booleans(), st.integers(-(2**53), 2**53), st.text(max_size=20), st.floats(-1e9, 1e9)
            ),
            max_size=6,
        )
    )
    def test_there_and_back(self, tmp_path_factory, stats):
        folder = tmp_path_factory.mktemp("log")
        setup_logging(folder)
        log_json_stats(get_logger("uniformer_video.x"), stats)
        (entry,) = read_json_stats(folder / "stdout.log")
        assert entry.keys() == stats.keys()
        for key, value in stats.items():
            if isinstance(value, float):
                assert entry[key] == pytest.approx(value, rel=1e-7)
            else:
                assert entry[key] == value
                assert type(entry[key]) is type(value)


class TestProgress:
    def test_it_yields_everything_and_is_silent_without_a_terminal(self, capfd):
        assert list(progress(iter("abc"), total=3, label="test")) == ["a", "b", "c"]
        assert capfd.readouterr() == ("", "")

    def test_on_a_terminal_it_names_and_counts(self, terminal):
        stream = terminal()
        assert list(progress(range(4), total=4, label="4 videos", unit="video")) == [0, 1, 2, 3]
        screen = stream.getvalue()
        assert "4 videos" in screen
        assert "/4" in screen
        assert screen.endswith("\r")  # the bar is wiped at the end

    def test_it_takes_items_one_by_one(self):
        taken = []

        def items():
            for k in range(5):
                taken.append(k)
                yield k

        bar = progress(items(), total=5, label="x")
        assert taken == []
        assert (next(bar), next(bar)) == (0, 1)
        assert taken == [0, 1]
        bar.close()

    def test_an_error_of_the_source_goes_through(self, terminal):
        def items():
            yield 1
            raise RuntimeError("source")

        terminal()
        with pytest.raises(RuntimeError, match="source"):
            list(progress(items(), total=2, label="x"))

    def test_on_terminal_asks_standard_error(self, terminal, monkeypatch):
        terminal()
        assert on_terminal()
        monkeypatch.setattr(sys, "stderr", io.StringIO())
        assert not on_terminal()


def test_what_is_said_once_is_not_said_again(tmp_path, capsys):
    log_once.cache_clear()
    setup_logging(tmp_path)
    logger = get_logger(f"{LOGGER_NAME}.a")
    for text in ("one 100 %", "one 100 %", "two"):
        log_once(logger, text)
    assert messages(capsys.readouterr().out) == [("I", "one 100 %"), ("I", "two")]
    log_once.cache_clear()
