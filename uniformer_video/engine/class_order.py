"""Whose class is output k: weights and data are matched by class names, and nothing is mismatched in silence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from uniformer_video.datasets.label_sets import PUBLISHED, Recognised, label_set, normalise, recognise
from uniformer_video.models.head_order import head_size, select_classes
from uniformer_video.models.inspect import class_names_in
from uniformer_video.runtime.errors import UserError, WeightError

TEST, TRAIN = "test", "train"
"""What weights are loaded for."""

NEW_HEAD: tuple[int, ...] = ()
"""The rows of a head that starts anew: none of the weights'."""

CHECKABLE_DATA = "write classes.json or classes.txt beside the lists, or set DATA.LABEL_SET"
CHECKABLE_WEIGHTS = (
    "use a checkpoint that has class names, weights by their name in the zoo, or what `tools/zoo.py export FILE OUT "
    "--label-set NAME` writes"
)


@dataclass(frozen=True, slots=True)
class ClassOrder:
    """What becomes of the weights' heads.

    Args:
        rows: None: they stay; else the weights' class that each output is to have; empty: the head starts anew.
        line: what to tell the user, if anything.
    """

    rows: tuple[int, ...] | None
    line: str | None


def class_names_of(content: object, entry_label_set: str | None = None) -> list[str] | None:
    """Return the class names that weights come with, in the order of their outputs, or None.

    Args:
        content: what ``read_content`` gave for the file: ``class_names`` counts, a list of texts in it or JSON text of
            such a list in its ``metadata``; anything else under that name, as other programs have it, does not.
        entry_label_set: the label set of the zoo's entry, where the weights came by name.
    """
    names = class_names_in(content)
    if names:
        return list(names)
    return list(label_set(entry_label_set)) if entry_label_set else None


def plan_class_order(
    weight_names: Sequence[str] | None,
    data_names: Sequence[str] | None,
    *,
    num_classes: int,
    purpose: str,
    where: str = "the weight file",
    data_where: str = "the data",
) -> ClassOrder:
    """Decide what becomes of the weights' head, from names alone.

    A test takes the outputs of the data's classes, whatever their order, and refuses where the weights lack one.
    Training keeps the head, put in order, where both have the same classes, and begins a new one where not.

    Args:
        weight_names: class names of the weights' outputs, or None.
        data_names: class names of the data's labels, or None.
        num_classes: classes of the network.
        purpose: ``test`` or ``train``.
        where: the weights, as a message's subject.
        data_where: the data, likewise.

    Raises:
        WeightError: a test on classes that the weights do not have; or a name that two classes share.
    """
    assert purpose in (TEST, TRAIN), purpose
    if weight_names is None or data_names is None:
        return ClassOrder(None, _unchecked(weight_names, data_names, where, data_where))
    assert len(data_names) == num_classes, (len(data_names), num_classes)
    weights, data = _comparable(weight_names, data_names)
    if weights == data:
        return ClassOrder(None, f"class order: the weights and the data agree ({_classes(data_names)})")
    numbers = {key: number for number, key in enumerate(weights)}
    lacking = [number for number, key in enumerate(data) if key not in numbers]
    if purpose == TRAIN and set(weights) != set(data):
        return ClassOrder(NEW_HEAD, _new_head(weight_names, data_names, lacking))
    if lacking:
        raise WeightError(_refusal(weight_names, data_names, lacking, where, data_where))
    _refuse_shared_names(weights, data, where, data_where)
    rows = tuple(numbers[key] for key in data)
    return ClassOrder(rows, _remapped(weight_names, data_names))


def apply_class_order(
    state: Mapping[str, Tensor],
    weight_names: Sequence[str] | None,
    data_names: Sequence[str] | None,
    purpose: str,
    where: str,
    *,
    num_classes: int,
    data_where: str = "the data",
) -> tuple[dict[str, Tensor], str | None]:
    """Return ``state`` with its heads in the data's class order, and the line to log.

    A head that is to start anew has no rows left; ``load_weights(..., allow_new_head=True)`` leaves it out.

    Args:
        state: the weights' tensors by parameter name, as ``read_weights`` gives them.
        weight_names: see :func:`plan_class_order`, and so on for the others.
        data_names: the names of the data's labels.
        purpose: ``test`` or ``train``.
        where: the weights, as a message's subject.
        num_classes: classes of the network.
        data_where: the data, likewise.

    Raises:
        WeightError: see :func:`plan_class_order`; or the weights' names are not as many as their outputs.
    """
    size = head_size(state)
    if size is None:
        return dict(state), None
    if weight_names is not None and len(weight_names) != size:
        raise WeightError(
            f"{where}: {len(weight_names)} class names for a head of {size} classes; names and weights do not belong "
            "together, use the file as it was written"
        )
    if size != num_classes and (weight_names is None or data_names is None):
        # Training begins a new head, a test refuses this one: either way the load itself says so.
        return dict(state), None
    plan = plan_class_order(
        weight_names, data_names, num_classes=num_classes, purpose=purpose, where=where, data_where=data_where
    )
    return dict(state) if plan.rows is None else select_classes(state, plan.rows), plan.line


