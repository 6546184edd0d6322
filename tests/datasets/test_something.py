"""Something-Something V1 and V2 from the official files."""

from __future__ import annotations

import pytest
import simplejson

from tests.helpers import barcode_frames, read_barcodes, write_video
from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.datasets.something import list_names, read_something
from uniformer_video.runtime.errors import DataError
from uniformer_video.runtime.logging import log_once
from uniformer_video.video.open import open_video

V2 = "something-something-v2-"
NAMES = LABEL_SETS["ssv2"]
PLAIN = [name.replace("[", "").replace("]", "") for name in NAMES]


def entry(video, template, **more):
    return {"id": video, "label": "x", "template": template, "placeholders": ["potato"], **more}


TRAIN = [entry("78687", "Holding [something] next to [something]"), entry("42", "Closing [something]")]
VALIDATION = [entry("7", "Putting [something], [something] and [something] on the table")]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(simplejson.dumps(value, indent=1))
    return path


@pytest.fixture(autouse=True)
def nothing_said():
    log_once.cache_clear()


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "labels.json", {name: str(number) for number, name in enumerate(PLAIN)})
    write(tmp_path / "train.json", TRAIN)
    write(tmp_path / "validation.json", VALIDATION)
    write(tmp_path / "test.json", [{"id": "1"}])
    touch(tmp_path, "videos/78687.webm", "videos/42.mp4", "videos/7.webm")
    return tmp_path


def read(folder, split="train", version="ssv2", num_classes=174, **options):
    return read_something(folder, version, split, num_classes=num_classes, **options)


def error_of(folder, split="train", version="ssv2", **options):
    with pytest.raises(DataError) as error:
        read(folder, split, version, **options)
    return str(error.value)


# ------------------------------------------------------------------------------------------------------- version two


def test_json_lists_on_webm_and_mp4(folder):
    found = read(folder)
    labels = [PLAIN.index("Holding something next to something"), PLAIN.index("Closing something")]
    assert found.records == [
        VideoRecord(str(folder / "videos/78687.webm"), labels[0]),
        VideoRecord(str(folder / "videos/42.mp4"), labels[1]),
    ]
    assert found.class_names == PLAIN
    assert found.source == str(folder / "train.json")
    validation = read(folder, "val")
    assert [r.label for r in validation.records] == [
        PLAIN.index("Putting something, something and something on the table")
    ]


def test_webm_files_are_read_by_their_id(tmp_path):
    write(tmp_path / "train.json", TRAIN)
    for number, name in enumerate(("78687", "42")):
        write_video(tmp_path / f"{name}.webm", barcode_frames(6, first=10 * number), codec="libvpx-vp9")
    for number, record in enumerate(read(tmp_path).records):
        with open_video(record.path) as reader:
            assert reader.num_frames == 6
            assert read_barcodes(reader.frames_at([0, 3])) == [10 * number, 10 * number + 3]


@pytest.mark.parametrize("below", ["", "labels", "annotations"])
@pytest.mark.parametrize("long", [False, True])
def test_the_names_of_the_files(tmp_path, below, long):
    start = V2 if long else ""
    write(
        tmp_path / below / f"{start}labels.json", {"Closing something": "1", "Holding something next to something": 0}
    )
    write(tmp_path / below / f"{start}train.json", TRAIN)
    touch(tmp_path, "78687.webm", "42.webm")
    found = read(tmp_path, num_classes=2)
    assert [r.label for r in found.records] == [0, 1]
    assert found.class_names == ["Holding something next to something", "Closing something"]
    assert read(tmp_path, num_classes=None).class_names == found.class_names


def test_without_labels_json_the_published_order_counts(folder):
    expected = read(folder)
    (folder / "labels.json").unlink()
    found = read(folder)
    assert [r.label for r in found.records] == [r.label for r in expected.records]
    assert found.class_names == list(NAMES)


def test_a_setting_comes_before_labels_json(folder):
    found = read(folder, label_set="ssv1")
    assert found.class_names == list(LABEL_SETS["ssv1"])
    assert [LABEL_SETS["ssv1"][r.label] for r in found.records] == [
        "Holding something next to something",
        "Closing something",
    ]


def test_the_test_is_of_the_validation_list(folder, log):
    first = read(folder, "test")
    assert first.records == read(folder, "test").records == read(folder, "val").records
    assert log == [
        f"INFO: {folder / 'validation.json'}: the test is of this validation list, as published (the test list has no "
        "labels)"
    ]


def test_answers_of_the_test(folder, log):
    (folder / "test-answers.csv").write_text("id;label\n42;Closing something\n7;Opening [something]\n")
    found = read(folder, "test")
    assert [(r.path, PLAIN[r.label]) for r in found.records] == [
        (str(folder / "videos/42.mp4"), "Closing something"),
        (str(folder / "videos/7.webm"), "Opening something"),
    ]
    assert log == []


def test_missing_videos(folder, log):
    (folder / "videos/42.mp4").unlink()
    found = read(folder)
    assert [r.path for r in found.records] == [str(folder / "videos/78687.webm")]
    assert found.absent == (str(folder / "42.webm"),)
    assert log == [
        f"WARNING: {folder / 'train.json'}: 1 of 2 videos (50.0%) are not in {folder}, for example 42.webm; they are "
        "left out"
    ]


