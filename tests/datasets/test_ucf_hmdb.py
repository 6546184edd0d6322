"""UCF101 and HMDB51 from their official split files."""

from __future__ import annotations

import pytest

from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.datasets.ucf_hmdb import read_hmdb51, read_ucf101
from uniformer_video.runtime.errors import DataError

UCF, HMDB = LABEL_SETS["ucf101"], LABEL_SETS["hmdb51"]


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def write_ucf(lists):
    lists.mkdir(exist_ok=True)
    (lists / "classInd.txt").write_text("".join(f"{n} {name}\r\n" for n, name in enumerate(UCF, 1)), newline="")
    (lists / "trainlist01.txt").write_text(
        "ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nYoYo/v_YoYo_g25_c05.avi 101\r\n", newline=""
    )
    (lists / "testlist01.txt").write_text("HandstandPushups/v_HandStandPushups_g01_c01.avi\n")
    (lists / "trainlist02.txt").write_text("Archery/v_Archery_g01_c01.avi 3\n")


VIDEOS = ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi", "YoYo/v_YoYo_g25_c05.avi", "Archery/v_Archery_g01_c01.avi")
TEST_VIDEO = "HandstandPushups/v_HandStandPushups_g01_c01.avi"


@pytest.fixture
def ucf(tmp_path):
    write_ucf(tmp_path)
    touch(tmp_path, *(f"UCF-101/{name}" for name in (*VIDEOS, TEST_VIDEO)))
    return tmp_path


def of_ucf(folder, split="train", number=1, num_classes=101, **options):
    return read_ucf101(folder, split, number, num_classes=num_classes, **options)


def test_ucf_labels_count_from_zero(ucf):
    found = of_ucf(ucf)
    assert found.records == [
        VideoRecord(str(ucf / "UCF-101" / VIDEOS[0]), 0),
        VideoRecord(str(ucf / "UCF-101" / VIDEOS[1]), 100),
    ]
    # The order of classInd.txt is that of the label set in the package.
    assert found.class_names == list(UCF)
    assert found.source == str(ucf / "trainlist01.txt")


def test_ucf_validation_and_test_are_one_list_without_numbers(ucf):
    for split in ("val", "test"):
        found = of_ucf(ucf, split)
        assert found.records == [VideoRecord(str(ucf / "UCF-101" / TEST_VIDEO), UCF.index("HandstandPushups"))]


def test_ucf_other_splits(ucf):
    assert [r.label for r in of_ucf(ucf, number=2).records] == [UCF.index("Archery")]
    assert of_ucf(ucf, number=3) is None
    assert of_ucf(ucf, "test", 2) is None


@pytest.mark.parametrize("lists", ["ucfTrainTestlist", "annotations"])
def test_ucf_lists_in_their_folder_and_flat_videos_of_another_kind(tmp_path, lists, tmp_path_factory):
    write_ucf(tmp_path / lists)
    videos = tmp_path_factory.mktemp("videos")
    touch(videos, "v_ApplyEyeMakeup_g08_c01.mp4", "v_YoYo_g25_c05.mp4")
    found = of_ucf(tmp_path, prefix=str(videos))
    assert [r.path for r in found.records] == [
        str(videos / "v_ApplyEyeMakeup_g08_c01.mp4"),
        str(videos / "v_YoYo_g25_c05.mp4"),
    ]


def test_ucf_without_classind(ucf):
    expected = of_ucf(ucf).records
    (ucf / "classInd.txt").unlink()
    found = of_ucf(ucf)
    assert (found.records, found.class_names) == (expected, list(UCF))
    assert of_ucf(ucf, num_classes=None).records == expected


