"""The label sets of the published weights: their class names in label order, and how a list of names is recognised."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from uniformer_video.runtime.errors import UserError

TITLES = {
    "kinetics400": "Kinetics-400",
    "kinetics600": "Kinetics-600",
    "ssv1": "Something-Something V1",
    "ssv2": "Something-Something V2",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
}
"""The known label sets: the name in settings and files, and the name for people."""

PUBLISHED, ALPHABETICAL, OTHER = "published", "alphabetical", "other"
"""The orders that are told apart."""


class _LabelSets(Mapping[str, tuple[str, ...]]):
    """Label sets by name, each read when it is first asked for."""

    def __getitem__(self, name: str) -> tuple[str, ...]:
        if name not in TITLES:
            raise KeyError(name)
        return _read(name)

    def __iter__(self) -> Iterator[str]:
        return iter(TITLES)

    def __len__(self) -> int:
        return len(TITLES)


LABEL_SETS: Mapping[str, tuple[str, ...]] = _LabelSets()
"""Class names in the published label order, by the names of :data:`TITLES`.

Kinetics and Something-Something have the order of the published weights, UCF101 that of its ``classInd.txt``, HMDB51
the alphabet's. The classes of the two versions of Something-Something are the same 174 in different orders.
"""


@cache
def _read(name: str) -> tuple[str, ...]:
    file = resources.files(__package__).joinpath("labels", f"{name}.txt")
    return tuple(file.read_text(encoding="utf-8").splitlines())


def label_set(name: str) -> tuple[str, ...]:
    """Return the class names of a known label set in label order.

    Args:
        name: a name of :data:`LABEL_SETS` or its title, in any spelling of case, blanks and hyphens; with
            ``:alphabetical`` behind it for the classes sorted by their characters' code points, as ``sorted`` does.

    Raises:
        UserError: no such label set, or another word behind the colon.
    """
    key, _, order = name.partition(":")
    known = {normalise(word): name for name, title in TITLES.items() for word in (name, title)}
    found = known.get(normalise(key))
    if found is None or order.strip().lower() not in ("", PUBLISHED, ALPHABETICAL):
        raise UserError(
            f"there is no label set {name!r}; known are {', '.join(LABEL_SETS)}, each also with "
            f"`:{ALPHABETICAL}` behind it, such as kinetics400:{ALPHABETICAL}"
        )
    names = LABEL_SETS[found]
    return tuple(sorted(names)) if order.strip().lower() == ALPHABETICAL else names


# Blanks, hyphens, quotes, brackets and other punctuation tell no two classes apart. Signs with a meaning (+ < = $ and,
# by this list, # % & * @) stay: "C++" is not "C".
_MEANINGFUL = frozenset("#%&*@")
_QUOTES = frozenset("`´")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def words(name: str) -> str:
    """Return a class name as lower-case words with single blanks between: ``ApplyEyeMakeup`` is "apply eye makeup".

    Underscores, hyphens and CamelCase divide words; other punctuation is left out.
    """
    text = _CAMEL.sub(" ", unicodedata.normalize("NFKC", name)).casefold()
    text = "".join(" " if c in "_-/" or c.isspace() else c for c in text)
    return " ".join("".join(c for c in text if c == " " or _counts(c)).split())


def _counts(character: str) -> bool:
    if character in _QUOTES:
        return False
    return character in _MEANINGFUL or unicodedata.category(character)[0] in "LMNS"


def normalise(name: str) -> str:
    """Return what two spellings of one class have in common: its words without the blanks.

    "riding a bike", ``riding_a_bike`` and ``RidingABike`` are one; so are ``massaging person's head`` and
    ``massaging_persons_head``, ``[Something] falling`` and "Something falling", ``push up`` and ``pushup``. A name of
    punctuation alone stays as it is.
    """
    return words(name).replace(" ", "") or name.strip()


# The ways in which programs sort names: by code point, case left out, without the brackets of Something-Something, as
# words, and as a locale's `sort` does, blind to blanks.
_SORTS: tuple[Callable[[str], str], ...] = (
    str,
    str.casefold,
    lambda name: name.replace("[", "").replace("]", ""),
    words,
    normalise,
)


@cache
def class_numbers(name: str) -> Mapping[str, int]:
    """Return the class numbers of a known label set by normalised class name."""
    return {normalise(text): number for number, text in enumerate(LABEL_SETS[name])}


@cache
def alphabetical_orders(name: str) -> tuple[tuple[int, ...], ...]:
    """Return the alphabetical orders of a label set, plainest first, each as class numbers of the published order."""
    names = LABEL_SETS[name]
    # A stable sort of sorted names: what a key takes for equal stays in the order of code points.
    orders = (sorted(sorted(range(len(names)), key=names.__getitem__), key=lambda n: sort(names[n])) for sort in _SORTS)
    return tuple(dict.fromkeys(tuple(order) for order in orders))


@dataclass(frozen=True, slots=True)
class Recognised:
    """A list of class names that has the classes of a known label set.

    Args:
        label_set: its name in :data:`LABEL_SETS`.
        order: ``published``, ``alphabetical`` (where that is another one) or ``other``.
        permutation: ``LABEL_SETS[label_set][permutation[k]]`` is class k of the list.
    """

    label_set: str
    order: str
    permutation: tuple[int, ...]

    @property
    def title(self) -> str:
        """The label set's name for people."""
        return TITLES[self.label_set]

    @property
    def order_text(self) -> str:
        """The order in words: "in the published order"."""
        return {PUBLISHED: "in the published order", ALPHABETICAL: "in alphabetical order"}.get(
            self.order, "in another order"
        )

    def __str__(self) -> str:
        return f"{self.title} {self.order_text}"


def recognise(names: Sequence[str]) -> Recognised | None:
    """Return which known label set ``names`` are, and in which order; None for classes of any other kind or number.

    Names are compared by :func:`normalise`. Where two sets have the same classes, the one whose spelling ``names`` have
    counts, then the one whose published order they have.
    """
    keys = [normalise(name) for name in names]
    found: list[tuple[int, bool, Recognised]] = []
    for name, spelled in LABEL_SETS.items():
        numbers = class_numbers(name)
        if len(keys) != len(numbers) or set(keys) != set(numbers):
            continue
        permutation = tuple(numbers[key] for key in keys)
        same_spelling = len(set(names) & set(spelled))
        found.append((same_spelling, permutation == tuple(range(len(keys))), _recognised(name, permutation)))
    return max(found, key=lambda entry: entry[:2])[2] if found else None


def _recognised(name: str, permutation: tuple[int, ...]) -> Recognised:
    if permutation == tuple(range(len(permutation))):
        return Recognised(name, PUBLISHED, permutation)
    return Recognised(name, ALPHABETICAL if permutation in alphabetical_orders(name) else OTHER, permutation)
