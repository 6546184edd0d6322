"""Which videos may be mirrored: not those whose label says left or right, unless a mirror class is named."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from uniformer_video.datasets.label_sets import normalise
from uniformer_video.runtime.errors import UserError

KEY = "DATA.FLIP_LABEL_MAP"
HINT = "it is a list of pairs of classes that a mirror turns into each other, such as [[86, 87], [93, 94]]"

_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_LETTERS = re.compile(r"[^\W\d_]+")
_SIDE = re.compile(r"(left|right)(wards?|handed|hand|most|side)?")


def says_left_or_right(name: str) -> bool:
    """Tell whether a class name has the word left or right in it, as in ``swipe_left``, ``SwipeLeft`` or "rightwards".

    "bright", "upright" and "cleft" are other words.
    """
    words = (word for part in _LETTERS.findall(name) for word in (part, *_CAMEL.split(part)))
    return any(_SIDE.fullmatch(word.casefold()) for word in words)


@dataclass(frozen=True)
class FlipRule:
    """What a mirror does to each class.

    Args:
        mirrored: for each class number the class that its mirrored video shows, -1 where it must not be mirrored.
    """

    mirrored: tuple[int, ...]

    @classmethod
    def from_names(
        cls, class_names: Sequence[str] | None, num_classes: int, pairs: Sequence[Sequence[int | str]] = ()
    ) -> FlipRule:
        """Return the rule of a set: no class whose name says left or right is mirrored, unless a pair has it.

        Args:
            class_names: in label order; None where they are not known: then only ``pairs`` tell.
            num_classes: K.
            pairs: classes that a mirror turns into each other, by number or by name in any spelling of case, blanks and
                hyphens. A class paired with itself may be mirrored, whatever its name says.

        Raises:
            UserError: no pairs, an unknown class, or a class in two pairs.
        """
        mirrored = list(range(num_classes))
        for number, name in enumerate(class_names or ()):
            if says_left_or_right(name):
                mirrored[number] = -1
        seen: dict[int, str] = {}
        for place, pair in enumerate(_checked_list(pairs), start=1):
            where = f"{KEY}, pair {place}"
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise UserError(f"{where}: {pair!r} is no pair; {HINT}")
            one, other = (_class_number(name, class_names, num_classes, where) for name in pair)
            for number in {one, other}:
                if number in seen:
                    raise UserError(f"{where}: class {number} is in {seen[number]} too; a class has one mirror class")
                seen[number] = f"pair {place}"
            mirrored[one], mirrored[other] = other, one
        return cls(tuple(mirrored))

    def allows(self, labels: Sequence[int]) -> bool:
        """Tell whether a video of these classes may be mirrored: no class forbids it."""
        return all(self.mirrored[label] >= 0 for label in labels)

    def after(self, labels: Sequence[int]) -> tuple[int, ...]:
        """Return the classes of the mirrored video, in the order of ``labels``, which must allow it."""
        assert self.allows(labels), labels
        return tuple(self.mirrored[label] for label in labels)

    def describe(self, class_names: Sequence[str] | None) -> str:
        """Return in one line for a log what the rule does; empty where it neither forbids nor swaps."""
        forbidden = [number for number, after in enumerate(self.mirrored) if after < 0]
        swapped = sum(after not in (number, -1) for number, after in enumerate(self.mirrored))
        parts = []
        if forbidden:
            name = f"{class_names[forbidden[0]]!r}" if class_names else f"class {forbidden[0]}"
            parts.append(
                f"{len(forbidden)} of {len(self.mirrored)} classes say left or right and are not mirrored "
                f"(e.g. {name}); {KEY} names classes that swap"
            )
        if swapped:
            parts.append(f"{swapped} of {len(self.mirrored)} classes swap their labels when mirrored ({KEY})")
        return "; ".join(parts)


def _checked_list(pairs: Sequence[Sequence[int | str]]) -> Sequence[Sequence[int | str]]:
    if not isinstance(pairs, list | tuple):
        raise UserError(f"{KEY} is {pairs!r}; {HINT}")
    return pairs


def _class_number(name: int | str, class_names: Sequence[str] | None, num_classes: int, where: str) -> int:
    if isinstance(name, int) and not isinstance(name, bool):
        if not 0 <= name < num_classes:
            raise UserError(f"{where}: there is no class {name}; classes are 0 to {num_classes - 1}")
        return name
    if not isinstance(name, str):
        raise UserError(f"{where}: {name!r} is neither a class number nor a class name; {HINT}")
    if class_names is None:
        raise UserError(f"{where}: class {name!r} is not known, because the class names are not; give class numbers")
    key = normalise(name)
    found = [n for n, other in enumerate(class_names) if other == name] or [
        n for n, other in enumerate(class_names) if normalise(other) == key
    ]
    if len(found) != 1:
        what = "several classes are called" if found else "there is no class"
        raise UserError(f"{where}: {what} {name!r}; give class numbers, 0 to {num_classes - 1}, or names of the set")
    return found[0]