def test_ucf_missing_videos(ucf, log):
    (ucf / "UCF-101" / VIDEOS[1]).unlink()
    found = of_ucf(ucf)
    assert len(found.records) == 1
    assert found.absent == (str(ucf / VIDEOS[1]),)
    assert len(log) == 1
    (ucf / "UCF-101" / TEST_VIDEO).unlink()
    with pytest.raises(DataError, match=r"testlist01.txt: none of its 1 videos is in .* it holds 2 videos\)"):
        of_ucf(ucf, "test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("trainlist01.txt", "v_YoYo_g25_c05.avi 101\n", "{}:1: 'v_YoYo_g25_c05.avi 101' is no `Class/video.avi` with a "
         "number from 1 behind it or none"),
        ("trainlist01.txt", "\nYoYo/v_YoYo_g25_c05.avi 100\n", "{}:2: 100 is not the number of 'YoYo' in {index}"),
        ("trainlist01.txt", "YoYo/v_YoYo_g25_c05.avi 102\n", "{}:1: 102 is not the number of 'YoYo' in {index}"),
        ("trainlist01.txt", "YoYo/v_YoYo_g25_c05.avi 0\n", "{}:1: 0 is not the number of 'YoYo' in {index}"),
        ("trainlist01.txt", "Flying/v.avi\n", "{}:1: class 'Flying' is not among the 101 classes of {index}"),
        ("trainlist01.txt", "", "{}: lists no video"),
        ("classInd.txt", "0 EyeMakeup\n", "{}:1: '0 EyeMakeup' is not `1 Class`; classes are numbered from 1"),
        ("classInd.txt", "1 a\n3 b\n", "{}:2: '3 b' is not `2 Class`; classes are numbered from 1"),
        ("classInd.txt", "1 a\n2 b\n", "{} has 2 classes, but MODEL.NUM_CLASSES is 101; make them agree"),
        ("classInd.txt", "\n", "{}: names no class"),
    ],
)  # fmt: skip
def test_ucf_wrong_lines_are_named(ucf, name, text, message):
    (ucf / name).write_text(text)
    with pytest.raises(DataError) as error:
        of_ucf(ucf)
    assert str(error.value) == message.format(ucf / name, index=ucf / "classInd.txt")


# ------------------------------------------------------------------------------------------------------------- HMDB51


def write_hmdb(lists):
    lists.mkdir(exist_ok=True)
    for name in HMDB:
        lines = [f"{name}_a.avi 1 ", f"{name}_b.avi 2 ", f"{name}_c.avi 0 ", "same name #1 (x).avi 1 "]
        (lists / f"{name}_test_split1.txt").write_text("\n".join(lines) + "\n")
        (lists / f"{name}_test_split2.txt").write_text(f"{name}_c.avi 1 \n")


@pytest.fixture
def hmdb(tmp_path):
    write_hmdb(tmp_path / "testTrainMulti_7030_splits")
    touch(tmp_path, *(f"videos/{name}/{name}_{x}.avi" for name in HMDB for x in "abc"))
    touch(tmp_path, *(f"videos/{name}/same name #1 (x).avi" for name in HMDB))
    return tmp_path


def of_hmdb(folder, split="train", number=1, num_classes=51, **options):
    return read_hmdb51(folder, split, number, num_classes=num_classes, **options)


def test_hmdb_classes_are_in_alphabetical_order(hmdb):
    found = of_hmdb(hmdb)
    assert found.class_names == sorted(HMDB) == list(HMDB)
    expected = []
    for label, name in enumerate(HMDB):
        expected.append(VideoRecord(str(hmdb / f"videos/{name}/{name}_a.avi"), label))
        # One name in all classes: each finds its own.
        expected.append(VideoRecord(str(hmdb / f"videos/{name}/same name #1 (x).avi"), label))
    assert found.records == expected


def test_hmdb_uses(hmdb):
    for split in ("val", "test"):
        assert [r.path for r in of_hmdb(hmdb, split).records] == [
            str(hmdb / f"videos/{name}/{name}_b.avi") for name in HMDB
        ]
    assert [r.path for r in of_hmdb(hmdb, number=2).records] == [
        str(hmdb / f"videos/{name}/{name}_c.avi") for name in HMDB
    ]
    assert of_hmdb(hmdb, number=3) is None


def test_hmdb_a_video_in_the_folder_of_another_class_is_another_video(hmdb, log):
    (hmdb / "videos/wave/same name #1 (x).avi").unlink()
    found = of_hmdb(hmdb)
    assert found.absent == (str(hmdb / "wave/same name #1 (x).avi"),)
    assert len(found.records) == 101
    assert len(log) == 1


def test_hmdb_another_number_of_classes(hmdb):
    lists = hmdb / "testTrainMulti_7030_splits"
    (lists / "wave_test_split1.txt").unlink()
    with pytest.raises(DataError) as error:
        of_hmdb(hmdb)
    assert str(error.value) == (
        f"{lists} (a file *_test_split1.txt for each class) has 50 classes, but MODEL.NUM_CLASSES is 51; make them "
        "agree"
    )
    assert of_hmdb(hmdb, num_classes=None).class_names == list(HMDB[:-1])


@pytest.mark.parametrize("line", ["a.avi", "a.avi 3", "a.avi x", "1", "a.avi 11"])
def test_hmdb_wrong_lines_are_named(hmdb, line):
    path = hmdb / "testTrainMulti_7030_splits/wave_test_split1.txt"
    path.write_text(f"wave_a.avi 1\n{line}\n")
    with pytest.raises(DataError) as error:
        of_hmdb(hmdb)
    assert str(error.value) == f"{path}:2: {line!r} is no `video.avi` with 0, 1 (training) or 2 (test) behind it"