def test_none_of_the_videos(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    assert error_of(folder, prefix=str(empty)) == (
        f"{folder / 'train.json'}: none of its 2 videos is in {empty}, for example {empty / '78687.webm'} (a video "
        f"or a folder of frames of that id; {empty} holds 0 videos, with its sub-folders); set DATA.PATH_PREFIX to the "
        f"folder of the videos (it is '{empty}')"
    )


def test_folders_of_frames(folder, tmp_path_factory):
    frames = tmp_path_factory.mktemp("frames")
    touch(frames, "78687/00001.jpg", "42/00001.jpg")
    assert [r.path for r in read(folder, prefix=str(frames)).records] == [str(frames / "78687"), str(frames / "42")]


def test_no_list_no_annotation(tmp_path):
    for split in ("train", "val", "test"):
        assert read(tmp_path, split) is None
        assert read(tmp_path, split, "ssv1") is None
    assert list_names("ssv2", "val") == (
        *("validation.json", "val.json"),
        *(f"{V2}validation.json", f"{V2}val.json"),
    )
    assert list_names("ssv1", "train") == ("something-something-v1-train.csv",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"id": "1", "template": "Closing [something]"},\n{"id": "2"}]', ":2: no template for id '2'; "),
        ('[{"template": "Closing [something]"}]', ":1: no id; "),
        ('[{"id": true, "template": "Closing [something]"}]', ":1: no id; "),
        ('[{"id": "../1", "template": "Closing [something]"}]', ":1: the id '../1' is none; "),
        ('[{"id": "", "template": "Closing [something]"}]', ":1: the id '' is none; "),
        ('[{"id": "a\\u0000", "template": "Closing [something]"}]', ":1: the id 'a\\x00' holds a NUL"),
        ('[\n\n{"id": "1", "template": "Flying"}]', ":3: class 'Flying' is not among the 174 classes of "),
        ('[1]', ":1: 1 is no entry; "),
        ('{"a": {"id": "1", "template": "x"}}', ":1: dict is no entry; "),
        ('[{"id": "1"\n "template": "x"}]', ":2: not JSON ("),
        ("[]", ": lists no video"),
    ],
)  # fmt: skip
def test_wrong_entries_are_named(folder, text, message):
    (folder / "train.json").write_text(text)
    assert error_of(folder).startswith(f"{folder / 'train.json'}{message}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": "0",\n"b": "x"}', ":2: 'x' is no class number; "),
        ('{"a": 0,\n"b": true}', ":2: True is no class number; "),
        ('{"a": "0",\n"b": "0"}', ":2: number 0 for 'a' and for 'b'"),
        ('{"a": "0",\n"b": "2"}', ": 2 classes, but none has the number 1; "),
        ('{"a": "0",\n"a": "1"}', ":1: not JSON (the key 'a' twice in one object"),
        ("{}", ": labels.json has the class names with their numbers"),
        ("[]", ": labels.json has the class names with their numbers"),
        ('{"a": "0"}', " has 1 classes, but MODEL.NUM_CLASSES is 174; make them agree"),
    ],
)
def test_wrong_numbers_of_classes(folder, text, message):
    (folder / "labels.json").write_text(text)
    assert error_of(folder).startswith(f"{folder / 'labels.json'}{message}")


# ------------------------------------------------------------------------------------------------------- version one


@pytest.fixture
def first(tmp_path):
    """Return a folder with V1's files and folders of frames."""
    (tmp_path / "something-something-v1-labels.csv").write_text("\n".join(LABEL_SETS["ssv1"]) + "\n")
    (tmp_path / "something-something-v1-train.csv").write_text(
        "100218;Something falling like a feather or paper\n"
        "24413;Putting something, something and something on the table\n"
    )
    (tmp_path / "something-something-v1-validation.csv").write_text("74225;Closing something\r\n", newline="")
    (tmp_path / "something-something-v1-test.csv").write_text("1\n2\n")
    touch(tmp_path, "100218/00001.jpg", "24413/00001.jpg", "74225/00001.jpg")
    return tmp_path


def test_version_one_on_frames(first):
    names = LABEL_SETS["ssv1"]
    found = read(first, version="ssv1")
    assert found.records == [
        VideoRecord(str(first / "100218"), names.index("Something falling like a feather or paper")),
        VideoRecord(str(first / "24413"), names.index("Putting something, something and something on the table")),
    ]
    assert found.class_names == list(names)
    assert read(first, "test", "ssv1").records == [VideoRecord(str(first / "74225"), names.index("Closing something"))]
    (first / "something-something-v1-labels.csv").unlink()
    assert read(first, version="ssv1").records == found.records


def test_version_one_without_a_folder(first, log):
    (first / "24413/00001.jpg").unlink()
    (first / "24413").rmdir()
    found = read(first, version="ssv1")
    assert found.absent == (str(first / "24413"),)
    assert len(log) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1;Closing something\n2\n", ":2: no class name after a ';' in '2'; a list is `id;class name`"),
        ("1;Flying\n", ":1: class 'Flying' is not among the 174 classes of "),
        ('1;"Closing\n', ":1: not CSV ("),
        ("", ": lists no video"),
    ],
)
def test_wrong_lines_of_version_one(first, text, message):
    path = first / "something-something-v1-train.csv"
    path.write_text(text)
    assert error_of(first, version="ssv1").startswith(f"{path}{message}")
