"""The one way in: which files are read for which dataset and split."""

from __future__ import annotations

import pytest
import simplejson

from uniformer_video.datasets import DATASETS
from uniformer_video.datasets.annotations import FAMILIES, read_annotation
from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import ConfigError, DataError
from uniformer_video.runtime.logging import log_once

KINETICS = "label,youtube_id,time_start,time_end,split\nmarching,abc,0,10,train\n"


@pytest.fixture(autouse=True)
def nothing_said():
    log_once.cache_clear()


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def folder(tmp_path):
    touch(tmp_path, "a.mp4", "b.mp4", "abc.mp4", "7.webm", "f/1.jpg", "v_Archery_g01_c01.avi", "wave/w.avi")
    return tmp_path


def read(folder, dataset="kinetics", split="train", num_classes=None, **options):
    return read_annotation(dataset, str(folder), split, num_classes=num_classes, **options)


def error_of(folder, dataset="kinetics", split="train", kind=DataError, **options):
    with pytest.raises(kind) as error:
        read(folder, dataset, split, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_registered_datasets_have_a_family():
    assert set(FAMILIES) == set(DATASETS)


@pytest.mark.parametrize("dataset", [*FAMILIES, "Kinetics", "SSv2"])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_lists_of_lines_for_all_datasets(folder, dataset, split):
    (folder / f"{split}.csv").write_text("a.mp4,1\nb.mp4,0\n")
    found = read(folder, dataset, split, 2, separator=",")
    assert found.records == [VideoRecord(str(folder / "a.mp4"), 1), VideoRecord(str(folder / "b.mp4"), 0)]
    assert (found.class_names, found.absent, found.source) == (None, (), str(folder / f"{split}.csv"))


def test_several_labels(folder):
    (folder / "train.csv").write_text("a.mp4 1,0\nb.mp4 -\n")
    assert [r.label for r in read(folder, multi_label=True).records] == [(0, 1), ()]


def test_one_label_in_a_multi_label_set_is_a_tuple(folder):
    (folder / "train.csv").write_text(KINETICS)
    assert [r.label for r in read(folder, multi_label=True).records] == [(0,)]
    assert [r.label for r in read(folder, multi_label=False).records] == [0]


@pytest.mark.parametrize("dataset", ["kinetics", "kinetics_sparse"])
def test_official_kinetics_is_told_by_its_header(folder, dataset):
    (folder / "train.csv").write_text(KINETICS)
    found = read(folder, dataset, num_classes=400)
    assert found.records == [VideoRecord(str(folder / "abc.mp4"), LABEL_SETS["kinetics400"].index("marching"))]
    assert found.class_names == list(LABEL_SETS["kinetics400"])
    assert read(folder, dataset, num_classes=400, label_set="kinetics400:alphabetical").class_names == sorted(
        LABEL_SETS["kinetics400"]
    )


def test_official_kinetics_by_other_names(folder, log):
    (folder / "kinetics_400_validate.csv").write_text(KINETICS)
    assert read(folder, split="val", num_classes=400).records[0].label == 1
    for _ in range(2):
        assert read(folder, split="test", num_classes=400).records[0].label == 1
    assert log == [
        f"INFO: {folder / 'kinetics_400_validate.csv'}: the test is of this validation list, as there is no test list"
    ]


def test_official_something(folder, log):
    (folder / "train.json").write_text('[{"id": "7", "template": "Closing [something]"}]')
    (folder / "labels.json").write_text('{"Closing something": "1", "Opening something": "0"}')
    for dataset in ("ssv2", "sth"):
        found = read(folder, dataset)
        assert found.records == [VideoRecord(str(folder / "7.webm"), 1)]
        assert found.class_names == ["Opening something", "Closing something"]
    (folder / "something-something-v1-train.csv").write_text("f;Closing something\n")
    found = read(folder, "ssv1")
    assert found.records == [VideoRecord(str(folder / "f"), LABEL_SETS["ssv1"].index("Closing something"))]


def test_official_ucf_and_hmdb(folder):
    (folder / "trainlist02.txt").write_text("Archery/v_Archery_g01_c01.avi 3\n")
    found = read(folder, "ucf101", official_split=2)
    assert found.records == [VideoRecord(str(folder / "v_Archery_g01_c01.avi"), 2)]
    (folder / "wave_test_split3.txt").write_text("w.avi 2\n")
    found = read(folder, "HMDB", "test", official_split=3)
    assert found.records == [VideoRecord(str(folder / "wave/w.avi"), 0)]
    assert found.class_names == ["wave"]


def test_lists_of_frames(folder, log):
    (folder / "val_videofolder.txt").write_text("f 30 2\n")
    for dataset in ("ssv1", "ssv2", "kinetics"):
        assert read(folder, dataset, "val").records == [VideoRecord(str(folder / "f"), 2, 30)]
        assert read(folder, dataset, "test").records == [VideoRecord(str(folder / "f"), 2, 30)]
    path = folder / "val_videofolder.txt"
    assert log == [f"INFO: {path}: the test is of this validation list, as there is no test_videofolder.txt"]
    (folder / "test_videofolder.txt").write_text("f 30 3\n")
    assert read(folder, "ssv1", "test").records == [VideoRecord(str(folder / "f"), 3, 30)]


def test_frames_lists_named_as_lists_of_lines(folder):
    (folder / "train.csv").write_text("f 30 2\n")
    assert read(folder, "ssv2").records == [VideoRecord(str(folder / "f"), 2, 30)]
    assert "none of its first 1 videos exists" in error_of(folder, "kinetics")


def test_a_list_of_lines_comes_before_official_files(folder):
    (folder / "train.json").write_text('[{"id": "7", "template": "Closing [something]"}]')
    (folder / "train.csv").write_text("a.mp4 5\n")
    assert read(folder, "ssv2").records == [VideoRecord(str(folder / "a.mp4"), 5)]


# ----------------------------------------------------------------------------------------------------------- template


@pytest.mark.parametrize(
    ("split", "name"),
    [
        ("train", "train"),
        ("val", "val"),
        ("val", "validation"),
        ("test", "test"),
        ("test", "val"),
        ("test", "validation"),
    ],
)
def test_a_template_names_the_list(folder, split, name, log):
    (folder / f"sth_{name}_split.txt").write_text("f 30 2\n")
    found = read(folder, "ssv2", split, label_path_template="sth_{}_split.txt")
    assert found.records == [VideoRecord(str(folder / "f"), 2, 30)]
    assert len(log) == (split == "test" and name != "test")


def test_a_template_comes_first_and_may_name_lists_of_lines(folder):
    (folder / "train.csv").write_text("a.mp4 5\n")
    (folder / "lists").mkdir()
    (folder / "lists/train.txt").write_text(f"{folder}/b.mp4 1,2\n")
    options = {"label_path_template": "lists/{}.txt", "multi_label": True}
    assert read(folder, **options).records == [VideoRecord(str(folder / "b.mp4"), (1, 2))]
    options["label_path_template"] = str(folder / "lists/{}.txt")
    assert read(folder, **options).records == [VideoRecord(str(folder / "b.mp4"), (1, 2))]


def test_a_test_list_of_one_label_is_warned_about(folder, log):
    (folder / "test.txt").write_text("a.mp4 5\nb.mp4 5\n")
    read(folder, split="test", label_path_template="{}.txt")
    assert log == [f"WARNING: {folder / 'test.txt'}: all 2 labels are 5; the accuracy will say little"]


def test_templates_that_name_nothing(folder):
    assert error_of(folder, split="val", label_path_template="x_{}.txt") == (
        f"{folder}: no list for val by DATA.LABEL_PATH_TEMPLATE 'x_{{}}.txt'; looked for x_val.txt, x_validation.txt"
    )
    assert error_of(folder, kind=ConfigError, label_path_template="train.txt") == (
        "DATA.LABEL_PATH_TEMPLATE 'train.txt' has no {} where train or val is to stand; write for example "
        "somesomev2_rgb_{}_split.txt"
    )


# ------------------------------------------------------------------------------------------------------------ nothing


@pytest.mark.parametrize(
    ("dataset", "split", "names"),
    [
        ("kinetics", "train", "train.csv, official CSV files such as kinetics400/train.csv, train_videofolder.txt"),
        ("kinetics", "val", "val.csv, official CSV files such as kinetics400/validate.csv, val_videofolder.txt"),
        ("kinetics", "test", "test.csv, official CSV files such as kinetics400/test.csv, test_videofolder.txt"),
        ("ssv2", "test", "test.csv, validation.json, val.json, something-something-v2-validation.json, "
         "something-something-v2-val.json, test_videofolder.txt"),
        ("ssv1", "train", "train.csv, something-something-v1-train.csv, train_videofolder.txt"),
        ("ucf101", "val", "val.csv, testlist01.txt with classInd.txt, val_videofolder.txt"),
        ("hmdb51", "train", "train.csv, *_test_split1.txt, train_videofolder.txt"),
    ],
)  # fmt: skip
def test_nothing_is_there(tmp_path, dataset, split, names):
    ways_out = {"val": ", or move part of train.csv to val.csv", "test": ", or set TEST.ENABLE False"}
    assert error_of(tmp_path, dataset, split) == (
        f"{tmp_path}: no list for {split}; looked for {names}; set DATA.PATH_TO_DATA_DIR to the folder of the lists, "
        f"or make a set of your videos with tools/prepare_dataset.py{ways_out.get(split, '')}"
    )


def test_no_folder(tmp_path):
    assert error_of("").startswith("DATA.PATH_TO_DATA_DIR is not set; ")
    assert error_of(tmp_path / "none").startswith(f"DATA.PATH_TO_DATA_DIR '{tmp_path / 'none'}' is no folder; ")
    assert error_of("a\0b").startswith("DATA.PATH_TO_DATA_DIR 'a\\x00b' is no folder; ")


def test_a_list_that_is_a_folder(tmp_path):
    (tmp_path / "train.csv").mkdir()
    assert error_of(tmp_path).startswith(f"{tmp_path / 'train.csv'}: cannot be read as UTF-8 text (")


def test_thousands_of_entries_are_quick(tmp_path):
    touch(tmp_path, "0.webm")
    entries = [{"id": str(n), "template": "Closing [something]", "label": "x"} for n in range(20_000)]
    (tmp_path / "train.json").write_text(simplejson.dumps(entries))
    found = read(tmp_path, "ssv2")
    assert len(found.records) == 1
    assert len(found.absent) == 19_999