def require_same_order(
    names: Sequence[str] | None, others: Sequence[str] | None, *, where: str, others_where: str, advice: str
) -> None:
    """Refuse two lists of class names that differ at any label; what has no names cannot differ.

    For what must not be remapped: a run that is resumed, the training and the validation list of one run.

    Args:
        names: class names in label order, or None.
        others: the other ones.
        where: whose names they are, for the message.
        others_where: whose the others are.
        advice: what to do, for the end of the message.

    Raises:
        UserError: one line with the first class that differs.
    """
    if names is None or others is None:
        return
    if len(names) != len(others):
        raise UserError(f"{where} has {len(names)} classes, {others_where} has {len(others)}; {advice}")
    keys, other_keys = _comparable(names, others)
    for number, (key, other) in enumerate(zip(keys, other_keys, strict=True)):
        if key != other:
            raise UserError(
                f"class {number} is {names[number]!r} in {where} and {others[number]!r} in {others_where}; {advice}"
            )


def _comparable(names: Sequence[str], others: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return both lists normalised, or to the letter where normalising makes two classes of one list equal."""
    both = [normalise(name) for name in names], [normalise(name) for name in others]
    if all(len(set(keys)) == len(keys) for keys in both):
        return both
    return [name.strip() for name in names], [name.strip() for name in others]


def _refuse_shared_names(weights: list[str], data: list[str], where: str, data_where: str) -> None:
    for keys, source in ((weights, where), (data, data_where)):
        shared = next((key for key in data if keys.count(key) > 1), None)
        if shared is not None:
            raise WeightError(
                f"the class order cannot be told: two classes of {source} are called {shared!r}; give each class "
                "a name of its own"
            )


def _classes(names: Sequence[str]) -> str:
    known = recognise(names)
    return str(known) if known else f"{len(names)} classes"


def _remapped(weight_names: Sequence[str], data_names: Sequence[str]) -> str:
    ours, theirs, count = recognise(weight_names), recognise(data_names), len(data_names)
    if count < len(weight_names):
        return (
            f"class order: the data have {count} of the weights' {len(weight_names)} classes"
            f"{_in_set(ours)}: head reduced to them by name"
        )
    if ours and theirs:
        of_theirs = theirs.order_text if theirs.label_set == ours.label_set else str(theirs)
        difference = f"the weights have {ours}, the data {of_theirs}"
    else:
        difference = "the weights and the data have the same classes in different orders"
    return f"class order: {difference}: head remapped by name ({count} classes)"


def _in_set(known: Recognised | None) -> str:
    return f" ({known})" if known else ""


def _unchecked(
    weight_names: Sequence[str] | None, data_names: Sequence[str] | None, where: str, data_where: str
) -> str:
    without, advice = [], []
    if weight_names is None:
        without.append(where)
        advice.append(CHECKABLE_WEIGHTS)
    if data_names is None:
        without.append(data_where)
        advice.append(CHECKABLE_DATA)
    known = recognise(data_names) if data_names is not None else None
    doubt = f", but the data are {known}" if known and known.order != PUBLISHED else ""
    return (
        f"class order: not checked, there are no class names with {' or '.join(without)}; outputs are taken to be in "
        f"the order of the labels{doubt} (to have it checked, {' and '.join(advice)})"
    )


def _new_head(weight_names: Sequence[str], data_names: Sequence[str], lacking: Sequence[int]) -> str:
    count, own = len(data_names), len(weight_names)
    if not lacking:
        return (
            f"class order: the head starts anew, the data have only {count} of the weights' {own} classes"
            f"{_in_set(recognise(weight_names))}"
        )
    first = lacking[0]
    instead = f" (it is {weight_names[first]!r} in the weights)" if first < own else ""
    return (
        f"class order: the head starts anew, {count - len(lacking)} of the data's {count} classes are among the "
        f"weights' {own}; the first that is not is class {first}, {data_names[first]!r}{instead}"
    )


def _refusal(
    weight_names: Sequence[str], data_names: Sequence[str], lacking: Sequence[int], where: str, data_where: str
) -> str:
    first = lacking[0]
    instead = f" (there class {first} is {weight_names[first]!r})" if first < len(weight_names) else ""
    return (
        f"class {first} of {data_where}, {data_names[first]!r}, is not among the {len(weight_names)} classes of "
        f"{where}{instead}; {len(data_names) - len(lacking)} of the data's {len(data_names)} are; test with weights "
        "trained on these classes, correct the data's class names, or fine-tune first (TRAIN.CHECKPOINT_FILE_PATH)"
    )
