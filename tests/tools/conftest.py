"""Fixtures of this room."""

from tests.toy import broken_video, log, logger_restored, toy_set

__all__ = ["broken_video", "log", "logger_restored", "toy_set"]
