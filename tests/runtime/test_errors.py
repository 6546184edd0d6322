"""A user's mistake is one line, and is told apart from a defect."""

from __future__ import annotations

import errno
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import (
    ConfigError,
    DamagedFile,
    DataError,
    RefusedFile,
    UserError,
    WeightError,
    WriteError,
    write_error,
)

KINDS = (UserError, ConfigError, DataError, WeightError, WriteError)


@pytest.mark.parametrize("kind", KINDS)
def test_message_is_kept_as_it_is_when_it_has_one_line(kind):
    assert str(kind("a.yaml:3: X is 4; allowed: 1 to 3")) == "a.yaml:3: X is 4; allowed: 1 to 3"


@pytest.mark.parametrize("kind", KINDS)
def test_line_breaks_and_runs_of_blanks_become_one_blank(kind):
    assert str(kind("cannot read\n  the\tfile\r\n\r\nnow ")) == "cannot read the file now"


@given(st.text())
def test_every_message_is_one_line(message):
    text = str(UserError(message))
    assert len(text.splitlines()) <= 1
    assert text.split() == message.split()


def test_a_message_may_be_another_error():
    assert str(DataError(OSError("no\nroom"))) == "no room"


@pytest.mark.parametrize("kind", KINDS[1:])
def test_each_kind_is_a_user_error_and_no_other_kind(kind):
    assert issubclass(kind, UserError)
    assert [k for k in KINDS[1:] if issubclass(kind, k)] == [kind]


def test_a_user_error_is_a_value_error_but_not_the_other_way_round():
    assert issubclass(UserError, ValueError)
    assert not isinstance(ValueError("x"), UserError)


@pytest.mark.parametrize(("kind", "other"), [(DamagedFile, RefusedFile), (RefusedFile, DamagedFile)])
def test_damaged_and_refused_files_are_weight_errors_of_two_kinds(kind, other):
    assert issubclass(kind, WeightError)
    assert not issubclass(kind, other)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_a_full_disk_is_to_be_given_room(number):
    error = write_error("out/a.pyth", OSError(number, "No\nspace"))
    assert type(error) is WriteError
    assert str(error) == "'out/a.pyth' cannot be written (No space); make room there and run the same command again"


@pytest.mark.parametrize(("path", "folder"), [("out/a.csv", "out"), (Path("/x/a"), "/x"), ("a.csv", ".")])
def test_other_refusals_send_the_user_to_the_folder(path, folder):
    assert str(write_error(path, PermissionError(errno.EACCES, "Permission denied"))) == (
        f"'{path}' cannot be written (Permission denied); check the folder '{folder}' and run the same command again"
    )


def test_a_refusal_without_the_systems_words():
    assert "(5 requested and 3 written); make room" in str(write_error("a", OSError("5 requested and 3 written")))
    assert "(OSError); make room" in str(write_error("a", OSError()))


@pytest.mark.parametrize("kind", [*KINDS, DamagedFile, RefusedFile])
def test_errors_come_whole_from_a_worker_process(kind):
    back = pickle.loads(pickle.dumps(kind("two\nlines")))
    assert type(back) is kind
    assert str(back) == "two lines"
