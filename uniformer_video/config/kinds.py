"""What a configuration value may be: each kind checks, converts and describes.

``parse`` takes a value as YAML or the command line gives it and returns the value kept in the configuration, or raises
``ValueError``; ``describe`` says in words what is allowed, for error messages and docs/CONFIG.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol


class Kind(Protocol):
    """A set of allowed values."""

    def parse(self, value: Any) -> Any:
        """Return ``value`` converted to this kind, or raise ``ValueError``."""

    def describe(self) -> str:
        """Return the allowed values in words."""


def _interval(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" >= {low:g}"
    return f" <= {high:g}" if high is not None else ""


def _check_interval(value: float, low: float | None, high: float | None) -> None:
    if (low is not None and value < low) or (high is not None and value > high):
        raise ValueError("out of range")


@dataclass(frozen=True)
class Bool:
    """True or False."""

    def parse(self, value: Any) -> bool:
        """Accept a bool, or the words true, false in any case."""
        if isinstance(value, str) and value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        if not isinstance(value, bool):
            raise ValueError("not a bool")
        return value

    def describe(self) -> str:
        """Return the allowed values in words."""
        return "True or False"


@dataclass(frozen=True)
class Int:
    """A whole number between ``low`` and ``high`` (both inclusive, None: no bound)."""

    low: int | None = None
    high: int | None = None

    def parse(self, value: Any) -> int:
        """Accept an int, a float without fraction, or digits in a string."""
        if isinstance(value, bool):
            raise ValueError("not an int")
        if isinstance(value, str):
            value = float(value) if not value.strip().lstrip("+-").isdigit() else int(value)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int):
            raise ValueError("not an int")
        _check_interval(value, self.low, self.high)
        return value

    def describe(self) -> str:
        """Return the allowed values in words."""
        return "whole number" + _interval(self.low, self.high)


@dataclass(frozen=True)
class Number:
    """A finite number between ``low`` and ``high`` (both inclusive, None: no bound)."""

    low: float | None = None
    high: float | None = None

    def parse(self, value: Any) -> float:
        """Accept an int or float, or a string such as ``1e-4``, which YAML does not take for a number."""
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError("not a number")
        value = float(value)
        if not math.isfinite(value):
            raise ValueError("not finite")
        _check_interval(value, self.low, self.high)
        return value

    def describe(self) -> str:
        """Return the allowed values in words."""
        return "number" + _interval(self.low, self.high)


@dataclass(frozen=True)
class Text:
    """A string."""

    def parse(self, value: Any) -> str:
        """Accept a string; a bare number becomes its digits, null becomes the empty string."""
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("not a string")
        return str(value)

    def describe(self) -> str:
        """Return the allowed values in words."""
        return "string"


@dataclass(frozen=True)
class Choice:
    """One of ``values``; strings are matched in any case."""

    values: tuple[Any, ...]

    def parse(self, value: Any) -> Any:
        """Return the member of ``values`` that equals ``value``."""
        for allowed in self.values:
            if type(value) is type(allowed) and value == allowed:
                return allowed
            if isinstance(value, str) and value.strip().lower() == str(allowed).lower():
                return allowed
        raise ValueError("not one of the choices")

    def describe(self) -> str:
        """Return the allowed values in words."""
        return "one of " + ", ".join(repr(v) if v == "" else str(v) for v in self.values)


@dataclass(frozen=True)
class List:
    """A list of ``inner`` with ``length`` members (None: any number)."""

    inner: Kind
    length: int | None = None

    def parse(self, value: Any) -> list:
        """Accept a list or tuple whose members are all of the inner kind."""
        if not isinstance(value, list | tuple):
            raise ValueError("not a list")
        if self.length is not None and len(value) != self.length:
            raise ValueError("wrong length")
        return [self.inner.parse(v) for v in value]

    def describe(self) -> str:
        """Return the allowed values in words."""
        size = "list of" if self.length is None else f"list of {self.length}, each a"
        return f"{size} {self.inner.describe()}"


@dataclass(frozen=True)
class Maybe:
    """None (null in YAML) or ``inner``."""

    inner: Kind

    def parse(self, value: Any) -> Any:
        """Accept None, the words null and none, or the inner kind."""
        if value is None or (isinstance(value, str) and value.strip().lower() in ("null", "none", "~")):
            return None
        return self.inner.parse(value)

    def describe(self) -> str:
        """Return the allowed values in words."""
        return f"null or {self.inner.describe()}"


@dataclass(frozen=True)
class OrWord:
    """The word ``word`` or ``inner``."""

    word: str
    inner: Kind

    def parse(self, value: Any) -> Any:
        """Accept the word in any case, or the inner kind."""
        if isinstance(value, str) and value.strip().lower() == self.word:
            return self.word
        return self.inner.parse(value)

    def describe(self) -> str:
        """Return the allowed values in words."""
        return f"{self.word} or {self.inner.describe()}"


@dataclass(frozen=True)
class Either:
    """``first`` or, where a value is not of that kind, ``second``."""

    first: Kind
    second: Kind

    def parse(self, value: Any) -> Any:
        """Accept what either kind accepts."""
        try:
            return self.first.parse(value)
        except (ValueError, OverflowError):
            return self.second.parse(value)

    def describe(self) -> str:
        """Return the allowed values in words."""
        return f"{self.first.describe()}, or {self.second.describe()}"


@dataclass(frozen=True)
class Key:
    """One configuration key.

    Args:
        name: full name, ``SECTION.KEY``.
        default: the value without any file or override.
        kind: what is allowed.
        meaning: one or two sentences for docs/CONFIG.md.
        unit: unit of the value, empty where it has none.
    """

    name: str
    default: Any
    kind: Kind
    meaning: str
    unit: str = ""
