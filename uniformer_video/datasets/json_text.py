"""JSON files of other people: each entry with its line, and every fault of the file as one line of message."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import simplejson

from uniformer_video.datasets.list_text import read_text, short
from uniformer_video.runtime.errors import DataError

_BLANKS = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True, slots=True)
class JsonEntry:
    """One element of a JSON list, or one member of a JSON object.

    Args:
        line: where it begins, from 1.
        key: the member's name; "" in a list.
        value: what stands there.
    """

    line: int
    key: str
    value: Any


class _DuplicateKey(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKey(f"the key {short(key)} twice in one object")
            seen.add(key)
    return found


# A key that stands twice is a fault of the file: of the two values one would be lost without a word.
_DECODER = simplejson.JSONDecoder(object_pairs_hook=_unique)


def read_json(path: str | os.PathLike[str], wanted: str) -> Any:
    """Return the content of a JSON file.

    Args:
        path: the file.
        wanted: what it should be, for the message: "it is a list of names".

    Raises:
        DataError: a file that cannot be read or is no JSON, with the line; a key twice in one object.
    """
    return _Scanner(path, text_of(path, wanted), wanted).whole()


def json_entries(
    path: str | os.PathLike[str], text: str, wanted: str, inner: tuple[str, ...] = (), first_line: int = 1
) -> list[JsonEntry]:
    """Return the elements of a JSON list, or the members of a JSON object, each with its line.

    Args:
        path: the file, for messages.
        text: what it holds.
        wanted: what it should be, for messages.
        inner: of an object with a list under one of these names, such as ``{"videos": [...]}``, the elements of that
            list are returned.
        first_line: number of the text's first line in the file.

    Raises:
        DataError: no JSON, neither a list nor an object, or a key twice in one object.
    """
    return list(_Scanner(path, text, wanted, first_line).entries(inner))


def text_of(path: str | os.PathLike[str], wanted: str) -> str:
    """Return the text of a file that must be there (see :func:`read_text`)."""
    try:
        return read_text(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; {wanted}") from None


class _Scanner:
    """Walks the outermost list or object by hand, so that each entry has a line; simplejson reads the entries."""

    def __init__(self, path: str | os.PathLike[str], text: str, wanted: str, first_line: int = 1) -> None:
        self.path, self.text, self.wanted, self.first_line = path, text, wanted, first_line
        self.counted, self.line = 0, first_line

    def whole(self) -> Any:
        value, end = self.value(self.skip(0))
        self.end(end)
        return value

    def entries(self, inner: tuple[str, ...]) -> Iterator[JsonEntry]:
        start = self.skip(0)
        bracket = self.text[start : start + 1]
        if bracket not in ("[", "{"):
            self.whole()  # its fault, if it has one, before the fault of being no list
            raise DataError(f"{self.path}:{self.line_of(start)}: {self.wanted}")
        if bracket == "{" and inner:
            outer = self.whole()
            lists = [key for key in inner if isinstance(outer.get(key), list)]
            if lists:
                start = self._find(start, lists[0])
                bracket = "["
                self.counted, self.line = 0, self.first_line
        end = yield from self._walk(start, bracket)
        if not inner or bracket == "{":
            self.end(end)

    def _find(self, start: int, wanted: str) -> int:
        """Return where the value of the member ``wanted`` of the object at ``start`` begins."""
        position = self.skip(start + 1)
        while True:
            key, position = self.value(position)
            position = self.skip(self.skip(position) + 1)
            if key == wanted:
                return position
            _, position = self.value(position)
            position = self.skip(self.skip(position) + 1)

    def _walk(self, start: int, bracket: str) -> Iterator[JsonEntry]:
        closing = "]" if bracket == "[" else "}"
        seen: set[str] = set()
        position = self.skip(start + 1)
        if self.text[position : position + 1] == closing:
            return position + 1
        while True:
            line, key = self.line_of(position), ""
            if bracket == "{":
                if self.text[position : position + 1] != '"':
                    raise self.fault(position, "Expecting property name enclosed in double quotes")
                key, position = self.value(position)
                if key in seen:
                    raise self.fault(position, f"the key {short(key)} twice in one object")
                seen.add(key)
                position = self.expect(position, ":")
            value, position = self.value(self.skip(position))
            yield JsonEntry(line, key, value)
            position = self.skip(position)
            if self.text[position : position + 1] == closing:
                return position + 1
            position = self.skip(self.expect(position, ","))

    def value(self, position: int) -> tuple[Any, int]:
        try:
            return _DECODER.raw_decode(self.text, position)
        except simplejson.JSONDecodeError as error:
            raise self.fault(error.pos, error.msg) from None
        except RecursionError:
            raise self.fault(position, "lists or objects nested too deeply") from None
        except ValueError as error:  # a key twice, a number of thousands of digits
            raise self.fault(position, str(error)) from None

    def expect(self, position: int, sign: str) -> int:
        position = self.skip(position)
        if self.text[position : position + 1] != sign:
            raise self.fault(position, f"Expecting {sign!r}")
        return position + 1

    def end(self, position: int) -> None:
        position = self.skip(position)
        if position != len(self.text):
            raise self.fault(position, "Extra data")

    def skip(self, position: int) -> int:
        return _BLANKS.match(self.text, position).end()

    def line_of(self, position: int) -> int:
        """Return the line of a position; positions rise, so that the text is counted once."""
        if position < self.counted:
            return self.text.count("\n", 0, position) + self.first_line
        self.line += self.text.count("\n", self.counted, position)
        self.counted = position
        return self.line

    def fault(self, position: int, what: str) -> DataError:
        line = self.text.count("\n", 0, position) + self.first_line
        column = position - self.text.rfind("\n", 0, position)
        return DataError(f"{self.path}:{line}: not JSON ({what}, column {column}); {self.wanted}")
