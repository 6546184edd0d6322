"""Fixtures of this room."""

from tests.datasets.lists import folder
from tests.toy import broken_video, log, random_state_unchanged, toy_set

__all__ = ["broken_video", "folder", "log", "random_state_unchanged", "toy_set"]
