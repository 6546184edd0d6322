"""A name-to-object table whose error names what it knows."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

from uniformer_video.runtime.errors import UserError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str], limit: int = 3) -> list[str]:
    """Return up to ``limit`` members of ``known`` that are spelled most like ``name``, best first."""
    by_fold = {k.casefold(): k for k in known}
    hits = difflib.get_close_matches(name.casefold(), list(by_fold), n=limit, cutoff=0.6)
    return [by_fold[h] for h in hits]


class Registry(Generic[T]):
    """Objects chosen by name in a configuration.

    Args:
        noun: what the table holds, for messages ("model", "dataset").
    """

    def __init__(self, noun: str) -> None:
        self.noun = noun
        self._entries: dict[str, T] = {}
        self._names: list[str] = []

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files its object under ``name`` (case-insensitive). A name can be taken once."""

        def decorate(entry: T) -> T:
            assert name.casefold() not in self._entries, f"{self.noun} {name!r} is registered twice"
            self._entries[name.casefold()] = entry
            self._names.append(name)
            return entry

        return decorate

    def get(self, name: str, key: str = "") -> T:
        """Return the object filed under ``name``; a ``UserError`` names ``key`` and lists the known names."""
        entry = self._entries.get(name.casefold())
        if entry is None:
            where = f" ({key})" if key else ""
            raise UserError(f"unknown {self.noun} {name!r}{where}; known: {', '.join(sorted(self))}")
        return entry

    def __contains__(self, name: str) -> bool:
        return name.casefold() in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)
