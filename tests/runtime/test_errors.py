"""A user's mistake is one line, and is told apart from a defect."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uniformer_video.runtime.errors import ConfigError, DataError, UserError, WeightError

KINDS = (UserError, ConfigError, DataError, WeightError)


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


@pytest.mark.parametrize("kind", KINDS)
def test_errors_come_whole_from_a_worker_process(kind):
    back = pickle.loads(pickle.dumps(kind("two\nlines")))
    assert type(back) is kind
    assert str(back) == "two lines"
