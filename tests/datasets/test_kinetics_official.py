"""Kinetics from its official CSV files on a folder of downloads."""

from __future__ import annotations

from pathlib import Path

import pytest

from uniformer_video.datasets.kinetics_official import read_clips, read_kinetics_official
from uniformer_video.datasets.label_sets import LABEL_SETS
from uniformer_video.datasets.records import VideoRecord
from uniformer_video.runtime.errors import DataError

TRAIN = """label,youtube_id,time_start,time_end,split,is_cc
"riding a bike",-abc_DEF-12,10,20,train,0
marching,_zzzzzzzzzz,0,10,train,0
dodgeball,Abcdefghijk,7,17,train,1
dodgeball,abcdefghijk,7,17,train,1
"""


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def read(folder, path, split="train", num_classes=400, **options):
    return read_kinetics_official(Path(folder), Path(path), split, num_classes=num_classes, **options)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "train.csv").write_text(TRAIN)
    touch(
        tmp_path,
        "videos/riding a bike/-abc_DEF-12_000010_000020.mp4",
        "videos/marching/_zzzzzzzzzz_0_10.MKV",
        "videos/Abcdefghijk.webm",
        "videos/dodgeball/abcdefghijk_000007_000017.mp4",
    )
    return tmp_path


def test_clips_are_found_by_id_and_times(folder):
    found = read(folder, folder / "train.csv")
    names = LABEL_SETS["kinetics400"]
    assert found.records == [
        VideoRecord(str(folder / "videos/riding a bike/-abc_DEF-12_000010_000020.mp4"), names.index("riding a bike")),
        VideoRecord(str(folder / "videos/marching/_zzzzzzzzzz_0_10.MKV"), names.index("marching")),
        VideoRecord(str(folder / "videos/Abcdefghijk.webm"), names.index("dodgeball")),
        VideoRecord(str(folder / "videos/dodgeball/abcdefghijk_000007_000017.mp4"), names.index("dodgeball")),
    ]
    assert [r.label for r in found.records] == [0, 1, 2, 2]
    assert found.class_names == list(names)
    assert found.absent == ()
    assert found.source == str(folder / "train.csv")


def test_the_exact_clip_comes_before_other_names(folder):
    touch(folder, "videos/-abc_DEF-12.mp4", "videos/-abc_DEF-12_10_20.mp4", "a/-abc_DEF-12_000010_000020.mp4")
    # Of two exact ones that in the folder of its class.
    assert read(folder, folder / "train.csv").records[0].path == str(
        folder / "videos/riding a bike/-abc_DEF-12_000010_000020.mp4"
    )
    (folder / "videos/riding a bike/-abc_DEF-12_000010_000020.mp4").unlink()
    assert read(folder, folder / "train.csv").records[0].path == str(folder / "a/-abc_DEF-12_000010_000020.mp4")
    (folder / "a/-abc_DEF-12_000010_000020.mp4").unlink()
    assert read(folder, folder / "train.csv").records[0].path == str(folder / "videos/-abc_DEF-12_10_20.mp4")


def test_another_part_of_the_same_video_is_another_clip(folder):
    (folder / "train.csv").write_text("youtube_id,time_start,time_end,label\n-abc_DEF-12,11,21,marching\n")
    with pytest.raises(DataError, match="none of its 1 videos"):
        read(folder, folder / "train.csv")


def test_columns_in_any_order_quoted_and_with_times_as_decimals(folder):
    (folder / "x.csv").write_text(
        '\ufeff"split","Time_End","youtube_id","label","time_start"\r\n"train","17.0","Abcdefghijk","dodgeball","7.0"\r\n',
        newline="",
    )
    found = read(folder, folder / "x.csv")
    assert found.records == [VideoRecord(str(folder / "videos/Abcdefghijk.webm"), 2)]


def test_missing_videos_are_left_out_and_counted(folder, log):
    (folder / "videos/Abcdefghijk.webm").unlink()
    for split in ("train", "val"):
        log.clear()
        found = read(folder, folder / "train.csv", split)
        missing = str(folder / "Abcdefghijk_000007_000017.mp4")
        assert len(found.records) == 3
        assert found.absent == (missing,)
        assert log == [
            f"WARNING: {folder / 'train.csv'}: 1 of 4 videos (25.0%) are not in {folder}, for example "
            "Abcdefghijk_000007_000017.mp4; they are left out"
        ]


