"""One line in the log for each kind of file that another reader takes, and an error that survives its way."""

from __future__ import annotations

import pickle

import pytest

from tests.toy import log
from uniformer_video.video import fallback
from uniformer_video.video.fallback import UnsupportedByBackendError, tell_once
from uniformer_video.video.reader import DecodeError

__all__ = ["log"]


@pytest.fixture(autouse=True)
def nothing_told(monkeypatch):
    monkeypatch.setattr(fallback, "_TOLD", set())


def test_each_kind_is_told_once(log):
    for path, kind in (("a.mkv", "odd height"), ("b.mkv", "odd height"), ("c.avi", "container")):
        tell_once("decord", UnsupportedByBackendError(path, f"{kind} of {path}", kind), kind)
    tell_once("pyav", DecodeError("d.mp4", "no decoder"), "no decoder", "torchcodec")
    assert log == [
        "WARNING: decord cannot read a.mkv (odd height of a.mkv); such files are read with pyav",
        "WARNING: decord cannot read c.avi (container of c.avi); such files are read with pyav",
        "WARNING: pyav cannot read d.mp4 (no decoder); such files are read with torchcodec",
    ]


def test_the_kind_is_the_cause_where_nothing_else_is_said():
    error = UnsupportedByBackendError("a.mkv", "an odd\nheight")
    assert isinstance(error, DecodeError)
    assert (str(error), error.kind) == ("a.mkv: an odd height", "an odd height")
    assert UnsupportedByBackendError("a.mkv", "an odd height, 33", "an odd height").kind == "an odd height"


def test_it_can_be_sent_from_a_worker():
    error = pickle.loads(pickle.dumps(UnsupportedByBackendError("a.mkv", "odd height, 33")))
    assert (error.path, error.cause, str(error)) == ("a.mkv", "odd height, 33", "a.mkv: odd height, 33")
