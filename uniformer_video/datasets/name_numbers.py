"""Class numbers for annotations that name classes: which order of the names counts, and the number of a name in it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uniformer_video.datasets.label_sets import LABEL_SETS, TITLES, class_numbers, label_set, normalise
from uniformer_video.datasets.list_text import short
from uniformer_video.datasets.records import read_class_names
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import get_logger

logger = get_logger(__name__)

# So large a part of a label set's names is no chance: the others are spelled in another way.
_NEARLY = 0.9


@dataclass(frozen=True)
class ClassOrder:
    """Class names in label order.

    Args:
        names: the names.
        source: where the order is from, for messages.
    """

    names: tuple[str, ...]
    source: str
    _by_name: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _by_key: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for number, name in enumerate(self.names):
            self._by_name.setdefault(name, number)
            self._by_key.setdefault(normalise(name), number)

    def number(self, name: str, where: str) -> int:
        """Return the number of a class name in any spelling (see :func:`label_sets.normalise`).

        Raises:
            DataError: no such class, with ``where``.
        """
        found = self._by_name.get(name)
        if found is None:  # a name as it is comes before one that is spelled alike
            found = self._by_key.get(normalise(name))
            if found is not None:
                self._by_name[name] = found  # lists have a name thousands of times
        if found is None:
            raise DataError(f"{where}: class {short(name)} is not among the {len(self.names)} classes of {self.source}")
        return found


def class_order(
    folder: Path,
    num_classes: int | None,
    *,
    official: Sequence[str] | None = None,
    official_source: str = "",
    label_set_name: str = "",
) -> ClassOrder | None:
    """Return the order that a setting, a file or the official files give the classes; None where nothing does.

    The first there is of: ``label_set_name``, classes.json or classes.txt in ``folder``, ``official``.

    Args:
        folder: ``DATA.PATH_TO_DATA_DIR``.
        num_classes: classes of the network; None: any number.
        official: class names in the order of the official files.
        official_source: those files, for messages.
        label_set_name: ``DATA.LABEL_SET``.

    Raises:
        UserError: no such label set.
        DataError: another number of names than ``num_classes``.
    """
    if label_set_name:
        return checked_order(label_set(label_set_name), f"DATA.LABEL_SET {label_set_name!r}", num_classes)
    written = read_class_names(folder, num_classes)
    if written is not None:
        return ClassOrder(tuple(written), f"the file of class names in {folder}")
    return checked_order(official, official_source, num_classes) if official is not None else None


def known_order(names: Iterable[str], num_classes: int | None) -> ClassOrder | None:
    """Return the published order of the known label set that all ``names`` are of; None without such a set.

    Args:
        names: class names of an annotation, some or all.
        num_classes: classes of the network, which the set must have; None: as many as there are names.
    """
    keys = {normalise(name): name for name in names}
    wanted = len(keys) if num_classes is None else num_classes
    for name in LABEL_SETS:
        numbers = class_numbers(name)
        if len(LABEL_SETS[name]) != wanted or not keys:
            continue
        others = [keys[key] for key in keys if key not in numbers]
        if not others:
            return ClassOrder(LABEL_SETS[name], f"{TITLES[name]} in the published order")
        if len(others) < (1 - _NEARLY) * len(keys):
            logger.warning(
                "%d of %d class names are not those of %s, for example %r; its published order is not taken",
                *(len(others), len(keys), TITLES[name], others[0]),
            )
    return None


def sorted_order(names: Iterable[str], source: str, num_classes: int | None) -> ClassOrder:
    """Return ``names`` in the order of the alphabet (of code points, as ``sorted`` does).

    Raises:
        DataError: not ``num_classes`` names.
    """
    return checked_order(sorted(set(names)), f"{source} in alphabetical order", num_classes)


def checked_order(names: Sequence[str], source: str, num_classes: int | None) -> ClassOrder:
    """Return an order of ``num_classes`` names.

    Raises:
        DataError: another number of names.
    """
    if num_classes is not None and len(names) != num_classes:
        raise DataError(f"{source} has {len(names)} classes, but MODEL.NUM_CLASSES is {num_classes}; make them agree")
    return ClassOrder(tuple(names), source)
