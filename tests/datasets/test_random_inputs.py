"""Whatever stands in a list or JSON file, a reader returns or raises UserError: one line, never a traceback.

The normal run draws some hundred inputs; ``pytest -m slow tests/datasets/test_random_inputs.py`` draws 10,000 for each
reader.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import simplejson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from uniformer_video.datasets.annotations import read_annotation
from uniformer_video.datasets.kinetics import read_kinetics
from uniformer_video.datasets.label_lists import LabelList, read_label_list
from uniformer_video.datasets.records import Annotation, read_class_names
from uniformer_video.runtime.errors import UserError

Check = Callable[[Path, bytes], object]

# ---------------------------------------------------------------------------------------------------------- inputs

_WORDS = """
a.mp4 b.webm c.avi /x/y.mp4 1 2 3,7 -1 +1 01 1_0 1.0 1e999 999999999999999999999 - run jump path label labels class id
template video split train group youtube_id time_start time_end Archery Archery/v_a.avi pushup [something] {} [] null
true NaN \\0 \\ud800 \ufeff 🎬 é .. . ~ %s \\
"""
WORDS = st.sampled_from([*_WORDS.split(), "my clip.mp4", "Holding [something]", "", "a\0b"])
CHARACTERS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SEPARATORS = st.sampled_from([" ", ",", "\t", ";", "|", "  ", ",,", '"', '",', ' "', "\r", "\r\n", "\n\n"])

CELLS = st.one_of(WORDS, WORDS, CHARACTERS, st.integers().map(str))
LINES = st.lists(st.tuples(CELLS, SEPARATORS), max_size=6).map(lambda parts: "".join(a + b for a, b in parts))


@st.composite
def tables(draw):
    """Text of rows, mostly of equal form, with things in it that break the form."""
    separator = draw(SEPARATORS)
    width = draw(st.integers(1, 5))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width).map(separator.join), max_size=6))
    rows += draw(st.lists(LINES, max_size=2))
    header = draw(st.sampled_from(["", "path,label", "id;label", "label,youtube_id,time_start,time_end,split"]))
    start = draw(st.sampled_from(["", "\ufeff", "\n", " "]))
    return start + draw(st.sampled_from(["\n", "\r\n", "\r"])).join([header, *rows] if header else rows)


NUMBERS = st.one_of(
    st.integers(), st.floats(), st.just(10**400), st.sampled_from([0, 1, 2, True, False, None, float("inf")])
)
_KEYS = "path label labels id template videos data annotations video class split group 0 1 \ud800"
KEYS = st.one_of(st.sampled_from(_KEYS.split()), st.text(max_size=5))
VALUES = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=8), WORDS, st.sampled_from(["\ud800", "a\0b", ""])),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "path": st.one_of(WORDS, VALUES),
        "label": st.one_of(WORDS, VALUES, st.lists(WORDS, max_size=3)),
        "id": st.one_of(WORDS, NUMBERS),
        "template": st.one_of(WORDS, VALUES),
        "split": VALUES,
        "group": VALUES,
    },
)


@st.composite
def json_texts(draw):
    """JSON of the forms that are read, of any other form, and JSON that was damaged."""
    value = draw(st.one_of(VALUES, st.lists(ENTRIES, max_size=4), st.dictionaries(KEYS, VALUES, max_size=4)))
    value = draw(st.sampled_from([value, {"videos": value}, {"data": value, "x": 1}, [value], {"a": value}]))
    text = simplejson.dumps(
        value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])), allow_nan=True
    )
    text = text.encode("utf-8", "replace").decode()
    cut, kind = draw(st.integers(0, len(text))), draw(st.integers(0, 7))
    damaged = {
        0: text[:cut],
        1: text[:cut] + draw(CHARACTERS) + text[cut:],
        2: text + text,
        3: text + "\n" + text,
        4: "\ufeff" + text,
        5: "[" * draw(st.sampled_from([3, 3_000])) + text,
        6: '{"a":' * draw(st.sampled_from([3, 3_000])) + text,
    }
    return damaged.get(kind, text)


def as_bytes(texts):
    """Return texts as UTF-8, some of them in another encoding or with bytes that no text has."""

    def spoil(pair):
        text, (kind, at, byte) = pair
        data = text.encode("utf-8", "surrogatepass")
        if kind == 0:
            return data[: at % (len(data) + 1)] + bytes([byte]) + data[at % (len(data) + 1) :]
        return text.encode("utf-16", "surrogatepass") if kind == 1 else data

    return st.tuples(texts, st.tuples(st.integers(0, 15), st.integers(0, 1000), st.integers(0, 255))).map(spoil)


LIST_BYTES = st.one_of(as_bytes(tables()), as_bytes(tables()), as_bytes(st.lists(LINES, max_size=5).map("\n".join)),
                       st.binary(max_size=60))  # fmt: skip
JSON_BYTES = st.one_of(as_bytes(json_texts()), as_bytes(json_texts()), st.binary(max_size=40))

# --------------------------------------------------------------------------------------------------------- readers


def check_annotation(found: Annotation) -> None:
    for record in found.records:
        assert isinstance(record.path, str)
        assert "\0" not in record.path
        assert all(type(label) is int and label >= 0 for label in record.labels)
        os.fsencode(record.path)


def read_official(dataset: str, name: str, split: str, **files: str) -> Check:
    def check(folder: Path, data: bytes) -> None:
        for other, text in files.items():
            (folder / other.replace("__", ".")).write_text(text)
        (folder / name).write_bytes(data)
        # None of the videos is missed for want of a file.
        check_annotation(read_annotation(dataset, str(folder), split, num_classes=None))

    return check


def check_kinetics_list(folder: Path, data: bytes) -> None:
    (folder / "train.csv").write_bytes(data)
    multi_label = len(data) % 2 == 0
    separator = " ,\t;"[len(data) % 4]
    options = {"num_classes": 4, "separator": separator, "multi_label": multi_label}
    check_annotation(Annotation(read_kinetics(str(folder), "train", **options)))


def check_label_list(name: str) -> Check:
    def check(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        size = len(data)
        options = {
            "path_column": ("id", 1, "2", "path")[size % 4] if size % 5 == 0 else None,
            "label_column": ("class", 2, "1", "label")[size % 4] if size % 7 == 0 else None,
            "group_column": "group" if size % 11 == 0 else None,
            "delimiter": (",", " ", "\\t", ";;")[size % 4] if size % 6 == 0 else None,
            "has_header": (True, False)[size % 2] if size % 13 == 0 else None,
            "label_separator": ("|", ",")[size % 2] if size % 3 == 0 else None,
        }
        found = read_label_list(folder / name, **options)
        assert isinstance(found, LabelList)
        assert found.entries
        for entry in found.entries:
            assert entry.path
            assert entry.line >= 1
            assert found.multi_label or len(entry.labels) == 1
            assert all(isinstance(label, str) and label for label in entry.labels)
            os.fsencode(entry.path)

    return check


def check_class_names(name: str) -> Check:
    def check(folder: Path, data: bytes) -> None:
        (folder / name).write_bytes(data)
        names = read_class_names(folder, None)
        assert names
        assert all(isinstance(n, str) for n in names)

    return check


LABELS_JSON = '{"Holding something": "0", "something": "1", "run": "2"}'
READERS: dict[str, tuple[Check, st.SearchStrategy[bytes]]] = {
    "path label list": (check_kinetics_list, LIST_BYTES),
    "classes.txt": (check_class_names("classes.txt"), LIST_BYTES),
    "classes.json": (check_class_names("classes.json"), JSON_BYTES),
    "label list csv": (check_label_list("list.csv"), LIST_BYTES),
    "label list tsv": (check_label_list("list.tsv"), LIST_BYTES),
    "label list json": (check_label_list("list.json"), JSON_BYTES),
    "label list jsonl": (check_label_list("list.jsonl"), JSON_BYTES),
    "label list unnamed": (check_label_list("list"), st.one_of(LIST_BYTES, JSON_BYTES)),
    "kinetics official": (read_official("kinetics", "train.csv", "train"), LIST_BYTES),
    "kinetics official test": (read_official("kinetics", "test.csv", "test"), LIST_BYTES),
    "ssv2 list": (read_official("ssv2", "train.json", "train", labels__json=LABELS_JSON), JSON_BYTES),
    "ssv2 labels": (
        read_official("ssv2", "labels.json", "train", train__json='[{"id": "a", "template": "run"}]'),
        JSON_BYTES,
    ),
    "ssv2 answers": (read_official("ssv2", "test-answers.csv", "test", labels__json=LABELS_JSON), LIST_BYTES),
    "ssv1 list": (read_official("ssv1", "something-something-v1-train.csv", "train"), LIST_BYTES),
    "ssv1 labels": (
        read_official("ssv1", "labels.csv", "val", **{"something-something-v1-validation__csv": "a;run"}),
        LIST_BYTES,
    ),
    "frame list": (read_official("ssv1", "train_videofolder.txt", "train"), LIST_BYTES),
    "frame list categories": (
        read_official("ssv1", "category.txt", "train", train_videofolder__txt="a.mp4 3 1"),
        LIST_BYTES,
    ),
    "ucf101 list": (
        read_official("ucf101", "trainlist01.txt", "train", classInd__txt="1 Archery\n2 run\n"),
        LIST_BYTES,
    ),
    "ucf101 classes": (
        read_official("ucf101", "classInd.txt", "test", testlist01__txt="Archery/v_a.avi\n"),
        LIST_BYTES,
    ),
    "hmdb51 list": (read_official("hmdb51", "run_test_split1.txt", "test"), LIST_BYTES),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory) -> Path:
    """Return a folder with some videos of the names that the inputs have."""
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "b.webm", "c.avi", "1.webm", "Archery/v_a.avi", "run/a.avi"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    return folder


def run(reader: str, folder: Path, examples: int) -> None:
    check, inputs = READERS[reader]

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large],
    )
    @given(inputs)
    def read(data: bytes) -> None:
        for old in folder.iterdir():
            if old.is_file() and old.suffix not in (".mp4", ".webm", ".avi"):
                old.unlink()
        try:
            check(folder, data)
        except UserError as error:
            message = str(error)
            assert message
            assert "\n" not in message
            message.encode()  # it can be printed: no half of a character stands in it

    read()


@pytest.mark.parametrize("reader", READERS)
def test_no_input_gives_a_traceback(reader, videos):
    run(reader, videos, 60)


@pytest.mark.slow
@pytest.mark.parametrize("reader", READERS)
def test_ten_thousand_inputs_give_no_traceback(reader, videos):
    run(reader, videos, 10_000)