def test_a_test_keeps_missing_videos(folder, log):
    (folder / "videos/Abcdefghijk.webm").unlink()
    found = read(folder, folder / "train.csv", "test")
    assert len(found.records) == 4
    assert found.records[2] == VideoRecord(str(folder / "Abcdefghijk_000007_000017.mp4"), 2)
    assert found.absent == (found.records[2].path,)
    assert log[0].endswith("; the test will count them as unread")


def test_all_missing_is_an_error(folder, tmp_path_factory):
    empty = tmp_path_factory.mktemp("empty")
    touch(empty, "other.mp4")
    with pytest.raises(DataError) as error:
        read(folder, folder / "train.csv", prefix=str(empty))
    assert str(error.value) == (
        f"{folder / 'train.csv'}: none of its 4 videos is in {empty}, for example "
        f"{empty / '-abc_DEF-12_000010_000020.mp4'} (in any sub-folder, as id_000010_000020, id_10_20 or id with any "
        f"video ending; it holds 1 videos); set DATA.PATH_PREFIX to the folder of the videos (it is '{empty}')"
    )
    with pytest.raises(DataError, match="DATA.PATH_PREFIX '/no/such' is no folder"):
        read(folder, folder / "train.csv", prefix="/no/such")


# ------------------------------------------------------------------------------------------------------- class order


def test_names_that_are_no_known_set_are_sorted(folder, log):
    (folder / "train.csv").write_text(TRAIN.replace("marching", "zumba").replace("riding a bike", "Arm wave"))
    found = read(folder, folder / "train.csv", num_classes=3)
    assert found.class_names == ["Arm wave", "dodgeball", "zumba"]
    assert [r.label for r in found.records] == [0, 2, 1, 1]
    assert log == [f"INFO: {folder / 'train.csv'}: 3 classes, numbered in alphabetical order"]
    assert read(folder, folder / "train.csv", num_classes=None).class_names == found.class_names


def test_a_validation_list_with_fewer_names_takes_them_from_the_training_list(folder):
    (folder / "val.csv").write_text("label,youtube_id,time_start,time_end\nriding a bike,-abc_DEF-12,10,20\n")
    for num_classes in (3, None):
        found = read(folder, folder / "val.csv", "val", num_classes=num_classes)
        assert found.class_names == ["dodgeball", "marching", "riding a bike"]
        assert [r.label for r in found.records] == [2]
    (folder / "train.csv").unlink()
    with pytest.raises(DataError) as error:
        read(folder, folder / "val.csv", "val", num_classes=3)
    assert str(error.value) == (
        f"{folder / 'val.csv'}: names 1 of 3 classes (MODEL.NUM_CLASSES), and the training list that would name all is "
        f"not in {folder}; put it there, or a classes.json with the names in label order"
    )


def test_another_number_of_classes(folder):
    with pytest.raises(DataError) as error:
        read(folder, folder / "train.csv", num_classes=2)
    assert str(error.value) == (
        "train.csv in alphabetical order has 3 classes, but MODEL.NUM_CLASSES is 2; make them agree"
    )


def test_a_file_of_names_and_a_setting_come_first(folder):
    (folder / "classes.json").write_text('["marching", "dodgeball", "riding a bike"]')
    found = read(folder, folder / "train.csv", num_classes=3)
    assert [r.label for r in found.records] == [2, 0, 1, 1]
    assert found.class_names == ["marching", "dodgeball", "riding a bike"]
    (folder / "classes.json").unlink()
    found = read(folder, folder / "train.csv", label_set="kinetics400:alphabetical")
    names = sorted(LABEL_SETS["kinetics400"])
    assert found.class_names == names
    assert [r.label for r in found.records] == [names.index(n) for n in ("riding a bike", "marching", "dodgeball")] + [
        names.index("dodgeball")
    ]


