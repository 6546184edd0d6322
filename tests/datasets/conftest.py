"""Fixtures of this room."""

from tests.toy import broken_video, log, random_state_unchanged, toy_set

__all__ = ["broken_video", "log", "random_state_unchanged", "toy_set"]
