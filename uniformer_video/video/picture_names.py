"""How the pictures of a folder are named: by a number, told by a template or from the files themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from uniformer_video.runtime.errors import UserError
from uniformer_video.video.reader import DecodeError

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
"""Endings, in either case, of the files that a folder's pictures are looked for among. A template may name others."""

_ALLOWED = "a file name with one number in it, as img_{:05d}.jpg or img_%05d.jpg (DATA.IMAGE_TEMPLATE)"
# How many names of what is there an error shows.
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class NumberedName:
    """Names of files that differ by a number.

    Attributes:
        before: what stands before the number.
        after: what stands after it.
        digits: least digits of the number, filled with zeros; 0: as written, with or without zeros.
    """

    before: str
    after: str
    digits: int = 0

    def __str__(self) -> str:
        before, after = (text.replace("{", "{{").replace("}", "}}") for text in (self.before, self.after))
        return f"{before}{{:0{self.digits}d}}{after}" if self.digits > 1 else f"{before}{{:d}}{after}"

    def number(self, name: str) -> int | None:
        """Return the number in a file name, None for a name of another kind."""
        digits = name[len(self.before) : len(name) - len(self.after)]
        if name != self.before + digits + self.after or re.fullmatch("[0-9]+", digits) is None:
            return None
        if self.digits and digits != str(int(digits)).zfill(self.digits):
            return None
        return int(digits)


# In each of the two styles: what may be a field or a sign written double; the fields that are allowed (no width without
# a leading zero: that pads with blanks, which no tool writes); what the double signs mean.
_PYTHON = r"{{|}}|{[^{}]*}", r"{0?(?::(?:0([0-9]{1,2}))?d?)?}", {"{{": "{", "}}": "}"}
_PRINTF = r"%%|%[^a-zA-Z%]*[a-zA-Z]", r"%(?:0([0-9]{1,2}))?[di]", {"%%": "%"}


def parse_template(template: str) -> NumberedName:
    """Read a template of picture names.

    Args:
        template: Python's format, ``img_{:05d}.jpg`` (also ``{}``, ``{:d}``, ``{0:05d}``; ``{{`` and ``}}`` are
            braces), or printf's, ``img_%05d.jpg`` (also ``%d``; ``%%`` is a per cent sign).

    Raises:
        UserError: no number in it, or several; another kind of field; a folder in it.
    """
    is_python = any(part[:2] not in ("{{", "}}") for part in re.findall(_PYTHON[0], template))
    token, field, signs = _PYTHON if is_python else _PRINTF
    texts, digits, at = [""], [], 0
    for match in re.finditer(token, template):
        texts[-1] += template[at : match.start()] + signs.get(match[0], "")
        at = match.end()
        if match[0] in signs:
            continue
        number = re.fullmatch(field, match[0])
        if number is None:
            raise UserError(f"the picture template {template!r} has the field {match[0]!r}; allowed is {_ALLOWED}")
        digits.append(int(number[1] or 1))
        texts.append("")
    texts[-1] += template[at:]
    if len(digits) != 1:
        raise UserError(f"the picture template {template!r} has {len(digits)} numbers; allowed is {_ALLOWED}")
    if any(sign in template for sign in ("/", os.sep, "\0")):
        raise UserError(f"the picture template {template!r} names a folder; allowed is {_ALLOWED}")
    return NumberedName(texts[0], texts[1], max(digits[0], 1))


def guess_template(names: Iterable[str]) -> list[NumberedName]:
    """Return how the pictures among some file names are numbered.

    Every number in a name may be the one that counts; the right one is that which most files share all but.

    Args:
        names: file names. Only those with an ending of ``PICTURE_ENDINGS`` and no dot in front count.

    Returns:
        The kinds of name that the most files are of: [] where no picture is numbered, several where they are equally
        many files (but not the same files).
    """
    found: dict[tuple[str, str], list[str]] = {}
    for name in names:
        stem, ending = os.path.splitext(name)
        if ending.lower() not in PICTURE_ENDINGS or name.startswith("."):
            continue
        for match in re.finditer("[0-9]+", stem):
            found.setdefault((name[: match.start()], name[match.end() :]), []).append(name)
    most = max(map(len, found.values()), default=0)
    # The same files in two ways (a1_001.jpg alone): the last number counts, which is the longest text before it.
    kinds: dict[tuple[str, ...], NumberedName] = {}
    for (before, after), members in sorted(found.items(), key=lambda item: len(item[0][0])):
        if len(members) == most:
            kinds[tuple(members)] = NumberedName(before, after, _digits(members, before, after))
    return sorted(kinds.values(), key=str)


def _digits(names: Sequence[str], before: str, after: str) -> int:
    """Return the least digits of the numbers in ``names``; 0 where they are not filled with zeros to one length."""
    numbers = [name[len(before) : len(name) - len(after)] for name in names]
    least = min(map(len, numbers))
    return least if all(number == str(int(number)).zfill(least) for number in numbers) else 0


def list_pictures(path: str, template: str = "") -> list[str]:
    """Return the names of a folder's pictures in the order of their numbers, at least one. Looks at no picture.

    Raises:
        DecodeError: no such folder; no picture in it; several kinds equally many; one number twice.
        UserError: a template that is none.
    """
    kind = parse_template(template) if template else None
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries]
    except OSError as error:
        raise DecodeError(path, error.strerror or str(error)) from None
    if kind is None:
        kinds = guess_template(names)
        if len(kinds) > 1:
            several = ", ".join(map(str, kinds[:_SHOWN])) + (", ..." if len(kinds) > _SHOWN else "")
            cause = f"the folder holds equally many pictures of several kinds ({several})"
            raise DecodeError(path, f"{cause}; choose one with DATA.IMAGE_TEMPLATE")
        if not kinds:
            wanted = ", ".join(ending[1:] for ending in PICTURE_ENDINGS)
            raise DecodeError(path, f"the folder holds no numbered picture ({wanted}){_what_is_there(names)}")
        kind = kinds[0]
    numbered: dict[int, str] = {}
    for name in names:
        number = kind.number(name)
        if number is None:
            continue
        if number in numbered:
            first, second = sorted((numbered[number], name))
            raise DecodeError(path, f"{first} and {second} have the same number; choose with DATA.IMAGE_TEMPLATE")
        numbered[number] = name
    if not numbered:
        raise DecodeError(path, f"no picture is named {template}{_what_is_there(names)}")
    return [numbered[number] for number in sorted(numbered)]


def _what_is_there(names: Sequence[str]) -> str:
    if not names:
        return "; it is empty"
    shown = ", ".join(sorted(names)[:_SHOWN])
    return f"; it holds {shown}" + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