def test_all_of_kinetics_600_is_in_the_published_order(tmp_path):
    names = LABEL_SETS["kinetics600"]
    rows = [f'"{name}",id{number:09d},0,10,train' for number, name in enumerate(sorted(names))]
    (tmp_path / "train.csv").write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]))
    touch(tmp_path, *(f"id{number:09d}.mp4" for number in range(600)))
    for num_classes in (600, None):
        found = read(tmp_path, tmp_path / "train.csv", num_classes=num_classes)
        assert found.class_names == list(names)
        assert [names[r.label] for r in found.records] == sorted(names)


def test_nearly_all_names_of_a_known_set_are_said(tmp_path, log):
    names = [*sorted(LABEL_SETS["kinetics400"])[1:], "something new"]
    rows = [f'"{name}",id{number:09d},0,10' for number, name in enumerate(names)]
    (tmp_path / "train.csv").write_text("\n".join(["label,youtube_id,time_start,time_end", *rows]))
    touch(tmp_path, "id000000000.mp4")
    assert read(tmp_path, tmp_path / "train.csv").class_names == sorted(names)
    assert log[0] == (
        "WARNING: 1 of 400 class names are not those of Kinetics-400, for example 'something new'; its published order "
        "is not taken"
    )


def test_a_name_that_is_no_class(folder):
    (folder / "classes.json").write_text('["marching", "riding a bike"]')
    with pytest.raises(DataError) as error:
        read(folder, folder / "train.csv", num_classes=2)
    assert str(error.value) == (
        f"{folder / 'train.csv'}:4: class 'dodgeball' is not among the 2 classes of the file of class names in {folder}"
    )


# ------------------------------------------------------------------------------------------------------- wrong files


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ":1: no column youtube_id; an official list has youtube_id, time_start, time_end and label"),
        ("youtube_id,time_start\n", ":1: no column time_end; an official list has youtube_id, time_start, time_end and "
         "label"),
        ("label,youtube_id,time_start,time_end\na,b,1\n", ":2: 3 columns where the header has 4"),
        ("label,youtube_id,time_start,time_end\n\na,b,1,x\n", ":3: time_end 'x' is no time in seconds"),
        ("label,youtube_id,time_start,time_end\na,b,-1,9\n", ":2: time_start '-1' is no time in seconds"),
        ("label,youtube_id,time_start,time_end\na,b,nan,9\n", ":2: time_start 'nan' is no time in seconds"),
        ("label,youtube_id,time_start,time_end\na,b,1e300,9\n", ":2: time_start '1e300' is no time in seconds"),
        ("label,youtube_id,time_start,time_end\na,../b,1,9\n", ":2: youtube_id '../b' is none"),
        ("label,youtube_id,time_start,time_end\na,,1,9\n", ":2: youtube_id '' is none"),
        ("label,youtube_id,time_start,time_end\n", ": lists no video"),
        ("label,youtube_id,time_start,time_end\nrun,b,1,9\n,c,1,9\n", "{}:3: no label"),
    ],
)  # fmt: skip
def test_wrong_rows_are_named(folder, text, message):
    path = folder / "x.csv"
    path.write_text(text)
    with pytest.raises(DataError) as error:
        read(folder, path, num_classes=None)
    if message.startswith("{}"):
        assert str(error.value).startswith(message.format(path))
    else:
        assert str(error.value) == f"{path}{message}"


def test_a_list_without_labels_says_what_to_do(folder):
    path = folder / "test.csv"
    path.write_text("youtube_id,time_start,time_end,split\nAbcdefghijk,7,17,test\n")
    with pytest.raises(DataError) as error:
        read(folder, path, "test")
    assert str(error.value) == (
        f"{path}:2: no label, and test needs labels; take a list that has them (the validation list copied to {path})"
    )


def test_clips(folder):
    clips = list(read_clips(folder / "train.csv"))
    assert [(c.line, c.video, c.start, c.end, c.label) for c in clips[:2]] == [
        (2, "-abc_DEF-12", 10, 20, "riding a bike"),
        (3, "_zzzzzzzzzz", 0, 10, "marching"),
    ]
    assert clips[0].names == ("-abc_DEF-12_000010_000020", "-abc_DEF-12_10_20", "-abc_DEF-12")
